// Calendars over small zone tables written out here: the rules for gaps and folds, every kind of schedule,
// the horizon, and a comparison with the naive second implementation. Real zones:
// tests/unit/server/zones_test.cpp.
#include <chrono>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <orchestrator/base/time.hpp>
#include <orchestrator/engine/timetable.hpp>

#include "support/engine_naive_timetable.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;

namespace doctest {
template <>
struct StringMaker<std::vector<std::string>> {
  static String convert(const std::vector<std::string>& texts) {
    std::string all;
    for (const std::string& text : texts) all += text + "; ";
    return String{all.c_str()};
  }
};
}  // namespace doctest

namespace {

std::int64_t utc(int year, int month, int day, int hour = 0, int minute = 0) {
  return civil_to_seconds({year, month, day, hour, minute, 0});
}

wall_time at(const std::string& rfc3339) { return parse_rfc3339(rfc3339).value(); }

const zone_table plain{.name = "UTC", .first_offset = 0, .transitions = {}};
const zone_table new_york{.name = "America/New_York",
                          .first_offset = -5 * 3600,
                          .transitions = {{utc(2026, 3, 8, 7), -4 * 3600},
                                          {utc(2026, 11, 1, 6), -5 * 3600},
                                          {utc(2027, 3, 14, 7), -4 * 3600},
                                          {utc(2027, 11, 7, 6), -5 * 3600}}};
const zone_table lord_howe{
    .name = "Australia/Lord_Howe",
    .first_offset = 11 * 3600,
    .transitions = {{utc(2026, 4, 4, 15), 10 * 3600 + 1800}, {utc(2026, 10, 3, 15, 30), 11 * 3600}}};
/// Samoa went from one side of the date line to the other: 2011-12-30 did not exist there.
const zone_table apia{.name = "Pacific/Apia",
                      .first_offset = -10 * 3600,
                      .transitions = {{utc(2011, 12, 30, 10), 14 * 3600}, {utc(2012, 3, 31, 14), 13 * 3600}}};
/// The date line crossed the other way: the 24 hours from noon of 31 May are repeated.
const zone_table repeated_day{
    .name = "Test/Repeated", .first_offset = 12 * 3600, .transitions = {{utc(2026, 6, 1), -12 * 3600}}};

schedule cron_in(const zone_table& zone, const std::string& text) {
  schedule s;
  s.kind = schedule_kind::cron;
  s.cron = text;
  s.time_zone = zone.name;
  return s;
}

std::unique_ptr<calendar> make(const schedule& s, const zone_table& zone, wall_time anchor = {}) {
  auto made = make_calendar(s, anchor, zone);
  if (!made) FAIL("refused: " << made.error().detail);
  return std::move(*made);
}

std::string text_of(const std::optional<upcoming_instant>& i) {
  if (!i) return "never";
  const std::string text = to_rfc3339(i->instant, seconds{i->utc_offset});
  return text.substr(0, 19) + text.substr(23) + (i->note.empty() ? "" : " " + i->note);
}

std::vector<std::string> texts(const std::vector<upcoming_instant>& instants) {
  std::vector<std::string> out;
  for (const auto& i : instants) out.push_back(text_of(i));
  return out;
}

std::vector<std::string> between(const calendar& c, wall_time from, wall_time to) {
  std::vector<std::string> out;
  for (auto i = c.next(from); i && i->instant < to; i = c.next(i->instant)) out.push_back(text_of(i));
  return out;
}

/// What fires on a date as the zone's clocks show it.
std::vector<std::string> on_day(const schedule& s, const zone_table& zone, const std::string& date) {
  const wall_time noon = at(date + "T12:00:00Z");
  std::vector<std::string> out;
  for (const std::string& text :
       between(*make(s, zone), noon - std::chrono::hours{48}, noon + std::chrono::hours{48})) {
    if (text.starts_with(date)) out.push_back(text);
  }
  return out;
}

}  // namespace

TEST_CASE("a fixed time that the zone skips fires once, right after the gap") {
  CHECK(on_day(cron_in(new_york, "30 2 * * *"), new_york, "2026-03-08") ==
        std::vector<std::string>{"2026-03-08T03:00:00-04:00 gap_shifted"});
  CHECK(on_day(cron_in(new_york, "0 2 * * *"), new_york, "2026-03-08") ==
        std::vector<std::string>{"2026-03-08T03:00:00-04:00 gap_shifted"});
}

