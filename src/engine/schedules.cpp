// Schedules at work. Each instant of a job is decided once: its row, the moved cursor and the run it made are
// in one batch, and the row is unique. See schedules.hpp.
#include <orchestrator/base/planted.hpp>

#include "schedules.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "requests.hpp"
#include "runs.hpp"
#include "space.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t jobs_a_step = 500;
// An instant no older than this is on time: a busy second or a short restart is not "missed".
constexpr milliseconds punctual{10'000};
// A cursor further ahead than this was set by a clock that was wrong; it would silence the job until then.
constexpr std::chrono::hours cursor_ahead_max{25};
constexpr std::chrono::hours instants_kept{48};
// Within such a step of the wall clock memory has every decided instant that could come again.
constexpr std::chrono::hours step_covered{24};

// What is due of one job: instants on time, and the missed ones its catch-up rule still wants.
struct due_instants {
  std::vector<upcoming_instant> late;      ///< oldest first
  std::vector<upcoming_instant> on_time;   ///< oldest first
  std::optional<upcoming_instant> missed;  ///< the latest that is not caught up
};

void collect_on_time(const core& c, const job_entry& j, wall_time after, due_instants& due) {
  for (auto next = j.times->next(after); next && next->instant <= c.now.wall;
       next = j.times->next(next->instant)) {
    due.on_time.push_back(*next);
    if (due.on_time.size() > 64) break;  // 1 s is the shortest interval, so ten seconds hold far fewer
  }
}

// Walks back from the latest missed instant as far as the rule allows.
void collect_missed(const core& c, const job_entry& j, wall_time until, due_instants& due) {
  const schedule& s = *j.job.definition.schedule;
  const wall_time cursor = *j.job.cursor;
  const bool newer_exists = !due.on_time.empty();
  std::size_t most = 0;
  if (s.catch_up == catch_up_policy::all) most = limits::catch_up_runs;
  if (s.catch_up == catch_up_policy::latest && !newer_exists) most = 1;
  wall_time at = until;
  while (cursor < at) {
    const auto found = j.times->latest(cursor, at);
    if (!found) return;
    if (due.late.size() >= most || c.now.wall - found->instant > s.start_deadline) {
      due.missed = found;
      return;
    }
    due.late.insert(due.late.begin(), *found);
    at = found->instant - milliseconds{1};
  }
}

due_instants collect(const core& c, const job_entry& j) {
  due_instants due;
  const milliseconds tolerance =
      std::clamp<milliseconds>(j.job.definition.schedule->start_deadline, seconds{1}, punctual);
  const wall_time boundary = std::max(*j.job.cursor, c.now.wall - tolerance);
  collect_on_time(c, j, boundary, due);
  collect_missed(c, j, boundary, due);
  return due;
}

void record(core& c, job_entry& j, const upcoming_instant& i, instant_outcome outcome, const run_entry* r,
            std::string rule) {
  c.recent_instants[j.job.name].insert(i.instant);
  if (planted(defect::cursor_not_durable)) return;
  c.step.rest.emplace_back(
      put_instant{j.job.name, i.instant, outcome, r ? std::optional(r->id) : std::nullopt, rule});
  fact_data data;
  data.add("instant", to_rfc3339(i.instant)).add("outcome", to_string(outcome)).add_if("rule", rule);
  if (r != nullptr) data.add("run", to_string(r->id));
  put_fact(c, r != nullptr ? "schedule.fired" : "schedule.skipped", "job/" + j.job.name, data.take());
}

bool is_decided(const core& c, const job_entry& j, wall_time instant) {
  const auto known = c.recent_instants.find(j.job.name);
  return known != c.recent_instants.end() && known->second.contains(instant);
}

// What the overlap rule says about an instant while earlier runs live; nothing: go ahead.
std::optional<std::string> overlap_objection(core& c, job_entry& j) {
  const run_set& live = j.name->live;
  if (live.empty()) return std::nullopt;
  switch (j.job.definition.schedule->overlap) {
    case overlap_policy::skip: return "overlap skip";
    case overlap_policy::queue: {
      const bool waiting = std::any_of(live.begin(), live.end(), [&](const run_entry* r) {
        return r != *live.begin() && (r->state == run_state::queued || r->state == run_state::retry_wait);
      });
      return waiting ? std::optional<std::string>("overlap queue: one waits already") : std::nullopt;
    }
    case overlap_policy::cancel_old: {
      const std::vector<run_entry*> old(live.begin(), live.end());
      for (run_entry* r : old) request_cancel(c, *r, "overlap");
      return std::nullopt;
    }
    case overlap_policy::queue_all:
    case overlap_policy::allow: break;
  }
  return std::nullopt;
}

instant_outcome outcome_of(const upcoming_instant& i, bool late) {
  if (late) return instant_outcome::late;
  return i.note == "gap_shifted" ? instant_outcome::gap_shifted : instant_outcome::ran;
}

void decide(core& c, job_entry& j, const upcoming_instant& i, bool late) {
  if (is_decided(c, j, i.instant)) return;
  if (j.job.paused || j.job.schedule_paused)
    return record(c, j, i, instant_outcome::paused, nullptr, "paused");
  if (c.counts.queued + c.counts.retry_wait >= c.settings.max_queued_runs) {
    return record(c, j, i, instant_outcome::rejected, nullptr, "queue full");
  }
  if (const auto objection = overlap_objection(c, j)) {
    return record(c, j, i, instant_outcome::skipped_overlap, nullptr, *objection);
  }
  run_origin from;
  from.name = j.job.name;
  from.job_version = j.job.version;
  from.spec = j.spec;
  from.instant = i.instant;
  const run_entry& r = create_run(c, from);
  record(c, j, i, outcome_of(i, late), &r, late ? "catch_up" : i.note);
}

void record_missed(core& c, job_entry& j, const upcoming_instant& i) {
  if (is_decided(c, j, i.instant)) return;
  const bool paused = j.job.paused || j.job.schedule_paused;
  record(c, j, i, paused ? instant_outcome::paused : instant_outcome::missed, nullptr,
         paused ? "paused" : "catch_up");
}

void forget_old_instants(core& c, const std::string& name) {
  const auto known = c.recent_instants.find(name);
  if (known == c.recent_instants.end()) return;
  std::erase_if(known->second, [&](wall_time t) { return t <= c.now.wall - instants_kept; });
  if (known->second.empty()) c.recent_instants.erase(known);
}

void fire(core& c, job_entry& j) {
  const due_instants due = collect(c, j);
  if (due.missed) record_missed(c, j, *due.missed);
  for (const upcoming_instant& i : due.late) decide(c, j, i, true);
  for (const upcoming_instant& i : due.on_time) decide(c, j, i, false);
  if (!due.on_time.empty()) {
    j.job.cursor = due.on_time.back().instant;
  } else {
    j.job.cursor = c.now.wall;  // all up to now is decided, whether it was caught up or not
  }
  if (!planted(defect::cursor_not_durable)) c.step.rest.emplace_back(put_cursor{j.job.name, *j.job.cursor});
  forget_old_instants(c, j.job.name);
  arm_schedule(c, j);
}

// A cursor in the far future comes from a clock that was wrong once.
void check_cursor(core& c, job_entry& j) {
  if (!j.job.cursor || *j.job.cursor <= c.now.wall + cursor_ahead_max) return;
  log(c, note_level::warning,
      fmt::format(
          "The schedule of job {} had been decided up to {}, more than 25 h ahead of the clock. It goes on "
          "from now.",
          j.job.name, to_rfc3339(*j.job.cursor)));
  j.job.cursor = c.now.wall;
  c.step.rest.emplace_back(put_cursor{j.job.name, *j.job.cursor});
}

// After a restore: instants that the lost database may have decided do not fire again.
void miss_restored(core& c, job_entry& j) {
  if (!c.restored_at || *j.job.cursor >= *c.restored_at) return;
  const wall_time until = std::min(*c.restored_at, c.now.wall);
  wall_time at = until;
  for (std::size_t n = 0; n < limits::restored_instants && *j.job.cursor < at; ++n) {
    const auto found = j.times->latest(*j.job.cursor, at);
    if (!found) break;
    if (!is_decided(c, j, found->instant)) record(c, j, *found, instant_outcome::missed, nullptr, "restored");
    at = found->instant - milliseconds{1};
  }
  if (*j.job.cursor >= until) return;
  j.job.cursor = until;
  c.step.rest.emplace_back(put_cursor{j.job.name, until});
}

}  // namespace

