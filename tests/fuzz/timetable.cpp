// Schedules in zones: any text as cron, any numbers for the other kinds, zones with changes at any moment.
// What is accepted must find its instants in bounded time, forwards and backwards the same ones, and around
// the changes of the zone exactly those that the naive walk finds.
#include <time.h>

#include <orchestrator/engine/timetable.hpp>

#include "fuzz/fuzz.hpp"
#include "support/engine_naive_timetable.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using fuzz::must;

namespace {

constexpr std::int64_t hour = 3600;
constexpr std::int64_t change = 1'772'953'200;  // 2026-03-08T07:00:00Z, a Sunday
constexpr double longest_search = 0.25;  // seconds of this thread; under a sanitizer the worst takes 0.01

zone_table make_zone(fuzz::source& in) {
  static const zone_table known[] = {
      {"UTC", 0, {}},
      {"America/New_York", -5 * hour, {{change, -4 * hour}, {change + 238 * 24 * hour - hour, -5 * hour}}},
      {"Australia/Lord_Howe", 11 * hour, {{change, 10 * hour + hour / 2}}},
      {"Pacific/Apia", -10 * hour, {{change, 14 * hour}}},
      {"Test/Repeated", 12 * hour, {{change, -12 * hour}}}};
  const std::size_t which = in.below(std::size(known) + 1);
  if (which < std::size(known)) return known[which];
  const auto offset = [&] { return static_cast<std::int32_t>((in.below(57) * 30 - 14 * 60) * 60); };
  zone_table made{"Test/Made", offset(), {}};
  for (std::int64_t at = change - 20 * hour; made.transitions.size() < in.below(4);) {
    at += static_cast<std::int64_t>(in.below(200)) * hour / 4;
    made.transitions.push_back({at, offset()});
    at += hour / 4;
  }
  return made;
}

double thread_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

std::string in_words(const std::optional<upcoming_instant>& i) {
  return i ? to_rfc3339(i->instant, seconds{i->utc_offset}) + " " + i->note : "never";
}

std::optional<upcoming_instant> next(const calendar& c, wall_time after) {
  const double began = thread_seconds();
  const auto found = c.next(after);
  must(thread_seconds() - began < longest_search, "the next instant is found soon");
  if (found) must(found->instant > after, "the next instant is later", in_words(found));
  return found;
}

std::optional<upcoming_instant> latest(const calendar& c, wall_time after, wall_time at) {
  const double began = thread_seconds();
  const auto found = c.latest(after, at);
  must(thread_seconds() - began < longest_search, "the latest instant is found soon");
  if (found) must(found->instant > after && found->instant <= at, "it lies where it was asked for");
  return found;
}

/// Some instants from `from` on: each is the latest one as of itself, and there is none between two.
void check_both_ways(const calendar& c, wall_time from, int steps) {
  wall_time before = from;
  for (int i = 0; i < steps; ++i) {
    const auto found = next(c, before);
    if (!found) return;
    const auto same = latest(c, before, found->instant);
    must(same && same->instant == found->instant && same->note == found->note,
         "forwards and backwards find the same", in_words(found) + ", " + in_words(same));
    if (found->instant > before + milliseconds{1}) {
      const auto none = latest(c, before, found->instant - milliseconds{1});
      must(!none, "nothing lies before the next instant", in_words(none));
    }
    before = found->instant;
  }
}

std::vector<std::string> in_words(const std::vector<upcoming_instant>& instants) {
  std::vector<std::string> out;
  for (const auto& i : instants) out.push_back(in_words(i));
  return out;
}

/// The fields with one blank between them. Nothing for an @word, which the naive walk does not know, and for
/// seconds, which it would have to walk one by one.
std::optional<std::string> for_the_naive(const std::string& cron) {
  std::string text = cron;
  for (char& c : text) {
    if (c == '\t') c = ' ';
  }
  if (text.find('@') != std::string::npos || test::naive_split(text, ' ').size() != 5) return std::nullopt;
  return text;
}

void compare_with_the_naive(const calendar& c, const schedule& s, const zone_table& zone) {
  const auto text = for_the_naive(s.cron);
  if (!text) return;
  const std::int64_t begin = change - 30 * hour, end = change + 30 * hour;
  const test::naive_clock clock{zone, begin, end, 60};
  const std::vector<std::string> expected = in_words(clock.instants(*text, s.gap, s.fold));
  const wall_time to = from_unix_ms(end * 1000);
  std::vector<std::string> found;
  for (auto i = next(c, from_unix_ms(begin * 1000 - 1)); i && i->instant < to; i = next(c, i->instant))
    found.push_back(in_words(i));
  std::size_t same = 0;
  while (same < std::min(found.size(), expected.size()) && found[same] == expected[same]) ++same;
  must(found == expected, "the naive walk finds the same",
       "'" + *text + "' " + zone.name + "; ours " + (same < found.size() ? found[same] : "ends") +
           ", naive " + (same < expected.size() ? expected[same] : "ends"));
}

schedule make_schedule(fuzz::source& in, const zone_table& zone) {
  schedule s;
  s.time_zone = zone.name;
  s.gap = in.coin() ? gap_policy::skip : gap_policy::shift;
  s.fold = in.coin() ? fold_policy::both : fold_policy::first;
  const std::size_t kind = in.below(16);
  if (kind >= 6) {
    s.kind = schedule_kind::cron;
    s.cron = in.rest();
    return s;
  }
  s.kind = static_cast<schedule_kind>(kind);
  s.every = milliseconds{static_cast<std::int64_t>(in.number())};
  s.minute = static_cast<std::int8_t>(in.byte());
  s.hour = static_cast<std::int8_t>(in.byte());
  s.weekday = static_cast<std::int8_t>(in.byte());
  s.day = static_cast<std::int8_t>(in.byte());
  return s;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source in(data, size);
  const zone_table zone = make_zone(in);
  const bool compare = in.below(4) == 0;
  const schedule s = make_schedule(in, zone);
  const auto refused = check_schedule(s);
  const auto made = make_calendar(s, from_unix_ms(change * 1000), zone);
  must(made.has_value() == !refused.has_value(), "a schedule that passes the check has a calendar");
  if (refused) {
    must(!refused->detail.empty() && !refused->pointer.empty(), "a refusal says where");
    return 0;
  }
  const calendar& c = **made;
  check_both_ways(c, from_unix_ms((change - 30 * hour) * 1000), 40);
  check_both_ways(c, wall_time::min(), 2);
  check_both_ways(c, from_unix_ms(13'000'000'000'000), 2);  // 2381: near the horizon
  must(!next(c, wall_time::max()), "time ends");
  latest(c, wall_time::min(), wall_time::max());
  if (compare && s.kind == schedule_kind::cron) compare_with_the_naive(c, s, zone);
  return 0;
}
