// Rows as model values; see rows.hpp.
#include "rows.hpp"

#include <algorithm>
#include <charconv>

#include "pack.hpp"

namespace orchestrator::store {
namespace {

constexpr std::string_view lease_hole = "lease_hole/";

}  // namespace

std::string lease_hole_key(lease_id first) { return std::string(lease_hole) + std::to_string(first.value); }

std::optional<lease_id> lease_hole_of(std::string_view key) {
  if (!key.starts_with(lease_hole)) return std::nullopt;
  key.remove_prefix(lease_hole.size());
  lease_id first;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), first.value);
  if (error != std::errc{} || end != key.data() + key.size()) return std::nullopt;
  return first;
}

std::string pack_dependencies(const std::vector<dependency>& after) {
  std::string out;
  for (const dependency& d : after) {
    out.append(d.run.bytes.begin(), d.run.bytes.end());
    out.push_back(static_cast<char>(d.on));
  }
  return out;
}

std::vector<dependency> unpack_dependencies(std::string_view bytes) {
  std::vector<dependency> after(bytes.size() / dependency_bytes);
  for (dependency& d : after) {
    std::copy_n(bytes.begin(), d.run.bytes.size(), d.run.bytes.begin());
    d.on = static_cast<after_condition>(bytes[dependency_bytes - 1]);
    bytes.remove_prefix(dependency_bytes);
  }
  return after;
}

run read_run(const statement& row) {
  run r;
  r.id = row.id(0);
  r.state = static_cast<run_state>(row.integer(1));
  r.job = row.text(2);
  r.job_version = static_cast<std::uint32_t>(row.integer(3));
  r.spec = spec_id{row.number(4)};
  r.has_args = row.integer(5) != 0;
  r.cancel_requested = row.integer(6) != 0;
  r.held = row.integer(7) != 0;
  r.attempts = static_cast<int>(row.integer(8));
  r.failures = static_cast<int>(row.integer(9));
  r.losses = static_cast<int>(row.integer(10));
  r.rejections = static_cast<int>(row.integer(11));
  r.submitted_at = row.time(12);
  r.instant = row.maybe_time(13);
  r.not_before = row.maybe_time(14);
  r.started_at = row.maybe_time(15);
  r.finished_at = row.maybe_time(16);
  r.retry_of = row.maybe_id(17);
  r.deciding_lease = lease_id{row.number(18)};
  r.args = row.text(19);
  r.reason = row.text(20);
  r.after = unpack_dependencies(row.bytes(21));
  return r;
}

namespace {

std::optional<int> maybe_int(const statement& row, int column) {
  if (row.is_null(column)) return std::nullopt;
  return static_cast<int>(row.integer(column));
}

}  // namespace

attempt read_attempt(const statement& row) {
  attempt a;
  a.lease = lease_id{row.number(0)};
  a.run = row.id(1);
  a.state = static_cast<attempt_state>(row.integer(2));
  a.number = static_cast<int>(row.integer(3));
  a.term = row.number(4);
  a.worker_id = row.text(5);
  a.instance = row.id(6);
  a.reason = row.text(7);
  a.offered_at = row.time(8);
  a.started_at = row.maybe_time(9);
  a.finished_at = row.maybe_time(10);
  a.exit_code = maybe_int(row, 11);
  a.signal = maybe_int(row, 12);
  a.max_rss_bytes = row.maybe_integer(13);
  a.cpu_seconds = row.maybe_real(14);
  a.duration_seconds = row.maybe_real(15);
  a.output_bytes = unpack_numbers(row.bytes(16));
  a.error = row.text(17);
  a.late = row.integer(18) != 0;
  a.superseded_status = row.text(19);
  a.result_crc = static_cast<std::uint32_t>(row.integer(20));
  a.last_event = row.number(21);
  return a;
}

stored_job read_job(const statement& row) {
  stored_job s;
  s.job.name = row.text(0);
  s.job.version = static_cast<std::uint32_t>(row.integer(1));
  s.job.paused = row.integer(2) != 0;
  s.job.schedule_paused = row.integer(3) != 0;
  s.job.created_at = row.time(4);
  s.job.updated_at = row.time(5);
  s.job.schedule_anchor = row.time(6);
  s.job.cursor = row.maybe_time(7);
  s.text = row.text(8);
  return s;
}

worker read_worker(const statement& row) {
  worker w;
  w.worker_id = row.text(0);
  w.instance = row.id(1);
  w.boot_id = row.text(2);
  w.process = row.text(3);
  w.hostname = row.text(4);
  w.platform = row.text(5);
  w.version = row.text(6);
  w.python_version = row.text(7);
  w.pid = static_cast<int>(row.integer(8));
  w.slots = static_cast<int>(row.integer(9));
  w.credit = static_cast<int>(row.integer(10));
  w.legacy = row.integer(11) != 0;
  w.draining = row.integer(12) != 0;
  w.labels = unpack_texts(row.bytes(13));
  w.highest_acked = lease_id{row.number(14)};
  w.registered_at = row.maybe_time(15);
  w.last_seen = row.maybe_time(16);
  w.status = row.text(17);
  w.jobs_processed = row.integer(18);
  w.uptime_seconds = row.real(19);
  w.load = row.real(20);
  w.memory_bytes = row.integer(21);
  for (const auto& [name, amount] : unpack_numbers(row.bytes(22)))
    w.resources[name] = static_cast<std::int64_t>(amount);
  return w;
}

queue read_queue(const statement& row) {
  queue q;
  q.name = row.text(0);
  q.paused = row.integer(1) != 0;
  q.max_running = static_cast<int>(row.integer(2));
  if (!row.is_null(3)) q.rate = rate_limit{static_cast<int>(row.integer(3)), milliseconds{row.integer(4)}};
  q.priority = static_cast<int>(row.integer(5));
  return q;
}

std::vector<attempt> load_attempts(connection& db, const run_id& id) {
  static const std::string sql =
      std::string{"SELECT "} + attempt_columns + " FROM attempts WHERE run=?1 ORDER BY lease";
  std::vector<attempt> result;
  statement& query = db.prepared(sql).with(id);
  while (query.next()) result.push_back(read_attempt(query));
  return result;
}

std::string load_spec(connection& db, spec_id id) {
  statement& query = db.prepared("SELECT text FROM specs WHERE id=?1").with(id);
  if (!query.next()) return {};
  std::string text = query.text(0);
  query.reset();
  return text;
}

stored_instant read_instant(const statement& row, int first) {
  return {row.time(first),         static_cast<instant_outcome>(row.integer(first + 1)),
          row.maybe_id(first + 2), row.text(first + 3),
          row.number(first + 4),   row.time(first + 5)};
}

recent_instants load_instants(connection& db, wall_time after) {
  recent_instants found;
  statement& query = db.prepared(
      "SELECT job,instant,outcome,run,rule,count,until FROM instants INDEXED BY instants_until WHERE "
      "until>?1 "
      "UNION ALL SELECT i.job,i.instant,i.outcome,i.run,i.rule,i.count,i.until FROM jobs j "
      "JOIN instants i ON i.job=j.name AND i.instant>j.cursor WHERE i.until<=?1 ORDER BY 1,2");
  query.with(after);
  while (query.next()) found[query.text(0)].push_back(read_instant(query, 1));
  return found;
}

std::vector<stored_calendar> load_calendars(connection& db) {
  std::vector<stored_calendar> found;
  statement& query = db.prepared("SELECT name,text,updated_at FROM calendars ORDER BY name").with();
  while (query.next()) found.push_back({query.text(0), query.text(1), query.time(2)});
  return found;
}

}  // namespace orchestrator::store
