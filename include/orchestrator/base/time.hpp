// The three kinds of time, which do not convert into each other. Only the shells read clocks; the cores are
// handed times. The wall clock decides schedule instants and what people are shown, and nothing else.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace orchestrator {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

/// CLOCK_MONOTONIC: the coordinator's leases and deadlines. Stops while the machine is suspended.
struct mono_clock {
  using duration = nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<mono_clock>;
  static constexpr bool is_steady = true;
};
using mono_time = mono_clock::time_point;

/// CLOCK_BOOTTIME: the worker's own leases. Goes on while the machine is suspended.
struct boot_clock {
  using duration = nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<boot_clock>;
  static constexpr bool is_steady = true;
};
using boot_time = boot_clock::time_point;

/// UTC in milliseconds since 1970-01-01: schedule instants and displayed times only.
struct wall_clock {
  using duration = milliseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<wall_clock>;
  static constexpr bool is_steady = false;
};
using wall_time = wall_clock::time_point;

/// The pair of clocks a step of the coordinator's core sees.
struct engine_time {
  mono_time mono;
  wall_time wall;
};

/// The pair of clocks a step of the worker's core sees.
struct agent_time {
  boot_time boot;
  wall_time wall;
};

/// Reads the machine's clocks. For shells only; a core that calls this cannot be simulated.
mono_time read_mono_clock();
boot_time read_boot_clock();
wall_time read_wall_clock();

/// Milliseconds since 1970, the form in which the store keeps instants.
constexpr std::int64_t to_unix_ms(wall_time t) { return t.time_since_epoch().count(); }
constexpr wall_time from_unix_ms(std::int64_t ms) { return wall_time{milliseconds{ms}}; }

/// RFC 3339 in UTC with milliseconds: `2026-01-31T23:59:59.125Z`.
std::string to_rfc3339(wall_time t);
/// RFC 3339 with the given offset from UTC instead of `Z`: `2026-02-01T07:59:59.125+08:00`.
std::string to_rfc3339(wall_time t, seconds utc_offset);
/// Reads RFC 3339 with `Z` or an offset, with or without a fraction. Nothing if it is not that.
std::optional<wall_time> parse_rfc3339(std::string_view text);

/// Reads what people write for a duration: `90s`, `30m`, `1h30m`, `2d`, `250ms`, `1.5h`, or plain seconds.
/// Nothing on anything else, on a negative value, or above 10 years.
std::optional<milliseconds> parse_duration(std::string_view text);
/// The shortest exact form of the above: `1h30m`, `250ms`, `0s`.
std::string format_duration(milliseconds d);

/// A proleptic Gregorian date and time of day without a zone.
struct civil_time {
  int year = 1970;
  int month = 1;  ///< 1..12
  int day = 1;    ///< 1..31
  int hour = 0, minute = 0, second = 0;
  auto operator<=>(const civil_time&) const = default;
};

/// Days since 1970-01-01 of a date (Howard Hinnant's days_from_civil).
std::int64_t days_from_civil(int year, int month, int day);
/// Seconds since 1970-01-01T00:00:00 of the civil time, as if its zone were UTC.
std::int64_t civil_to_seconds(const civil_time& c);
/// Inverse of civil_to_seconds.
civil_time seconds_to_civil(std::int64_t s);
/// 0 = Sunday ... 6 = Saturday.
int weekday_of(int year, int month, int day);
/// 28..31.
int days_in_month(int year, int month);

}  // namespace orchestrator
