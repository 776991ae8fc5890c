// Which days a named calendar holds.
#include <algorithm>

#include <orchestrator/base/time.hpp>
#include <orchestrator/model/day_calendar.hpp>

namespace orchestrator {

bool contains(const day_calendar& c, std::int32_t day) {
  const civil_time date = seconds_to_civil(std::int64_t{day} * 86'400);
  if ((c.weekdays >> weekday_of(date.year, date.month, date.day) & 1) != 0) return true;
  if (std::binary_search(c.yearly.begin(), c.yearly.end(), std::pair{date.month, date.day})) return true;
  const auto later = std::upper_bound(c.spans.begin(), c.spans.end(), day,
                                      [](std::int32_t d, const day_span& s) { return d < s.first; });
  return later != c.spans.begin() && day <= std::prev(later)->last;
}

}  // namespace orchestrator
