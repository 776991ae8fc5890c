// The parts that job definitions, stored specifications and submissions share: a run's specification and a
// schedule, each read from and written to the members of a JSON object.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/run_spec.hpp>
#include <orchestrator/model/schedule.hpp>

namespace orchestrator::protocol {

namespace json = boost::json;

/// The keys of a specification; a job file has them at its top level, beside its own.
inline constexpr std::array<std::string_view, 22> spec_keys{
    "script",       "args",        "command",    "builtin",     "env",           "cwd",
    "stdin",        "timeout",     "kill_grace", "lost_after",  "on_lease_lost", "at_most_once",
    "output_limit", "priority",    "queue",      "tags",        "retry",         "requires",
    "locks",        "max_running", "rate",       "start_within"};

/// Reads the specification among the members of `o`; other members are the caller's to judge.
result<run_spec> read_spec(const json::object& o);
/// Adds what differs from the defaults.
void write_spec(const run_spec& s, json::object& o);

/// Refuses args that the worker could not split into words.
std::optional<refusal> check_args(std::string_view args);

/// `2026-03-01` as days since 1970; nothing if it is no such day.
std::optional<std::int32_t> parse_day(std::string_view text);
std::string format_day(std::int32_t day);

/// Amounts of resources by name: numbers, or texts such as "2GiB". Also of what a worker offers.
result<resource_amounts> read_amounts(const json::object& o, const std::string& path);
json::object write_amounts(const resource_amounts& amounts);

result<schedule> read_schedule(const json::object& o, const std::string& path);
json::object write_schedule(const schedule& s);

}  // namespace orchestrator::protocol
