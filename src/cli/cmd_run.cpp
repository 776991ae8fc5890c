// run submit|list|show|logs|wait|cancel|retry|hold|release|resolve|why, and the short forms submit, status,
// logs, wait, why.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/model/run.hpp>

#include "commands.hpp"
#include "run_flags.hpp"
#include "run_table.hpp"
#include "waiting.hpp"

namespace orchestrator::cli {
namespace {

constexpr auto submit_patience = std::chrono::seconds{10};

struct submit_flags {
  run_flags run;
  wait_flags wait;
  std::string name, job, at, in, key;
  std::vector<std::string> after;
  bool hold = false;
};

// RUN, or RUN:any and RUN:failed. What RUN may be the server knows.
json::array after_list(const std::vector<std::string>& words) {
  json::array out;
  for (const std::string& word : words) {
    const std::size_t colon = word.rfind(':');
    json::object o;
    o["run"] = word.substr(0, colon);
    if (colon != std::string::npos) o["on"] = word.substr(colon + 1);
    out.push_back(std::move(o));
  }
  return out;
}

int submit(session& s, const submit_flags& f) {
  const steady_time until = f.wait.until();
  json::object body = f.run.to_json();
  if (!f.job.empty()) body["job"] = f.job;
  if (!f.name.empty()) body["name"] = f.name;
  if (!f.at.empty())
    body["at"] = time_of_flag("--at", f.at, "for a time from now give --in, such as --in 20m");
  if (!f.in.empty()) body["in"] = f.in;
  if (f.hold) body["hold"] = true;
  if (!f.after.empty()) body["after"] = after_list(f.after);
  // A key of our own makes it safe to ask again when the answer was lost.
  const std::string key = f.key.empty() ? to_string(make_uuid_v4(system_random(), system_random())) : f.key;
  const auto answer =
      s.api->call_patiently("POST", "/api/v1/runs", body, {{"Idempotency-Key", key}}, submit_patience);
  return finish(s, answer.body.as_object(), f.wait, until);
}

void add_submit(CLI::App& parent, selection& chosen) {
  auto f = std::make_shared<submit_flags>();
  CLI::App* verb = add_verb(parent, "submit", "run a command or script: submit [flags] -- CMD...");
  f->run.add(*verb);
  f->wait.add(*verb, true);
  verb->add_option("--name", f->name, "what it is called in lists; default from the command")
      ->type_name("NAME");
  verb->add_option("--job", f->job, "run this stored job instead of a command")->type_name("NAME");
  verb->add_option("--at", f->at, "not before this time (RFC 3339)")->type_name("TIME");
  verb->add_option("--in", f->in, "not before this long from now")->type_name("D");
  verb->add_flag("--hold", f->hold, "wait until `run release`");
  verb->add_option(
          "--after", f->after,
          "wait until this run succeeded; RUN:any until it ended, RUN:failed until it failed; skipped if "
          "that can no longer be; may be repeated")
      ->type_name("RUN")
      ->allow_extra_args(false);
  verb->add_option("--idempotency-key", f->key, "the same key makes one run, however often it is sent")
      ->type_name("KEY");
  verb->callback([f, &chosen] { chosen.action = [f](session& s) { return submit(s, *f); }; });
}

struct list_flags {
  std::string state, job, worker, tag, since;
  int limit = 50;

