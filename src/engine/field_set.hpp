// Which local dates and times of day a schedule means, and the search over them. Every kind of schedule but
// `interval` and `manual` becomes a field_set: cron.cpp reads one from text, timetable.cpp makes the others
// and maps what is found here through a zone. Time here has no zone: seconds since 1970 as the clock on the
// wall shows.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace orchestrator::engine {

/// Seconds since 1970-01-01T00:00:00 on a wall clock that never changes its offset.
using local_seconds = std::int64_t;

/// The search stays within these local years. The Gregorian calendar repeats after 400 years, so what does
/// not match in here never does.
inline constexpr int first_year = 1900;
inline constexpr int last_year = 2400;

struct field_set {
  std::uint64_t seconds = 1;   ///< bit n: second n
  std::uint64_t minutes = 1;   ///< bit n: minute n
  std::uint64_t hours = 1;     ///< bit n: hour n
  std::uint64_t days = 0;      ///< bit n: the n-th of the month, 1..31
  std::uint64_t months = 0;    ///< bit n: month n, 1..12
  std::uint64_t weekdays = 0;  ///< bit n: every weekday n, 0 = Sunday
  /// By weekday, 0 = Sunday; bit k: its k-th in the month, 1..5, and bit 0: its last.
  std::array<std::uint8_t, 7> nth_weekdays{};
  bool last_day = false;  ///< the last day of the month too
  /// Bit n: the day from Monday to Friday that is nearest to the n-th, within the same month.
  std::uint64_t nearest_weekdays = 0;
  /// A day the month lacks is its last day: what a monthly schedule means and cron does not.
  bool clamp_days = false;
  /// Day of month and day of week are both restricted, so that either is enough. As in Vixie's cron a field
  /// that begins with `*` is no restriction, not even with a step.
  bool either_day = false;
  /// The hour or the minute begins with `*`: such a job follows real time when a zone changes its offset,
  /// while one at fixed times of day follows the wall clock.
  bool wildcard_time = false;

  bool operator==(const field_set&) const = default;
};

/// The matching days of one month, bit n for the n-th. The month itself must be in the set.
std::uint64_t days_of_month(const field_set& fields, int year, int month);

bool matches(const field_set& fields, local_seconds at);

/// How many matches lie from `from` to before `day_end`, a midnight after it, and the last of them. `from`
/// itself must match. Days are counted, not walked.
struct match_count {
  std::uint64_t count;
  local_seconds last;
};
match_count matches_before(const field_set& fields, local_seconds from, local_seconds day_end);

/// The earliest match at or after `from`; nothing beyond the last year.
std::optional<local_seconds> match_at_or_after(const field_set& fields, local_seconds from);

/// The latest match at or before `from`; nothing before the first year.
std::optional<local_seconds> match_at_or_before(const field_set& fields, local_seconds from);

}  // namespace orchestrator::engine
