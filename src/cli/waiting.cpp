// Waiting for runs and following their logs. See waiting.hpp.
#include "waiting.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>

#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/text.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "run_table.hpp"

namespace orchestrator::cli {
namespace {

/// How long a coordinator that restarts is waited for before a wait gives up.
constexpr auto outage_patience = std::chrono::seconds{60};
constexpr int exit_timeout = 124;

char interrupt_text[256];
std::size_t interrupt_length = 0;

extern "C" void on_interrupt(int) {
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, interrupt_text, interrupt_length);
  ::_exit(130);
}

bool is_final_state(const std::string& state) {
  return state == "succeeded" || state == "failed" || state == "cancelled" || state == "expired" ||
         state == "skipped" || state == "unknown";
}

const json::object* last_attempt(const json::object& run) {
  const json::value* list = run.if_contains("attempts");
  if (list == nullptr || !list->is_array() || list->as_array().empty()) return nullptr;
  return &list->as_array().back().as_object();
}

std::optional<std::int64_t> number_of(const json::object& o, const char* key) {
  const json::value* v = o.if_contains(key);
  if (v == nullptr || !v->is_number()) return std::nullopt;
  return v->to_number<std::int64_t>();
}

int ours(const json::object& run) {
  const std::string state = text_of(run, "state"), reason = text_of(run, "reason");
  tell(fmt::format("orchestrator: run {} is {}{}", text_of(run, "id"), state,
                   reason == "-" || reason == state ? "" : " (" + reason + ")"));
  return exit_ours;
}

void show_progress(std::size_t done, std::size_t all, const char* end) {
  std::fputs(fmt::format("\r{} of {} ended{}", done, all, end).c_str(), stderr);
}

/// Prints one line of the log stream; false at its end. What was printed before a reconnect is not printed
/// again.
class log_copier {
 public:
  bool take(std::string_view line) {
    const auto parsed = protocol::parse_json(line);
    if (!parsed || !parsed->is_object()) return true;
    const json::object& o = parsed->as_object();
    if (o.contains("end")) {
      ended_ = true;
      return false;
    }
    const std::string stream = text_of(o, "stream");
    std::uint64_t& next = next_[{number_of(o, "attempt").value_or(0), stream}];
    if (const json::value* gap = o.if_contains("gap"); gap != nullptr) {
      const auto from = number_of(gap->as_object(), "from").value_or(0),
                 to = number_of(gap->as_object(), "to").value_or(0);
      if (static_cast<std::uint64_t>(to) > next)
        tell(fmt::format("[{} bytes of {} were dropped]", to - from, stream));
      return true;
    }
    print_data(o, stream, next);
    return true;
  }
  bool ended() const { return ended_; }

 private:
  static void print_data(const json::object& o, const std::string& stream, std::uint64_t& next) {
    const json::value* data = o.if_contains("data");
    if (data == nullptr || !data->is_string()) return;
    std::string text(data->as_string());
    if (o.contains("encoding")) text = base64_decode(text).value_or("");
    const auto offset = static_cast<std::uint64_t>(number_of(o, "offset").value_or(0));
    const std::uint64_t seen = next > offset ? next - offset : 0;
    if (seen >= text.size()) return;
    next = offset + text.size();
    text.erase(0, seen);
    if (stream == "stderr")
      write_stderr(text);
    else
      write_stdout(text);
  }

  std::map<std::pair<std::int64_t, std::string>, std::uint64_t> next_;
  bool ended_ = false;
};

}  // namespace

int exit_code_of(const json::object& run) {
  const std::string state = text_of(run, "state");
  if (state == "succeeded") return exit_ok;
  const json::object* attempt = last_attempt(run);
  if (state != "failed" || attempt == nullptr) return ours(run);
  const std::string how = text_of(*attempt, "state");
  if (how == "timed_out") {
    tell("orchestrator: the run's timeout passed");
    return exit_timeout;
  }
  if (const std::string error = text_of(*attempt, "error"); error != "-") tell("orchestrator: " + error);
  if (const auto signal = number_of(*attempt, "signal"); signal && *signal > 0)
    return 128 + static_cast<int>(*signal);
  if (const auto code = number_of(*attempt, "exit_code"); code && *code > 0) return static_cast<int>(*code);
  return ours(run);
}

steady_time wait_flags::until() const {
  if (wait_timeout.empty()) return steady_time::max();
  if (!always && !wait && !follow)
    throw failure{exit_usage,
                  "--wait-timeout limits a wait, and nothing is waited for; add --wait or --follow, or leave "
                  "it out",
                  ""};
  const auto limit = parse_duration(wait_timeout);
  if (!limit) throw failure{exit_usage, "--wait-timeout takes a duration like 90s or 30m", ""};
  return std::chrono::steady_clock::now() + *limit;
}

