// Calendars: maps the local times a schedule means onto instants of a zone. Called by the engine for the next
// instant and for catch-up, and by the server for previews.
//
// Around a change of a zone's offset two rules exist, as in Vixie's cron. A schedule at fixed times of day
// follows the wall clock: it fires when the clock first reaches or passes the time, so a skipped time fires
// right after the gap and a repeated one fires once. A schedule with `*` in hour or minute follows real time:
// it fires at every instant whose local time matches, which makes it quiet in a gap and active in both passes
// of a fold.
#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/engine/timetable.hpp>

#include "cron.hpp"
#include "field_set.hpp"

namespace orchestrator::engine {
namespace {

/// Seconds since 1970, UTC.
using utc_seconds = std::int64_t;

/// POSIX allows 24:59:59 west to 25:59:59 east. Bounds how far local and real order can differ.
constexpr std::int64_t widest_offset = 26 * 3600;

/// No instants are looked for outside of these: the years of the search, with room for the widest offset.
utc_seconds first_searched() { return civil_to_seconds({first_year, 1, 1}) - widest_offset; }
utc_seconds last_searched() { return civil_to_seconds({last_year + 1, 1, 1}) + widest_offset; }

/// Rounds down, so that an instant lies strictly after a time in milliseconds if it lies after these seconds.
utc_seconds whole_seconds(wall_time t) {
  const utc_seconds s = std::chrono::floor<seconds>(t.time_since_epoch()).count();
  return std::clamp(s, first_searched(), last_searched());
}

wall_time to_wall(utc_seconds s) { return from_unix_ms(s * 1000); }

/// A zone as stretches of constant offset: stretch 0 lies before the first transition, stretch i from
/// transition i - 1 on.
class zone_map {
 public:
  explicit zone_map(std::shared_ptr<const zone_table> table) : table_(std::move(table)) {
    const auto& all = table_->transitions;
    const bool ascending =
        std::is_sorted(all.begin(), all.end(), [](auto& a, auto& b) { return a.at <= b.at; });
    ORC_CHECK(ascending, "the transitions of a zone ascend");
    for (std::size_t i = 0; i < stretches(); ++i) {
      ORC_CHECK(std::abs(offset(i)) < widest_offset, "an offset from UTC is about a day at most");
    }
  }

  std::size_t stretches() const { return table_->transitions.size() + 1; }
  std::int32_t offset(std::size_t i) const {
    return i == 0 ? table_->first_offset : table_->transitions[i - 1].utc_offset;
  }
  utc_seconds begin(std::size_t i) const {
    return i == 0 ? std::numeric_limits<utc_seconds>::min() / 2 : table_->transitions[i - 1].at;
  }
  utc_seconds end(std::size_t i) const {
    return i + 1 == stretches() ? std::numeric_limits<utc_seconds>::max() / 2 : table_->transitions[i].at;
  }
  local_seconds local_begin(std::size_t i) const { return begin(i) + offset(i); }
  local_seconds local_end(std::size_t i) const { return end(i) + offset(i); }

  std::size_t stretch_at(utc_seconds t) const {
    const auto& all = table_->transitions;
    const auto later = std::upper_bound(all.begin(), all.end(), t,
                                        [](utc_seconds a, const zone_transition& b) { return a < b.at; });
    return static_cast<std::size_t>(later - all.begin());
  }

  /// The latest local time a clock has shown at any instant up to `t`. Only a fold makes it differ from the
  /// present one.
  local_seconds furthest_shown(utc_seconds t) const {
    std::size_t i = stretch_at(t);
    local_seconds furthest = t + offset(i);
    for (; i > 0 && begin(i) > t - 2 * widest_offset; --i)
      furthest = std::max(furthest, local_end(i - 1) - 1);
    return furthest;
  }

