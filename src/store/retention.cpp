// Retention in small steps; see retention.hpp.
#include "retention.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "rows.hpp"

namespace orchestrator::store {
namespace {

constexpr std::size_t rows_per_step = 500;          // deleted
constexpr std::size_t candidates_per_step = 2'000;  // looked at
constexpr int fact_pages_per_step = 100;

}  // namespace

void retention_pass::step(connection& db, std::vector<lease_id>& dropped) {
  switch (phase_) {
    case phase::start: return start(db);
    case phase::runs: return purge_runs(db, dropped);
    case phase::keys: return purge_keys(db);
    case phase::instants: return purge_instants(db);
    case phase::facts: return purge_facts(db);
    case phase::specs: return purge_specs(db);
    case phase::buckets: return purge_buckets(db);
    case phase::done: return;
  }
}

// The next start must know how late it surely is, whatever its clock says (retention_clock.hpp).
void retention_pass::start(connection& db) {
  db.prepared(
        "INSERT INTO meta(key,value) VALUES('retained_at',?1) "
        "ON CONFLICT(key) DO UPDATE SET value=max(value,excluded.value)")
      .with(request_.now)
      .run();
  const auto total = static_cast<std::uint64_t>(db.integer("SELECT total(count) FROM run_counts"));
  excess_ = total > request_.count ? total - request_.count : 0;
  phase_ = phase::runs;
}

std::vector<retention_pass::candidate> retention_pass::next_candidates(connection& db) {
  std::vector<candidate> found;
  statement& query = db.prepared(
      "SELECT id,state,coalesce(finished_at,submitted_at),spec,job,job_version FROM runs WHERE id>?1 "
      "ORDER BY id LIMIT ?2");
  query.with(cursor_, static_cast<std::int64_t>(candidates_per_step));
  while (query.next()) {
    found.push_back({query.id(0), static_cast<run_state>(query.integer(1)), query.time(2),
                     spec_id{query.number(3)}, query.text(4), static_cast<std::uint32_t>(query.integer(5))});
  }
  return found;
}

void retention_pass::purge_runs(connection& db, std::vector<lease_id>& dropped) {
  const run_id age_bound = first_id_at(request_.now - request_.age);
  const std::vector<candidate> found = next_candidates(db);
  std::size_t deleted = 0;
  for (const candidate& c : found) {
    const bool beyond_count = position_ < excess_;
    if (!beyond_count && c.id >= age_bound) {
      phase_ = phase::keys;
      cursor_ = {};
      return;
    }
    ++position_;
    cursor_ = c.id;
    if (may_purge(db, c, beyond_count)) deleted += purge_run(db, c, dropped);
    if (deleted >= rows_per_step) return;
  }
  if (found.size() < candidates_per_step) {
    phase_ = phase::keys;
    cursor_ = {};
  }
}

bool retention_pass::may_purge(connection& db, const candidate& c, bool beyond_count) const {
  if (!is_final(c.state)) return false;
  if (!is_old_enough(request_, c.ended, beyond_count)) return false;
  statement& attempts =
      db.prepared("SELECT state,coalesce(finished_at,?2),superseded_status<>'' FROM attempts WHERE run=?1")
          .with(c.id, c.ended);
  bool spared = false;
  while (attempts.next()) {
    const auto state = static_cast<attempt_state>(attempts.integer(0));
    spared = spared || spares_its_run(request_, state, attempts.time(1), attempts.integer(2) != 0);
  }
  return !spared;
}

std::size_t retention_pass::purge_run(connection& db, const candidate& c, std::vector<lease_id>& dropped) {
  std::size_t rows = 1;
  statement& leases = db.prepared("SELECT lease FROM attempts WHERE run=?1").with(c.id);
  while (leases.next()) {
    dropped.push_back(lease_id{leases.number(0)});
    db.prepared("INSERT OR IGNORE INTO dropped_output(lease) VALUES(?1)").with(dropped.back()).run();
    ++rows;
  }
  db.prepared("DELETE FROM attempts WHERE run=?1").with(c.id).run();
  db.prepared("UPDATE idempotency SET ended=?2 WHERE run=?1").with(c.id, c.ended).run();
  db.prepared("DELETE FROM runs WHERE id=?1").with(c.id).run();
  db.prepared("UPDATE run_counts SET count=count-1 WHERE state=?1").with(static_cast<int>(c.state)).run();
  // The engine may start the next run of a job's present version from the specification it knows.
  db.prepared(
        "INSERT OR IGNORE INTO spent_specs(id,since) SELECT ?1,?2 WHERE NOT EXISTS "
        "(SELECT 1 FROM jobs WHERE name=?3 AND version=?4 AND ?4>0)")
      .with(c.spec, request_.now, c.job, c.job_version)
      .run();
  return rows;
}

void retention_pass::purge_keys(connection& db) {
  struct key_row {
    std::int64_t id;
    bool expired;
  };
  std::vector<key_row> found;
  const wall_time bound = request_.now - key_kept;
  const run_id end = first_id_at(bound);
  statement& query = db.prepared(
      "SELECT i.id,i.run,i.ended,runs.state,coalesce(runs.finished_at,runs.submitted_at) "
      "FROM idempotency i INDEXED BY idempotency_run LEFT JOIN runs ON runs.id=i.run "
      "WHERE i.run>?1 AND i.run<?2 ORDER BY i.run LIMIT ?3");
  run_id last = cursor_;  // the cursor itself is bound by reference
  query.with(cursor_, end, static_cast<std::int64_t>(rows_per_step));
  while (query.next()) {
    const bool purged = query.is_null(3);
    const bool ended = purged || is_final(static_cast<run_state>(query.integer(3)));
    const wall_time ended_at = purged ? query.time(2) : query.time(4);
    found.push_back({query.integer(0), ended && ended_at < bound});
    last = query.id(1);
  }
  cursor_ = last;
  for (const key_row& row : found)
    if (row.expired) db.prepared("DELETE FROM idempotency WHERE id=?1").with(row.id).run();
  if (found.size() < rows_per_step) phase_ = phase::instants;
}

void retention_pass::purge_instants(connection& db) {
  const wall_time bound = request_.now - std::max(request_.age, instant_kept);
  db.prepared(
        "DELETE FROM instants WHERE (job,instant) IN (SELECT job,instant FROM instants "
        "INDEXED BY instants_until WHERE until<?1 LIMIT ?2)")
      .with(bound, static_cast<std::int64_t>(rows_per_step))
      .run();
  if (db.changes() == 0) phase_ = phase::facts;
}

// Only from the oldest on, so that what is left has no gaps in its numbers.
void retention_pass::purge_facts(connection& db) {
  const wall_time bound = request_.now - request_.age;
  statement& pages =
      db.prepared("SELECT first,newest_at FROM facts ORDER BY first LIMIT ?1").with(fact_pages_per_step);
  std::int64_t last = -1;
  while (pages.next()) {
    if (pages.time(1) >= bound) break;
    last = pages.integer(0);
  }
  pages.reset();
  if (last >= 0)
    db.prepared("DELETE FROM facts WHERE first<=?1").with(last).run();
  else
    phase_ = phase::specs;
}

void retention_pass::purge_specs(connection& db) {
  std::vector<spec_id> spent;
  statement& query = db.prepared("SELECT id FROM spent_specs WHERE since<?1 LIMIT ?2");
  query.with(request_.now - spent_spec_kept, static_cast<std::int64_t>(rows_per_step));
  while (query.next()) spent.push_back(spec_id{query.number(0)});
  for (const spec_id id : spent) {
    db.prepared("DELETE FROM specs WHERE id=?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE spec=?1)")
        .with(id)
        .run();
    db.prepared("DELETE FROM spent_specs WHERE id=?1").with(id).run();
  }
  if (spent.size() < rows_per_step) phase_ = phase::buckets;
}

// A bucket that is full again is one that nobody took from.
void retention_pass::purge_buckets(connection& db) {
  db.prepared("DELETE FROM buckets WHERE name IN (SELECT name FROM buckets WHERE full_at<?1 LIMIT ?2)")
      .with(request_.now, static_cast<std::int64_t>(rows_per_step))
      .run();
  if (db.changes() == 0) phase_ = phase::done;
}

}  // namespace orchestrator::store
