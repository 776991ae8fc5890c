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

/// What the last attempt took of its machine.
std::string used_of(const json::object& run) {
  const json::object* attempt = last_attempt(run);
  if (attempt == nullptr) return "-";
  const json::value* memory = attempt->if_contains("max_rss_bytes");
  const std::string cpu = seconds_of(*attempt, "cpu_seconds");
  if (cpu == "-" || memory == nullptr || !memory->is_number()) return "-";
  return fmt::format("{} of CPU, {:.1f} MiB of memory", cpu, memory->to_number<double>() / (1024 * 1024));
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
          {"used", used_of},
          cell("retry of", "retry_of")};
}

}  // namespace orchestrator::cli
