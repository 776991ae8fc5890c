// Zone tables of this machine, and calendars over them: fifteen zones with every habit zones have, compared
// with the naive second implementation around each of their changes.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <orchestrator/base/time.hpp>
#include <orchestrator/engine/timetable.hpp>
#include <orchestrator/server/zones.hpp>

#include "support/engine_naive_timetable.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;

namespace {

const char* const zones[] = {"UTC",
                             "Asia/Hong_Kong",
                             "America/New_York",
                             "Europe/London",
                             "Europe/Berlin",
                             "Australia/Lord_Howe",
                             "Asia/Kathmandu",
                             "Pacific/Apia",
                             "Africa/Casablanca",
                             "America/Sao_Paulo",
                             "Asia/Tehran",
                             "America/St_Johns",
                             "Pacific/Kiritimati",
                             "Africa/Cairo",
                             "Antarctica/Troll"};

zone_table load(const std::string& name) {
  auto table = server::load_zone_table(name);
  if (!table) FAIL("refused: " << name << ": " << table.error().detail);
  return std::move(*table);
}

refusal refused(const std::string& name) {
  auto table = server::load_zone_table(name);
  return table ? refusal{} : table.error();
}

/// The time zones of a system of its own, whose data can be replaced.
class zone_files {
 public:
  zone_files() : directory_(std::filesystem::temp_directory_path() / fmt::format("zones-{}", ::getpid())) {
    std::filesystem::create_directories(directory_ / "Test");
    ::setenv("TZDIR", directory_.c_str(), 1);
  }
  ~zone_files() {
    ::unsetenv("TZDIR");
    server::zone_data_changed();
    server::zone_data_changed();  // back to those of the machine
    std::filesystem::remove_all(directory_);
  }
  void put(const std::string& name, const std::string& like) {
    const auto to = directory_ / "Test" / name;
    std::filesystem::copy_file("/usr/share/zoneinfo/" + like, directory_ / "new");
    std::filesystem::rename(directory_ / "new", to);
  }
  void put_index(const std::string& version) {
    std::ofstream(directory_ / "new") << "# version " << version << "\n";
    std::filesystem::rename(directory_ / "new", directory_ / "tzdata.zi");
  }

 private:
  std::filesystem::path directory_;
};

std::int64_t utc(int year, int month, int day, int hour = 0) {
  return civil_to_seconds({year, month, day, hour, 0, 0});
}

wall_time at(const std::string& rfc3339) { return parse_rfc3339(rfc3339).value(); }

std::unique_ptr<calendar> make(const std::string& text, const zone_table& zone,
                               gap_policy gap = gap_policy::shift, fold_policy fold = fold_policy::first) {
  schedule s;
  s.kind = schedule_kind::cron;
  s.cron = text;
  s.time_zone = zone.name;
  s.gap = gap;
  s.fold = fold;
  auto made = make_calendar(s, {}, zone);
  if (!made) FAIL("refused: " << text << ": " << made.error().detail);
  return std::move(*made);
}

bool same(const upcoming_instant& a, const upcoming_instant& b) {
  return a.instant == b.instant && a.utc_offset == b.utc_offset && a.note == b.note;
}

std::string text_of(const upcoming_instant& i) {
  return to_rfc3339(i.instant, seconds{i.utc_offset}) + (i.note.empty() ? "" : " " + i.note);
}

/// Walks the calendar in both directions through `expected`, which is all there is from `from` to `to`.
std::string difference(const calendar& c, wall_time from, wall_time to,
                       const std::vector<upcoming_instant>& expected) {
  const milliseconds tick{1};
  wall_time before = from - tick;
  for (const upcoming_instant& e : expected) {
    const auto next = c.next(before);
    if (!next || !same(*next, e))
      return "next is " + (next ? text_of(*next) : "never") + ", not " + text_of(e);
    const auto latest = c.latest(before, e.instant);
    if (!latest || !same(*latest, e))
      return "latest is " + (latest ? text_of(*latest) : "never") + ", not " + text_of(e);
    if (c.latest(before, e.instant - tick)) return "something fires before " + text_of(e);
    before = e.instant;
  }
  if (const auto more = c.next(before); more && more->instant < to) return "one too many: " + text_of(*more);
  if (c.latest(before, to - tick)) return "latest finds one too many";
  return "";
}

/// Two days around each change of the zone from 2005 on (as many as a test has time for), a year's end, a
/// leap day.
std::vector<std::int64_t> interesting_times(const zone_table& zone) {
  std::vector<std::int64_t> times{utc(2023, 12, 31, 20), utc(2024, 2, 29, 12)};
  for (const zone_transition& change : zone.transitions) {
    const bool in_years = change.at > utc(2010, 6, 1) && change.at < utc(2012, 6, 1);
    const bool recent = change.at > utc(2025, 1, 1) && change.at < utc(2027, 1, 1);
    const bool last_one =
        change.at < utc(2026, 1, 1) && change.at > utc(2018, 1, 1) && &change == &zone.transitions.back();
    if (in_years || recent || last_one) times.push_back(change.at);
  }
  return times;
}

}  // namespace