  struct arrival {
    utc_seconds at;
    std::size_t stretch;
    bool in_gap;  ///< the clock jumped over the time
  };
  /// The first instant at which a clock shows `local` or has jumped over it.
  arrival first_arrival(local_seconds local) const {
    std::size_t i = stretch_at(local - widest_offset);
    while (local_end(i) <= local) ++i;
    const bool in_gap = local < local_begin(i);
    return {in_gap ? begin(i) : local - offset(i), i, in_gap};
  }

 private:
  std::shared_ptr<const zone_table> table_;
};

/// Follows the wall clock or real time, as the head of this file says.
class field_calendar final : public calendar {
 public:
  field_calendar(const field_set& fields, gap_policy gap, fold_policy fold, zone_map zone)
      : fields_(fields), gap_(gap), fold_(fold), zone_(std::move(zone)) {}

  std::optional<upcoming_instant> next(wall_time after) const override {
    const utc_seconds from = whole_seconds(after);
    const auto real = fields_.wildcard_time || fold_ == fold_policy::both ? next_real(from) : std::nullopt;
    if (fields_.wildcard_time) return real;
    auto wall = next_wall(from);
    if (!real || (wall && wall->instant <= real->instant)) return wall;
    return second_pass(*real);
  }

  std::optional<upcoming_instant> latest(wall_time after, wall_time at) const override {
    const utc_seconds bound = whole_seconds(after);
    const utc_seconds from = whole_seconds(at);
    if (from <= bound) return std::nullopt;
    const auto real =
        fields_.wildcard_time || fold_ == fold_policy::both ? latest_real(bound, from) : std::nullopt;
    if (fields_.wildcard_time) return real;
    auto wall = latest_wall(bound, from);
    if (!real || (wall && wall->instant >= real->instant)) return wall;
    return second_pass(*real);
  }

 private:
  upcoming_instant instant_in(std::size_t stretch, utc_seconds at, const char* note = "") const {
    return {to_wall(at), zone_.offset(stretch), note};
  }

  /// Both passes are wanted, and the wall clock's rule did not yield this instant: it is in the second pass.
  static upcoming_instant second_pass(upcoming_instant i) {
    i.note = "fold_second";
    return i;
  }

  /// Where a time in a gap fires: not at all, or merged with a match at that very instant, or shifted there.
  std::optional<upcoming_instant> settle(const zone_map::arrival& a) const {
    if (!a.in_gap) return instant_in(a.stretch, a.at);
    if (matches(fields_, zone_.local_begin(a.stretch))) return instant_in(a.stretch, a.at);
    if (gap_ == gap_policy::skip) return std::nullopt;
    return instant_in(a.stretch, a.at, "gap_shifted");
  }

  std::optional<upcoming_instant> next_wall(utc_seconds after) const {
    auto local = match_at_or_after(fields_, zone_.furthest_shown(after) + 1);
    while (local) {
      const auto arrival = zone_.first_arrival(*local);
      if (auto found = settle(arrival)) return found;
      local = match_at_or_after(fields_, zone_.local_begin(arrival.stretch));
    }
    return std::nullopt;
  }

  std::optional<upcoming_instant> latest_wall(utc_seconds after, utc_seconds at) const {
    auto local = match_at_or_before(fields_, zone_.furthest_shown(at));
    while (local) {
      const auto arrival = zone_.first_arrival(*local);
      if (arrival.at <= after) return std::nullopt;
      if (auto found = settle(arrival)) return found;
      local = match_at_or_before(fields_, zone_.furthest_shown(arrival.at - 1));
    }
    return std::nullopt;
  }

