// token create|list|revoke, and audit list: who may do what, and who did.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/time.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

constexpr const char* roles_help =
    "\nread looks; operator also submits, cancels and changes jobs, queues and workers; admin also makes and "
    "revokes\n"
    "tokens and reads the audit trail; worker can only be a worker. The secret is printed once and stored "
    "nowhere:\n"
    "put it into a file of mode 0600 and give that to --token-file.\n";

constexpr const char* revoke_help =
    "\nConnections that use it are closed within a second. admin.token and worker.token are files in the "
    "server's\n"
    "data directory: revoking one puts a new secret into it, which the command line and workers of the same "
    "user\n"
    "find by themselves.\n";

std::vector<column> row_columns() {
  return {cell("ID", "id"),
          cell("NAME", "name"),
          cell("ROLE", "role"),
          cell("WORKER", "worker_id"),
          cell("STATE", "state"),
          cell("EXPIRES", "expires_at"),
          {"USED", [](const json::object& o) { return age_of(o, "last_used_at"); }}};
}

std::vector<column> detail_columns() {
  return {cell("id", "id"),
          cell("name", "name"),
          cell("role", "role"),
          cell("worker", "worker_id"),
          cell("state", "state"),
          cell("created", "created_at"),
          cell("expires", "expires_at"),
          cell("revoked", "revoked_at"),
          cell("last used", "last_used_at")};
}

struct create_flags {
  std::string name, role, worker_id, expires;
};

int create(session& s, const create_flags& f) {
  json::object body{{"name", f.name}, {"role", f.role}};
  if (!f.worker_id.empty()) body["worker_id"] = f.worker_id;
  if (f.expires == "never") {
    body["expires_in"] = nullptr;
  } else if (!f.expires.empty()) {
    const auto expires = parse_duration(f.expires);
    if (!expires) {
      throw failure{
          exit_usage,
          fmt::format("--expires cannot be `{}`: it takes a duration like 90d, or never", f.expires), ""};
    }
    body["expires_in"] = static_cast<double>(expires->count()) / 1000;
  }
  const auto answer = s.api->call("POST", "/api/v1/tokens", body);
  auto columns = detail_columns();
  columns.push_back(cell("token", "token"));
  s.out.one(answer.body.as_object(), columns, "token");
  tell("The token is shown this once: keep it in a file of mode 0600.");
  return exit_ok;
}

void add_create(CLI::App& noun, selection& chosen) {
  auto f = std::make_shared<create_flags>();
  CLI::App* verb = add_verb(noun, "create", "make a token with a role; -o name prints only its secret");
  verb->footer(roles_help);
  verb->add_option("--role", f->role, "read, operator, admin or worker")
      ->required()
      ->check(CLI::IsMember({"read", "operator", "admin", "worker"}))
      ->type_name("ROLE");
  verb->add_option("--name", f->name, "what it is called in lists and in the audit trail")
      ->required()
      ->type_name("NAME");
  verb->add_option("--expires", f->expires,
                   "when it ends, as 90d, or never; default 90d, and never for a worker's")
      ->type_name("D");
  verb->add_option("--worker-id", f->worker_id, "with --role worker: it can register this worker only")
      ->type_name("ID");
  verb->callback([f, &chosen] { chosen.action = [f](session& s) { return create(s, *f); }; });
}

struct audit_flags {
  int limit = 50;
  std::string since, name;
  bool refused = false;
};

std::vector<column> audit_columns() {
  return {cell("AT", "at"),         cell("NAME", "name"),     cell("ROLE", "role"),
          cell("FROM", "address"),  cell("METHOD", "method"), cell("PATH", "path"),
          cell("STATUS", "status"), cell("COUNT", "count"),   cell("MADE", "made")};
}

int list_audit(session& s, const audit_flags& f) {
  std::string path = fmt::format("/api/v1/audit?limit={}", f.limit);
  if (!f.since.empty()) path += "&since=" + url_encode(f.since);
  if (!f.name.empty()) path += "&name=" + url_encode(f.name);
  if (f.refused) path += "&refused=1";
  s.out.list(s.api->get(path).body.at("items").as_array(), audit_columns(), "id");
  return exit_ok;
}

}  // namespace

void add_token_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand("token", "who may do what: create, list, revoke");
  noun->fallthrough();
  add_create(*noun, chosen);
  add_verb(*noun, "list", "all tokens, without their secrets")->callback([&chosen] {
    chosen.action = [](session& s) {
      s.out.list(s.api->get_all("/api/v1/tokens"), row_columns(), "id");
      return exit_ok;
    };
  });
  add_verb_of_one(
      *noun, chosen, "revoke", "let its holder in no more",
      {"token", "its id, or its name while it is active"}, [](session& s, const std::string& token) {
        const auto answer = s.api->call("POST", "/api/v1/tokens/" + url_encode(token) + "/revoke");
        s.out.one(answer.body.as_object(), detail_columns(), "id");
        return exit_ok;
      });
  noun->get_subcommand("revoke")->footer(revoke_help);
}

void add_audit_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand("audit", "who changed what, when and from where: list");
  noun->fallthrough();
  auto f = std::make_shared<audit_flags>();
  CLI::App* list = add_verb(*noun, "list",
                            "the newest entries, newest first; refusals of one kind in one minute share one");
  list->add_option("--limit", f->limit, "at most so many; default 50")->check(CLI::Range(1, 500));
  list->add_option("--since", f->since, "not older than this: RFC 3339, or a duration ago")->type_name("T");
  list->add_option("--name", f->name, "of this token only")->type_name("NAME");
  list->add_flag("--refused", f->refused, "only what was refused for lack of rights");
  list->callback([f, &chosen] { chosen.action = [f](session& s) { return list_audit(s, *f); }; });
}

}  // namespace orchestrator::cli