TEST_CASE("fifteen zones fire exactly as the naive walk through real time says (K15)") {
  const char* const expressions[] = {"30 2 * * *",        "0 0 * * *",    "*/15 * * * *",    "17 * * * *",
                                     "0,20,40 0-3 * * *", "45 23 * * *",  "5 */2 * * *",     "*/10 1 * * SUN",
                                     "30 1 * * SUN#L",    "0 12 L * *",   "59 23 31 12 *",   "0 0 1,L 1 MON",
                                     "0 0-23/3 29 2 *",   "30 2 31W * *", "0 0 L * +MON-FRI"};
  std::size_t compared = 0;
  for (const char* name : zones) {
    const zone_table zone = load(name);
    for (const std::int64_t middle : interesting_times(zone)) {
      const std::int64_t begin = middle - middle % 3600 - 36 * 3600, end = begin + 72 * 3600;
      const test::naive_clock clock{zone, begin, end, 60};
      for (const char* text : expressions) {
        for (const gap_policy gap : {gap_policy::shift, gap_policy::skip}) {
          const fold_policy fold = gap == gap_policy::shift ? fold_policy::first : fold_policy::both;
          const auto expected = clock.instants(text, gap, fold);
          compared += expected.size();
          const auto c = make(text, zone, gap, fold);
          const std::string found =
              difference(*c, from_unix_ms(begin * 1000), from_unix_ms(end * 1000), expected);
          CHECK_MESSAGE(found.empty(), name << " \"" << text << "\": " << found);
        }
      }
    }
  }
  CHECK(compared > 50'000);
}

TEST_CASE("seconds are exact through a zone's change") {
  for (const char* name : {"America/New_York", "Australia/Lord_Howe"}) {
    const zone_table zone = load(name);
    for (const zone_transition& change : zone.transitions) {
      if (change.at < utc(2026, 1, 1) || change.at > utc(2027, 1, 1)) continue;
      const std::int64_t begin = change.at - 5400, end = change.at + 5400;
      const test::naive_clock clock{zone, begin, end, 1};
      for (const char* text : {"*/13 * * * * *", "59 29 1,2 * * *", "30 0,15 1-3 * * *"}) {
        const auto c = make(text, zone, gap_policy::shift, fold_policy::both);
        const std::string found = difference(*c, from_unix_ms(begin * 1000), from_unix_ms(end * 1000),
                                             clock.instants(text, gap_policy::shift, fold_policy::both));
        CHECK_MESSAGE(found.empty(), name << " \"" << text << "\": " << found);
      }
    }
  }
}

TEST_CASE("New York's fixed times fire once on both days of the change (K12, K13)") {
  const zone_table zone = load("America/New_York");
  CHECK(text_of(*make("30 2 * * *", zone)->next(at("2026-03-08T00:00:00Z"))) ==
        "2026-03-08T03:00:00.000-04:00 gap_shifted");
  const auto fall = make("30 1 * * *", zone);
  const auto first = fall->next(at("2026-11-01T00:00:00Z"));
  CHECK(text_of(*first) == "2026-11-01T01:30:00.000-04:00");
  CHECK(text_of(*fall->next(first->instant)) == "2026-11-02T01:30:00.000-05:00");
}

TEST_CASE("Samoa's skipped day fires at the first instant of the next one") {
  const auto c = make("0 9 * * *", load("Pacific/Apia"));
  const auto shifted = c->next(at("2011-12-29T20:00:00Z"));
  CHECK(text_of(*shifted) == "2011-12-31T00:00:00.000+14:00 gap_shifted");
  CHECK(text_of(*c->next(shifted->instant)) == "2011-12-31T09:00:00.000+14:00");
}

TEST_CASE("summer time goes on through the year 2400") {
  const zone_table zone = load("Europe/Berlin");
  CHECK(utc_offset_at(zone, at("2038-07-01T00:00:00Z")) == 7200);
  CHECK(utc_offset_at(zone, at("2400-07-01T00:00:00Z")) == 7200);
  CHECK(utc_offset_at(zone, at("2400-12-31T00:00:00Z")) == 3600);
  CHECK(zone.transitions.back().at < utc(2401, 1, 1));
  CHECK(text_of(*make("0 12 1 7 *", zone)->next(at("2399-08-01T00:00:00Z"))) ==
        "2400-07-01T12:00:00.000+02:00");
  CHECK_FALSE(make("0 12 1 7 *", zone)->next(at("2400-08-01T00:00:00Z")));
}

TEST_CASE("a table begins in 1900 with its zone's local mean time and ascends") {
  for (const char* name : zones) {
    const zone_table zone = load(name);
    CHECK(zone.name == name);
    std::int32_t offset = zone.first_offset;
    std::int64_t t = utc(1900, 1, 1);
    for (const zone_transition& change : zone.transitions) {
      REQUIRE(change.at > t);
      REQUIRE(change.utc_offset != offset);
      t = change.at;
      offset = change.utc_offset;
    }
  }
  CHECK(load("Asia/Kathmandu").first_offset == 5 * 3600 + 41 * 60 + 16);
  CHECK(load("Asia/Kathmandu").transitions.back().utc_offset == 5 * 3600 + 45 * 60);
  CHECK(load("UTC").transitions.empty());
}

TEST_CASE("names that are no IANA names are refused before a file is opened (K9)") {
  for (const std::string& name :
       {std::string{}, std::string{"../../etc/passwd"}, std::string{"/etc/localtime"},
        std::string{"localtime"}, std::string{"right/UTC"}, std::string{"posixrules"}, std::string{"0"},
        std::string{"TZ="}, std::string{"EST5EDT,M3.2.0"}, std::string{"Europe/Berlin "},
        std::string{"Europe//Berlin"}, std::string{"Europe/"}, std::string{"Fixed/UTC+01:00:00"},
        std::string("UTC\0", 4), std::string{"Z\xc3\xbcrich"}, std::string(10 * 1024, 'A'),
        std::string{":UTC"}, std::string{"Asia/../UTC"}}) {
    const refusal r = refused(name);
    CHECK_MESSAGE(r.detail.find("is not the name of a time zone") != std::string::npos, name);
    CHECK(r.pointer == "/schedule/time_zone");
    CHECK_FALSE(r.hint.empty());
  }
}

TEST_CASE("unknown zones are refused with the nearest known one") {
  CHECK(refused("Europe/Berln").detail == "\"Europe/Berln\" is not a time zone this system knows");
  CHECK(refused("Europe/Berln").hint == "did you mean \"Europe/Berlin\"?");
  CHECK(refused("europe/berlin").hint == "did you mean \"Europe/Berlin\"?");
  CHECK(refused("Hong_Kong").hint == "did you mean \"Asia/Hong_Kong\"?");
  CHECK(refused("Asia").hint == "give an IANA name such as \"Europe/Berlin\"");
  CHECK(refused("Mars/Olympus_Mons").hint == "give an IANA name such as \"Europe/Berlin\"");
}

TEST_CASE("zone data that is replaced while the process runs is read again, when the update is over") {
  zone_files files;
  files.put("Moving", "Asia/Hong_Kong");
  files.put_index("2026a");
  server::zone_data_changed();
  server::zone_data_changed();
  const zone_table before = load("Test/Moving");
  CHECK(utc_offset_at(before, from_unix_ms(utc(2026, 1, 1) * 1000)) == 8 * 3600);
  CHECK_FALSE(server::zone_data_changed());
  files.put("Moving", "Asia/Kathmandu");
  files.put_index("2026b");
  CHECK_FALSE(server::zone_data_changed());  // it may not be whole yet
  CHECK(load("Test/Moving") == before);
  CHECK(server::zone_data_changed());
  CHECK(utc_offset_at(load("Test/Moving"), from_unix_ms(utc(2026, 1, 1) * 1000)) == 5 * 3600 + 45 * 60);
  CHECK_FALSE(server::zone_data_changed());
}