void want_zone(core& c, const std::string& name) {
  zone_entry& z = c.zones[name];
  if (z.table || z.loading) return;
  if (name == "UTC") {
    auto utc = std::make_shared<zone_table>();
    utc->name = name;
    z.table = std::move(utc);
    return;
  }
  z.loading = true;
  c.step.lookups.emplace_back(load_zone{name});
}

bool has_zone(const core& c, const std::string& name) {
  const auto found = c.zones.find(name);
  return found != c.zones.end() && found->second.table != nullptr;
}

void disarm_schedule(core& c, job_entry& j) {
  if (j.due) c.due.erase({*j.due, j.job.name});
  j.due.reset();
}

void arm_schedule(core& c, job_entry& j) {
  disarm_schedule(c, j);
  const auto& s = j.job.definition.schedule;
  if (!s || s->kind == schedule_kind::manual) return;
  if (!j.times) {
    want_zone(c, s->time_zone);
    if (!has_zone(c, s->time_zone)) return;
    auto made = make_calendar(*s, j.job.schedule_anchor, c.zones.at(s->time_zone).table);
    if (!made) {
      log(c, note_level::warning,
          fmt::format("The schedule of job {} cannot be used: {}", j.job.name, made.error().detail));
      return;
    }
    j.times = std::move(*made);
  }
  if (!j.job.cursor) j.job.cursor = c.now.wall;
  check_cursor(c, j);
  miss_restored(c, j);
  const auto next = j.times->next(*j.job.cursor);
  if (!next) return;
  j.due = next->instant;
  c.due.insert({*j.due, j.job.name});
}

