// Named calendars: which days they hold.
#include <doctest/doctest.h>

#include <orchestrator/base/time.hpp>
#include <orchestrator/model/day_calendar.hpp>

using namespace orchestrator;

TEST_CASE("a calendar holds its weekdays, its days of every year and its spans, and no other day") {
  const auto day = [](int year, int month, int d) {
    return static_cast<std::int32_t>(days_from_civil(year, month, d));
  };
  day_calendar c;
  c.weekdays = 0b1000000;
  c.yearly = {{2, 29}, {12, 25}};
  c.spans = {{day(2026, 3, 2), day(2026, 3, 4)}, {day(2026, 3, 10), day(2026, 3, 10)}};
  CHECK(contains(c, day(2026, 3, 7)));  // a Saturday
  CHECK_FALSE(contains(c, day(2026, 3, 8)));
  CHECK(contains(c, day(2028, 2, 29)));
  CHECK_FALSE(contains(c, day(2027, 3, 1)));
  CHECK(contains(c, day(2029, 12, 25)));
  CHECK_FALSE(contains(c, day(2026, 3, 1)));
  CHECK(contains(c, day(2026, 3, 2)));
  CHECK(contains(c, day(2026, 3, 4)));
  CHECK_FALSE(contains(c, day(2026, 3, 5)));
  CHECK(contains(c, day(2026, 3, 10)));
  CHECK_FALSE(contains(day_calendar{}, day(2026, 3, 7)));
}
