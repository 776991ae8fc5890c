// The search for matching local times: whole months and days that cannot match are skipped by their bits, so
// the rarest expression (a weekday on 29 February) costs a few hundred steps, not four hundred years of
// minutes.
#include <algorithm>
#include <bit>

#include <orchestrator/base/time.hpp>

#include "field_set.hpp"

namespace orchestrator::engine {
namespace {

/// The bits from `first` to `last`, both included; none if `first` is above `last`.
constexpr std::uint64_t bits(int first, int last) {
  if (first > last) return 0;
  return (~std::uint64_t{0} >> (63 - last)) & (~std::uint64_t{0} << first);
}

constexpr std::uint64_t bit(int n) { return std::uint64_t{1} << n; }
bool has(std::uint64_t set, int n) { return (set >> n & 1) != 0; }
int lowest(std::uint64_t set) { return std::countr_zero(set); }
int highest(std::uint64_t set) { return 63 - std::countl_zero(set); }

/// The day from Monday to Friday next to `day`: back from a Saturday, on from a Sunday, never out of the
/// month.
int nearest_weekday(int day, int weekday, int length) {
  if (weekday == 6) return day == 1 ? 3 : day - 1;
  if (weekday == 0) return day == length ? day - 2 : day + 1;
  return day;
}

std::uint64_t by_day(const field_set& fields, int year, int month, int length) {
  std::uint64_t found = fields.days & bits(1, length);
  for (std::uint64_t near = fields.nearest_weekdays & bits(1, length); near != 0; near &= near - 1)
    found |= bit(nearest_weekday(lowest(near), weekday_of(year, month, lowest(near)), length));
  const bool beyond = (fields.days & bits(length + 1, 31)) != 0;
  if (fields.last_day || (fields.clamp_days && beyond)) found |= bit(length);
  return found;
}

std::uint64_t by_weekday(const field_set& fields, int year, int month, int length) {
  if (fields.weekdays == bits(0, 6)) return bits(1, length);
  constexpr std::uint64_t every_seventh = bit(1) | bit(8) | bit(15) | bit(22) | bit(29);
  const int first_weekday = weekday_of(year, month, 1);
  std::uint64_t found = 0;
  for (int weekday = 0; weekday < 7; ++weekday) {
    const int days_after_first = (weekday - first_weekday + 7) % 7;
    const std::uint64_t all = every_seventh << days_after_first & bits(1, length);
    if (has(fields.weekdays, weekday)) found |= all;
    const std::uint8_t chosen = fields.nth_weekdays[static_cast<std::size_t>(weekday)];
    if (chosen == 0) continue;
    if (has(chosen, 0)) found |= bit(highest(all));
    for (int nth = 1; nth <= 5; ++nth) {
      if (has(chosen, nth)) found |= all & bit(1 + days_after_first + 7 * (nth - 1));
    }
  }
  return found;
}

struct time_of_day {
  int hour = 0, minute = 0, second = 0;
};

std::optional<time_of_day> time_at_or_after(const field_set& f, time_of_day from) {
  if (has(f.hours, from.hour)) {
    if (has(f.minutes, from.minute)) {
      const std::uint64_t later_seconds = f.seconds & bits(from.second, 59);
      if (later_seconds != 0) return time_of_day{from.hour, from.minute, lowest(later_seconds)};
    }
    const std::uint64_t later_minutes = f.minutes & bits(from.minute + 1, 59);
    if (later_minutes != 0) return time_of_day{from.hour, lowest(later_minutes), lowest(f.seconds)};
  }
  const std::uint64_t later_hours = f.hours & bits(from.hour + 1, 23);
  if (later_hours == 0) return std::nullopt;
  return time_of_day{lowest(later_hours), lowest(f.minutes), lowest(f.seconds)};
}

std::optional<time_of_day> time_at_or_before(const field_set& f, time_of_day from) {
  if (has(f.hours, from.hour)) {
    if (has(f.minutes, from.minute)) {
      const std::uint64_t earlier_seconds = f.seconds & bits(0, from.second);
      if (earlier_seconds != 0) return time_of_day{from.hour, from.minute, highest(earlier_seconds)};
    }
    const std::uint64_t earlier_minutes = f.minutes & bits(0, from.minute - 1);
    if (earlier_minutes != 0) return time_of_day{from.hour, highest(earlier_minutes), highest(f.seconds)};
  }
  const std::uint64_t earlier_hours = f.hours & bits(0, from.hour - 1);
  if (earlier_hours == 0) return std::nullopt;
  return time_of_day{highest(earlier_hours), highest(f.minutes), highest(f.seconds)};
}

local_seconds at(int year, int month, int day, time_of_day t) {
  return civil_to_seconds({year, month, day, t.hour, t.minute, t.second});
}

}  // namespace

std::uint64_t days_of_month(const field_set& fields, int year, int month) {
  const int length = days_in_month(year, month);
  const std::uint64_t by_date = by_day(fields, year, month, length);
  const std::uint64_t by_name = by_weekday(fields, year, month, length);
  return fields.either_day ? by_date | by_name : by_date & by_name;
}

bool matches(const field_set& fields, local_seconds t) {
  const civil_time c = seconds_to_civil(t);
  return has(fields.seconds, c.second) && has(fields.minutes, c.minute) && has(fields.hours, c.hour) &&
         has(fields.months, c.month) && has(days_of_month(fields, c.year, c.month), c.day);
}

match_count matches_before(const field_set& fields, local_seconds from, local_seconds day_end) {
  const civil_time c = seconds_to_civil(from);
  const auto in = [](std::uint64_t set) { return static_cast<std::uint64_t>(std::popcount(set)); };
  const std::uint64_t minutes = in(fields.minutes & bits(c.minute + 1, 59));
  const std::uint64_t hours = in(fields.hours & bits(c.hour + 1, 23));
  const std::uint64_t an_hour = in(fields.minutes) * in(fields.seconds);
  const std::uint64_t a_day = in(fields.hours) * an_hour;
  const time_of_day last{highest(fields.hours), highest(fields.minutes), highest(fields.seconds)};
  match_count found{in(fields.seconds & bits(c.second, 59)) + minutes * in(fields.seconds) + hours * an_hour,
                    at(c.year, c.month, c.day, last)};
  const civil_time end = seconds_to_civil(day_end - 1);
  for (int year = c.year, month = c.month, day = c.day; year < end.year || month <= end.month; day = 0) {
    const bool is_last = year == end.year && month == end.month;
    std::uint64_t days = has(fields.months, month) ? days_of_month(fields, year, month) : 0;
    days &= bits(day + 1, is_last ? end.day : 31);
    found.count += in(days)*a_day;
    if (days != 0) found.last = at(year, month, highest(days), last);
    if (++month > 12) {
      month = 1;
      if (++year > end.year) break;
    }
  }
  return found;
}

std::optional<local_seconds> match_at_or_after(const field_set& fields, local_seconds from) {
  const civil_time start = seconds_to_civil(std::max(from, civil_to_seconds({first_year, 1, 1})));
  const auto today = time_at_or_after(fields, {start.hour, start.minute, start.second});
  for (int year = start.year; year <= last_year; ++year) {
    const int first_month = year == start.year ? start.month : 1;
    std::uint64_t months = fields.months & bits(first_month, 12);
    for (; months != 0; months &= months - 1) {
      const int month = lowest(months);
      const bool present = year == start.year && month == start.month;
      std::uint64_t days = days_of_month(fields, year, month);
      if (present) {
        if (today && has(days, start.day)) return at(year, month, start.day, *today);
        days &= bits(start.day + 1, 31);
      }
      if (days == 0) continue;
      return at(year, month, lowest(days),
                {lowest(fields.hours), lowest(fields.minutes), lowest(fields.seconds)});
    }
  }
  return std::nullopt;
}

std::optional<local_seconds> match_at_or_before(const field_set& fields, local_seconds from) {
  const local_seconds latest = civil_to_seconds({last_year + 1, 1, 1}) - 1;
  const civil_time start = seconds_to_civil(std::min(from, latest));
  const auto today = time_at_or_before(fields, {start.hour, start.minute, start.second});
  for (int year = start.year; year >= first_year; --year) {
    const int last_month = year == start.year ? start.month : 12;
    std::uint64_t months = fields.months & bits(1, last_month);
    for (; months != 0; months &= ~bit(highest(months))) {
      const int month = highest(months);
      const bool present = year == start.year && month == start.month;
      std::uint64_t days = days_of_month(fields, year, month);
      if (present) {
        if (today && has(days, start.day)) return at(year, month, start.day, *today);
        days &= bits(1, start.day - 1);
      }
      if (days == 0) continue;
      return at(year, month, highest(days),
                {highest(fields.hours), highest(fields.minutes), highest(fields.seconds)});
    }
  }
  return std::nullopt;
}

}  // namespace orchestrator::engine
