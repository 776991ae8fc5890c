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
#include <orchestrator/base/text.hpp>
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

/// One instant as the rule and the zone make it, before named calendars are asked.
struct candidate {
  upcoming_instant what;
  instant_kind kind = instant_kind::fires;
};

/// How many instants lie from one to some later midnight, and the last of them.
struct rest_of_span {
  std::uint64_t count;
  wall_time last;
};

/// Yields the instants of a rule in a zone, of every kind but `excluded`.
class instant_source {
 public:
  explicit instant_source(zone_map zone) : zone_(std::move(zone)) {}
  virtual ~instant_source() = default;
  virtual std::optional<candidate> next(wall_time after) const = 0;
  /// At or before `at`, strictly after `after`.
  virtual std::optional<candidate> latest(wall_time after, wall_time at) const = 0;
  /// Of the instants from `from`, which fires, to before `day_end`, a midnight: the zone does not change in
  /// between.
  virtual rest_of_span rest(const upcoming_instant& from, wall_time day_end) const = 0;
  const zone_map& zone() const { return zone_; }

 private:
  zone_map zone_;
};

/// Follows the wall clock or real time, as the head of this file says.
class field_source final : public instant_source {
 public:
  field_source(const field_set& fields, gap_policy gap, fold_policy fold, zone_map zone)
      : instant_source(std::move(zone)), fields_(fields), gap_(gap), fold_(fold) {}

  std::optional<candidate> next(wall_time after) const override {
    const utc_seconds from = whole_seconds(after);
    auto real = next_real(from);
    if (fields_.wildcard_time) return real;
    auto wall = next_wall(from);
    if (!real || (wall && wall->what.instant <= real->what.instant)) return wall;
    return second_pass(*real);
  }

  std::optional<candidate> latest(wall_time after, wall_time at) const override {
    const utc_seconds bound = whole_seconds(after);
    const utc_seconds from = whole_seconds(at);
    if (from <= bound) return std::nullopt;
    auto real = latest_real(bound, from);
    if (fields_.wildcard_time) return real;
    auto wall = latest_wall(bound, from);
    if (!real || (wall && wall->what.instant >= real->what.instant)) return wall;
    return second_pass(*real);
  }

  rest_of_span rest(const upcoming_instant& from, wall_time day_end) const override {
    const local_seconds local = whole_seconds(from.instant) + from.utc_offset;
    if (!matches(fields_, local)) return {1, from.instant};  // shifted
    const match_count found = matches_before(fields_, local, whole_seconds(day_end) + from.utc_offset);
    return {found.count, to_wall(found.last - from.utc_offset)};
  }

 private:
  candidate instant_in(std::size_t stretch, utc_seconds at, const char* note = "",
                       instant_kind kind = instant_kind::fires) const {
    return {{to_wall(at), zone().offset(stretch), note}, kind};
  }

  /// The wall clock's rule did not yield this instant: it is in the second pass.
  candidate second_pass(candidate c) const {
    if (fold_ == fold_policy::first) {
      c.kind = instant_kind::fold_merged;
    } else {
      c.what.note = "fold_second";
    }
    return c;
  }

  /// True if the clock jumped over a match on its way into the stretch.
  bool swallowed(std::size_t stretch) const {
    const local_seconds shown = zone().furthest_shown(zone().begin(stretch) - 1);
    const auto match = match_at_or_after(fields_, shown + 1);
    return match && *match < zone().local_begin(stretch);
  }

  /// What a time in a gap becomes at its end, merged with a match at that very instant.
  candidate settle(const zone_map::arrival& a) const {
    const bool enters = a.stretch > 0 && a.at == zone().begin(a.stretch);
    if (!enters || !swallowed(a.stretch)) return instant_in(a.stretch, a.at);
    const bool shown = matches(fields_, zone().local_begin(a.stretch));
    if (gap_ == gap_policy::shift) return instant_in(a.stretch, a.at, shown ? "gap_merged" : "gap_shifted");
    return instant_in(a.stretch, a.at, "", shown ? instant_kind::fires : instant_kind::gap_skipped);
  }

  std::optional<candidate> next_wall(utc_seconds after) const {
    const auto local = match_at_or_after(fields_, zone().furthest_shown(after) + 1);
    if (!local) return std::nullopt;
    return settle(zone().first_arrival(*local));
  }

  std::optional<candidate> latest_wall(utc_seconds after, utc_seconds at) const {
    const auto local = match_at_or_before(fields_, zone().furthest_shown(at));
    if (!local) return std::nullopt;
    const auto arrival = zone().first_arrival(*local);
    if (arrival.at <= after) return std::nullopt;
    return settle(arrival);
  }

