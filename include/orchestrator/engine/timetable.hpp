// Calendars: from a schedule and a zone table to instants. Pure functions; the search for the next instant is
// bounded (400 years), and an expression that never fires is refused when it is read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/engine/view.hpp>
#include <orchestrator/model/day_calendar.hpp>
#include <orchestrator/model/schedule.hpp>

namespace orchestrator::engine {

/// What a calendar says of one of its instants.
enum class instant_kind {
  fires,
  fold_merged,  ///< the second pass of a repeated time, with fold = first
  gap_skipped,  ///< the end of a gap that swallowed a time, with gap = skip
  excluded,     ///< a named calendar leaves out its day
};

/// Consecutive instants of one kind.
struct instant_span {
  wall_time first, last;
  std::uint64_t count = 1;
  instant_kind kind = instant_kind::fires;
  std::string rule;  ///< of `excluded`: which calendar
};

/// The named calendars of a schedule, resolved. Those of `include` first.
struct day_filter {
  std::vector<std::shared_ptr<const day_calendar>> include, exclude;
  bool empty() const { return include.empty() && exclude.empty(); }
};

/// A schedule made ready: the kinds become the same field sets as cron, an interval stays arithmetic.
class calendar {
 public:
  virtual ~calendar() = default;
  /// The first instant strictly after `after` that fires, or nothing (manual, beyond year 2400, or none on
  /// the next 4,000 days that the rule names).
  virtual std::optional<upcoming_instant> next(wall_time after) const = 0;
  /// The latest instant that fires at or before `at` and strictly after `after`; nothing if there is none.
  virtual std::optional<upcoming_instant> latest(wall_time after, wall_time at) const = 0;
  /// The first instant strictly after `after` of any kind.
  virtual std::optional<wall_time> next_of_any_kind(wall_time after) const = 0;
  /// All instants later than `after` and not later than `until`, oldest first; at most `most` spans, then
  /// cut. Whole days are counted, not walked.
  virtual std::vector<instant_span> account(wall_time after, wall_time until, std::size_t most) const = 0;
};

/// Checks the schedule itself (ranges, cron syntax with position, "never fires") without its zone and
/// calendars.
std::optional<refusal> check_schedule(const schedule& s);

/// `anchor` is where intervals count from: the first instant is one interval later. The zone's name must be
/// the schedule's. The calendar shares the table; a zone with summer time takes 14 KiB.
result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor,
                                                std::shared_ptr<const zone_table> zone, day_filter days = {});
/// The same with a copy of the table, for a calendar that lives as long as one answer.
result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor, const zone_table& zone,
                                                day_filter days = {});

/// How much later than its instants a job starts: a part of the schedule's jitter that its name decides.
milliseconds start_delay(const schedule& s, std::string_view job);

/// Seconds east of UTC at `t` in `zone`.
std::int32_t utc_offset_at(const zone_table& zone, wall_time t);

}  // namespace orchestrator::engine
