// Schedules at work. Each instant of a job is decided once: its row, the moved cursor and the run it made are
// in one batch, and the row is unique. See schedules.hpp.
#include <orchestrator/base/planted.hpp>

#include "schedules.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "ledger.hpp"
#include "overlap.hpp"
#include "runs.hpp"
#include "space.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t jobs_a_step = 500;
constexpr std::size_t rows_a_step = 4'000;
// Rows without a run that one turn of one job may write; the rest follows in the next step.
constexpr std::size_t spans_a_turn = 200;
constexpr std::size_t on_time_a_turn = 64;  // 1 s is the shortest interval, so ten seconds hold far fewer
// An instant no older than this is on time: a busy second or a short restart is not "missed".
constexpr milliseconds punctual{10'000};
// A cursor further ahead than this was set by a clock that was wrong; it would silence the job until then.
constexpr std::chrono::hours cursor_ahead_max{25};
// Within such a step of the wall clock memory has every decided instant that could come again.
constexpr std::chrono::hours step_covered{24};
constexpr milliseconds tick_of_time{1};

bool is_held(const job_entry& j) { return j.job.paused || j.job.schedule_paused; }

/// The time by which a job's instants are due: jitter makes its clock run late.
wall_time now_of(const core& c, const job_entry& j) { return c.now.wall - j.delay; }

/// Where its on-time instants begin.
wall_time punctual_from(const core& c, const job_entry& j) {
  const milliseconds tolerance =
      std::clamp<milliseconds>(j.job.definition.schedule->start_deadline, seconds{1}, punctual);
  return std::max(*j.job.cursor, now_of(c, j) - tolerance);
}

/// Instants that get a run if nothing objects, oldest first; `late` first.
struct due_instant {
  upcoming_instant what;
  bool late = false;
};

// Walks back from the latest missed instant as far as the catch-up rule allows.
void collect_late(const core& c, const job_entry& j, wall_time until, std::vector<due_instant>& due) {
  const schedule& s = *j.job.definition.schedule;
  const bool newer_exists = !due.empty();
  std::size_t most = 0;
  if (s.catch_up == catch_up_policy::all) most = limits::catch_up_runs;
  if (s.catch_up == catch_up_policy::latest && !newer_exists) most = 1;
  for (wall_time at = until; most > 0 && *j.job.cursor < at; --most) {
    const auto found = j.times->latest(*j.job.cursor, at);
    if (!found || now_of(c, j) - found->instant > s.start_deadline) return;
    due.insert(due.begin(), {*found, true});
    at = found->instant - tick_of_time;
  }
}

std::vector<due_instant> collect(const core& c, const job_entry& j) {
  std::vector<due_instant> due;
  if (is_held(j)) return due;
  const wall_time boundary = punctual_from(c, j);
  for (auto next = j.times->next(boundary);
       next && next->instant <= now_of(c, j) && due.size() < on_time_a_turn;
       next = j.times->next(next->instant))
    due.push_back({*next, false});
  collect_late(c, j, boundary, due);
  return due;
}

instant_outcome outcome_of(const upcoming_instant& i, bool late) {
  if (late) return instant_outcome::late;
  return i.note == "gap_shifted" ? instant_outcome::gap_shifted : instant_outcome::ran;
}

void decide_without_run(core& c, const job_entry& j, wall_time instant, instant_outcome outcome,
                        const std::string& rule) {
  record_quiet(c, j.job.name, {instant, instant, 1, instant_kind::fires, ""}, outcome, rule);
}

void decide(core& c, job_entry& j, const upcoming_instant& i, bool late) {
  if (is_decided(c, j.job.name, i.instant)) return;
  if (c.counts.queued + c.counts.retry_wait >= c.settings.max_queued_runs)
    return decide_without_run(c, j, i.instant, instant_outcome::rejected, "queue full");
  const auto objection = late ? std::nullopt : overlap_objection(*j.name);
  if (objection) return decide_without_run(c, j, i.instant, instant_outcome::skipped_overlap, *objection);
  run_origin from;
  from.name = j.job.name;
  from.job_version = j.job.version;
  from.spec = j.spec;
  from.instant = i.instant;
  const run_entry& r = create_run(c, from);
  record_run(c, j.job.name, i.instant, outcome_of(i, late), r.id, late ? "catch_up" : i.note);
}

/// What becomes of instants that nobody decides to run: those the calendar leaves out, and those that fire
/// while the schedule is held or that were missed.
void record_span(core& c, const job_entry& j, const instant_span& span, const std::string& missed_by) {
  switch (span.kind) {
    case instant_kind::fold_merged:
      return record_quiet(c, j.job.name, span, instant_outcome::fold_merged, "fold first");
    case instant_kind::gap_skipped:
      return record_quiet(c, j.job.name, span, instant_outcome::skipped_calendar, "gap skip");
    case instant_kind::excluded:
      return record_quiet(c, j.job.name, span, instant_outcome::skipped_calendar, span.rule);
    case instant_kind::fires: break;
  }
  if (is_held(j)) return record_quiet(c, j.job.name, span, instant_outcome::paused, "paused");
  record_quiet(c, j.job.name, span, instant_outcome::missed, missed_by);
}

// Accounts for all instants later than the cursor and not later than `until`, and moves the cursor there.
// False: the turn's share is used up, and the cursor stands where it went on to.
bool account(core& c, job_entry& j, wall_time until, const std::string& missed_by, std::size_t& share) {
  while (*j.job.cursor < until) {
    if (share == 0) return false;
    // An instant that a wrong clock fired ahead of time has its row already.
    const auto fired = next_fired(c, j.job.name, *j.job.cursor);
    const wall_time end = fired && *fired <= until ? *fired - tick_of_time : until;
    const std::vector<instant_span> spans = j.times->account(*j.job.cursor, end, share);
    for (const instant_span& span : spans) record_span(c, j, span, missed_by);
    const bool cut = spans.size() == share;
    share -= spans.size();
    if (cut) {
      j.job.cursor = spans.back().last;
      return false;
    }
    j.job.cursor = end == until ? until : *fired;
  }
  return true;
}

std::string catch_up_rule(const schedule& s) {
  switch (s.catch_up) {
    case catch_up_policy::none: return "catch_up none";
    case catch_up_policy::latest: return "catch_up latest";
    case catch_up_policy::all: break;
  }
  return "catch_up all";
}

// The instants that are too old for any catch-up rule, up to the first that is not.
bool account_for_old(core& c, job_entry& j, wall_time first_due, std::size_t& share) {
  const schedule& s = *j.job.definition.schedule;
  if (s.catch_up == catch_up_policy::none) return true;
  const wall_time end = std::min(now_of(c, j) - s.start_deadline, first_due) - tick_of_time;
  return end <= *j.job.cursor || account(c, j, end, "start_deadline", share);
}

// Decides what is due of one job, oldest first, until its share of this turn is used up.
void fire(core& c, job_entry& j) {
  std::size_t share = spans_a_turn;
  const wall_time now = now_of(c, j);
  const std::vector<due_instant> due = collect(c, j);
  const std::string rule = catch_up_rule(*j.job.definition.schedule);
  bool whole = account_for_old(c, j, due.empty() ? now : due.front().what.instant, share);
  for (const due_instant& d : due) {
    whole = whole && account(c, j, d.what.instant - tick_of_time, rule, share);
    if (!whole) break;
    decide(c, j, d.what, d.late);
    j.job.cursor = d.what.instant;
  }
  // More may be due than one turn collects; those are on time in the next one as well.
  if (whole && due.size() < on_time_a_turn) account(c, j, now, rule, share);
  if (!planted(defect::cursor_not_durable)) c.step.rest.emplace_back(put_cursor{j.job.name, *j.job.cursor});
  forget_old_rows(c, j.job.name, *j.job.cursor);
  arm_schedule(c, j);
}

// A cursor in the far future comes from a clock that was wrong once. What was decided ahead of time is taken
// back, but for the runs, which were made.
void check_cursor(core& c, job_entry& j) {
  if (c.instants_wanted || !j.job.cursor || *j.job.cursor <= now_of(c, j) + cursor_ahead_max) return;
  log(c, note_level::warning,
      fmt::format(
          "The schedule of job {} had been decided up to {}, more than 25 h ahead of the clock. It goes on "
          "from now.",
          j.job.name, to_rfc3339(*j.job.cursor)));
  j.job.cursor = now_of(c, j);
  withdraw_after(c, j.job.name, *j.job.cursor, *j.times);
  c.step.rest.emplace_back(put_cursor{j.job.name, *j.job.cursor});
}

day_filter filter_of(const core& c, const schedule& s) {
  day_filter days;
  for (const std::string& name : s.include) days.include.push_back(c.calendars.at(name));
  for (const std::string& name : s.exclude) days.exclude.push_back(c.calendars.at(name));
  return days;
}

// After a restore: instants that the lost database may have decided do not fire again.
void miss_restored(core& c, job_entry& j) {
  if (!c.restored_at || *j.job.cursor >= *c.restored_at) return;
  const wall_time until = std::min(*c.restored_at, now_of(c, j));
  std::size_t share = limits::restored_instants;
  if (*j.job.cursor < until && !account(c, j, until, "restored", share)) j.job.cursor = until;
  c.step.rest.emplace_back(put_cursor{j.job.name, *j.job.cursor});
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
    auto made = make_calendar(*s, j.job.schedule_anchor, c.zones.at(s->time_zone).table, filter_of(c, *s));
    if (!made) {
      log(c, note_level::warning,
          fmt::format("The schedule of job {} cannot be used: {}", j.job.name, made.error().detail));
      return;
    }
    j.times = std::move(*made);
    j.delay = start_delay(*s, j.job.name);
  }
  if (!j.job.cursor) j.job.cursor = now_of(c, j);
  check_cursor(c, j);
  miss_restored(c, j);
  const auto next = j.times->next_of_any_kind(*j.job.cursor);
  if (!next) return;
  j.due = *next + j.delay;
  c.due.insert({*j.due, j.job.name});
}