  std::optional<candidate> next_real(utc_seconds after) const {
    std::size_t i = zone().stretch_at(after + 1);
    const local_seconds searched_from = after + 1 + zone().offset(i);
    auto local = match_at_or_after(fields_, searched_from);
    if (local && *local < zone().local_end(i)) return instant_in(i, *local - zone().offset(i));
    while (++i < zone().stretches()) {
      // A stretch that lies in what was searched already has no match; most do when the next match is far.
      const bool searched =
          zone().local_begin(i) >= searched_from && (!local || zone().local_end(i) <= *local);
      if (searched) continue;
      const auto match = match_at_or_after(fields_, zone().local_begin(i));
      if (match && *match < zone().local_end(i)) return instant_in(i, *match - zone().offset(i));
    }
    return std::nullopt;
  }

  std::optional<candidate> latest_real(utc_seconds after, utc_seconds at) const {
    std::size_t i = zone().stretch_at(at);
    const local_seconds searched_to = at + zone().offset(i);
    const auto local = match_at_or_before(fields_, searched_to);
    auto found = local && *local >= zone().local_begin(i) ? local : std::nullopt;
    while (!found && i > 0 && zone().begin(i) > after) {
      --i;
      const bool searched =
          zone().local_end(i) <= searched_to + 1 && (!local || zone().local_begin(i) > *local);
      if (searched) continue;
      found = match_at_or_before(fields_, zone().local_end(i) - 1);
      if (found && *found < zone().local_begin(i)) found = std::nullopt;
    }
    if (!found || *found - zone().offset(i) <= after) return std::nullopt;
    return instant_in(i, *found - zone().offset(i));
  }

  field_set fields_;
  gap_policy gap_;
  fold_policy fold_;
};

/// Instants `every` apart; the first one is one interval after the anchor.
class interval_source final : public instant_source {
 public:
  interval_source(wall_time anchor, milliseconds every, zone_map zone)
      : instant_source(std::move(zone)), anchor_(anchor), every_(every) {}

  std::optional<candidate> next(wall_time after) const override {
    after = std::clamp(after, to_wall(first_searched()), to_wall(last_searched()));
    const wall_time instant =
        after < anchor_ ? anchor_ + every_ : anchor_ + ((after - anchor_) / every_ + 1) * every_;
    if (instant >= horizon()) return std::nullopt;
    return at(instant);
  }

  std::optional<candidate> latest(wall_time after, wall_time before) const override {
    before = std::min(before, horizon() - milliseconds{1});
    if (before < anchor_ + every_) return std::nullopt;
    const wall_time instant = anchor_ + (before - anchor_) / every_ * every_;
    if (instant <= after) return std::nullopt;
    return at(instant);
  }

  rest_of_span rest(const upcoming_instant& from, wall_time day_end) const override {
    const auto more = (day_end - milliseconds{1} - from.instant) / every_;
    return {static_cast<std::uint64_t>(more) + 1, from.instant + more * every_};
  }

 private:
  static wall_time horizon() { return to_wall(civil_to_seconds({last_year + 1, 1, 1})); }

  candidate at(wall_time instant) const {
    return {{instant, zone().offset(zone().stretch_at(whole_seconds(instant))), ""}, instant_kind::fires};
  }

  wall_time anchor_;
  milliseconds every_;
};

class single_source final : public instant_source {
 public:
  single_source(wall_time at, zone_map zone) : instant_source(std::move(zone)), at_(at) {}

  std::optional<candidate> next(wall_time after) const override {
    if (at_ <= after) return std::nullopt;
    return only();
  }
  std::optional<candidate> latest(wall_time after, wall_time at) const override {
    if (at_ <= after || at_ > at) return std::nullopt;
    return only();
  }
  rest_of_span rest(const upcoming_instant& from, wall_time) const override { return {1, from.instant}; }

 private:
  candidate only() const {
    return {{at_, zone().offset(zone().stretch_at(whole_seconds(at_))), ""}, instant_kind::fires};
  }

  wall_time at_;
};

/// A source within its first and last day, asked by named calendars which of its days count.
class dated_calendar final : public calendar {
 public:
  dated_calendar(std::unique_ptr<instant_source> source, const schedule& s, day_filter days)
      : source_(std::move(source)), days_(std::move(days)) {
    if (s.start) begin_ = start_of_day(*s.start);
    if (s.end) end_ = start_of_day(*s.end + 1);
  }

