// worker list|show|drain|resume|forget.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/model/queue.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

std::string labels_of(const json::object& o) {
  const json::value* labels = o.if_contains("labels");
  std::string out;
  if (labels == nullptr || !labels->is_object()) return "-";
  for (const auto& member : labels->as_object()) {
    const std::string value = member.value().is_string() ? std::string(member.value().as_string()) : "";
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", std::string(member.key()), value);
  }
  return out.empty() ? "-" : out;
}

std::string resources_of(const json::object& o) {
  const json::value* offered = o.if_contains("resources");
  std::string out;
  if (offered == nullptr || !offered->is_object()) return "-";
  for (const auto& member : offered->as_object()) {
    const auto amount = parse_amount(protocol::write_json(member.value()));
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", std::string(member.key()),
                       amount ? format_amount(*amount) : "?");
  }
  return out.empty() ? "-" : out;
}

std::string slots_of(const json::object& o) { return text_of(o, "running") + "/" + text_of(o, "slots"); }

std::vector<column> row_columns() {
  return {cell("WORKER", "worker_id"),
          {"STATE", [](const json::object& o) { return coloured_state(text_of(o, "state")); }},
          {"BUSY", slots_of},
          cell("DRAINING", "draining"),
          cell("HOST", "hostname"),
          {"LABELS", labels_of},
          {"SEEN", [](const json::object& o) { return age_of(o, "last_seen"); }}};
}

std::vector<column> detail_columns() {
  return {cell("worker", "worker_id"),
          {"state", [](const json::object& o) { return coloured_state(text_of(o, "state")); }},
          cell("connected", "connected"),
          {"busy", slots_of},
          cell("waiting there", "waiting"),
          cell("draining", "draining"),
          cell("instance", "instance"),
          cell("host", "hostname"),
          cell("platform", "platform"),
          cell("version", "version"),
          cell("original protocol", "legacy"),
          {"labels", labels_of},
          {"resources", resources_of},
          cell("jobs processed", "jobs_processed"),
          {"uptime", [](const json::object& o) { return seconds_of(o, "uptime_seconds"); }},
          cell("registered", "registered_at"),
          cell("last seen", "last_seen")};
}

void add_one(CLI::App& noun, selection& chosen, const std::string& verb, const std::string& help) {
  add_verb_of_one(noun, chosen, verb, help, {"id", "the worker"}, [verb](session& s, const std::string& id) {
    const std::string path = "/api/v1/workers/" + url_encode(id);
    const auto answer = verb == "show" ? s.api->get(path) : s.api->call("POST", path + "/" + verb);
    s.out.one(answer.body.as_object(), detail_columns(), "worker_id");
    return exit_ok;
  });
}

}  // namespace

void add_worker_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand("worker", "workers: list, show, drain, resume, forget");
  noun->fallthrough();
  CLI::App* list = add_verb(*noun, "list", "all workers the coordinator knows");
  list->callback([&chosen] {
    chosen.action = [](session& s) {
      s.out.list(s.api->get_all("/api/v1/workers"), row_columns(), "worker_id");
      return exit_ok;
    };
  });
  add_one(*noun, chosen, "show", "one worker");
  add_one(*noun, chosen, "drain", "let it finish what runs and take no more");
  add_one(*noun, chosen, "resume", "let it take work again");
  add_verb_of_one(*noun, chosen, "forget", "take one that is gone, and holds nothing, off the list",
                  {"id", "the worker"}, [](session& s, const std::string& id) {
                    s.api->call("DELETE", "/api/v1/workers/" + url_encode(id));
                    return exit_ok;
                  });
}

}  // namespace orchestrator::cli