TEST_CASE("skipped times are merged with each other and with a time that fires right there") {
  CHECK(on_day(cron_in(new_york, "0,15,30 2 * * *"), new_york, "2026-03-08") ==
        std::vector<std::string>{"2026-03-08T03:00:00-04:00 gap_shifted"});
  CHECK(on_day(cron_in(new_york, "0,30 2-3 * * *"), new_york, "2026-03-08") ==
        std::vector<std::string>{"2026-03-08T03:00:00-04:00", "2026-03-08T03:30:00-04:00"});
}

TEST_CASE("with gap = skip a skipped time does not fire that day") {
  schedule s = cron_in(new_york, "30 2 * * *");
  s.gap = gap_policy::skip;
  CHECK(on_day(s, new_york, "2026-03-08").empty());
  const auto c = make(s, new_york);
  CHECK(text_of(c->next(at("2026-03-07T12:00:00Z"))) == "2026-03-09T02:30:00-04:00");
  CHECK(text_of(c->latest(wall_time{}, at("2026-03-08T12:00:00Z"))) == "2026-03-07T02:30:00-05:00");
  CHECK(text_of(c->latest(at("2026-03-07T07:30:00Z"), at("2026-03-08T12:00:00Z"))) == "never");
}

TEST_CASE("a fixed time that the zone repeats fires at the first of the two") {
  CHECK(on_day(cron_in(new_york, "30 1 * * *"), new_york, "2026-11-01") ==
        std::vector<std::string>{"2026-11-01T01:30:00-04:00"});
}

TEST_CASE("with fold = both a repeated time fires twice") {
  schedule s = cron_in(new_york, "30 1 * * *");
  s.fold = fold_policy::both;
  CHECK(on_day(s, new_york, "2026-11-01") ==
        std::vector<std::string>{"2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00 fold_second"});
  const auto c = make(s, new_york);
  CHECK(text_of(c->latest(wall_time{}, at("2026-11-01T12:00:00Z"))) ==
        "2026-11-01T01:30:00-05:00 fold_second");
  CHECK(text_of(c->latest(wall_time{}, at("2026-11-01T06:29:59Z"))) == "2026-11-01T01:30:00-04:00");
  s.cron = "30 2 * * *";
  CHECK(on_day(s, new_york, "2026-03-08") ==
        std::vector<std::string>{"2026-03-08T03:00:00-04:00 gap_shifted"});
}

TEST_CASE("the pass of a fold that is searched from does not hide the other one") {
  schedule s = cron_in(new_york, "30 1 1 11 *");
  s.fold = fold_policy::both;
  const auto c = make(s, new_york);
  CHECK(text_of(c->latest(wall_time{}, at("2026-11-01T06:10:00Z"))) == "2026-11-01T01:30:00-04:00");
  CHECK(text_of(c->next(at("2026-11-01T05:40:00Z"))) == "2026-11-01T01:30:00-05:00 fold_second");
}

TEST_CASE("a schedule with a star in hour or minute follows real time through both changes") {
  for (const char* text : {"*/15 * * * *", "0,15,30,45 * * * *", "*/15 0-23 * * *"}) {
    const auto c = make(cron_in(new_york, text), new_york);
    for (const char* day : {"2026-03-08T00:00:00Z", "2026-11-01T00:00:00Z"}) {
      const wall_time begin = at(day);
      for (int quarter = 0; quarter < 100; ++quarter) {
        const wall_time due = begin + std::chrono::minutes{15} * quarter;
        const auto found = c->next(due - milliseconds{1});
        REQUIRE(found);
        CHECK(found->instant == due);
        CHECK(found->note.empty());
      }
    }
  }
  CHECK(on_day(cron_in(new_york, "*/30 1 * * *"), new_york, "2026-11-01").size() == 4);
  CHECK(on_day(cron_in(new_york, "*/30 2 * * *"), new_york, "2026-03-08").empty());
}

TEST_CASE("hours listed or in a range are fixed times: each once when repeated") {
  CHECK(on_day(cron_in(new_york, "0 0-2 * * *"), new_york, "2026-11-01") ==
        std::vector<std::string>{"2026-11-01T00:00:00-04:00", "2026-11-01T01:00:00-04:00",
                                 "2026-11-01T02:00:00-05:00"});
}

