// Tokens, sessions and the audit trail as rows; see access_rows.hpp.
#include "access_rows.hpp"

#include <algorithm>

namespace orchestrator::store {
namespace {

constexpr std::int64_t entries_per_step = 500;

std::string_view bytes_of(const secret_hash& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

secret_hash read_hash(const statement& row, int column) {
  secret_hash hash{};
  const std::string_view bytes = row.bytes(column);
  std::copy_n(bytes.begin(), std::min(bytes.size(), hash.size()), hash.begin());
  return hash;
}

void put(connection& db, const stored_token& t) {
  statement& s = db.prepared(
      "INSERT INTO tokens(id,name,role,worker_id,hash,created_at,expires_at,revoked_at,last_used_at) "
      "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(id) DO UPDATE SET revoked_at=excluded.revoked_at,"
      "last_used_at=excluded.last_used_at");
  const std::string_view hash = bytes_of(t.hash);
  s.with(t.id, t.name, t.role, t.worker_id, std::nullopt, t.created_at, t.expires_at, t.revoked_at,
         t.last_used_at);
  s.bind_blob(5, hash);
  s.run();
}

void put(connection& db, const delete_token& t) {
  db.prepared("DELETE FROM tokens WHERE id=?1").with(t.id).run();
}

void put(connection& db, const stored_session& v) {
  statement& s = db.prepared(
      "INSERT INTO sessions(id,token,hash,created_at,expires_at,remembered) VALUES(?1,?2,?3,?4,?5,?6) "
      "ON CONFLICT(id) DO UPDATE SET expires_at=excluded.expires_at");
  const std::string_view hash = bytes_of(v.hash);
  s.with(v.id, v.token, std::nullopt, v.created_at, v.expires_at, v.remembered);
  s.bind_blob(3, hash);
  s.run();
}

void put(connection& db, const delete_session& v) {
  db.prepared("DELETE FROM sessions WHERE id=?1").with(v.id).run();
}

void put(connection& db, const audit_entry& e) {
  db.prepared(
        "INSERT INTO audit(id,at,name,role,address,method,path,status,made,count,refused) "
        "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)")
      .with(e.id, e.at, e.name, e.role, e.address, e.method, e.path,
            e.status ? std::optional<std::int64_t>(*e.status) : std::nullopt, e.made, e.count, e.refused)
      .run();
}

void put(connection& db, const audit_outcome& o) {
  db.prepared("UPDATE audit SET status=?2,made=?3 WHERE id=?1 AND status IS NULL")
      .with(o.id, o.status, o.made)
      .run();
}

/// The oldest entries of one kind, as many as are beyond its `count`.
std::int64_t trim_kind(connection& db, bool refused, std::uint64_t count) {
  statement& counted = db.prepared("SELECT count(*) FROM audit WHERE refused=?1").with(refused);
  const std::int64_t there = counted.next() ? counted.integer(0) : 0;
  counted.reset();
  const std::int64_t beyond = std::min(there - static_cast<std::int64_t>(count), entries_per_step);
  if (beyond <= 0) return 0;
  db.prepared("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE refused=?1 ORDER BY id LIMIT ?2)")
      .with(refused, beyond)
      .run();
  return beyond;
}

}  // namespace

void apply_access(connection& db, const access_change& change) {
  std::visit([&db](const auto& row) { put(db, row); }, change);
}

access_snapshot load_access(connection& db) {
  access_snapshot found;
  statement tokens(db.handle(),
                   "SELECT id,name,role,worker_id,hash,created_at,expires_at,revoked_at,last_used_at "
                   "FROM tokens ORDER BY created_at,id");
  while (tokens.next()) {
    stored_token t;
    t.id = tokens.text(0);
    t.name = tokens.text(1);
    t.role = tokens.text(2);
    t.worker_id = tokens.text(3);
    t.hash = read_hash(tokens, 4);
    t.created_at = tokens.time(5);
    t.expires_at = tokens.maybe_time(6);
    t.revoked_at = tokens.maybe_time(7);
    t.last_used_at = tokens.maybe_time(8);
    found.tokens.push_back(std::move(t));
  }
  statement sessions(db.handle(),
                     "SELECT id,token,hash,created_at,expires_at,remembered FROM sessions ORDER BY id");
  while (sessions.next()) {
    found.sessions.push_back({sessions.text(0), sessions.text(1), read_hash(sessions, 2), sessions.time(3),
                              sessions.time(4), sessions.integer(5) != 0});
  }
  found.last_audit_id = static_cast<std::uint64_t>(db.integer("SELECT coalesce(max(id),0) FROM audit"));
  return found;
}

std::vector<audit_entry> list_audit(connection& db, const audit_filter& filter) {
  std::vector<audit_entry> out;
  statement& rows = db.prepared(
      "SELECT id,at,name,role,address,method,path,status,made,count,refused FROM audit WHERE id<?1 "
      "AND (?2='' OR name=?2) AND (?3=0 OR refused=1) ORDER BY id DESC LIMIT ?4");
  rows.with(static_cast<std::int64_t>(filter.before.value_or(INT64_MAX)), filter.name, filter.refused_only,
            static_cast<std::int64_t>(filter.limit));
  while (rows.next()) {
    audit_entry e;
    e.id = rows.number(0);
    e.at = rows.time(1);
    if (filter.since && e.at < *filter.since) break;  // ids rise with time
    e.name = rows.text(2);
    e.role = rows.text(3);
    e.address = rows.text(4);
    e.method = rows.text(5);
    e.path = rows.text(6);
    if (const auto status = rows.maybe_integer(7)) e.status = static_cast<int>(*status);
    e.made = rows.text(8);
    e.count = rows.number(9);
    e.refused = rows.integer(10) != 0;
    out.push_back(std::move(e));
  }
  rows.reset();
  return out;
}

bool trim_audit(connection& db, const audit_trim& wanted) {
  db.prepared("DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?2) AND at<?1")
      .with(wanted.before, entries_per_step)
      .run();
  std::int64_t deleted = db.changes();
  deleted += trim_kind(db, false, wanted.count);
  deleted += trim_kind(db, true, wanted.count / limits::audit_refused_share);
  return deleted == 0;
}

}  // namespace orchestrator::store
