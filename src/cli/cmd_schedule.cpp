// schedule add|list|next|preview|history|backfill|pause|resume.
#include <algorithm>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/time.hpp>

#include "commands.hpp"
#include "run_flags.hpp"

namespace orchestrator::cli {
namespace {

/// The kinds of schedule as flags; exactly one is given.
struct schedule_flags {
  std::string cron, every, hourly, daily, weekly, monthly, at, in, tz, catch_up, overlap, from, gap, fold,
      start, end, jitter, start_deadline;
  std::vector<std::string> include, exclude;
  bool manual = false;
  int count = 5;

  void add_kinds(CLI::App& app) {
    auto* group = app.add_option_group("when", "one of");
    group->add_option("--cron", cron, "five or six cron fields, or @daily and the like")->type_name("EXPR");
    group->add_option("--every", every, "an interval, counted from now")->type_name("D");
    group->add_option("--hourly", hourly, "at this minute of each hour")->type_name("MM");
    group->add_option("--daily", daily, "at this time")->type_name("HH:MM");
    group->add_option("--weekly", weekly, "on this day at this time")->type_name("DAY@HH:MM");
    group->add_option("--monthly", monthly, "on this day of the month; a day it lacks is its last")
        ->type_name("N@HH:MM");
    group->add_option("--at", at, "once, at this time (RFC 3339)")->type_name("TIME");
    group->add_option("--in", in, "once, this long from now")->type_name("D");
    group->add_flag("--manual", manual, "only by `job run`");
    group->require_option(1);
  }

  /// What a preview takes as well.
  void add_days(CLI::App& app) {
    app.add_option("--tz", tz, "IANA time zone; default UTC")->type_name("ZONE");
    app.add_option("--gap", gap,
                   "a time that the zone skips: shift (to the end of the gap) or skip; default shift")
        ->type_name("WORD");
    app.add_option("--fold", fold, "a time that the zone repeats: first or both; default first")
        ->type_name("WORD");
    app.add_option("--start", start, "from this day on")->type_name("YYYY-MM-DD");
    app.add_option("--end", end, "up to this day")->type_name("YYYY-MM-DD");
    app.add_option("--include", include, "only on days of this calendar; may be repeated")
        ->type_name("CALENDAR")
        ->allow_extra_args(false);
    app.add_option("--exclude", exclude, "on no day of this calendar; may be repeated")
        ->type_name("CALENDAR")
        ->allow_extra_args(false);
  }

  /// `--in` is counted here: a definition that is stored names the time itself.
  std::string once_at() const {
    if (in.empty()) return time_of_flag("--at", at, "for a time from now give --in, such as --in 20m");
    const auto wait = parse_duration(in);
    if (!wait) throw failure{exit_usage, fmt::format("--in takes a duration such as 20m, not `{}`", in), ""};
    return to_rfc3339(read_wall_clock() + *wait);
  }