  std::optional<upcoming_instant> next(wall_time after) const override {
    for (int days = 0; days < days_searched; ++days) {
      const auto found = candidate_after(after);
      if (!found) return std::nullopt;
      if (found->kind == instant_kind::fires && !objection(found->what)) return found->what;
      after = found->what.instant;
      if (found->kind == instant_kind::fires) after = std::max(after, end_of_date(found->what));
    }
    return std::nullopt;
  }

  std::optional<upcoming_instant> latest(wall_time after, wall_time at) const override {
    after = std::max(after, begin_ - tick);
    at = std::min(at, end_ - tick);
    for (int days = 0; days < days_searched; ++days) {
      const auto found = source_->latest(after, at);
      if (!found) return std::nullopt;
      if (found->kind == instant_kind::fires && !objection(found->what)) return found->what;
      at = found->what.instant - tick;
      if (found->kind == instant_kind::fires) at = std::min(at, begin_of_date(found->what) - tick);
    }
    return std::nullopt;
  }

  std::optional<wall_time> next_of_any_kind(wall_time after) const override {
    const auto found = candidate_after(after);
    if (!found) return std::nullopt;
    return found->what.instant;
  }

  std::vector<instant_span> account(wall_time after, wall_time until, std::size_t most) const override {
    std::vector<instant_span> spans;
    while (after < until) {
      const auto found = candidate_after(after);
      if (!found || found->what.instant > until) break;
      instant_span span{found->what.instant, found->what.instant, 1, found->kind, ""};
      if (span.kind == instant_kind::fires) {
        if (auto why = objection(found->what)) {
          span.kind = instant_kind::excluded;
          span.rule = *std::move(why);
        }
        if (is_steady(found->what)) take_rest(found->what, until, span);
      }
      after = span.last;
      if (!spans.empty() && spans.back().kind == span.kind && spans.back().rule == span.rule) {
        spans.back().last = span.last;
        spans.back().count += span.count;
      } else {
        if (spans.size() == most) break;
        spans.push_back(std::move(span));
      }
    }
    return spans;
  }

 private:
  static constexpr milliseconds tick{1};
  static constexpr int days_searched = 4'000;

  const zone_map& zone() const { return source_->zone(); }

