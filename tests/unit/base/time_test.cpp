// Instants and durations survive their text, the calendar agrees with the C library, and no input overflows.
#include <ctime>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>
#include <orchestrator/base/time.hpp>

using namespace orchestrator;
using namespace std::chrono_literals;

namespace {

wall_time at(int year, int month, int day, int hour = 0, int minute = 0, int second = 0, int ms = 0) {
  return from_unix_ms(civil_to_seconds({year, month, day, hour, minute, second}) * 1000 + ms);
}

}  // namespace

TEST_CASE("an instant is written in UTC with milliseconds") {
  CHECK(to_rfc3339(at(2026, 1, 31, 23, 59, 59, 125)) == "2026-01-31T23:59:59.125Z");
  CHECK(to_rfc3339(from_unix_ms(0)) == "1970-01-01T00:00:00.000Z");
  CHECK(to_rfc3339(from_unix_ms(-1)) == "1969-12-31T23:59:59.999Z");
  CHECK(to_rfc3339(at(99, 3, 4)) == "0099-03-04T00:00:00.000Z");
}

TEST_CASE("an instant that four digits of year cannot show is written as the nearest one they can") {
  CHECK(to_rfc3339(wall_time::max()) == "9999-12-31T23:59:59.999Z");
  CHECK(to_rfc3339(wall_time::min()) == "0000-01-01T00:00:00.000Z");
  CHECK(to_rfc3339(wall_time::max(), 8h) == "9999-12-31T23:59:59.999+08:00");
  CHECK(to_rfc3339(wall_time::min(), -8h) == "0000-01-01T00:00:00.000-08:00");
}

TEST_CASE("an instant is written with its zone's offset") {
  const wall_time t = at(2026, 1, 31, 23, 59, 59, 125);
  CHECK(to_rfc3339(t, 8h) == "2026-02-01T07:59:59.125+08:00");
  CHECK(to_rfc3339(t, -(3h + 30min)) == "2026-01-31T20:29:59.125-03:30");
  CHECK(to_rfc3339(t, 0s) == "2026-01-31T23:59:59.125+00:00");
}

TEST_CASE("an offset with seconds, as zones had before 1900, still names the exact instant") {
  const wall_time t = at(1890, 5, 5, 12, 0, 0, 5);
  const std::string text = to_rfc3339(t, 7h + 36min + 42s);
  CHECK(text == "1890-05-05T19:36:00.005+07:36");
  CHECK(parse_rfc3339(text) == t);
}

