// Mutations as SQL. Runs and attempts change several times in one group commit (queued, offered, started),
// and nobody can see the states in between, so only the last value of each is written. Everything else goes
// in order, one statement each.
#include "apply.hpp"

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>

#include "pack.hpp"
#include "rows.hpp"

namespace orchestrator::store {
namespace {

constexpr const char* insert_run_sql =
    "INSERT INTO runs(id,state,job,job_version,spec,has_args,cancel_requested,held,attempts,failures,losses,"
    "rejections,submitted_at,instant,not_before,started_at,finished_at,retry_of,deciding_lease,args,reason,"
    "after) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22)";
// What a run is made with (job, specification, arguments, instant, origin) never changes, so no index but the
// one over states is touched here.
constexpr const char* update_run_sql =
    "UPDATE runs SET state=?2,cancel_requested=?3,held=?4,attempts=?5,failures=?6,losses=?7,rejections=?8,"
    "not_before=?9,started_at=?10,finished_at=?11,deciding_lease=?12,reason=?13,after=?14 WHERE id=?1";
constexpr const char* insert_attempt_sql =
    "INSERT INTO attempts(lease,run,state,number,term,worker_id,instance,reason,offered_at,started_at,"
    "finished_at,exit_code,signal,max_rss_bytes,cpu_seconds,duration_seconds,output_bytes,error,late,"
    "superseded_status,result_crc,last_event) "
    "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22)";
constexpr const char* update_attempt_sql =
    "UPDATE attempts SET state=?2,reason=?3,started_at=?4,finished_at=?5,exit_code=?6,signal=?7,"
    "max_rss_bytes=?8,cpu_seconds=?9,duration_seconds=?10,output_bytes=?11,error=?12,late=?13,"
    "superseded_status=?14,result_crc=?15,last_event=?16 WHERE lease=?1";
constexpr const char* insert_facts_sql = "INSERT INTO facts(first,count,newest_at,body) VALUES(?1,?2,?3,?4)";
constexpr const char* set_progress_sql =
    "UPDATE progress SET last_number=?1,lease_counter=?2,spec_counter=?3,fact_sequence=?4";

[[noreturn]] void refuse_second_decision(const std::string& job, wall_time instant) {
  throw SQLite::Exception("instant " + to_rfc3339(instant) + " of job " + job + " was decided twice",
                          SQLITE_CONSTRAINT);
}

}  // namespace

progress load_progress(connection& db) {
  progress p;
  statement row(db.handle(), "SELECT last_number,lease_counter,spec_counter,fact_sequence FROM progress");
  if (!row.next()) throw SQLite::Exception("the table progress is empty", SQLITE_CORRUPT);
  p.last_number = row.number(0);
  p.lease_counter = row.number(1);
  p.spec_counter = row.number(2);
  p.fact_sequence = row.number(3);
  p.term = static_cast<std::uint64_t>(db.integer(term_query));
  statement newest(db.handle(), "SELECT id FROM runs ORDER BY id DESC LIMIT 1");
  if (newest.next()) p.newest_run = newest.id(0);
  p.newest_lease = static_cast<std::uint64_t>(db.integer("SELECT max(lease) FROM attempts"));
  return p;
}

batch_applier::batch_applier(connection& db)
    : db_(db),
      durable_(load_progress(db)),
      next_(durable_),
      insert_run_(db.handle(), insert_run_sql),
      find_run_(db.handle(), "SELECT state FROM runs WHERE id=?1"),
      update_run_(db.handle(), update_run_sql),
      insert_attempt_(db.handle(), insert_attempt_sql),
      update_attempt_(db.handle(), update_attempt_sql),
      insert_facts_(db.handle(), insert_facts_sql),
      set_progress_(db.handle(), set_progress_sql) {}

void batch_applier::apply(const std::vector<mutation_batch>& group) {
  next_ = durable_;
  page_ = fact_page{next_.fact_sequence + 1};
  count_changes_ = {};
  runs_.clear();
  attempts_.clear();
  run_index_.clear();
  attempt_index_.clear();
  for (const mutation_batch& batch : group) {
    batch_ = batch.number;
    for (const mutation& m : batch.mutations) one(m);
    next_.last_number = batch.number;
  }
  write_runs_and_attempts();
  flush_facts();
  write_progress();
}

void batch_applier::one(const mutation& m) {
  std::visit([this](const auto& value) { put(value); }, m);
}

void batch_applier::put(const put_spec& m) {
  db_.prepared("INSERT INTO specs(id,text) VALUES(?1,?2) ON CONFLICT(id) DO UPDATE SET text=excluded.text")
      .with(m.id, m.text)
      .run();
  next_.spec_counter = std::max(next_.spec_counter, m.id.value);
}

void batch_applier::put(const put_job& m) {
  const job& j = m.job;
  db_.prepared(
         "INSERT INTO jobs(name,version,paused,schedule_paused,created_at,updated_at,schedule_anchor,cursor)"
         " VALUES(?1,?2,?3,?4,?5,?6,?7,?8) ON CONFLICT(name) DO UPDATE SET version=excluded.version,"
         "paused=excluded.paused,schedule_paused=excluded.schedule_paused,created_at=excluded.created_at,"
         "updated_at=excluded.updated_at,schedule_anchor=excluded.schedule_anchor,cursor=excluded.cursor")
      .with(j.name, j.version, j.paused, j.schedule_paused, j.created_at, j.updated_at, j.schedule_anchor,
            j.cursor)
      .run();
  // A job that was deleted and made again may start over at version 1 with another text.
  db_.prepared(
         "INSERT INTO job_versions(name,version,text) VALUES(?1,?2,?3) "
         "ON CONFLICT(name,version) DO UPDATE SET text=excluded.text WHERE text<>excluded.text")
      .with(j.name, j.version, m.text)
      .run();
}

void batch_applier::put(const delete_job& m) {
  db_.prepared("DELETE FROM jobs WHERE name=?1").with(m.name).run();
}

void batch_applier::put(const put_cursor& m) {
  db_.prepared("UPDATE jobs SET cursor=?2 WHERE name=?1").with(m.job, m.cursor).run();
}

void batch_applier::put(const put_run& m) {
  const auto [entry, fresh] = run_index_.try_emplace(m.run.id, runs_.size());
  if (fresh) {
    runs_.push_back(&m.run);
    return;
  }
  // The trigger sees only what is written, so the same rule is held here for what is not.
  const run*& last = runs_[entry->second];
  ORC_CHECK(!is_final(last->state) || last->state == m.run.state,
            "a run that is final was given another state");
  last = &m.run;
}

void batch_applier::put(const put_attempt& m) {
  const auto [entry, fresh] = attempt_index_.try_emplace(m.attempt.lease, attempts_.size());
  if (fresh)
    attempts_.push_back(&m.attempt);
  else
    attempts_[entry->second] = &m.attempt;
}

void batch_applier::put(const put_worker& m) {
  const worker& w = m.worker;
  const std::string labels = pack_map(w.labels);
  const std::map<std::string, std::uint64_t> amounts(w.resources.begin(), w.resources.end());
  const std::string resources = pack_map(amounts);
  statement& s = db_.prepared(
      "INSERT OR REPLACE INTO "
      "workers(worker_id,instance,boot_id,process,hostname,platform,version,python_version,"
      "pid,slots,credit,legacy,draining,highest_acked,registered_at,last_seen,status,jobs_processed,"
      "uptime_seconds,load,memory_bytes,labels,resources) "
      "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23)");
  s.with(w.worker_id, w.instance, w.boot_id, w.process, w.hostname, w.platform, w.version, w.python_version,
         w.pid, w.slots, w.credit, w.legacy, w.draining, w.highest_acked, w.registered_at, w.last_seen,
         w.status, w.jobs_processed, w.uptime_seconds, w.load, w.memory_bytes);
  s.bind_blob(22, labels);
  s.bind_blob(23, resources);
  s.run();
}

void batch_applier::put(const forget_worker& m) {
  db_.prepared("DELETE FROM workers WHERE worker_id=?1 AND instance=?2").with(m.worker_id, m.instance).run();
}

void batch_applier::put(const put_instant& m) {
  const int outcome = static_cast<int>(m.outcome);
  db_.prepared(
         "INSERT INTO instants(job,instant,outcome,run,rule,count,until) VALUES(?1,?2,?3,?4,?5,?6,?7) "
         "ON CONFLICT(job,instant) DO UPDATE SET count=excluded.count,until=excluded.until "
         "WHERE outcome=excluded.outcome AND rule=excluded.rule AND run IS NULL AND excluded.run IS NULL")
      .with(m.job, m.instant, outcome, m.run, m.rule, m.count, m.until.value_or(m.instant))
      .run();
  if (db_.changes() == 1) return;
  statement& same = db_.prepared(
      "SELECT 1 FROM instants WHERE job=?1 AND instant=?2 AND outcome=?3 AND run IS ?4 AND rule=?5");
  const bool identical = same.with(m.job, m.instant, outcome, m.run, m.rule).next();
  same.reset();
  if (!identical) refuse_second_decision(m.job, m.instant);
}

void batch_applier::put(const withdraw_instants& m) {
  db_.prepared("DELETE FROM instants WHERE job=?1 AND instant>?2 AND run IS NULL").with(m.job, m.after).run();
}

void batch_applier::put(const backfill_instant& m) {
  if (m.shared)
    db_.prepared("DELETE FROM instants WHERE job=?1 AND instant=?2 AND run IS NULL")
        .with(m.job, *m.shared)
        .run();
  for (const stored_instant& row : m.parts)
    put(put_instant{m.job, row.instant, row.outcome, std::nullopt, row.rule, row.count, row.until});
  put(put_instant{m.job, m.instant, instant_outcome::late, m.run, "backfill", 1, std::nullopt});
}

void batch_applier::put(const put_calendar& m) {
  db_.prepared("INSERT OR REPLACE INTO calendars(name,text,updated_at) VALUES(?1,?2,?3)")
      .with(m.name, m.text, m.updated_at)
      .run();
}

void batch_applier::put(const delete_calendar& m) {
  db_.prepared("DELETE FROM calendars WHERE name=?1").with(m.name).run();
}

void batch_applier::put(const put_idempotency& m) {
  db_.prepared("INSERT INTO idempotency(hash,fingerprint,run,key) VALUES(?1,?2,?3,?4)")
      .with(hash64(m.key), m.fingerprint, m.run, m.key)
      .run();
}

void batch_applier::put(const put_fact& m) {
  page_.add(m.fact, batch_);
  if (page_.full()) flush_facts();
}

void batch_applier::put(const put_lease_hole& m) {
  next_.lease_counter = std::max(next_.lease_counter, m.last.value);
  const std::string key = lease_hole_key(m.first);
  db_.prepared("INSERT INTO meta(key,value) VALUES(?1,?2) ON CONFLICT DO UPDATE SET value=excluded.value")
      .with(key, m.last)
      .run();
}

void batch_applier::put(const raise_term& m) {
  next_.term = m.term;
  db_.prepared("UPDATE meta SET value=?1 WHERE key='term'").with(m.term).run();
}

void batch_applier::put(const put_queue& m) {
  const queue& q = m.queue;
  std::optional<std::int64_t> count, period;
  if (q.rate) {
    count = q.rate->count;
    period = q.rate->period.count();
  }
  db_.prepared(
         "INSERT OR REPLACE INTO queues(name,paused,max_running,rate_count,rate_period,priority) "
         "VALUES(?1,?2,?3,?4,?5,?6)")
      .with(q.name, q.paused, q.max_running, count, period, q.priority)
      .run();
}

void batch_applier::put(const delete_queue& m) {
  db_.prepared("DELETE FROM queues WHERE name=?1").with(m.name).run();
}

void batch_applier::put(const put_bucket& m) {
  db_.prepared("INSERT OR REPLACE INTO buckets(name,full_at) VALUES(?1,?2)").with(m.name, m.full_at).run();
}

void batch_applier::flush_facts() {
  if (page_.empty()) return;
  insert_facts_.with(page_.first(), page_.count(), page_.newest_at());
  insert_facts_.bind_blob(4, page_.body());
  insert_facts_.run();
  next_.fact_sequence = page_.next() - 1;
  page_ = fact_page{page_.next()};
}

void batch_applier::write_runs_and_attempts() {
  for (const run* r : runs_) write_run(*r);
  // Ends before starts: one attempt of a run may end and another begin in the same group, and the index that
  // allows one live attempt per run is checked at each statement.
  for (const attempt* a : attempts_)
    if (!is_live(a->state)) write_attempt(*a);
  for (const attempt* a : attempts_)
    if (is_live(a->state)) write_attempt(*a);
}

void batch_applier::write_run(const run& r) {
  const int state = static_cast<int>(r.state);
  const std::string after = pack_dependencies(r.after);
  if (next_.newest_run < r.id || !find_run_.with(r.id).next()) {
    insert_run_.with(r.id, state, r.job, r.job_version, r.spec, r.has_args, r.cancel_requested, r.held,
                     r.attempts, r.failures, r.losses, r.rejections, r.submitted_at, r.instant, r.not_before,
                     r.started_at, r.finished_at, r.retry_of, r.deciding_lease, r.args, r.reason);
    insert_run_.bind_blob(22, after);
    insert_run_.run();
    ++count_changes_[static_cast<std::size_t>(state)];
    next_.newest_run = std::max(next_.newest_run, r.id);
    return;
  }
  const auto before = static_cast<std::size_t>(find_run_.integer(0));
  find_run_.reset();
  update_run_.with(r.id, state, r.cancel_requested, r.held, r.attempts, r.failures, r.losses, r.rejections,
                   r.not_before, r.started_at, r.finished_at, r.deciding_lease, r.reason);
  update_run_.bind_blob(14, after);
  update_run_.run();
  --count_changes_[before];
  ++count_changes_[static_cast<std::size_t>(state)];
}

void batch_applier::write_attempt(const attempt& a) {
  if (a.lease.value <= next_.newest_lease && update_attempt(a)) return;
  // A row that was there before this group and is not any more was purged with its run, while a late message
  // about it was on its way: it must not come back without its run.
  if (a.lease.value <= durable_.newest_lease) return;
  const std::string output_bytes = pack_map(a.output_bytes);
  insert_attempt_.with(a.lease, a.run, static_cast<int>(a.state), a.number, a.term, a.worker_id, a.instance,
                       a.reason, a.offered_at, a.started_at, a.finished_at, a.exit_code, a.signal,
                       a.max_rss_bytes, a.cpu_seconds, a.duration_seconds, std::nullopt, a.error, a.late,
                       a.superseded_status, a.result_crc, a.last_event);
  insert_attempt_.bind_blob(17, output_bytes);
  insert_attempt_.run();
  next_.newest_lease = std::max(next_.newest_lease, a.lease.value);
  next_.lease_counter = std::max(next_.lease_counter, a.lease.value);
}

bool batch_applier::update_attempt(const attempt& a) {
  const std::string output_bytes = pack_map(a.output_bytes);
  update_attempt_.with(a.lease, static_cast<int>(a.state), a.reason, a.started_at, a.finished_at, a.exit_code,
                       a.signal, a.max_rss_bytes, a.cpu_seconds, a.duration_seconds, std::nullopt, a.error,
                       a.late, a.superseded_status, a.result_crc, a.last_event);
  update_attempt_.bind_blob(11, output_bytes);
  update_attempt_.run();
  return db_.changes() == 1;
}

void batch_applier::write_progress() {
  for (std::size_t state = 0; state < count_changes_.size(); ++state) {
    if (count_changes_[state] == 0) continue;
    db_.prepared("UPDATE run_counts SET count=count+?2 WHERE state=?1")
        .with(static_cast<std::int64_t>(state), count_changes_[state])
        .run();
  }
  set_progress_.with(next_.last_number, next_.lease_counter, next_.spec_counter, next_.fact_sequence).run();
}

namespace {

struct row_size {
  std::size_t operator()(const put_spec& m) const { return 32 + m.text.size(); }
  std::size_t operator()(const put_job& m) const { return 128 + m.text.size(); }
  std::size_t operator()(const put_run& m) const {
    return 160 + m.run.job.size() + m.run.args.size() + m.run.reason.size() +
           m.run.after.size() * dependency_bytes;
  }
  std::size_t operator()(const put_attempt& m) const {
    return 192 + m.attempt.error.size() + m.attempt.reason.size();
  }
  std::size_t operator()(const put_fact& m) const { return 64 + m.fact.data.size() + m.fact.subject.size(); }
  std::size_t operator()(const put_idempotency& m) const { return 64 + m.key.size(); }
  template <class Other>
  std::size_t operator()(const Other&) const {
    return 256;
  }
};

}  // namespace

std::size_t estimated_bytes(const mutation_batch& batch) {
  std::size_t total = 64;
  for (const mutation& m : batch.mutations) total += std::visit(row_size{}, m);
  return total;
}

}  // namespace orchestrator::store