  /// The filters that were given, by their names in the API.
  std::vector<std::pair<const char*, std::string>> filters() const {
    std::vector<std::pair<const char*, std::string>> all = {
        {"state", state}, {"job", job}, {"worker", worker}, {"tag", tag}, {"since", since}};
    std::erase_if(all, [](const auto& filter) { return filter.second.empty(); });
    return all;
  }
};

int list(session& s, const list_flags& f) {
  std::string path = fmt::format("/api/v1/runs?limit={}", f.limit);
  for (const auto& [key, value] : f.filters()) path += fmt::format("&{}={}", key, url_encode(value));
  const auto answer = s.api->get(path);
  s.out.list(answer.body.at("items").as_array(), run_list_columns(), "id");
  return exit_ok;
}

void add_filters(CLI::App& verb, list_flags& f) {
  verb.add_option("--state", f.state,
                  "queued, active, retry_wait, unknown, succeeded, failed, cancelled, expired, skipped; "
                  "several with commas")
      ->type_name("STATE");
  verb.add_option("--job", f.job, "of this job")->type_name("NAME");
  verb.add_option("--worker", f.worker, "with an attempt on this worker")->type_name("ID");
  verb.add_option("--tag", f.tag, "with this tag")->type_name("K=V");
  verb.add_option("--since", f.since, "submitted since a time, or this long ago (2h)")->type_name("TIME");
}

void add_list(CLI::App& parent, selection& chosen) {
  auto f = std::make_shared<list_flags>();
  CLI::App* verb = add_verb(parent, "list", "runs, newest first; dead ones: --state failed");
  add_filters(*verb, *f);
  verb->add_option("--limit", f->limit, "at most so many; default 50")
      ->type_name("N")
      ->check(CLI::Range(1, 500));
  verb->callback([f, &chosen] { chosen.action = [f](session& s) { return list(s, *f); }; });
}

/// A verb that takes runs and only posts to /runs/{id}/<action>, with what its flags put into `body`.
CLI::App* add_action(CLI::App& parent, selection& chosen, const std::string& name, const std::string& help,
                     const std::shared_ptr<json::object>& body = std::make_shared<json::object>()) {
  auto ids = std::make_shared<std::vector<std::string>>();
  CLI::App* verb = add_verb(parent, name, help);
  verb->add_option("id", *ids,
                   "whole id, its beginning, 4 or more characters of its end, `last`, or a job's name")
      ->required();
  verb->callback([ids, name, body, &chosen] {
    chosen.action = [ids, name, body](session& s) {
      const json::value sent = body->empty() ? json::value() : json::value(*body);
      for (const std::string& id : *ids) {
        const auto answer =
            s.api->call("POST", fmt::format("/api/v1/runs/{}/{}", url_encode(id), name), sent);
        s.out.one(answer.body.as_object(), run_columns(), "id");
        const auto state = parse_run_state(text_of(answer.body.as_object(), "state"));
        if (name == "cancel" && state && is_final(*state) && *state != run_state::cancelled)
          tell(fmt::format("orchestrator: it had ended before: {}", to_string(*state)));
      }
      return exit_ok;
    };
  });
  return verb;
}

struct retry_flags {
  std::vector<std::string> ids;
  list_flags filter;
  bool all = false, dry_run = false;
  std::optional<int> limit;
};

int retry_each(session& s, const retry_flags& f) {
  for (const std::string& id : f.ids) {
    const auto answer = s.api->call("POST", fmt::format("/api/v1/runs/{}/retry", url_encode(id)));
    s.out.one(answer.body.as_object(), run_columns(), "id");
  }
  return exit_ok;
}

int retry_all(session& s, const retry_flags& f) {
  json::object body;
  for (const auto& [key, value] : f.filter.filters()) body[key] = value;
  if (f.limit) body["limit"] = *f.limit;
  if (f.dry_run) body["dry_run"] = true;
  const auto answer = s.api->call("POST", "/api/v1/runs:retry", body);
  if (s.out.how() == format::json) {
    s.out.document(answer.body);
    return exit_ok;
  }
  const json::object& o = answer.body.as_object();
  const json::array& items = o.at("items").as_array();
  s.out.list(items,
             {{"NEW RUN", [](const json::object& i) { return short_id(i); }},
              {"RETRY OF", [](const json::object& i) { return short_id(i, "retry_of"); }},
              cell("JOB", "job")},
             f.dry_run ? "retry_of" : "id");
  fmt::print(stderr, "{} matched, {} {}, {} retried before, {} not ended{}\n", text_of(o, "matched"),
             items.size(), f.dry_run ? "would be retried" : "retried", text_of(o, "retried_before"),
             text_of(o, "not_ended"), o.at("more").as_bool() ? "; there are more, repeat the command" : "");
  return exit_ok;
}

int retry(session& s, const retry_flags& f) {
  if (f.all == !f.ids.empty())
    throw failure{exit_usage, "run retry takes either runs, or --all and a filter", ""};
  if (!f.all && (f.dry_run || f.limit))
    throw failure{exit_usage, "--dry-run and --limit belong to run retry --all", ""};
  return f.all ? retry_all(s, f) : retry_each(s, f);
}

void add_retry(CLI::App& parent, selection& chosen) {
  auto f = std::make_shared<retry_flags>();
  CLI::App* verb =
      add_verb(parent, "retry", "make new runs like these; --all: of every dead run that matches");
  verb->add_option("id", f->ids,
                   "whole id, its beginning, 4 or more characters of its end, `last`, or a job's name");
  verb->add_flag("--all", f->all,
                 "of all that match the filters (default --state failed), newest first, but those that were "
                 "retried before");
  add_filters(*verb, f->filter);
  verb->add_option("--limit", f->limit, "with --all: at most so many; default 1000")
      ->type_name("N")
      ->check(CLI::Range(1, 1000));
  verb->add_flag("--dry-run", f->dry_run, "with --all: only show which");
  verb->callback([f, &chosen] { chosen.action = [f](session& s) { return retry(s, *f); }; });
}

int show(session& s, const std::string& id) {
  const auto answer = s.api->get("/api/v1/runs/" + url_encode(id));
  s.out.one(answer.body.as_object(), run_columns(), "id");
  return exit_ok;
}

int overview(session& s) {
  const auto answer = s.api->get("/api/v1/status");
  if (s.out.how() != format::table) {
    s.out.document(answer.body);
    return exit_ok;
  }
  const json::object& o = answer.body.as_object();
  std::string text =
      fmt::format("coordinator {} at {}, version {}, up since {}\n", text_of(o, "cluster").substr(0, 8),
                  s.api->base(), text_of(o, "version"), text_of(o, "started_at"));
  for (const char* part : {"runs", "workers"}) {
    std::string counts;
    for (const auto& member : o.at(part).as_object()) {
      if (member.value().is_number() && member.value().to_number<std::int64_t>() > 0) {
        counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", member.value().to_number<std::int64_t>(),
                              std::string(member.key()));
      }
    }
    text += fmt::format("{:8} {}\n", part, counts.empty() ? "none" : counts);
  }
  write_stdout(text);
  return exit_ok;
}

void add_show(CLI::App& parent, selection& chosen) {
  auto id = std::make_shared<std::string>();
  CLI::App* verb = add_verb(parent, "show", "one run with its attempts");
  verb->add_option("id", *id, "id, part of it, `last`, or a job's name")->required();
  verb->callback([id, &chosen] { chosen.action = [id](session& s) { return show(s, *id); }; });
}

void add_status(CLI::App& root, selection& chosen) {
  auto id = std::make_shared<std::string>();
  CLI::App* verb = add_verb(root, "status", "overview, or one run");
  verb->add_option("id", *id, "id, part of it, `last`, or a job's name");
  verb->callback([id, &chosen] {
    chosen.action = [id](session& s) { return id->empty() ? overview(s) : show(s, *id); };
  });
}

void add_logs(CLI::App& parent, selection& chosen) {
  auto id = std::make_shared<std::string>();
  auto f = std::make_shared<log_options>();
  CLI::App* verb = add_verb(parent, "logs", "what a run printed: its stdout and stderr to ours");
  verb->add_option("id", *id, "id, part of it, `last`, or a job's name")->required();
  verb->add_option("--attempt", f->attempt, "of this attempt; default the newest")->type_name("N");
  verb->add_option("--stream", f->stream, "only stdout or stderr")
      ->check(CLI::IsMember({"stdout", "stderr"}));
  verb->add_option("--tail", f->tail, "only the last so many bytes")->type_name("BYTES");
  verb->add_flag("-f,--follow", f->follow, "go on until the run ends");
  verb->callback([id, f, &chosen] {
    chosen.action = [id, f](session& s) {
      print_logs(s, *id, *f);
      return exit_ok;
    };
  });
}

int wait(session& s, const std::vector<std::string>& ids, const wait_flags& flags) {
  const auto done = wait_for_runs(s, ids, flags.until());
  if (!done) {
    tell(fmt::format("orchestrator: not all ended within {}", flags.wait_timeout));
    return ids.size() == 1 ? exit_ours : exit_wait_timed_out;
  }
  json::array items;
  bool all_succeeded = true;
  for (const json::object& run : *done) {
    all_succeeded = all_succeeded && text_of(run, "state") == "succeeded";
    items.push_back(run);
  }
  if (done->size() == 1) {
    s.out.one(done->front(), run_columns(), "id");
    return exit_code_of(done->front());
  }
  s.out.list(items, run_list_columns(), "id");
  return all_succeeded ? exit_ok : exit_refused;
}

void add_wait(CLI::App& parent, selection& chosen) {
  auto ids = std::make_shared<std::vector<std::string>>();
  auto f = std::make_shared<wait_flags>();
  CLI::App* verb = add_verb(parent, "wait", "wait until runs end; exits as a single run did");
  verb->add_option("id", *ids, "ids, parts of them, or `last`")->required();
  f->add(*verb, false);
  verb->callback([ids, f, &chosen] { chosen.action = [ids, f](session& s) { return wait(s, *ids, *f); }; });
}

std::string holders_line(const json::object& reason) {
  std::string names;
  for (const json::value& v : reason.at("holders").as_array())
    names += fmt::format("{}{}", names.empty() ? "" : ", ", std::string(v.as_string()));
  return names.empty() ? "" : fmt::format("  {:20} held by {}\n", "", names);
}

std::string forecast_line(const json::object& reason) {
  const std::string kind = text_of(reason, "forecast");
  if (kind == "unknown") return "";
  return fmt::format("  {:20} until {}{}\n", "", text_of(reason, "until"),
                     kind == "at_most" ? " at the latest" : "");
}

/// A worker that is to be started must be told of the server, unless it is the one by default.
std::string remedy_line(const session& s, const json::object& reason) {
  std::string remedy = text_of(reason, "remedy");
  if (remedy == "-" || remedy.empty()) return "";
  const std::string worker = "orchestrator --role=worker";
  const std::size_t at = remedy.find(worker);
  if (at != std::string::npos) remedy.insert(at + worker.size(), " --server " + s.api->base());
  return fmt::format("  {:20} -> {}\n", "", remedy);
}

std::string why_lines(const session& s, const json::object& run) {
  std::string text =
      fmt::format("run {} of {} is {}{}\n", short_id(run, "run"), text_of(run, "job"), text_of(run, "state"),
                  text_of(run, "reason") == "-" ? "" : " (" + text_of(run, "reason") + ")");
  for (const json::value& v : run.at("reasons").as_array()) {
    const json::object& r = v.as_object();
    text += fmt::format("  {:20} {}\n", text_of(r, "code"), text_of(r, "detail"));
    text += holders_line(r) + forecast_line(r) + remedy_line(s, r);
  }
  return text;
}

std::string last_line(const json::object& row) {
  const bool several = text_of(row, "count") != "1";
  return fmt::format(
      "  {:20} {}{}: {}{}\n", "last instant", text_of(row, "instant"),
      several ? fmt::format(" to {} ({} instants)", text_of(row, "until"), text_of(row, "count")) : "",
      text_of(row, "outcome"), text_of(row, "rule") == "-" ? "" : fmt::format(" ({})", text_of(row, "rule")));
}

std::string why_job_lines(const session& s, const json::object& job) {
  std::string text = fmt::format("job {}\n", text_of(job, "job"));
  const json::array& reasons = job.at("reasons").as_array();
  for (const json::value& v : reasons) {
    const json::object& r = v.as_object();
    text += fmt::format("  {:20} {}\n", text_of(r, "code"), text_of(r, "detail")) + remedy_line(s, r);
  }
  if (text_of(job, "next") != "-")
    text += fmt::format("  {:20} {}{}\n", "next instant", text_of(job, "next"),
                        reasons.empty() ? "" : ", if nothing above keeps it");
  if (const json::object* row = job.at("last").if_object()) text += last_line(*row);
  if (const json::object* run = job.at("run").if_object()) text += why_lines(s, *run);
  return text;
}

/// Nothing if there is no such thing.
std::optional<json::value> ask_why(session& s, const char* what, const std::string& name) {
  try {
    return s.api->get(fmt::format("/api/v1/{}/{}/why", what, url_encode(name))).body;
  } catch (const failure& why) {
    if (why.code != exit_not_found) throw;
    return std::nullopt;
  }
}

bool may_be_id(const std::string& text) {
  return text == "last" || text.find_first_not_of("0123456789abcdef-") == std::string::npos;
}

/// A job by its name; else a run, by its id or as the newest of that name.
int why(session& s, const std::string& text) {
  auto run = may_be_id(text) ? ask_why(s, "runs", text) : std::nullopt;
  const bool by_id = run && (text == "last" || text_of(run->as_object(), "job") != text);
  const auto job = by_id ? std::nullopt : ask_why(s, "jobs", text);
  if (!job && !run) run = s.api->get(fmt::format("/api/v1/runs/{}/why", url_encode(text))).body;
  const json::value& found = job ? *job : *run;
  if (s.out.how() != format::table)
    s.out.document(found);
  else
    write_stdout(job ? why_job_lines(s, found.as_object()) : why_lines(s, found.as_object()));
  return exit_ok;
}

int why_then(session& s, const std::string& job, const std::string& at) {
  const auto answer = s.api->get(fmt::format("/api/v1/jobs/{}/why?at={}", url_encode(job), url_encode(at)));
  s.out.one(answer.body.as_object(),
            {cell("job", "job"), cell("instant", "instant"), cell("outcome", "outcome"), cell("rule", "rule"),
             cell("run", "run")},
            "outcome");
  return exit_ok;
}

void add_why(CLI::App& parent, selection& chosen) {
  auto id = std::make_shared<std::string>();
  auto at = std::make_shared<std::string>();
  CLI::App* verb =
      add_verb(parent, "why",
               "why a run does not start: every condition, who holds it, and what would let it go; "
               "of a job: whether its schedule goes on, its last instant and its newest run; "
               "with --at: what became of its instant in the past");
  verb->add_option("id", *id, "id, part of it, `last`, or a job's name")->required();
  verb->add_option("--at", *at,
                   "of the job of that name: its last instant at this time, or this long ago (2h)")
      ->type_name("TIME");
  verb->callback([id, at, &chosen] {
    chosen.action = [id, at](session& s) { return at->empty() ? why(s, *id) : why_then(s, *id, *at); };
  });
}

void add_release(CLI::App& parent, selection& chosen) {
  auto body = std::make_shared<json::object>();
  CLI::App* verb = add_action(parent, chosen, "release", "let a held run go", body);
  verb->add_flag_callback(
      "--after", [body] { (*body)["after"] = true; }, "and let it wait no longer for other runs");
  verb->add_flag_callback(
      "--now", [body] { (*body)["now"] = true; },
      "nor for its time (--at, --in) or the end of the pause before its next attempt");
}

void add_resolve(CLI::App& parent, selection& chosen) {
  auto id = std::make_shared<std::string>();
  auto as = std::make_shared<std::string>();
  CLI::App* verb = add_verb(parent, "resolve", "settle a run whose end could not be known");
  verb->add_option("id", *id, "the run")->required();
  verb->add_option("--as", *as, "succeeded, failed or cancelled")
      ->required()
      ->check(CLI::IsMember({"succeeded", "failed", "cancelled"}));
  verb->callback([id, as, &chosen] {
    chosen.action = [id, as](session& s) {
      json::object body;
      body["as"] = *as;
      const auto answer = s.api->call("POST", fmt::format("/api/v1/runs/{}/resolve", url_encode(*id)), body);
      s.out.one(answer.body.as_object(), run_columns(), "id");
      return exit_ok;
    };
  });
}

}  // namespace

void add_run_commands(CLI::App& root, selection& chosen) {
  add_submit(root, chosen);
  add_status(root, chosen);
  add_logs(root, chosen);
  add_wait(root, chosen);
  add_why(root, chosen);
  CLI::App* run = root.add_subcommand(
      "run", "runs: submit, list, show, logs, wait, cancel, retry, hold, release, resolve, why");
  run->fallthrough();
  add_submit(*run, chosen);
  add_list(*run, chosen);
  add_show(*run, chosen);
  add_logs(*run, chosen);
  add_wait(*run, chosen);
  add_action(*run, chosen, "cancel",
             "end a run; a waiting one never starts, a running one gets TERM, then KILL");
  add_retry(*run, chosen);
  add_action(*run, chosen, "hold", "keep a waiting run from starting");
  add_release(*run, chosen);
  add_resolve(*run, chosen);
  add_why(*run, chosen);
}

}  // namespace orchestrator::cli