bool fire_due(core& c) {
  // Without room for new work the instants wait, and then follow their catch-up rule.
  if (space_of(c) != space_level::ample || c.stopping || c.instants_wanted) return false;
  for (std::size_t fired = 0; !c.due.empty() && c.due.begin()->first <= c.now.wall; ++fired) {
    if (fired == jobs_a_step) return true;
    fire(c, c.jobs.find(c.due.begin()->second)->second);
  }
  return false;
}

nanoseconds wall_offset(const core& c) {
  return c.now.wall.time_since_epoch() - c.now.mono.time_since_epoch();
}

void watch_wall_clock(core& c) {
  if (planted(defect::clock_step_ignored)) return;
  const nanoseconds step = wall_offset(c) - c.instants_offset;
  if (step < step_covered && step > -step_covered) return;
  c.instants_offset = wall_offset(c);
  c.instants_wanted = c.issued_number;
  c.instants_asked.reset();
  ask_for_instants(c);
}

void ask_for_instants(core& c) {
  if (!c.instants_wanted || c.instants_asked || c.gate.durable() < *c.instants_wanted) return;
  c.instants_asked = c.now.wall - instants_kept;
  c.step.lookups.emplace_back(load_instants{*c.instants_asked});
}

void on(core& c, const instants_loaded& in) {
  if (c.instants_asked != in.after) return;  // the clock was set once more since
  c.instants_asked.reset();
  c.instants_wanted.reset();
  for (const auto& [name, instants] : in.instants)
    c.recent_instants[name].insert(instants.begin(), instants.end());
  c.more_work = true;
}

void recheck_cursors(core& c) {
  for (auto& [name, j] : c.jobs) {
    if (j.times) arm_schedule(c, j);
  }
}

}  // namespace orchestrator::engine
