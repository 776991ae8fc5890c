// A schedule: the rule that yields a job's instants, and what to do when one was missed or runs overlap.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/base/time.hpp>

namespace orchestrator {

/// The original portal's six kinds, cron, and one time only.
enum class schedule_kind {
  manual,    ///< never fires by itself
  interval,  ///< every `every`, anchored at the schedule's creation
  hourly,    ///< at `minute` of each hour
  daily,     ///< at `hour`:`minute`
  weekly,    ///< on `weekday` at `hour`:`minute`
  monthly,   ///< on `day` at `hour`:`minute`; a day the month lacks is its last day
  cron,      ///< `cron`, five or six fields or an @word
  once,      ///< at `at`, one time
};

/// What becomes of instants that passed while nothing could fire them.
enum class catch_up_policy { none, latest, all };
/// With any rule but `allow` one run of the job at a time is under way, however it came to be. What differs
/// is what becomes of an instant that comes on time while another run is under way or able to start: `skip`
/// drops it, `queue` does if one waits behind that already, `queue_all` never; with `cancel_old` whoever
/// becomes able to start ends all others.
enum class overlap_policy { skip, queue, queue_all, cancel_old, allow };
/// For a schedule that names none: whoever runs a job by hand only means it.
constexpr overlap_policy default_overlap(schedule_kind kind) {
  return kind == schedule_kind::manual ? overlap_policy::allow : overlap_policy::skip;
}
/// A local time that a zone change skips: fire at the first valid instant after the gap, or not at all.
enum class gap_policy { shift, skip };
/// A local time that a zone change repeats: fire at the first of the two, or at both.
enum class fold_policy { first, both };

struct schedule {
  schedule_kind kind = schedule_kind::manual;
  milliseconds every{0};  ///< interval only, at least 1 s
  int minute = 0;         ///< 0..59
  int hour = 0;           ///< 0..23
  int weekday = 0;        ///< 0 = Sunday .. 6
  int day = 1;            ///< 1..31
  std::string cron;
  wall_time at{};                 ///< once only
  std::string time_zone = "UTC";  ///< IANA name
  catch_up_policy catch_up = catch_up_policy::latest;
  overlap_policy overlap = overlap_policy::skip;
  gap_policy gap = gap_policy::shift;
  fold_policy fold = fold_policy::first;
  milliseconds start_deadline = std::chrono::hours{1};  ///< a missed instant older than this is not caught up
  std::optional<std::int32_t> start;                    ///< first day, since 1970 in the schedule's zone
  std::optional<std::int32_t> end;                      ///< last day
  std::vector<std::string> include;  ///< names of calendars: only on days that one of them holds
  std::vector<std::string> exclude;  ///< and on no day that one of these holds
  /// Each instant starts up to so much later, always by the same part of it: which part follows from the
  /// job's name, so that jobs of one second spread.
  milliseconds jitter{0};
  bool operator==(const schedule&) const = default;
};

/// One change of a zone's offset from UTC.
struct zone_transition {
  std::int64_t at;          ///< seconds since 1970, UTC: from here on `utc_offset` holds
  std::int32_t utc_offset;  ///< seconds east of UTC
  bool operator==(const zone_transition&) const = default;
};

/// A time zone as a plain table, made by a shell from the system's zone data and handed to the engine.
struct zone_table {
  std::string name;
  std::int32_t first_offset = 0;             ///< before the first transition
  std::vector<zone_transition> transitions;  ///< ascending, through the year 2400
  bool operator==(const zone_table&) const = default;
};

}  // namespace orchestrator
