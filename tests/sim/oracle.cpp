// When schedules must fire, worked out a second time. See oracle.hpp.
#include "oracle.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include <orchestrator/protocol/definitions.hpp>

#include "../support/engine_naive_timetable.hpp"
#include "timeline.hpp"

namespace orchestrator::sim {
namespace {

/// Only instants within these are walked; a clock that was set years off is judged by other rules.
constexpr std::int64_t window_begin = first_wall_seconds - 2 * 3600,
                       window_end = first_wall_seconds + 3 * 3600;

bool in_window(wall_time t) {
  return t > from_unix_ms(window_begin * 1000) && t < from_unix_ms(window_end * 1000);
}

std::string cron_of(const schedule& s) {
  switch (s.kind) {
    case schedule_kind::hourly: return fmt::format("{} * * * *", s.minute);
    case schedule_kind::daily: return fmt::format("{} {} * * *", s.minute, s.hour);
    case schedule_kind::weekly: return fmt::format("{} {} * * {}", s.minute, s.hour, s.weekday);
    default: return s.cron;
  }
}

/// Walking costs milliseconds and depends on nothing else, so each schedule is walked once a process.
const std::vector<wall_time>& walked(const schedule& s) {
  static std::map<std::tuple<std::string, std::string, gap_policy, fold_policy>, std::vector<wall_time>>
      cache;
  std::string cron = cron_of(s);
  const auto [at, fresh] = cache.try_emplace({cron, s.time_zone, s.gap, s.fold});
  if (fresh) {
    static std::map<std::string, test::naive_clock> clocks;
    const auto clock =
        clocks.try_emplace(s.time_zone, zone_named(s.time_zone), window_begin, window_end, 60).first;
    for (const auto& i : clock->second.instants(cron, s.gap, s.fold)) at->second.push_back(i.instant);
  }
  return at->second;
}

/// After `after`, up to and including `until`.
std::vector<wall_time> instants(const schedule& s, wall_time anchor, wall_time after, wall_time until) {
  std::vector<wall_time> found;
  if (s.kind == schedule_kind::interval) {
    const auto skipped = std::max<std::int64_t>((after - anchor) / s.every, 0);
    for (wall_time t = anchor + skipped * s.every; t <= until; t += s.every) {
      if (t > std::max(after, anchor)) found.push_back(t);
    }
  } else if (s.kind != schedule_kind::manual) {
    const std::vector<wall_time>& all = walked(s);
    const auto first = std::upper_bound(all.begin(), all.end(), after);
    found.assign(first, std::upper_bound(first, all.end(), std::max(after, until)));
  }
  return found;
}

/// Seconds east of UTC that the zone's clock shows.
std::int64_t offset_at(const std::string& zone, wall_time t) {
  static std::map<std::string, zone_table> zones;
  const auto [at, fresh] = zones.try_emplace(zone);
  if (fresh) at->second = zone_named(zone);
  std::int64_t offset = at->second.first_offset;
  for (const zone_transition& change : at->second.transitions) {
    if (from_unix_ms(change.at * 1000) > t) break;
    offset = change.utc_offset;
  }
  return offset;
}

/// The day by its number since 1970, of which the first was a Thursday. No yearly days are drawn.
bool holds(const day_calendar& c, std::int64_t day) {
  const auto weekday = ((day + 4) % 7 + 7) % 7;
  return (c.weekdays >> weekday & 1) != 0 || std::any_of(c.spans.begin(), c.spans.end(), [&](day_span span) {
           return span.first <= day && day <= span.last;
         });
}

std::optional<day_calendar> read_calendar(const std::string& text) {
  const auto parsed = protocol::parse_json(text);
  auto read = parsed ? protocol::decode_calendar(*parsed) : result<day_calendar>(parsed.error());
  return read ? std::optional(std::move(*read)) : std::nullopt;
}

std::string name_all(const std::set<wall_time>& list) {
  std::string text;
  for (const wall_time t : list) text += (text.empty() ? "" : ", ") + to_rfc3339(t);
  return text.empty() ? "none" : text;
}

}  // namespace

zone_table zone_named(const std::string& name) {
  zone_table z;
  z.name = name;
  if (name == "UTC") return z;
  const std::int32_t jump = name == "Sim/Jumping" ? 3600 : 120;
  for (int i = 0; i < 400; ++i)
    z.transitions.push_back({first_wall_seconds + i * 120, i % 2 == 0 ? jump : 0});
  return z;
}

bool timetable_oracle::is_excluded(const schedule& s, wall_time t) const {
  if (s.include.empty() && s.exclude.empty()) return false;
  const std::int64_t local = to_unix_ms(t) / 1000 + offset_at(s.time_zone, t);
  const std::int64_t day = local / 86'400 - (local % 86'400 < 0 ? 1 : 0);
  const auto named = [&](const std::vector<std::string>& names) {
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      const auto known = calendars_.find(name);
      return known != calendars_.end() && holds(known->second, day);
    });
  };
  return named(s.exclude) || (!s.include.empty() && !named(s.include));
}