bool may_fire(const core& c) {
  return space_of(c) == space_level::ample && !c.stopping && !c.instants_wanted;
}

bool fire_due(core& c) {
  if (!may_fire(c)) return false;
  for (std::size_t fired = 0; !c.due.empty() && c.due.begin()->first <= c.now.wall; ++fired) {
    if (fired == jobs_a_step || c.step.rest.size() > rows_a_step) return true;
    fire(c, c.jobs.find(c.due.begin()->second)->second);
  }
  return false;
}

void miss_before_end(core& c, job_entry& j) {
  std::size_t share = spans_a_turn;
  if (may_fire(c) && j.due && *j.due <= c.now.wall) account(c, j, now_of(c, j), "job deleted", share);
}

// A clock that was set years ahead makes more due than one batch holds; the rest follows the new rule.
void fire_before_change(core& c, job_entry& j) {
  while (may_fire(c) && j.due && *j.due <= c.now.wall && c.step.rest.size() <= rows_a_step) fire(c, j);
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
  remember_rows(c, in.instants);
  recheck_cursors(c);
  c.more_work = true;
}

void recheck_cursors(core& c) {
  for (auto& [name, j] : c.jobs) {
    if (j.times) arm_schedule(c, j);
  }
}

}  // namespace orchestrator::engine