TEST_CASE("a zone that moves by half an hour shifts and repeats half hours") {
  CHECK(on_day(cron_in(lord_howe, "15 2 * * *"), lord_howe, "2026-10-04") ==
        std::vector<std::string>{"2026-10-04T02:30:00+11:00 gap_shifted"});
  CHECK(on_day(cron_in(lord_howe, "45 1 * * *"), lord_howe, "2026-04-05") ==
        std::vector<std::string>{"2026-04-05T01:45:00+11:00"});
  CHECK(on_day(cron_in(lord_howe, "45 * * * *"), lord_howe, "2026-04-05").size() == 25);
  CHECK(on_day(cron_in(lord_howe, "15 * * * *"), lord_howe, "2026-04-05").size() == 24);
}

TEST_CASE("a day that a zone skips fires its times at the first instant of the next day") {
  const auto c = make(cron_in(apia, "0 9 * * *"), apia);
  CHECK(between(*c, at("2011-12-28T22:00:00Z"), at("2011-12-31T12:00:00Z")) ==
        std::vector<std::string>{"2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00 gap_shifted",
                                 "2011-12-31T09:00:00+14:00"});
  CHECK(on_day(cron_in(apia, "0 9 30 12 *"), apia, "2011-12-31") ==
        std::vector<std::string>{"2011-12-31T00:00:00+14:00 gap_shifted"});
}

TEST_CASE("a day that a zone repeats fires its fixed times once and a star's hours twice") {
  const auto fixed = make(cron_in(repeated_day, "0 9 * * *"), repeated_day);
  CHECK(between(*fixed, at("2026-05-30T00:00:00Z"), at("2026-06-03T00:00:00Z")) ==
        std::vector<std::string>{"2026-05-31T09:00:00+12:00", "2026-06-01T09:00:00+12:00",
                                 "2026-06-02T09:00:00-12:00"});
  const auto hours = make(cron_in(repeated_day, "0 */3 31 5 *"), repeated_day);
  CHECK(between(*hours, at("2026-05-30T00:00:00Z"), at("2026-06-03T00:00:00Z")).size() == 12);
}

TEST_CASE("next is strictly later and latest includes the instant itself") {
  const auto c = make(cron_in(plain, "0 12 * * *"), plain);
  const wall_time noon = at("2026-01-01T12:00:00Z");
  CHECK(c->next(noon)->instant == noon + std::chrono::hours{24});
  CHECK(c->next(noon - milliseconds{1})->instant == noon);
  CHECK(c->latest(noon - milliseconds{1}, noon)->instant == noon);
  CHECK_FALSE(c->latest(noon, noon));
  CHECK_FALSE(c->latest(noon, noon + std::chrono::hours{23}));
  CHECK_FALSE(c->latest(noon, noon - std::chrono::hours{48}));
  CHECK(c->latest(noon - milliseconds{1}, noon + milliseconds{1})->instant == noon);
}

TEST_CASE("an interval counts from its anchor, one interval later first") {
  schedule s;
  s.kind = schedule_kind::interval;
  s.every = std::chrono::minutes{7};
  s.time_zone = new_york.name;
  const wall_time anchor = at("2026-03-08T06:59:30.250Z");
  const auto c = make(s, new_york, anchor);
  CHECK(c->next(anchor - std::chrono::hours{100})->instant == anchor + s.every);
  CHECK(c->next(anchor)->instant == anchor + s.every);
  CHECK(c->next(anchor)->utc_offset == -4 * 3600);
  CHECK(c->next(anchor + s.every)->instant == anchor + 2 * s.every);
  CHECK(c->next(anchor + s.every - milliseconds{1})->instant == anchor + s.every);
  CHECK(c->next(anchor + 1'000'000 * s.every)->instant == anchor + 1'000'001 * s.every);
  CHECK(c->latest(anchor, anchor + 10 * s.every + milliseconds{1})->instant == anchor + 10 * s.every);
  CHECK_FALSE(c->latest(anchor - s.every, anchor + s.every - milliseconds{1}));
  CHECK_FALSE(c->latest(anchor + s.every, anchor + 2 * s.every - milliseconds{1}));
  CHECK_FALSE(c->next(wall_time::max()));
  CHECK(c->latest(anchor, wall_time::max()));
}

