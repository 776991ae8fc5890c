// server status|backup|restore|check. The first asks the server; the others work on its data directory, by
// what main.cpp passes in, and use the daemons' exit codes.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

constexpr int exit_damaged = 65;

constexpr const char* backup_help =
    "Copies both databases as they are at one moment, while the server runs or when it does not; nothing is "
    "held\n"
    "up meanwhile. The copy is read through before it gets its name; a backup that failed leaves nothing, "
    "and\n"
    "nothing is ever overwritten. TARGET becomes a new directory; in a directory that exists a new one is "
    "made,\n"
    "orchestrator-TIME. No secret is in it, of tokens only their hashes.";
constexpr const char* restore_help =
    "Puts a backup into a data directory whose server is stopped. With --replace, databases that are there "
    "are\n"
    "set aside in replaced-TIME. What was acknowledged since the backup is gone; so at its next start the "
    "server\n"
    "jumps leases and term by 2^32, makes at_most_once runs that had not ended `unknown` (settle them with "
    "`run\n"
    "resolve`), and records the schedule instants since the backup as missed. Other runs that had not ended "
    "are\n"
    "tried again.";
constexpr const char* check_help =
    "Reads both databases through and checks every invariant that they can show, also beside a running "
    "server, and\n"
    "also on a backup (--data-dir BACKUP). Changes nothing. Exit code 65 if something does not hold.";
constexpr const char* codes =
    "\nExit codes: 0 ok, 65 damaged data, 73 cannot create or already there, 74 I/O error, 75 in use by a "
    "server,\n"
    "77 permission, 78 made by a newer program.";

/// --data-dir as the server itself would find it: flag, environment, settings file, default.
std::string data_dir_of(const std::string& flag, const offline_tools& tools) {
  std::map<std::string, std::vector<std::string>> given;
  if (!flag.empty()) given["data-dir"] = {flag};
  const auto merged = merge_settings("server", server_settings(), given, "");
  if (!merged) throw failure{exit_usage, merged.error().detail, ""};
  const std::string found = merged->text("data-dir");
  return found.empty() ? tools.default_data_dir() : found;
}

json::value carried_out(offline_outcome outcome) {
  if (outcome.exit_code != exit_ok) throw failure{outcome.exit_code, outcome.message, ""};
  return std::move(outcome.document);
}

column cell(const char* heading, const char* key) {
  return {heading, [key](const json::object& o) { return text_of(o, key); }};
}

std::string offenders_of(const json::object& o) {
  std::string out;
  for (const json::value& v : o.at("offenders").as_array())
    out += (out.empty() ? "" : ", ") + std::string(v.as_string());
  return out.empty() ? "-" : out;
}

int check(session& s, const offline_tools& tools, const std::string& dir) {
  const json::value found = carried_out(tools.check(data_dir_of(dir, tools)));
  std::size_t broken = 0;
  for (const json::value& one : found.as_array()) broken += one.at("ok").as_bool() ? 0 : 1;
  const std::vector<column> columns = {
      cell("CHECK", "id"),
      {"RESULT", [](const json::object& o) { return o.at("ok").as_bool() ? "ok" : "BROKEN"; }},
      cell("WHAT", "title"),
      {"WHERE", offenders_of}};
  s.out.list(found.as_array(), columns, "id");
  if (broken == 0) return exit_ok;
  fmt::print(stderr,
             "orchestrator: {} of {} checks do not hold. Keep a copy of the directory, and restore a backup "
             "(orchestrator server restore).\n",
             broken, found.as_array().size());
  return exit_damaged;
}

int back_up(session& s, const offline_tools& tools, const std::string& dir, const std::string& target) {
  const json::value made = carried_out(tools.backup(data_dir_of(dir, tools), target));
  s.out.one(made.as_object(),
            {cell("backup", "path"), cell("bytes", "bytes"), cell("runs", "runs"),
             cell("last commit", "last_number")},
            "path");
  return exit_ok;
}

int restore(session& s, const offline_tools& tools, const std::string& backup, const std::string& dir,
            bool replace) {
  const json::value done = carried_out(tools.restore(backup, data_dir_of(dir, tools), replace));
  s.out.one(done.as_object(),
            {cell("restored to", "data_dir"), cell("runs", "runs"), cell("backed up at", "backed_up_at"),
             cell("set aside", "replaced")},
            "data_dir");
  fmt::print(
      stderr,
      "What was acknowledged since the backup is not in it. At its next start the server marks unfinished "
      "at_most_once runs as unknown and the instants since as missed.\n");
  return exit_ok;
}

std::string counts_of(const json::object& o, const char* key) {
  const json::value* counts = o.if_contains(key);
  std::string out;
  if (counts == nullptr || !counts->is_object()) return "-";
  for (const auto& member : counts->as_object()) {
    const std::string number = text_of(counts->as_object(), member.key());
    if (number != "0")
      out += fmt::format("{}{} {}", out.empty() ? "" : ", ", number, std::string(member.key()));
  }
  return out.empty() ? "none" : out;
}

int status(session& s) {
  const auto answer = s.api->get("/api/v1/status");
  s.out.one(answer.body.as_object(),
            {cell("version", "version"),
             cell("cluster", "cluster"),
             cell("term", "term"),
             {"started", [](const json::object& o) { return age_of(o, "started_at"); }},
             cell("disk", "disk"),
             {"runs", [](const json::object& o) { return counts_of(o, "runs"); }},
             {"workers", [](const json::object& o) { return counts_of(o, "workers"); }}},
            "cluster");
  return exit_ok;
}

CLI::App* add_offline(CLI::App& noun, const char* name, const char* summary, const char* help,
                      const std::shared_ptr<std::string>& dir) {
  CLI::App* verb = add_verb(noun, name, summary);
  verb->footer(std::string("\n") + help + "\n" + codes);
  verb->add_option("--data-dir", *dir, "the server's data directory; default as the server finds it")
      ->type_name("DIR");
  return verb;
}

}  // namespace

void add_server_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand("server", "the coordinator: status, backup, restore, check");
  noun->fallthrough();
  add_verb(*noun, "status", "version, term, disk, and how many runs and workers")->callback([&chosen] {
    chosen.action = status;
  });
  auto dir = std::make_shared<std::string>();
  auto place = std::make_shared<std::string>();
  auto replace = std::make_shared<bool>(false);
  CLI::App* backup = add_offline(*noun, "backup", "copy the databases to a new directory", backup_help, dir);
  backup->add_option("target", *place, "a new directory, or one to make it in")->required();
  backup->callback([=, &chosen] {
    chosen.offline = true;
    chosen.action = [=, &chosen](session& s) { return back_up(s, chosen.tools, *dir, *place); };
  });
  CLI::App* restoring =
      add_offline(*noun, "restore", "put a backup into a data directory", restore_help, dir);
  restoring->add_option("backup", *place, "what `server backup` made")->required();
  restoring->add_flag("--replace", *replace, "set aside the databases that are there");
  restoring->callback([=, &chosen] {
    chosen.offline = true;
    chosen.action = [=, &chosen](session& s) { return restore(s, chosen.tools, *place, *dir, *replace); };
  });
  add_offline(*noun, "check", "read the databases through and check what must hold", check_help, dir)
      ->callback([=, &chosen] {
        chosen.offline = true;
        chosen.action = [=, &chosen](session& s) { return check(s, chosen.tools, *dir); };
      });
}

}  // namespace orchestrator::cli
