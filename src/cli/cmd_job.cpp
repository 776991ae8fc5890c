// job apply|list|show|run|pause|resume|delete|validate.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/cli/job_file.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "commands.hpp"
#include "run_table.hpp"
#include "waiting.hpp"

namespace orchestrator::cli {
namespace {

/// A refusal by the server of one item of a list, at its place in the file; nothing if it is about none of
/// them.
template <class Item>
std::optional<failure> at_place(const std::vector<Item>& items, std::string_view prefix, const failure& f,
                                const std::string& pointer) {
  if (!pointer.starts_with(prefix)) return std::nullopt;
  char* rest = nullptr;
  const std::size_t index = std::strtoul(pointer.c_str() + prefix.size(), &rest, 10);
  if (index >= items.size()) return std::nullopt;
  return failure{exit_usage, describe_at_place(items[index], {errc::bad_field, f.message, rest, ""}),
                 f.problem};
}

/// What the server refused, at its place in the files if it names one; else what the server said.
failure at_place(const loaded_files& files, const failure& f) {
  const auto parsed = protocol::parse_json(f.problem);
  if (!parsed || !parsed->is_object()) return f;
  const json::value* errors = parsed->as_object().if_contains("errors");
  if (errors == nullptr || !errors->is_array() || errors->as_array().empty()) return f;
  const std::string pointer = text_of(errors->as_array().front().as_object(), "pointer");
  if (const auto found = at_place(files.jobs, "/jobs/", f, pointer)) return *found;
  return at_place(files.calendars, "/calendars/", f, pointer).value_or(f);
}

int apply(session& s, const loaded_files& files, bool dry_run) {
  const auto answer = apply_files(s, files, dry_run);
  const std::vector<column> columns = {
      cell("JOB", "name"), cell("VERSION", "version"), {"CHANGE", change_of}};
  s.out.list(answer.body.at("changes").as_array(), columns, "name");
  return exit_ok;
}

void add_validate(CLI::App& noun, selection& chosen) {
  auto path = std::make_shared<std::string>();
  CLI::App* verb = add_verb(noun, "validate", "check job files without a coordinator");
  add_file_option(*verb, *path);
  verb->callback([path, &chosen] {
    chosen.offline = true;
    chosen.action = [path, &chosen](session& s) {
      json::array items;
      const loaded_files files = load_checked_files(*path, chosen.check);
      for (const loaded_job& j : files.jobs) items.push_back(protocol::encode_job(j.definition));
      s.out.list(items, {cell("VALID", "name")}, "name");
      return exit_ok;
    };
  });
}

std::string when_of(const json::object& o) {
  const json::value* schedule = o.if_contains("schedule");
  return schedule != nullptr && schedule->is_object() ? text_of(schedule->as_object(), "text") : "-";
}

std::string paused_of(const json::object& o) {
  if (text_of(o, "paused") == "yes") return "job";
  return text_of(o, "schedule_paused") == "yes" ? "schedule" : "-";
}

void add_list(CLI::App& noun, selection& chosen) {
  CLI::App* verb = add_verb(noun, "list", "all jobs");
  verb->callback([&chosen] {
    chosen.action = [](session& s) {
      const std::vector<column> columns = {cell("JOB", "name"),
                                           cell("VERSION", "version"),
                                           {"WHEN", when_of},
                                           {"PAUSED", paused_of},
                                           cell("DESCRIPTION", "description")};
      s.out.list(s.api->get_all("/api/v1/jobs"), columns, "name");
      return exit_ok;
    };
  });
}

int show(session& s, const std::string& name) {
  const auto answer = s.api->get("/api/v1/jobs/" + url_encode(name));
  const std::vector<column> columns = {cell("job", "name"),
                                       cell("version", "version"),
                                       cell("description", "description"),
                                       {"when", when_of},
                                       {"paused", paused_of},
                                       cell("created", "created_at"),
                                       cell("updated", "updated_at"),
                                       cell("definition", "definition")};
  s.out.one(answer.body.as_object(), columns, "name");
  return exit_ok;
}

struct run_job_flags {
  std::string name, args, key;
  bool has_args = false;
  wait_flags wait;
};

int run_job(session& s, const run_job_flags& f) {
  const steady_time until = f.wait.until();
  json::object body;
  if (f.has_args) body["args"] = f.args;
  const std::string key = f.key.empty() ? to_string(make_uuid_v4(system_random(), system_random())) : f.key;
  const auto answer = s.api->call_patiently("POST", fmt::format("/api/v1/jobs/{}/run", url_encode(f.name)),
                                            body, {{"Idempotency-Key", key}}, std::chrono::seconds{10});
  return finish(s, answer.body.as_object(), f.wait, until);
}

void add_run(CLI::App& noun, selection& chosen) {
  auto f = std::make_shared<run_job_flags>();
  CLI::App* verb = add_verb(noun, "run", "run a stored job now, or when its overlap rule lets it");
  verb->add_option("name", f->name, "the job")->required();
  CLI::Option* args =
      verb->add_option("--args", f->args, "its script's arguments for this run")->type_name("STR");
  verb->add_option("--idempotency-key", f->key, "the same key makes one run, however often it is sent")
      ->type_name("KEY");
  f->wait.add(*verb, true);
  verb->callback([f, args, &chosen] {
    f->has_args = args->count() > 0;
    chosen.action = [f](session& s) { return run_job(s, *f); };
  });
}

void add_one(CLI::App& noun, selection& chosen, const std::string& verb, const std::string& help,
             const named_action& action) {
  add_verb_of_one(noun, chosen, verb, help, {"name", "the job"}, action);
}

int post_action(session& s, const std::string& name, const char* action) {
  s.api->call("POST", fmt::format("/api/v1/jobs/{}/{}", url_encode(name), action));
  return exit_ok;
}

void add_delete(CLI::App& noun, selection& chosen) {
  auto name = std::make_shared<std::string>();
  auto cancel = std::make_shared<bool>(false);
  CLI::App* verb = add_verb(noun, "delete", "remove a job; its past runs stay");
  verb->add_option("name", *name, "the job")->required();
  verb->add_flag("--cancel", *cancel, "cancel its live runs, which otherwise forbid it");
  verb->callback([name, cancel, &chosen] {
    chosen.action = [name, cancel](session& s) {
      s.api->call("DELETE", fmt::format("/api/v1/jobs/{}{}", url_encode(*name), *cancel ? "?cancel=1" : ""));
      return exit_ok;
    };
  });
}

}  // namespace

void add_file_option(CLI::App& verb, std::string& path) {
  verb.add_option("-f,--file,file", path, "a .toml file, or a directory of them; -f may be left out")
      ->required()
      ->type_name("FILE|DIR");
}

void add_apply(CLI::App& noun, selection& chosen, const std::string& help, const apply_action& action) {
  auto path = std::make_shared<std::string>();
  auto dry = std::make_shared<bool>(false);
  CLI::App* verb = add_verb(noun, "apply", help);
  add_file_option(*verb, *path);
  verb->add_flag("--dry-run", *dry, "check and show what would change, store nothing");
  verb->callback([path, dry, action, &chosen] {
    chosen.action = [path, dry, action, &chosen](session& s) {
      return action(s, load_checked_files(*path, chosen.check), *dry);
    };
  });
}

std::string change_of(const json::object& o) {
  if (o.at("created").as_bool()) return "created";
  return o.at("changed").as_bool() ? "changed" : "same";
}

api_answer apply_files(session& s, const loaded_files& files, bool dry_run) {
  json::array jobs, calendars;
  for (const loaded_job& j : files.jobs) jobs.push_back(j.body);
  for (const loaded_calendar& c : files.calendars) calendars.push_back(c.body);
  json::object body;
  body["jobs"] = std::move(jobs);
  if (!calendars.empty()) body["calendars"] = std::move(calendars);
  if (dry_run) body["dry_run"] = true;
  try {
    return s.api->call("POST", "/api/v1/jobs:apply", body);
  } catch (const failure& f) {
    throw at_place(files, f);
  }
}

loaded_files load_checked_files(const std::string& path, const schedule_check& check) {
  auto loaded = load_job_files(path);
  if (!loaded) {
    throw failure{exit_usage,
                  loaded.error().detail + (loaded.error().hint.empty() ? "" : "; " + loaded.error().hint),
                  ""};
  }
  for (const loaded_job& j : loaded->jobs) {
    if (!j.definition.schedule) continue;
    if (const auto wrong = check(*j.definition.schedule))
      throw failure{exit_usage, describe_at_place(j, *wrong), ""};
  }
  return std::move(*loaded);
}

void add_job_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun =
      root.add_subcommand("job", "stored jobs: apply, list, show, run, pause, resume, delete, validate");
  noun->fallthrough();
  add_apply(*noun, chosen, "store job files: all of them, or none if one is wrong", apply);
  add_list(*noun, chosen);
  add_one(*noun, chosen, "show", "one job with its definition", show);
  add_run(*noun, chosen);
  add_one(*noun, chosen, "pause", "hold all its runs",
          [](session& s, const std::string& name) { return post_action(s, name, "pause"); });
  add_one(*noun, chosen, "resume", "let its runs go again",
          [](session& s, const std::string& name) { return post_action(s, name, "resume"); });
  add_delete(*noun, chosen);
  add_validate(*noun, chosen);
}

}  // namespace orchestrator::cli
