// Named sets of days: holidays to leave out, workdays to keep to. Schedules refer to them by name.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace orchestrator {

/// Days since 1970-01-01 on a wall clock, both ends included.
struct day_span {
  std::int32_t first = 0;
  std::int32_t last = 0;
  bool operator==(const day_span&) const = default;
};

struct day_calendar {
  std::string name;
  std::string description;
  std::uint8_t weekdays = 0;                ///< bit n: every weekday n, 0 = Sunday
  std::vector<std::pair<int, int>> yearly;  ///< month and day, ascending
  std::vector<day_span> spans;              ///< ascending, apart
  bool operator==(const day_calendar&) const = default;
};

bool contains(const day_calendar& c, std::int32_t day);

}  // namespace orchestrator