TEST_CASE("a monthly schedule clamps to the month's last day and cron's day field does not") {
  schedule s;
  s.kind = schedule_kind::monthly;
  s.day = 31;
  s.hour = 2;
  s.minute = 30;
  const auto c = make(s, plain);
  CHECK(between(*c, at("2028-01-01T00:00:00Z"), at("2028-06-01T00:00:00Z")) ==
        std::vector<std::string>{"2028-01-31T02:30:00+00:00", "2028-02-29T02:30:00+00:00",
                                 "2028-03-31T02:30:00+00:00", "2028-04-30T02:30:00+00:00",
                                 "2028-05-31T02:30:00+00:00"});
  const auto without = make(cron_in(plain, "30 2 31 * *"), plain);
  CHECK(between(*without, at("2028-01-01T00:00:00Z"), at("2028-06-01T00:00:00Z")).size() == 3);
}

TEST_CASE("hourly, daily and weekly mean the cron expressions people would write") {
  const auto same = [](const schedule& s, const std::string& text) {
    const wall_time from = at("2026-02-25T00:00:00Z"), to = at("2026-03-20T00:00:00Z");
    const auto expected = between(*make(cron_in(new_york, text), new_york), from, to);
    REQUIRE_FALSE(expected.empty());
    return between(*make(s, new_york), from, to) == expected;
  };
  schedule s;
  s.time_zone = new_york.name;
  s.minute = 20;
  s.hour = 2;
  s.weekday = 0;
  s.kind = schedule_kind::hourly;
  CHECK(same(s, "20 * * * *"));
  s.kind = schedule_kind::daily;
  CHECK(same(s, "20 2 * * *"));
  s.kind = schedule_kind::weekly;
  CHECK(same(s, "20 2 * * SUN"));
  s.kind = schedule_kind::monthly;
  s.day = 8;
  CHECK(same(s, "20 2 8 * *"));
}

TEST_CASE("a manual schedule never fires") {
  schedule s;
  const auto c = make(s, plain);
  CHECK_FALSE(c->next(wall_time{}));
  CHECK_FALSE(c->latest(wall_time{}, at("2026-01-01T00:00:00Z")));
}

TEST_CASE("instants end with the year 2400 and come through 2038 and 2100") {
  const auto daily = make(cron_in(plain, "0 0 * * *"), plain);
  CHECK(text_of(daily->next(at("2038-01-19T03:14:07Z"))) == "2038-01-20T00:00:00+00:00");
  CHECK(text_of(daily->next(at("2100-02-28T00:00:00Z"))) == "2100-03-01T00:00:00+00:00");
  CHECK(text_of(daily->next(at("2400-12-30T12:00:00Z"))) == "2400-12-31T00:00:00+00:00");
  CHECK_FALSE(daily->next(at("2400-12-31T00:00:00Z")));
  CHECK_FALSE(daily->next(at("9999-01-01T00:00:00Z")));
  CHECK_FALSE(daily->next(wall_time::max()));
  CHECK(text_of(daily->next(wall_time::min())) == "1900-01-01T00:00:00+00:00");
  CHECK(text_of(daily->latest(wall_time::min(), wall_time::max())) == "2400-12-31T00:00:00+00:00");
  const auto leap = make(cron_in(plain, "0 0 29 2 *"), plain);
  CHECK(text_of(leap->next(at("2096-03-01T00:00:00Z"))) == "2104-02-29T00:00:00+00:00");
  CHECK(text_of(leap->latest(wall_time{}, at("2104-02-28T00:00:00Z"))) == "2096-02-29T00:00:00+00:00");
}