  json::object to_json() const {
    json::object o;
    const std::string once = once_at();
    const std::pair<const char*, const std::string*> words[] = {
        {"cron", &cron},       {"every", &every},
        {"hourly", &hourly},   {"daily", &daily},
        {"weekly", &weekly},   {"monthly", &monthly},
        {"time_zone", &tz},    {"catch_up", &catch_up},
        {"overlap", &overlap}, {"at", &once},
        {"gap", &gap},         {"fold", &fold},
        {"start", &start},     {"end", &end},
        {"jitter", &jitter},   {"start_deadline", &start_deadline}};
    for (const auto& [key, value] : words) {
      if (!value->empty()) o[key] = *value;
    }
    if (!include.empty()) o["include"] = json::array(include.begin(), include.end());
    if (!exclude.empty()) o["exclude"] = json::array(exclude.begin(), exclude.end());
    if (manual) o["manual"] = true;
    return o;
  }
};

const std::vector<column>& instant_columns() {
  static const std::vector<column> columns = {cell("INSTANT", "instant"), cell("UTC", "utc"),
                                              cell("NOTE", "note")};
  return columns;
}

struct add_flags {
  schedule_flags when;
  run_flags run;
  std::string name, description;
};

int add_schedule(session& s, const add_flags& f) {
  json::object definition = f.run.to_json();
  definition["name"] = f.name;
  if (!f.description.empty()) definition["description"] = f.description;
  definition["schedule"] = f.when.to_json();
  s.api->call("PUT", "/api/v1/jobs/" + url_encode(f.name), definition);
  const auto next = s.api->get(fmt::format("/api/v1/schedules/{}/next?count=3", url_encode(f.name)));
  if (s.out.how() == format::name) {
    write_stdout(f.name + "\n");
    return exit_ok;
  }
  s.out.list(next.body.as_array(), instant_columns(), "instant");
  return exit_ok;
}

void add_add(CLI::App& parent, selection& chosen) {
  auto f = std::make_shared<add_flags>();
  CLI::App* verb =
      add_verb(parent, "add", "make or replace a scheduled job: schedule add NAME --daily 02:30 -- CMD...");
  verb->add_option("name", f->name, "the job's name")->required();
  f->when.add_kinds(*verb);
  f->when.add_days(*verb);
  verb->add_option("--jitter", f->when.jitter, "start up to so much later, always by the same part of it")
      ->type_name("D");
  verb->add_option("--start-deadline", f->when.start_deadline,
                   "catch up no instant that is older; default 1h")
      ->type_name("D");
  verb->add_option("--catch-up", f->when.catch_up, "missed instants: none, latest or all; default latest")
      ->type_name("WORD");
  verb->add_option("--overlap", f->when.overlap,
                   "one run of the job at a time, by hand too: skip, queue, queue_all or cancel_old say what "
                   "becomes of an instant meanwhile; or allow; default skip, with --manual allow")
      ->type_name("WORD");
  verb->add_option("--description", f->description, "shown in lists")->type_name("TEXT");
  f->run.add(*verb);
  verb->callback([f, &chosen] { chosen.action = [f](session& s) { return add_schedule(s, *f); }; });
}

int list_schedules(session& s) {
  const auto answer = s.api->get("/api/v1/schedules");
  const std::vector<column> columns = {cell("JOB", "job"),
                                       cell("WHEN", "text"),
                                       cell("PAUSED", "paused"),
                                       {"NEXT", [](const json::object& o) {
                                          const json::array& next = o.at("next").as_array();
                                          return next.empty() ? std::string("-")
                                                              : text_of(next.front().as_object(), "instant");
                                        }}};
  s.out.list(answer.body.at("items").as_array(), columns, "job");
  return exit_ok;
}

/// An empty list says what, and this why that may be.
void tell_never(const std::string& job) {
  tell(
      fmt::format("orchestrator: the schedule of {0} fires no more: it is manual, it has ended, or its "
                  "calendars leave out every day that it names; `orchestrator job show {0}` shows it",
                  job));
}

void add_next(CLI::App& parent, selection& chosen) {
  auto name = std::make_shared<std::string>();
  auto count = std::make_shared<int>(5);
  CLI::App* verb = add_verb(parent, "next", "the next instants of a job");
  verb->add_option("name", *name, "the job")->required();
  verb->add_option("-n", *count, "how many; default 5")->check(CLI::Range(1, 100));
  verb->callback([name, count, &chosen] {
    chosen.action = [name, count](session& s) {
      const auto answer =
          s.api->get(fmt::format("/api/v1/schedules/{}/next?count={}", url_encode(*name), *count));
      s.out.list(answer.body.as_array(), instant_columns(), "instant");
      if (answer.body.as_array().empty()) tell_never(*name);
      return exit_ok;
    };
  });
}

void add_preview(CLI::App& parent, selection& chosen) {
  auto f = std::make_shared<schedule_flags>();
  CLI::App* verb = add_verb(parent, "preview", "the instants of a cron expression, without storing it");
  verb->add_option("cron", f->cron, "five or six cron fields, quoted")->required();
  f->add_days(*verb);
  verb->add_option("--from", f->from, "begin here (RFC 3339); default now")->type_name("TIME");
  verb->add_option("-n", f->count, "how many; default 5")->check(CLI::Range(1, 100));
  verb->callback([f, &chosen] {
    chosen.action = [f](session& s) {
      json::object body;
      body["schedule"] = f->to_json();
      body["count"] = f->count;
      if (!f->from.empty()) body["from"] = time_of_flag("--from", f->from, "without it, now");
      const auto answer = s.api->call("POST", "/api/v1/schedules:preview", body);
      s.out.list(answer.body.as_array(), instant_columns(), "instant");
      return exit_ok;
    };
  });
}

const std::vector<column>& history_columns() {
  static const std::vector<column> columns = {
      cell("INSTANT", "instant"),
      {"UNTIL", [](const json::object& o) { return o.at("count") == 1 ? "-" : text_of(o, "until"); }},
      cell("COUNT", "count"),
      cell("OUTCOME", "outcome"),
      {"RUN", [](const json::object& o) { return short_id(o, "run"); }},
      cell("RULE", "rule")};
  return columns;
}

int show_history(session& s, const std::string& name, std::size_t limit) {
  constexpr std::size_t page_rows = 500;
  json::array rows;
  std::string cursor;
  do {
    const auto page = s.api->get(fmt::format("/api/v1/schedules/{}/history?limit={}{}", url_encode(name),
                                             std::min(page_rows, limit - rows.size()),
                                             cursor.empty() ? "" : "&cursor=" + url_encode(cursor)));
    for (const json::value& item : page.body.at("items").as_array()) rows.push_back(item);
    const json::value& next = page.body.at("next_cursor");
    cursor = next.is_string() ? std::string(next.as_string()) : "";
  } while (!cursor.empty() && rows.size() < limit);
  s.out.list(rows, history_columns(), "instant");
  return exit_ok;
}

void add_history(CLI::App& parent, selection& chosen) {
  auto name = std::make_shared<std::string>();
  auto limit = std::make_shared<std::size_t>(50);
  CLI::App* verb = add_verb(parent, "history", "what became of each past instant, and by which rule");
  verb->add_option("name", *name, "the job")->required();
  verb->add_option("--limit", *limit, "at most so many rows; default 50")->check(CLI::Range(1, 1'000'000));
  verb->callback([name, limit, &chosen] {
    chosen.action = [name, limit](session& s) { return show_history(s, *name, *limit); };
  });
}

struct backfill_flags {
  std::string name, from, to;
  bool dry_run = false;
};

int backfill(session& s, const backfill_flags& f) {
  json::object body;
  body["from"] = time_of_flag("--from", f.from, "the window's begin");
  body["to"] = time_of_flag("--to", f.to, "the window's end");
  if (f.dry_run) body["dry_run"] = true;
  const auto answer =
      s.api->call("POST", fmt::format("/api/v1/schedules/{}/backfill", url_encode(f.name)), body);
  const std::vector<column> columns = {cell("INSTANT", "instant"),
                                       {"RUN", [](const json::object& o) { return short_id(o, "run"); }}};
  s.out.list(answer.body.at("items").as_array(), columns, "instant");
  tell(fmt::format("{} instants of the window had runs already",
                   text_of(answer.body.as_object(), "had_runs")));
  return exit_ok;
}

void add_backfill(CLI::App& parent, selection& chosen) {
  auto f = std::make_shared<backfill_flags>();
  CLI::App* verb = add_verb(parent, "backfill", "run the instants of a past window that have no run");
  verb->add_option("name", f->name, "the job")->required();
  verb->add_option("--from", f->from, "the window's begin (RFC 3339), included")
      ->required()
      ->type_name("TIME");
  verb->add_option("--to", f->to, "its end, included, not in the future")->required()->type_name("TIME");
  verb->add_flag("--dry-run", f->dry_run, "show the instants, run nothing");
  verb->callback([f, &chosen] { chosen.action = [f](session& s) { return backfill(s, *f); }; });
}

void add_pause(CLI::App& parent, selection& chosen, const std::string& verb, const std::string& help) {
  add_verb_of_one(parent, chosen, verb, help, {"name", "the job"},
                  [verb](session& s, const std::string& job) {
                    s.api->call("POST", fmt::format("/api/v1/schedules/{}/{}", url_encode(job), verb));
                    return exit_ok;
                  });
}

}  // namespace

void add_schedule_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand(
      "schedule", "schedules: add, list, next, preview, history, backfill, pause, resume");
  noun->fallthrough();
  add_add(*noun, chosen);
  CLI::App* list = add_verb(*noun, "list", "all scheduled jobs and when they fire next");
  list->callback([&chosen] { chosen.action = list_schedules; });
  add_next(*noun, chosen);
  add_preview(*noun, chosen);
  add_history(*noun, chosen);
  add_backfill(*noun, chosen);
  add_pause(*noun, chosen, "pause", "fire no new instants (`job pause` also holds runs that wait)");
  add_pause(*noun, chosen, "resume", "fire again");
}

}  // namespace orchestrator::cli
