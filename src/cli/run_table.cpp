// The columns in which runs are shown. See run_table.hpp.
#include "run_table.hpp"

#include <fmt/format.h>

namespace orchestrator::cli {
namespace {

const json::object* last_attempt(const json::object& run) {
  const json::value* list = run.if_contains("attempts");
  if (list == nullptr || !list->is_array() || list->as_array().empty()) return nullptr;
  return &list->as_array().back().as_object();
}

std::string of_attempt(const json::object& run, const char* key) {
  const json::object* attempt = last_attempt(run);
  return attempt == nullptr ? "-" : text_of(*attempt, key);
}

/// "exit 3", "signal 9", "timeout", or nothing.
std::string end_of(const json::object& run) {
  if (of_attempt(run, "state") == "timed_out") return "timeout";
  if (const std::string signal = of_attempt(run, "signal"); signal != "-" && signal != "0")
    return "signal " + signal;
  const std::string code = of_attempt(run, "exit_code");
  return code == "-" ? "-" : "exit " + code;
}

std::string attempts_of(const json::object& run) {
  const json::value* list = run.if_contains("attempts");
  std::string out;
  if (list == nullptr || !list->is_array()) return "-";
  for (const json::value& v : list->as_array()) {
    const json::object& a = v.as_object();
    out += fmt::format("{}#{} {} on {} (lease {})", out.empty() ? "" : ", ", text_of(a, "number"),
                       text_of(a, "state"), text_of(a, "worker_id"), text_of(a, "lease"));
  }
  return out.empty() ? "-" : out;
}

column cell(const char* heading, const char* key) {
  return {heading, [key](const json::object& o) { return text_of(o, key); }};
}

}  // namespace

std::vector<column> run_list_columns() {
  return {{"ID", [](const json::object& o) { return short_id(o); }},
          cell("JOB", "job"),
          {"STATE", [](const json::object& o) { return coloured_state(text_of(o, "state")); }},
          {"END", end_of},
          {"WORKER", [](const json::object& o) { return of_attempt(o, "worker_id"); }},
          {"SUBMITTED", [](const json::object& o) { return age_of(o, "submitted_at"); }},
          {"TOOK", [](const json::object& o) { return seconds_of(o, "duration_seconds"); }}};
}

std::vector<column> run_columns() {
  return {cell("run", "id"),
          cell("job", "job"),
          {"state", [](const json::object& o) { return coloured_state(text_of(o, "state")); }},
          cell("reason", "reason"),
          {"end", end_of},
          {"error", [](const json::object& o) { return of_attempt(o, "error"); }},
          {"attempts", attempts_of},
          cell("instant", "instant"),
          cell("submitted", "submitted_at"),
          cell("not before", "not_before"),
          cell("started", "started_at"),
          cell("finished", "finished_at"),
          {"took", [](const json::object& o) { return seconds_of(o, "duration_seconds"); }},
          cell("retry of", "retry_of")};
}

}  // namespace orchestrator::cli
