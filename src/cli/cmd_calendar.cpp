// calendar apply|list|show|delete: named sets of days that schedules include or exclude.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/cli/job_file.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

int apply(session& s, const schedule_check& check, const std::string& path, bool dry_run) {
  loaded_files files = load_checked_files(path, check);
  if (files.calendars.empty()) {
    throw failure{exit_usage, fmt::format("{} has no [[calendars]]; `job apply` stores jobs", path), ""};
  }
  files.jobs.clear();
  const auto answer = apply_files(s, files, dry_run);
  const std::vector<column> columns = {{"CALENDAR", [](const json::object& o) { return text_of(o, "name"); }},
                                       {"CHANGE", change_of}};
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
      {"CALENDAR", [](const json::object& o) { return text_of(o, "name"); }},
      {"ITEMS", [](const json::object& o) { return std::to_string(o.at("days").as_array().size()); }},
      {"UPDATED", [](const json::object& o) { return text_of(o, "updated_at"); }},
      {"DESCRIPTION", [](const json::object& o) { return text_of(o, "description"); }}};
  s.out.list(s.api->get_all("/api/v1/calendars"), columns, "name");
  return exit_ok;
}

int show(session& s, const std::string& name) {
  const auto answer = s.api->get("/api/v1/calendars/" + url_encode(name));
  const std::vector<column> columns = {
      {"calendar", [](const json::object& o) { return text_of(o, "name"); }},
      {"description", [](const json::object& o) { return text_of(o, "description"); }},
      {"days", days_of},
      {"updated", [](const json::object& o) { return text_of(o, "updated_at"); }}};
  s.out.one(answer.body.as_object(), columns, "name");
  return exit_ok;
}

void add_apply(CLI::App& noun, selection& chosen) {
  auto path = std::make_shared<std::string>();
  auto dry = std::make_shared<bool>(false);
  CLI::App* verb = add_verb(noun, "apply", "store the [[calendars]] of job files: all of them, or none");
  verb->add_option("-f,--file", *path, "a .toml file, or a directory of them")
      ->required()
      ->type_name("FILE|DIR");
  verb->add_flag("--dry-run", *dry, "check and show what would change, store nothing");
  verb->callback([path, dry, &chosen] {
    chosen.action = [path, dry, &chosen](session& s) { return apply(s, chosen.check, *path, *dry); };
  });
}

void add_one(CLI::App& noun, selection& chosen, const std::string& name, const std::string& help,
             std::function<int(session&, const std::string&)> action) {
  auto calendar = std::make_shared<std::string>();
  CLI::App* verb = add_verb(noun, name, help);
  verb->add_option("name", *calendar, "the calendar")->required();
  verb->callback([calendar, action, &chosen] {
    chosen.action = [calendar, action](session& s) { return action(s, *calendar); };
  });
}

}  // namespace

void add_calendar_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun =
      root.add_subcommand("calendar", "named sets of days for schedules: apply, list, show, delete");
  noun->fallthrough();
  add_apply(*noun, chosen);
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