std::optional<std::vector<json::object>> wait_for_runs(session& s, const std::vector<std::string>& ids,
                                                       steady_time until) {
  std::vector<json::object> done;
  const bool bar = ids.size() > 1 && stderr_is_terminal();
  for (const std::string& id : ids) {
    if (bar) show_progress(done.size(), ids.size(), "");
    while (true) {
      const auto left =
          std::chrono::ceil<std::chrono::seconds>(until - std::chrono::steady_clock::now()).count();
      const auto wait = std::clamp<std::int64_t>(left, 0, 60);
      const auto answer = s.api->call_patiently(
          "GET", fmt::format("/api/v1/runs/{}?wait={}", url_encode(id), wait), nullptr, {}, outage_patience);
      if (is_final_state(text_of(answer.body.as_object(), "state"))) {
        done.push_back(answer.body.as_object());
        break;
      }
      if (std::chrono::steady_clock::now() >= until) return std::nullopt;
    }
  }
  if (bar) show_progress(done.size(), ids.size(), "\n");
  return done;
}

bool print_logs(session& s, const std::string& id, const log_options& options, steady_time until) {
  std::string path = fmt::format("/api/v1/runs/{}/logs?follow={}", url_encode(id), options.follow ? 1 : 0);
  if (options.attempt) path += fmt::format("&attempt={}", *options.attempt);
  if (!options.stream.empty()) path += "&stream=" + url_encode(options.stream);
  if (options.tail) path += fmt::format("&tail={}", *options.tail);
  log_copier copier;
  while (!copier.ended()) {
    s.api->stream_lines(path, {}, [&copier](std::string_view line) { return copier.take(line); }, until);
    if (!options.follow && !copier.ended())
      throw failure{exit_unreachable, "the coordinator went away before all was shown", "ask again"};
    if (!copier.ended() && std::chrono::steady_clock::now() >= until) return false;
    // The stream was cut (a restarting coordinator): wait until it answers, then go on behind what was
    // printed.
    if (!copier.ended()) s.api->call_patiently("GET", "/api/v1/version", nullptr, {}, outage_patience);
  }
  return true;
}

void detach_on_interrupt(const std::string& id) {
  const std::string text = fmt::format(
      "\nThe run goes on: `orchestrator logs {} -f` shows it, `orchestrator run cancel {}` "
      "ends it.\n",
      id, id);
  interrupt_length = std::min(text.size(), sizeof interrupt_text);
  std::memcpy(interrupt_text, text.data(), interrupt_length);
  std::signal(SIGINT, on_interrupt);
}

void wait_flags::add(CLI::App& app, bool with_wait) {
  always = !with_wait;
  if (with_wait) {
    app.add_flag("--wait", wait, "wait for its end and exit as it did");
    app.add_flag("--follow", follow, "show its output meanwhile; implies --wait");
  }
  app.add_option("--wait-timeout", wait_timeout, "give up waiting after this long (the run goes on)")
      ->type_name("D");
}

namespace {

/// A replayed key whose run is gone: all that is left is its id, and that nothing ran a second time.
int tell_purged(const session& s, const json::object& run, bool waited) {
  tell(fmt::format("orchestrator: run {} was removed by retention; this key made it, and made no second one",
                   text_of(run, "id")));
  if (s.out.how() != format::table) s.out.one(run, {}, "id");
  return waited ? exit_ours : exit_ok;
}

}  // namespace

int finish(session& s, const json::object& run, const wait_flags& flags, steady_time until) {
  if (run.contains("purged")) return tell_purged(s, run, flags.wait || flags.follow);
  const std::string id = text_of(run, "id");
  if (!flags.wait && !flags.follow) {
    s.out.one(run, run_columns(), "id");
    return exit_ok;
  }
  detach_on_interrupt(id);
  if (flags.follow) {
    log_options logs;
    logs.follow = true;
    print_logs(s, id, logs, until);
  }
  const auto done = wait_for_runs(s, {id}, until);
  if (!done) {
    tell(fmt::format("orchestrator: the run did not end within {}; it goes on", flags.wait_timeout));
    return exit_ours;
  }
  if (!flags.follow || s.out.how() != format::table) s.out.one(done->front(), run_columns(), "id");
  return exit_code_of(done->front());
}

}  // namespace orchestrator::cli