  wall_time start_of_day(std::int32_t day) const {
    return to_wall(zone().first_arrival(local_seconds{day} * 86'400).at);
  }

  std::optional<candidate> candidate_after(wall_time after) const {
    auto found = source_->next(std::max(after, begin_ - tick));
    if (found && found->what.instant >= end_) found.reset();
    return found;
  }

  /// From an instant to the last one of its day, or of the stretch if all days are alike, but not beyond
  /// `until`.
  void take_rest(const upcoming_instant& from, wall_time until, instant_span& span) const {
    const wall_time day_end = days_.empty() ? last_midnight(from, until) : end_of_day(from) + tick;
    const rest_of_span rest = source_->rest(from, day_end);
    span.count = rest.count;
    span.last = rest.last;
    if (rest.last <= until) return;
    span.count -= source_->rest(source_->next(until)->what, day_end).count;
    span.last = source_->latest(from.instant - tick, until)->what.instant;
  }

  /// The last midnight of the stretch of an instant whose day lies in it, but at most the one after `until`.
  wall_time last_midnight(const upcoming_instant& from, wall_time until) const {
    const utc_seconds end =
        std::min({zone().end(zone().stretch_at(whole_seconds(from.instant))), whole_seconds(end_),
                  whole_seconds(end_of_day({std::max(until, from.instant), from.utc_offset, ""})) + 1});
    return std::max(begin_of_day({to_wall(end), from.utc_offset, ""}), end_of_day(from) + tick);
  }

  static local_seconds local_of(const upcoming_instant& i) { return whole_seconds(i.instant) + i.utc_offset; }
  static std::int32_t day_of(const upcoming_instant& i) {
    const local_seconds local = local_of(i);
    return static_cast<std::int32_t>((local - (local % 86'400 + 86'400) % 86'400) / 86'400);
  }
  /// The last and the first millisecond of its local day, by the offset that holds at it.
  static wall_time end_of_day(const upcoming_instant& i) {
    return to_wall((day_of(i) + local_seconds{1}) * 86'400 - i.utc_offset) - tick;
  }
  static wall_time begin_of_day(const upcoming_instant& i) {
    return to_wall(local_seconds{day_of(i)} * 86'400 - i.utc_offset);
  }
  /// The zone keeps its offset from it to the end of its day, and not in the second pass of a fold.
  bool is_steady(const upcoming_instant& i) const {
    const utc_seconds at = whole_seconds(i.instant);
    const std::size_t stretch = zone().stretch_at(at);
    return zone().end(stretch) > whole_seconds(end_of_day(i)) && zone().furthest_shown(at) == local_of(i);
  }
  /// Its day, as far as the zone keeps its offset: all these instants are of the same date. So a day on which
  /// the offset changes costs a search two looks and not one for each instant.
  wall_time end_of_date(const upcoming_instant& i) const {
    const utc_seconds end = zone().end(zone().stretch_at(whole_seconds(i.instant)));
    return whole_seconds(end_of_day(i)) < end ? end_of_day(i) : to_wall(end) - tick;
  }
  wall_time begin_of_date(const upcoming_instant& i) const {
    const utc_seconds begin = zone().begin(zone().stretch_at(whole_seconds(i.instant)));
    return begin <= whole_seconds(begin_of_day(i)) ? begin_of_day(i) : to_wall(begin);
  }

  /// Why its day does not count; nothing if it does.
  std::optional<std::string> objection(const upcoming_instant& i) const {
    if (days_.empty()) return std::nullopt;
    const auto holds = [day = day_of(i)](const auto& c) { return contains(*c, day); };
    const auto out = std::find_if(days_.exclude.begin(), days_.exclude.end(), holds);
    if (out != days_.exclude.end()) return "exclude " + (*out)->name;
    if (days_.include.empty() || std::any_of(days_.include.begin(), days_.include.end(), holds))
      return std::nullopt;
    std::string why = "not in";
    for (const auto& c : days_.include) why += " " + c->name;
    return why;
  }

  std::unique_ptr<instant_source> source_;
  day_filter days_;
  wall_time begin_ = to_wall(first_searched());
  wall_time end_ = to_wall(last_searched());
};

class manual_calendar final : public calendar {
 public:
  std::optional<upcoming_instant> next(wall_time) const override { return std::nullopt; }
  std::optional<upcoming_instant> latest(wall_time, wall_time) const override { return std::nullopt; }
  std::optional<wall_time> next_of_any_kind(wall_time) const override { return std::nullopt; }
  std::vector<instant_span> account(wall_time, wall_time, std::size_t) const override { return {}; }
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
    case schedule_kind::once:
    case schedule_kind::cron: break;
  }
  return std::nullopt;
}

std::optional<refusal> check_dates(const schedule& s) {
  if (!s.start || !s.end || *s.start <= *s.end) return std::nullopt;
  return refusal{.code = errc::bad_field,
                 .detail = "the schedule ends before it starts",
                 .pointer = "/schedule/end",
                 .hint = "both days are included; give an end on or after the start"};
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
  if (auto bad = check_dates(s)) return bad;
  if (s.kind != schedule_kind::cron) return check_values(s);
  const auto fields = parse_cron(s.cron);
  if (!fields) return fields.error();
  return std::nullopt;
}

result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor,
                                                std::shared_ptr<const zone_table> zone, day_filter days) {
  ORC_CHECK(zone != nullptr && zone->name == s.time_zone,
            "a calendar is made with the table of its own zone");
  if (auto bad = check_values(s)) return *std::move(bad);
  if (s.kind == schedule_kind::manual) return std::make_unique<manual_calendar>();
  zone_map map{std::move(zone)};
  std::unique_ptr<instant_source> source;
  if (s.kind == schedule_kind::interval) {
    source = std::make_unique<interval_source>(anchor, s.every, std::move(map));
  } else if (s.kind == schedule_kind::once) {
    source = std::make_unique<single_source>(s.at, std::move(map));
  } else {
    const auto fields = fields_of(s);
    if (!fields) return fields.error();
    source = std::make_unique<field_source>(*fields, s.gap, s.fold, std::move(map));
  }
  return std::make_unique<dated_calendar>(std::move(source), s, std::move(days));
}

result<std::unique_ptr<calendar>> make_calendar(const schedule& s, wall_time anchor, const zone_table& zone,
                                                day_filter days) {
  return make_calendar(s, anchor, std::make_shared<const zone_table>(zone), std::move(days));
}

milliseconds start_delay(const schedule& s, std::string_view job) {
  if (s.jitter <= milliseconds{0}) return milliseconds{0};
  return milliseconds{static_cast<std::int64_t>(hash64(job) % static_cast<std::uint64_t>(s.jitter.count()))};
}

std::int32_t utc_offset_at(const zone_table& zone, wall_time t) {
  const utc_seconds s = whole_seconds(t);
  const auto later = std::upper_bound(zone.transitions.begin(), zone.transitions.end(), s,
                                      [](utc_seconds a, const zone_transition& b) { return a < b.at; });
  return later == zone.transitions.begin() ? zone.first_offset : std::prev(later)->utc_offset;
}

}  // namespace orchestrator::engine
