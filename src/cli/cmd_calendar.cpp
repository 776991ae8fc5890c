// calendar apply|list|show|delete: named sets of days that schedules include or exclude.
#include <CLI/CLI.hpp>

#include <orchestrator/cli/job_file.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

int apply(session& s, const loaded_files& files, bool dry_run) {
  if (files.calendars.empty())
    throw failure{exit_usage, "these files have no [[calendars]]; `job apply` stores jobs", ""};
  loaded_files calendars_only;
  calendars_only.calendars = files.calendars;
  const auto answer = apply_files(s, calendars_only, dry_run);
  const std::vector<column> columns = {cell("CALENDAR", "name"), {"CHANGE", change_of}};
  s.out.list(answer.body.at("calendars").as_array(), columns, "name");
  return exit_ok;
}

std::string days_of(const json::object& o) {
  std::string text;
  for (const json::value& day : o.at("days").as_array())
    text += (text.empty() ? "" : " ") + std::string(day.as_string());
  return text.empty() ? "-" : text;
}

int list(session& s) {
  const std::vector<column> columns = {
      cell("CALENDAR", "name"),
      {"ITEMS", [](const json::object& o) { return std::to_string(o.at("days").as_array().size()); }},
      cell("UPDATED", "updated_at"),
      cell("DESCRIPTION", "description")};
  s.out.list(s.api->get_all("/api/v1/calendars"), columns, "name");
  return exit_ok;
}

int show(session& s, const std::string& name) {
  const auto answer = s.api->get("/api/v1/calendars/" + url_encode(name));
  const std::vector<column> columns = {cell("calendar", "name"),
                                       cell("description", "description"),
                                       {"days", days_of},
                                       cell("updated", "updated_at")};
  s.out.one(answer.body.as_object(), columns, "name");
  return exit_ok;
}

void add_one(CLI::App& noun, selection& chosen, const std::string& verb, const std::string& help,
             const named_action& action) {
  add_verb_of_one(noun, chosen, verb, help, {"name", "the calendar"}, action);
}

}  // namespace

void add_calendar_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun =
      root.add_subcommand("calendar", "named sets of days for schedules: apply, list, show, delete");
  noun->fallthrough();
  add_apply(*noun, chosen, "store the [[calendars]] of job files: all of them, or none", apply);
  CLI::App* all = add_verb(*noun, "list", "all calendars");
  all->callback([&chosen] { chosen.action = list; });
  add_one(*noun, chosen, "show", "one calendar with its days", show);
  add_one(*noun, chosen, "delete", "remove a calendar that no schedule names",
          [](session& s, const std::string& name) {
            s.api->call("DELETE", "/api/v1/calendars/" + url_encode(name));
            return exit_ok;
          });
}

}  // namespace orchestrator::cli