TEST_CASE("random instants survive being written and read, in any zone") {
  random_source random{1};
  const auto lowest = to_unix_ms(at(0, 1, 3));
  const auto span = static_cast<std::uint64_t>(to_unix_ms(at(9999, 12, 29)) - lowest);
  for (int i = 0; i < 5000; ++i) {
    const wall_time t = from_unix_ms(lowest + static_cast<std::int64_t>(random.below(span)));
    REQUIRE(parse_rfc3339(to_rfc3339(t)) == t);
    const seconds offset{static_cast<std::int64_t>(random.below(2 * 86'399)) - 86'399};
    REQUIRE(parse_rfc3339(to_rfc3339(t, offset)) == t);
  }
}

TEST_CASE("the forms that RFC 3339 allows are read") {
  const wall_time t = at(2026, 1, 31, 23, 59, 59);
  CHECK(parse_rfc3339("2026-01-31T23:59:59Z") == t);
  CHECK(parse_rfc3339("2026-01-31t23:59:59z") == t);
  CHECK(parse_rfc3339("2026-01-31 23:59:59Z") == t);
  CHECK(parse_rfc3339("2026-02-01T07:59:59+08:00") == t);
  CHECK(parse_rfc3339("2026-01-31T23:59:59-00:00") == t);
  CHECK(parse_rfc3339("2026-01-31T23:59:59.5Z") == t + 500ms);
  CHECK(parse_rfc3339("2026-01-31T23:59:59.1259999999999999999999Z") == t + 125ms);
  CHECK(parse_rfc3339("1969-12-31T23:59:59.999Z") == from_unix_ms(-1));
  CHECK(parse_rfc3339("2024-02-29T00:00:00Z") == at(2024, 2, 29));
}

TEST_CASE("a leap second is the first second of the next day, and only where one can be") {
  CHECK(parse_rfc3339("2016-12-31T23:59:60Z") == at(2017, 1, 1));
  CHECK(parse_rfc3339("2017-01-01T07:59:60+08:00") == at(2017, 1, 1));
  CHECK_FALSE(parse_rfc3339("2016-12-31T12:00:60Z"));
  CHECK_FALSE(parse_rfc3339("2016-12-31T23:59:61Z"));
}

TEST_CASE("text that is not RFC 3339 is not read") {
  for (const char* text : {"",
                           "now",
                           "2026-01-31",
                           "2026-01-31T23:59:59",
                           "2026-01-31T23:59Z",
                           "2026-1-31T23:59:59Z",
                           "2026-01-31T23:59:59.Z",
                           "2026-01-31T23:59:59,5Z",
                           "2026-01-31T23:59:59+08",
                           "2026-01-31T23:59:59+0800",
                           "2026-01-31T23:59:59+24:00",
                           "2026-01-31T23:59:59+08:60",
                           "2026-01-31T23:59:59ZZ",
                           " 2026-01-31T23:59:59Z",
                           "2026-01-31T23:59:59Z ",
                           "2026-00-31T23:59:59Z",
                           "2026-13-31T23:59:59Z",
                           "2026-01-00T23:59:59Z",
                           "2026-01-32T23:59:59Z",
                           "2026-02-29T00:00:00Z",
                           "2100-02-29T00:00:00Z",
                           "2026-04-31T00:00:00Z",
                           "2026-01-31T24:00:00Z",
                           "2026-01-31T23:60:00Z",
                           "+026-01-31T23:59:59Z",
                           "10000-01-01T00:00:00Z",
                           "-001-01-01T00:00:00Z",
                           "0000-01-01T00:00:00+00:01",
                           "9999-12-31T23:59:59-00:01",
                           "2026-01-31_23:59:59Z"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_rfc3339(text));
  }
}

TEST_CASE("no prefix and no single changed byte of an instant's text is read out of range") {
  const std::string good = "2026-02-01T07:59:59.125+08:00";
  for (std::size_t i = 0; i < good.size(); ++i) {
    // A shorter text is only an instant if it ends behind a whole one, which this one never does.
    CHECK_FALSE(parse_rfc3339(std::string_view{good}.substr(0, i)));
    for (int c = 0; c < 256; ++c) {
      std::string text = good;
      text[i] = static_cast<char>(c);
      if (const auto read = parse_rfc3339(text)) CHECK(parse_rfc3339(to_rfc3339(*read)) == *read);
    }
  }
}

TEST_CASE("durations are read as people write them") {
  const std::vector<std::pair<const char*, milliseconds>> cases{
      {"90s", 90s},     {"30m", 30min},   {"1h30m", 90min},     {"2d", 48h},
      {"250ms", 250ms}, {"1.5h", 90min},  {"90", 90s},          {"0", 0ms},
      {"0s", 0ms},      {"0.25", 250ms},  {"1s500ms", 1500ms},  {"1d2h3m4s5ms", 26h + 3min + 4005ms},
      {"007s", 7s},     {"1.10h", 66min}, {"3650d", 24h * 3650}};
  for (const auto& [text, expected] : cases) {
    CAPTURE(text);
    CHECK(parse_duration(text) == expected);
  }
}

TEST_CASE("what is not a duration is not read as one") {
  for (const char* text : {"",
                           " ",
                           "s",
                           "h1",
                           "-1s",
                           "+1s",
                           "1 s",
                           " 1s",
                           "1s ",
                           "1x",
                           "1S",
                           "1sec",
                           "1h30",
                           "30m1h",
                           "1h1h",
                           "1..5h",
                           ".5h",
                           "1.h",
                           "1,5h",
                           "1e3",
                           "0x10",
                           "nan",
                           "inf",
                           "1h-30m",
                           "0.5ms",
                           "0.0000000001d",
                           "0.0001s",
                           "3651d",
                           "87601h",
                           "315360001",
                           "18446744073709551617",
                           "9223372036854775807ms",
                           "99999999999999999999999999999999s",
                           "0.00000000000000000000000000000000000001s",
                           "3650d1ms",
                           "1h\n"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_duration(text));
  }
}

TEST_CASE("durations are written in their shortest exact form") {
  CHECK(format_duration(90min) == "1h30m");
  CHECK(format_duration(250ms) == "250ms");
  CHECK(format_duration(0ms) == "0s");
  CHECK(format_duration(1500ms) == "1.5s");
  CHECK(format_duration(60'001ms) == "1m1ms");
  CHECK(format_duration(36h) == "1d12h");
  CHECK(format_duration(-90s) == "-1m30s");
  CHECK(format_duration(milliseconds::min()) == "-106751991167d7h12m55.808s");
}

TEST_CASE("random durations survive being written and read") {
  random_source random{2};
  for (int i = 0; i < 5000; ++i) {
    const std::uint64_t bound = std::uint64_t{1} << (1 + random.below(38));
    const milliseconds d{static_cast<std::int64_t>(random.below(bound))};
    REQUIRE(parse_duration(format_duration(d)) == d);
  }
}

TEST_CASE("the calendar agrees with the C library from year 0 to 9999") {
  const std::int64_t first = days_from_civil(0, 1, 1);
  const std::int64_t last = days_from_civil(9999, 12, 31);
  CHECK(last - first + 1 == 25 * 146'097);
  for (std::int64_t day = first; day <= last; day += 3) {
    const std::time_t s = static_cast<std::time_t>(day * 86'400 + 86'399);
    std::tm tm{};
    REQUIRE(::gmtime_r(&s, &tm) != nullptr);
    const civil_time c = seconds_to_civil(s);
    REQUIRE(c == civil_time{tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, 23, 59, 59});
    REQUIRE(civil_to_seconds(c) == s);
    REQUIRE(weekday_of(c.year, c.month, c.day) == tm.tm_wday);
  }
}

TEST_CASE("months have their lengths, and leap years follow the rule of centuries") {
  CHECK(days_in_month(2023, 2) == 28);
  CHECK(days_in_month(2024, 2) == 29);
  CHECK(days_in_month(1900, 2) == 28);
  CHECK(days_in_month(2000, 2) == 29);
  CHECK(days_in_month(0, 2) == 29);
  CHECK(days_in_month(-4, 2) == 29);
  CHECK(days_in_month(-100, 2) == 28);
  for (int month = 1; month < 12; ++month) {
    CHECK(days_from_civil(2023, month, days_in_month(2023, month)) + 1 ==
          days_from_civil(2023, month + 1, 1));
  }
  CHECK(weekday_of(1970, 1, 1) == 4);
  CHECK(weekday_of(2026, 2, 1) == 0);
}

TEST_CASE("the furthest years of an int neither overflow nor lose their date") {
  for (const int year : {std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
    const civil_time c{year, 12, 31, 23, 59, 59};
    CHECK(seconds_to_civil(civil_to_seconds(c)) == c);
  }
}

TEST_CASE("the clocks move and the wall clock is after this test was written") {
  const mono_time mono = read_mono_clock();
  const boot_time boot = read_boot_clock();
  CHECK(read_wall_clock() > at(2024, 1, 1));
  CHECK(read_mono_clock() >= mono);
  CHECK(read_boot_clock() >= boot);
}
