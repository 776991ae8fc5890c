// What a start reads: a million queued runs in a few seconds. Their ids come from the index of unfinished
// runs, sorted; the rows are then fetched in key order, so that each page is visited once.
#include <algorithm>
#include <set>

#include "apply.hpp"
#include "open.hpp"
#include "retention_rules.hpp"
#include "rows.hpp"

namespace orchestrator::store {
namespace {

std::vector<run_id> unfinished_ids(connection& main) {
  std::vector<run_id> ids;
  // The first condition is the index's own, by which SQLite knows that it may be used.
  statement query(
      main.handle(),
      "SELECT id FROM runs INDEXED BY runs_unsuccessful WHERE state<>4 AND state<4 ORDER BY state,id");
  while (query.next()) ids.push_back(query.id(0));
  std::sort(ids.begin(), ids.end());
  return ids;
}

void load_runs(connection& main, snapshot& s) {
  const std::vector<run_id> ids = unfinished_ids(main);
  s.runs.reserve(ids.size());
  statement query(main.handle(), std::string{"SELECT "} + run_columns + " FROM runs WHERE id=?1");
  for (const run_id& id : ids) {
    if (query.with(id).next()) s.runs.push_back(read_run(query));
  }
}

void load_attempts_of_snapshot(connection& main, snapshot& s) {
  std::set<lease_id> loaded;
  for (const run& r : s.runs) {
    if (r.attempts == 0) continue;
    for (attempt& a : load_attempts(main, r.id)) {
      loaded.insert(a.lease);
      s.attempts.push_back(std::move(a));
    }
  }
  for (const char* which :
       {"INDEXED BY attempts_live WHERE state<=2", "INDEXED BY attempts_lost WHERE state=9"}) {
    statement query(main.handle(), std::string{"SELECT "} + attempt_columns + " FROM attempts " + which);
    while (query.next()) {
      attempt a = read_attempt(query);
      if (is_unsettled(a) && loaded.insert(a.lease).second) s.attempts.push_back(std::move(a));
    }
  }
  std::sort(s.attempts.begin(), s.attempts.end(),
            [](const attempt& a, const attempt& b) { return a.lease < b.lease; });
}

void load_specs(connection& main, snapshot& s) {
  std::vector<spec_id> ids;
  ids.reserve(s.runs.size());
  for (const run& r : s.runs) ids.push_back(r.spec);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  s.specs.reserve(ids.size());
  statement query(main.handle(), "SELECT text FROM specs WHERE id=?1");
  for (const spec_id id : ids) {
    if (query.with(id).next()) s.specs.push_back({id, query.text(0)});
  }
}

void load_ended_dependencies(connection& main, snapshot& s) {
  statement query(main.handle(), "SELECT state FROM runs WHERE id=?1");
  for (const run& r : s.runs) {
    if (r.state != run_state::queued) continue;
    for (const dependency& d : r.after) {
      if (s.ended_dependencies.contains(d.run) || !query.with(d.run).next()) continue;
      const auto state = static_cast<run_state>(query.integer(0));
      if (is_final(state)) s.ended_dependencies.emplace(d.run, state);
    }
  }
}

// The newest row of a job may go on, however old it is. Jobs come before this.
void load_ledger(connection& main, wall_time now, snapshot& s) {
  s.instants = load_instants(main, now - instant_kept);
  statement newest(main.handle(),
                   "SELECT instant,outcome,run,rule,count,until FROM instants WHERE job=?1 "
                   "ORDER BY instant DESC LIMIT 1");
  for (const stored_job& j : s.jobs) {
    if (s.instants.contains(j.job.name) || !newest.with(j.job.name).next()) continue;
    s.instants[j.job.name].push_back(read_instant(newest));
  }
}

std::optional<wall_time> newest_fact(connection& main) {
  statement query(main.handle(), "SELECT newest_at FROM facts ORDER BY first DESC LIMIT 1");
  return query.next() ? std::optional(query.time(0)) : std::nullopt;
}

void load_outputs(connection& output, snapshot& s) {
  statement query(output.handle(), "SELECT name,end FROM streams WHERE lease=?1 ORDER BY name");
  for (const attempt& a : s.attempts) {
    if (!is_unsettled(a)) continue;
    query.with(a.lease);
    while (query.next()) s.outputs.push_back({a.lease, query.text(0), query.number(1)});
  }
}

}  // namespace

snapshot load_snapshot(connection& main, connection& output, wall_time now) {
  snapshot s;
  // In one transaction on each side: without, SQLite would lock and unlock the file a million times.
  main.execute("BEGIN");
  output.execute("BEGIN");
  std::optional<std::uint64_t> restored_number;
  statement identity(main.handle(), "SELECT key,value FROM meta");
  while (identity.next()) {
    const std::string_view key = identity.bytes(0);
    if (key == "cluster")
      s.cluster = identity.id(1);
    else if (key == "term")
      s.term = identity.number(1);
    else if (key == "restored_at")
      s.restored_at = identity.time(1);
    else if (key == "retained_at")
      s.retained_at = identity.time(1);
    else if (key == "restored_number")
      restored_number = identity.number(1);
    else if (const auto first = lease_hole_of(key))
      s.lease_holes.emplace(*first, lease_id{identity.number(1)});
  }
  if (!s.retained_at) s.retained_at = newest_fact(main);  // no retention went over it yet
  const progress p = load_progress(main);
  s.last_number = p.last_number;
  s.restored_now = restored_number == p.last_number;
  s.lease_counter = lease_id{p.lease_counter};
  s.spec_counter = spec_id{p.spec_counter};
  load_runs(main, s);
  load_ended_dependencies(main, s);
  load_attempts_of_snapshot(main, s);
  load_specs(main, s);
  statement jobs(main.handle(), std::string{"SELECT "} + job_columns + job_source + "ORDER BY jobs.name");
  while (jobs.next()) s.jobs.push_back(read_job(jobs));
  load_ledger(main, now, s);
  s.calendars = load_calendars(main);
  load_outputs(output, s);
  statement workers(main.handle(),
                    std::string{"SELECT "} + worker_columns + " FROM workers ORDER BY worker_id,instance");
  while (workers.next()) s.workers.push_back(read_worker(workers));
  statement queues(main.handle(), std::string{"SELECT "} + queue_columns + " FROM queues ORDER BY name");
  while (queues.next()) s.queues.push_back(read_queue(queues));
  statement buckets(main.handle(), "SELECT name,full_at FROM buckets WHERE full_at>?1");
  buckets.with(now);
  while (buckets.next()) s.buckets.emplace(buckets.text(0), buckets.time(1));
  statement keys(main.handle(), "SELECT hash FROM idempotency ORDER BY id");
  while (keys.next()) s.idempotency_hashes.push_back(keys.number(0));
  main.execute("COMMIT");
  output.execute("COMMIT");
  return s;
}

}  // namespace orchestrator::store