TEST_CASE("a schedule with values outside their range is refused with the key it came from") {
  schedule s;
  s.kind = schedule_kind::weekly;
  s.weekday = 7;
  CHECK(check_schedule(s).value().pointer == "/schedule/weekly");
  s.weekday = 6;
  CHECK_FALSE(check_schedule(s).has_value());
  s.hour = 24;
  CHECK(check_schedule(s).value().detail == "the schedule's hour is 24, outside 0-23");
  s.kind = schedule_kind::hourly;
  CHECK_FALSE(check_schedule(s).has_value());
  s.hour = 99;  // which an hourly schedule does not look at
  CHECK(make_calendar(s, {}, plain).value()->next({})->instant == wall_time{std::chrono::hours{1}});
  s.minute = 60;
  CHECK(check_schedule(s).value().pointer == "/schedule/hourly");
  s.kind = schedule_kind::monthly;
  s.minute = s.hour = 0;
  s.day = 0;
  CHECK(check_schedule(s).value().pointer == "/schedule/monthly");
  s.kind = schedule_kind::interval;
  s.every = milliseconds{999};
  CHECK(check_schedule(s).value().pointer == "/schedule/every");
  CHECK(make_calendar(s, {}, plain).error().pointer == "/schedule/every");
  s.every = seconds{1};
  CHECK_FALSE(check_schedule(s).has_value());
  s.every = milliseconds::max();
  CHECK(check_schedule(s).has_value());
  s.kind = schedule_kind::cron;
  s.cron = "0 0 30 2 *";
  CHECK(check_schedule(s).value().pointer == "/schedule/cron");
  CHECK(make_calendar(s, {}, plain).has_error());
  CHECK_FALSE(check_schedule(schedule{}).has_value());
}

TEST_CASE("the offset of a zone changes at the transition itself") {
  CHECK(utc_offset_at(new_york, at("2026-03-08T06:59:59.999Z")) == -5 * 3600);
  CHECK(utc_offset_at(new_york, at("2026-03-08T07:00:00Z")) == -4 * 3600);
  CHECK(utc_offset_at(new_york, at("2027-01-01T00:00:00Z")) == -5 * 3600);
  CHECK(utc_offset_at(plain, wall_time{}) == 0);
}

TEST_CASE("every instant around the changes is the one the naive walk finds, forwards and backwards") {
  struct window {
    const zone_table* zone;
    std::int64_t middle;
  };
  const window windows[] = {{&new_york, utc(2026, 3, 8, 7)},   {&new_york, utc(2026, 11, 1, 6)},
                            {&lord_howe, utc(2026, 4, 4, 15)}, {&lord_howe, utc(2026, 10, 3, 15, 30)},
                            {&apia, utc(2011, 12, 30, 10)},    {&repeated_day, utc(2026, 6, 1)}};
  const char* expressions[] = {"30 2 * * *",   "*/7 * * * *", "0,30 1-3 * * *",
                               "15 * * * SUN", "0 0 L * *",   "*/20 2 * * *"};
  for (const window& w : windows) {
    const std::int64_t begin = w.middle - 40 * 3600, end = w.middle + 40 * 3600;
    const test::naive_clock clock{*w.zone, begin, end, 60};
    for (const char* text : expressions) {
      for (const gap_policy gap : {gap_policy::shift, gap_policy::skip}) {
        for (const fold_policy fold : {fold_policy::first, fold_policy::both}) {
          schedule s = cron_in(*w.zone, text);
          s.gap = gap;
          s.fold = fold;
          const auto c = make(s, *w.zone);
          CAPTURE(w.zone->name);
          CAPTURE(text);
          const wall_time from = from_unix_ms(begin * 1000 - 1), to = from_unix_ms(end * 1000);
          const std::vector<std::string> expected = texts(clock.instants(text, gap, fold));
          CHECK(between(*c, from, to) == expected);
          std::vector<std::string> backwards;
          for (auto i = c->latest(from, to - milliseconds{1}); i;
               i = c->latest(from, i->instant - milliseconds{1})) {
            backwards.insert(backwards.begin(), text_of(i));
          }
          CHECK(backwards == expected);
        }
      }
    }
  }
}

TEST_CASE("ten thousand schedules due in one second find their next instants quickly") {
  const auto shared = std::make_shared<const zone_table>(new_york);
  std::vector<std::unique_ptr<calendar>> all;
  for (int i = 0; i < 10'000; ++i) {
    const std::string text = i % 2 == 0 ? "30 2 * * MON-FRI" : "0 0 29 2 *";
    all.push_back(make_calendar(cron_in(new_york, text), {}, shared).value());
  }
  const auto start = std::chrono::steady_clock::now();
  std::size_t found = 0;
  for (const auto& c : all) found += c->next(at("2026-11-22T00:00:00Z")) ? 1 : 0;
  CHECK(found == all.size());
  // An unoptimised build under a sanitizer takes about 50 ms.
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds{1});
}
