// Backfill: the instants of a past window that have no run get one. The window's rows are asked of the store,
// since memory holds those of the last two days only; one request at a time, each behind the rows of the one
// before it.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "backfill.hpp"
#include "ledger.hpp"
#include "requests.hpp"
#include "runs.hpp"
#include "schedules.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

bool step_writes(const core& c) {
  return !c.step.first.empty() || !c.step.runs.empty() || !c.step.rest.empty();
}

void begin_next(core& c) {
  if (c.backfills.empty()) return;
  c.backfill_waits = c.issued_number + (step_writes(c) ? 1 : 0);
  ask_for_window(c);
}

/// The window's instants that fire and are decided, at most one more than a request may have.
std::vector<upcoming_instant> instants_of(const job_entry& j, const backfill_schedule& in) {
  std::vector<upcoming_instant> found;
  const wall_time end = std::min(in.to, j.job.cursor.value_or(in.to));
  auto next = j.times->next(in.from - milliseconds{1});
  for (; next && next->instant <= end && found.size() <= limits::backfill_runs;
       next = j.times->next(next->instant))
    found.push_back(*next);
  return found;
}

std::optional<refusal> check_window(const core& c, const backfill_schedule& in) {
  if (in.to < in.from) return refuse(errc::bad_field, "The window ends before it begins.", "/to");
  if (in.to <= c.now.wall) return std::nullopt;
  return refuse(errc::bad_field, "The window ends in the future; a backfill is for the past.", "/to",
                "The schedule itself runs what is to come.");
}

std::optional<refusal> check(const core& c, const backfill_schedule& in) {
  const auto job = c.jobs.find(in.job);
  if (job == c.jobs.end())
    return refuse(errc::not_found, fmt::format("There is no job \"{}\".", printable(in.job)));
  const auto& s = job->second.job.definition.schedule;
  if (!s || s->kind == schedule_kind::manual)
    return refuse(errc::conflict, fmt::format("The job {} has no schedule.", in.job), "",
                  "Run it by hand: orchestrator job run " + in.job);
  if (!job->second.times || c.instants_wanted)
    return refuse(errc::unavailable, "The schedule is not ready yet.", "", "Try again in a moment.");
  if (auto wrong = check_window(c, in)) return wrong;
  if (instants_of(job->second, in).size() <= limits::backfill_runs) return std::nullopt;
  return refuse(errc::limit, fmt::format("The window has more than {} instants.", limits::backfill_runs),
                "/to", "Take a shorter window.");
}

run_id make_run(core& c, const job_entry& j, wall_time instant) {
  run_origin from;
  from.name = j.job.name;
  from.job_version = j.job.version;
  from.spec = j.spec;
  from.instant = instant;
  const run_id id = create_run(c, from).id;
  record_backfill(c, j.job.name, instant, *j.times, id);
  return id;
}

void finish(core& c, const backfill_schedule& in) {
  if (auto wrong = check(c, in)) return respond(c, in.request, std::move(*wrong));
  job_entry& j = c.jobs.find(in.job)->second;
  backfill_answer a;
  for (const upcoming_instant& i : instants_of(j, in)) {
    if (next_fired(c, in.job, i.instant - milliseconds{1}) == i.instant) {
      ++a.had_runs;
    } else {
      a.items.push_back({i.instant, std::nullopt});
    }
  }
  if (!in.dry_run) {
    if (auto full = refuse_new_work(c, a.items.size())) return respond(c, in.request, std::move(*full));
    for (auto& item : a.items) item.run = make_run(c, j, item.instant);
  }
  respond(c, in.request, std::move(a));
}

}  // namespace

void ask_for_window(core& c) {
  if (!c.backfill_waits || c.gate.durable() < *c.backfill_waits) return;
  c.backfill_waits.reset();
  const backfill_schedule& in = c.backfills.front();
  c.step.lookups.emplace_back(load_window{in.request, in.job, in.from, in.to});
}

void on(core& c, const backfill_schedule& in) {
  if (auto full = refuse_new_work(c, 1)) return respond(c, in.request, std::move(*full));
  const auto job = c.jobs.find(in.job);
  if (job != c.jobs.end()) fire_before_change(c, job->second);
  if (auto wrong = check(c, in)) return respond(c, in.request, std::move(*wrong));
  c.backfills.push_back(in);
  if (c.backfills.size() == 1) begin_next(c);
}

void on(core& c, const window_loaded& in) {
  if (c.backfills.empty() || c.backfills.front().request != in.request) return;
  const backfill_schedule request = std::move(c.backfills.front());
  c.backfills.pop_front();
  remember_rows(c, {{request.job, in.rows}});
  finish(c, request);
  begin_next(c);
}

}  // namespace orchestrator::engine
