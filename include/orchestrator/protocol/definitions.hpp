// Jobs, run submissions and their JSON: the one decoder that the API, job files (TOML, turned into JSON by
// the CLI) and the engine's restore all use. Refusals carry the JSON pointer of the offending value and, for
// unknown keys, the nearest known one; the CLI turns pointers into file:line:column.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/day_calendar.hpp>
#include <orchestrator/model/job.hpp>
#include <orchestrator/model/run.hpp>

namespace orchestrator::protocol {

namespace json = boost::json;

/// Strict JSON: our limits, no duplicate keys, no NUL, no non-finite numbers, no trailing text. The refusal's
/// detail names the byte offset.
result<json::value> parse_json(std::string_view text);
/// JSON text of any value, compact, numbers as people write them (Boost's serializer would write 1.5E0).
std::string write_json(const json::value& v);

/// A job definition as in job files. Checks everything that can be checked without a machine: names, bounds,
/// contradictions (at_most_once with retries, two of script/command/builtin), cron syntax is checked by the
/// engine.
result<job_definition> decode_job(const json::value& v);
json::object encode_job(const job_definition& j);

/// A named calendar: `days` is a list of weekdays (`sat`), days of every year (`12-25`), days (`2026-04-03`)
/// and spans of them (`2026-12-24..2027-01-02`).
result<day_calendar> decode_calendar(const json::value& v);
json::object encode_calendar(const day_calendar& c);

/// Run specifications by themselves, for the store.
result<run_spec> decode_spec(std::string_view text);
std::string encode_spec(const run_spec& s);

/// A run to wait for, as people name it: a whole id, a part of it, `last`, or a job's name.
struct named_dependency {
  std::string run;
  after_condition on = after_condition::ok;
  bool operator==(const named_dependency&) const = default;
};

/// Body of POST /api/v1/runs: the keys of a job's spec, plus job (the name of a stored job, or with a spec of
/// its own the run's display name as `name`), args, at, in, idempotency comes by header.
struct submission {
  std::string job;                      ///< a stored job to run; empty: ad hoc
  std::string name;                     ///< display name of an ad hoc run; made from the command if empty
  std::optional<run_spec> spec;         ///< ad hoc
  std::optional<std::string> args;      ///< overrides the stored job's args
  std::optional<wall_time> not_before;  ///< `at`; `in` is resolved by the decoder against `now`
  bool held = false;
  std::vector<named_dependency> after;  ///< `after`: it starts when all of these ended so
  bool operator==(const submission&) const = default;
};
result<submission> decode_submission(const json::value& v, wall_time now);
json::object encode_submission(const submission& s);

/// Human text of a schedule: "daily at 02:30 (Asia/Hong_Kong)".
std::string describe(const schedule& s);

}  // namespace orchestrator::protocol