  std::optional<upcoming_instant> next_real(utc_seconds after) const {
    std::size_t i = zone_.stretch_at(after + 1);
    const local_seconds searched_from = after + 1 + zone_.offset(i);
    auto local = match_at_or_after(fields_, searched_from);
    if (local && *local < zone_.local_end(i)) return instant_in(i, *local - zone_.offset(i));
    while (++i < zone_.stretches()) {
      // A stretch that lies in what was searched already has no match; most do when the next match is far.
      const bool searched = zone_.local_begin(i) >= searched_from && (!local || zone_.local_end(i) <= *local);
      if (searched) continue;
      const auto match = match_at_or_after(fields_, zone_.local_begin(i));
      if (match && *match < zone_.local_end(i)) return instant_in(i, *match - zone_.offset(i));
    }
    return std::nullopt;
  }

  std::optional<upcoming_instant> latest_real(utc_seconds after, utc_seconds at) const {
    std::size_t i = zone_.stretch_at(at);
    const local_seconds searched_to = at + zone_.offset(i);
    const auto local = match_at_or_before(fields_, searched_to);
    auto found = local && *local >= zone_.local_begin(i) ? local : std::nullopt;
    while (!found && i > 0 && zone_.begin(i) > after) {
      --i;
      const bool searched =
          zone_.local_end(i) <= searched_to + 1 && (!local || zone_.local_begin(i) > *local);
      if (searched) continue;
      found = match_at_or_before(fields_, zone_.local_end(i) - 1);
      if (found && *found < zone_.local_begin(i)) found = std::nullopt;
    }
    if (!found || *found - zone_.offset(i) <= after) return std::nullopt;
    return instant_in(i, *found - zone_.offset(i));
  }

  field_set fields_;
  gap_policy gap_;
  fold_policy fold_;
  zone_map zone_;
};

/// Instants `every` apart; the first one is one interval after the anchor.
class interval_calendar final : public calendar {
 public:
  interval_calendar(wall_time anchor, milliseconds every, zone_map zone)
      : anchor_(anchor), every_(every), zone_(std::move(zone)) {}

  std::optional<upcoming_instant> next(wall_time after) const override {
    after = std::clamp(after, to_wall(first_searched()), to_wall(last_searched()));
    const wall_time instant =
        after < anchor_ ? anchor_ + every_ : anchor_ + ((after - anchor_) / every_ + 1) * every_;
    if (instant >= horizon()) return std::nullopt;
    return at(instant);
  }

  std::optional<upcoming_instant> latest(wall_time after, wall_time before) const override {
    before = std::min(before, horizon() - milliseconds{1});
    if (before < anchor_ + every_) return std::nullopt;
    const wall_time instant = anchor_ + (before - anchor_) / every_ * every_;
    if (instant <= after) return std::nullopt;
    return at(instant);
  }

 private:
  static wall_time horizon() { return to_wall(civil_to_seconds({last_year + 1, 1, 1})); }

  upcoming_instant at(wall_time instant) const {
    return {instant, zone_.offset(zone_.stretch_at(whole_seconds(instant))), ""};
  }