/// The page's rule: what is on time may run, and of what is late as much as the rule lets, from the latest
/// back.
std::set<wall_time> timetable_oracle::may_run(const schedule& s, wall_time anchor, wall_time cursor,
                                              wall_time now) const {
  const milliseconds tolerance = std::clamp<milliseconds>(s.start_deadline, 1s, 10s);
  const wall_time on_time_after = std::max(cursor, now - tolerance);
  const auto counted = [&](wall_time after, wall_time until) {
    auto found = instants(s, anchor, after, until);
    std::erase_if(found, [&](wall_time t) { return is_excluded(s, t); });
    return found;
  };
  const auto on_time = counted(on_time_after, now);
  auto late = counted(cursor, on_time_after);
  std::set<wall_time> allowed(on_time.begin(), on_time.end());
  std::size_t most = s.catch_up == catch_up_policy::all ? limits::catch_up_runs : 0;
  if (s.catch_up == catch_up_policy::latest && on_time.empty()) most = 1;
  for (; !late.empty() && most > 0 && now - late.back() <= s.start_deadline; --most) {
    allowed.insert(late.back());
    late.pop_back();
  }
  return allowed;
}

bool timetable_oracle::is_decided(const std::string& job, wall_time t) const {
  const auto known = ledgers_.find(job);
  if (known == ledgers_.end()) return false;
  const auto after = known->second.upper_bound(t);
  return after != known->second.begin() && t <= std::prev(after)->second.last;
}

std::optional<std::string> timetable_oracle::observe(const mutation_batch& batch, wall_time now) {
  std::map<std::string, ledger> fresh;
  for (const mutation& m : batch.mutations) {
    if (const auto* i = std::get_if<put_instant>(&m))
      fresh[i->job][i->instant] = {i->until.value_or(i->instant), i->run.has_value(), i->count};
  }
  // A cursor moves by the schedule that held until this step, also where the step changes the job.
  std::optional<std::string> wrong;
  for (const mutation& m : batch.mutations) {
    const auto* moved = std::get_if<put_cursor>(&m);
    const auto job = moved == nullptr ? jobs_.end() : jobs_.find(moved->job);
    if (job != jobs_.end() && !wrong)
      wrong = judge_move(moved->job, job->second, moved->cursor, now, fresh[moved->job]);
  }
  for (const mutation& m : batch.mutations) {
    const auto* late = std::get_if<backfill_instant>(&m);
    if (late != nullptr && !wrong) wrong = judge_backfill(*late);
    take(m);
    if (!wrong) wrong = judge_row(m);
  }
  return wrong;
}

/// A row that a backfill takes an instant out of loses nothing else.
std::optional<std::string> timetable_oracle::judge_backfill(const backfill_instant& m) const {
  const std::string at = fmt::format("{} at {}", m.job, to_rfc3339(m.instant));
  if (!whole_) return std::nullopt;
  if (!m.shared) {
    if (is_decided(m.job, m.instant)) return fmt::format("I15: {} has a row that it does not leave", at);
    return std::nullopt;
  }
  const auto rows = ledgers_.find(m.job);
  const auto shared = rows == ledgers_.end() ? ledger::const_iterator{} : rows->second.find(*m.shared);
  if (rows == ledgers_.end() || shared == rows->second.end() || shared->second.has_run)
    return fmt::format("I15: {} leaves a row that is not there", at);
  std::uint64_t left = 0;
  for (const stored_instant& part : m.parts) left += part.count;
  const row& whole = shared->second;
  // Where the schedule was changed, a row need not have counted the instant, and no part may be left for what
  // it counted.
  const bool other_rule = (left == 2 && whole.count == 2) || (left == 0 && whole.last == *m.shared);
  if (left + 1 == whole.count || other_rule) return std::nullopt;
  return fmt::format("I15: of {} instants in its row the backfill of {} left {}", whole.count, at, left);
}

/// No row reaches over another one.
std::optional<std::string> timetable_oracle::judge_row(const mutation& m) const {
  const auto* put = std::get_if<put_instant>(&m);
  const auto* late = std::get_if<backfill_instant>(&m);
  if (!whole_ || (put == nullptr && late == nullptr)) return std::nullopt;
  const std::string& job = put != nullptr ? put->job : late->job;
  const ledger& rows = ledgers_.at(job);
  const wall_time from = put != nullptr ? put->instant : late->shared.value_or(late->instant);
  auto at = rows.lower_bound(from);
  if (at != rows.begin()) --at;
  const wall_time to = put != nullptr ? put->until.value_or(put->instant) : late->instant;
  for (auto next = at; next != rows.end() && next->first <= to; at = next) {
    if (++next != rows.end() && next->first <= at->second.last)
      return fmt::format("I15: the row of {} from {} to {} reaches over that of {}", job,
                         to_rfc3339(at->first), to_rfc3339(at->second.last), to_rfc3339(next->first));
  }
  return std::nullopt;
}

