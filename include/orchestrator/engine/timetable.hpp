// Calendars: from a schedule and a zone table to instants. Pure functions; the search for the next instant is
// bounded (400 years), and an expression that never fires is refused when it is read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <orchestrator/base/result.hpp>
#include <orchestrator/engine/view.hpp>
#include <orchestrator/model/schedule.hpp>

namespace orchestrator::engine {

/// A schedule made ready: the six kinds become the same field sets as cron, an interval stays arithmetic.
class calendar {
 public:
  virtual ~calendar() = default;
  /// The first instant strictly after `after`, or nothing (manual, or beyond year 2400).
  virtual std::optional<upcoming_instant> next(wall_time after) const = 0;
  /// The latest instant at or before `at` and strictly after `after`; nothing if there is none.
  virtual std::optional<upcoming_instant> latest(wall_time after, wall_time at) const = 0;
};

/// Checks the schedule itself (ranges, cron syntax with position, "never fires") without its zone.
std::optional<refusal> check_schedule(const schedule& s);

/// `anchor` is where intervals count from: the first instant is one interval later. The zone's name must be
/// the schedule's. The calendar shares the table; a zone with summer time takes 14 KiB.
result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor,
                                                std::shared_ptr<const zone_table> zone);
/// The same with a copy of the table, for a calendar that lives as long as one answer.
result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor, const zone_table& zone);

/// Seconds east of UTC at `t` in `zone`.
std::int32_t utc_offset_at(const zone_table& zone, wall_time t);

}  // namespace orchestrator::engine