  wall_time anchor_;
  milliseconds every_;
  zone_map zone_;
};

class manual_calendar final : public calendar {
 public:
  std::optional<upcoming_instant> next(wall_time) const override { return std::nullopt; }
  std::optional<upcoming_instant> latest(wall_time, wall_time) const override { return std::nullopt; }
};

std::optional<refusal> check_number(const char* what, const char* pointer, int value, int low, int high) {
  if (value >= low && value <= high) return std::nullopt;
  return refusal{.code = errc::bad_field,
                 .detail = fmt::format("the schedule's {} is {}, outside {}-{}", what, value, low, high),
                 .pointer = pointer,
                 .hint = fmt::format("give a {} from {} to {}", what, low, high)};
}

std::optional<refusal> check_numbers(const schedule& s, const char* pointer) {
  if (auto bad = check_number("minute", pointer, s.minute, 0, 59)) return bad;
  if (s.kind == schedule_kind::hourly) return std::nullopt;
  if (auto bad = check_number("hour", pointer, s.hour, 0, 23)) return bad;
  if (s.kind == schedule_kind::weekly) return check_number("weekday", pointer, s.weekday, 0, 6);
  if (s.kind == schedule_kind::monthly) return check_number("day", pointer, s.day, 1, 31);
  return std::nullopt;
}

std::optional<refusal> check_interval(milliseconds every) {
  // The upper bound is the longest duration that can be written; it keeps anchor + every far from overflow.
  constexpr milliseconds shortest = seconds{1};
  constexpr milliseconds longest = std::chrono::hours{24 * 365 * 10};
  if (every >= shortest && every <= longest) return std::nullopt;
  return refusal{
      .code = errc::bad_field,
      .detail = fmt::format("the schedule's interval is {} ms, outside 1 s to 10 years", every.count()),
      .pointer = "/schedule/every",
      .hint = "give a duration such as \"5m\""};
}

/// Checks whatever is not read from text; cron passes.
std::optional<refusal> check_values(const schedule& s) {
  switch (s.kind) {
    case schedule_kind::interval: return check_interval(s.every);
    case schedule_kind::hourly: return check_numbers(s, "/schedule/hourly");
    case schedule_kind::daily: return check_numbers(s, "/schedule/daily");
    case schedule_kind::weekly: return check_numbers(s, "/schedule/weekly");
    case schedule_kind::monthly: return check_numbers(s, "/schedule/monthly");
    case schedule_kind::manual:
    case schedule_kind::cron: break;
  }
  return std::nullopt;
}

/// The field set of a schedule whose values are checked, of any kind but manual and interval.
result<field_set> fields_of(const schedule& s) {
  constexpr std::uint64_t all_days = 0xffff'fffe, all_months = 0x1ffe, all_weekdays = 0x7f,
                          all_hours = 0xff'ffff;
  if (s.kind == schedule_kind::cron) return parse_cron(s.cron);
  field_set f;
  f.minutes = std::uint64_t{1} << s.minute;
  f.hours = s.kind == schedule_kind::hourly ? all_hours : std::uint64_t{1} << s.hour;
  f.days = all_days;
  f.months = all_months;
  f.weekdays = all_weekdays;
  if (s.kind == schedule_kind::hourly) {
    f.wildcard_time = true;
  } else if (s.kind == schedule_kind::weekly) {
    f.weekdays = std::uint64_t{1} << s.weekday;
  } else if (s.kind == schedule_kind::monthly) {
    f.days = std::uint64_t{1} << s.day;
    f.clamp_days = true;
  }
  return f;
}

}  // namespace

std::optional<refusal> check_schedule(const schedule& s) {
  if (s.kind != schedule_kind::cron) return check_values(s);
  const auto fields = parse_cron(s.cron);
  if (!fields) return fields.error();
  return std::nullopt;
}

result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor,
                                                std::shared_ptr<const zone_table> zone) {
  ORC_CHECK(zone != nullptr && zone->name == s.time_zone,
            "a calendar is made with the table of its own zone");
  if (auto bad = check_values(s)) return *std::move(bad);
  if (s.kind == schedule_kind::manual) return std::make_unique<manual_calendar>();
  zone_map map{std::move(zone)};
  if (s.kind == schedule_kind::interval)
    return std::make_unique<interval_calendar>(anchor, s.every, std::move(map));
  const auto fields = fields_of(s);
  if (!fields) return fields.error();
  return std::make_unique<field_calendar>(*fields, s.gap, s.fold, std::move(map));
}

result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor, const zone_table& zone) {
  return make_calendar(s, anchor, std::make_shared<const zone_table>(zone));
}

std::int32_t utc_offset_at(const zone_table& zone, wall_time t) {
  const utc_seconds s = whole_seconds(t);
  const auto later = std::upper_bound(zone.transitions.begin(), zone.transitions.end(), s,
                                      [](utc_seconds a, const zone_transition& b) { return a < b.at; });
  return later == zone.transitions.begin() ? zone.first_offset : std::prev(later)->utc_offset;
}

}  // namespace orchestrator::engine