void timetable_oracle::take(const mutation& m) {
  if (const auto* j = std::get_if<put_job>(&m)) {
    const auto& s = j->job.definition.schedule;
    jobs_[j->job.name] = {s.value_or(schedule{}), j->job.schedule_anchor, j->job.cursor};
  } else if (const auto* gone = std::get_if<delete_job>(&m)) {
    jobs_.erase(gone->name);
  } else if (const auto* moved = std::get_if<put_cursor>(&m)) {
    if (const auto job = jobs_.find(moved->job); job != jobs_.end()) job->second.cursor = moved->cursor;
  } else if (const auto* i = std::get_if<put_instant>(&m)) {
    ledgers_[i->job][i->instant] = {i->until.value_or(i->instant), i->run.has_value(), i->count};
  } else if (const auto* late = std::get_if<backfill_instant>(&m)) {
    ledger& rows = ledgers_[late->job];
    if (late->shared) rows.erase(*late->shared);
    for (const stored_instant& part : late->parts) rows[part.instant] = {part.until, false, part.count};
    rows[late->instant] = {late->instant, true, 1};
  } else if (const auto* days = std::get_if<put_calendar>(&m)) {
    if (auto read = read_calendar(days->text)) calendars_[days->name] = std::move(*read);
  } else if (const auto* back = std::get_if<withdraw_instants>(&m)) {
    std::erase_if(ledgers_[back->job],
                  [&](const auto& entry) { return entry.first > back->after && !entry.second.has_run; });
  }
}

std::optional<std::string> timetable_oracle::judge_move(const std::string& name, const entry& e, wall_time to,
                                                        wall_time now, const ledger& fresh) const {
  if (!whole_ || !e.cursor || !in_window(*e.cursor) || !in_window(to) || !in_window(now) ||
      !in_window(e.anchor))
    return std::nullopt;
  std::set<wall_time> wanted, recorded;
  for (const wall_time t : instants(e.rule, e.anchor, *e.cursor, to)) {
    if (!is_decided(name, t)) wanted.insert(t);
  }
  const std::set<wall_time> allowed = may_run(e.rule, e.anchor, *e.cursor, now);
  for (const auto& [first, r] : fresh) {
    if (r.has_run && !allowed.contains(first))
      return fmt::format("I15: {} ({}) ran for {} at {}, which its catch-up rule or its days do not let",
                         name, cron_of(e.rule), to_rfc3339(first), to_rfc3339(now));
    // A row that goes on may have begun before the cursor, with the instants of an earlier version.
    const wall_time from = std::max(first - milliseconds{1}, *e.cursor);
    for (const wall_time t : instants(e.rule, e.anchor, from, r.last)) {
      if (!is_decided(name, t)) recorded.insert(t);
    }
  }
  if (wanted == recorded) return std::nullopt;
  return fmt::format(
      "I15: of {} ({}) these instants had to be decided at {} (cursor {} to {}): {}; these were: {}", name,
      cron_of(e.rule), to_rfc3339(now), to_rfc3339(*e.cursor), to_rfc3339(to), name_all(wanted),
      name_all(recorded));
}

void timetable_oracle::reload(store::reader& r, reading_book& book) {
  jobs_.clear();
  for (const auto& stored : r.list_jobs()) {
    const job_definition* definition = book.job(stored.text);
    if (definition == nullptr || !definition->schedule) continue;
    jobs_[stored.job.name] = {*definition->schedule, stored.job.schedule_anchor, stored.job.cursor};
  }
  calendars_.clear();
  for (const auto& stored : r.list_calendars()) {
    if (auto read = read_calendar(stored.text)) calendars_[stored.name] = std::move(*read);
  }
  ledgers_.clear();
  for (const auto& [name, rows] : r.instants_after(wall_time::min())) {
    for (const auto& found : rows)
      ledgers_[name][found.instant] = {found.until, found.run.has_value(), found.count};
  }
}

std::optional<std::string> timetable_oracle::nothing_is_overdue(wall_time now) const {
  for (const auto& [name, e] : jobs_) {
    if (!whole_ || !e.cursor || !in_window(*e.cursor) || !in_window(now) || !in_window(e.anchor)) continue;
    for (const wall_time t : instants(e.rule, e.anchor, *e.cursor, now - 15s)) {
      if (!is_decided(name, t))
        return fmt::format("I15: the instant {} of {} was never decided", to_rfc3339(t), name);
    }
  }
  return std::nullopt;
}

}  // namespace orchestrator::sim
