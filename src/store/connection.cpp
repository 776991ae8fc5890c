// Connections and statements of the store's threads; see connection.hpp.
#include "connection.hpp"

#include <cstring>
#include <utility>

#include <orchestrator/base/planted.hpp>

namespace orchestrator::store {

statement::statement(sqlite3* db, std::string_view sql) : db_(db) {
  check(sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &handle_,
                           nullptr));
}

statement::statement(statement&& other) noexcept
    : db_(other.db_), handle_(std::exchange(other.handle_, nullptr)) {}

statement::~statement() { sqlite3_finalize(handle_); }

void statement::check(int code) const {
  if (code != SQLITE_OK) throw SQLite::Exception(db_, code);
}

void statement::bind(int index, std::int64_t value) { check(sqlite3_bind_int64(handle_, index, value)); }
void statement::bind(int index, double value) { check(sqlite3_bind_double(handle_, index, value)); }
void statement::bind(int index, std::nullopt_t) { check(sqlite3_bind_null(handle_, index)); }

void statement::bind(int index, std::string_view text) {
  // A null pointer would bind NULL instead of an empty text.
  const char* data = text.empty() ? "" : text.data();
  check(sqlite3_bind_text(handle_, index, data, static_cast<int>(text.size()), SQLITE_STATIC));
}

void statement::bind_blob(int index, std::string_view bytes) {
  if (bytes.empty())
    check(sqlite3_bind_zeroblob(handle_, index, 0));
  else
    check(sqlite3_bind_blob(handle_, index, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC));
}

void statement::bind(int index, const uuid& id) {
  check(sqlite3_bind_blob(handle_, index, id.bytes.data(), static_cast<int>(id.bytes.size()), SQLITE_STATIC));
}

bool statement::next() {
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    sqlite3_reset(handle_);
    return false;
  }
  const SQLite::Exception failure(db_, code);  // before the reset, which replaces the message
  sqlite3_reset(handle_);
  throw failure;
}

void statement::reset() { sqlite3_reset(handle_); }

std::string_view statement::bytes(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(handle_, column));
  const int size = sqlite3_column_bytes(handle_, column);
  return data == nullptr ? std::string_view{} : std::string_view{data, static_cast<std::size_t>(size)};
}

uuid statement::id(int column) const {
  uuid result;
  const std::string_view data = bytes(column);
  if (data.size() == result.bytes.size()) std::memcpy(result.bytes.data(), data.data(), data.size());
  return result;
}

std::optional<wall_time> statement::maybe_time(int column) const {
  if (is_null(column)) return std::nullopt;
  return time(column);
}

std::optional<std::int64_t> statement::maybe_integer(int column) const {
  if (is_null(column)) return std::nullopt;
  return integer(column);
}

std::optional<double> statement::maybe_real(int column) const {
  if (is_null(column)) return std::nullopt;
  return real(column);
}

std::optional<uuid> statement::maybe_id(int column) const {
  if (is_null(column)) return std::nullopt;
  return id(column);
}

namespace {

int open_flags(access how) {
  switch (how) {
    case access::create: return SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    case access::read_write: return SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    case access::read_only: break;
  }
  return SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
}

constexpr int busy_timeout_ms = 5'000;

/// Sets a pragma and refuses to go on if it reads back as something else.
void set_pragma(connection& db, const std::string& name, const std::string& value,
                const std::string& expected) {
  db.execute("PRAGMA " + name + "=" + value);
  const std::string found = db.text("PRAGMA " + name);
  if (found != expected)
    throw SQLite::Exception("PRAGMA " + name + " reads back as " + found + " instead of " + expected,
                            SQLITE_MISUSE);
}

}  // namespace

connection::connection(const std::filesystem::path& file, access how)
    : db_(file.string(), open_flags(how), busy_timeout_ms) {}

statement& connection::prepared(std::string_view sql) {
  const auto found = statements_.find(sql);
  if (found != statements_.end()) return found->second;
  return statements_.emplace(std::string{sql}, statement{handle(), sql}).first->second;
}

std::int64_t connection::integer(const std::string& sql) {
  statement query(handle(), sql);
  return query.next() ? query.integer(0) : 0;
}

std::string connection::text(const std::string& sql) {
  statement query(handle(), sql);
  return query.next() ? query.text(0) : std::string{};
}

void connection::roll_back() noexcept {
  // Some failures (SQLITE_FULL among them) may have rolled the transaction back already.
  if (in_transaction()) sqlite3_exec(handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void connection::leave_untouched() {
  sqlite3_db_config(handle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, static_cast<int*>(nullptr));
}

void configure_writer(connection& db, int cache_kib) {
  set_pragma(db, "journal_mode", "WAL", "wal");
  set_pragma(db, "synchronous", planted(defect::commit_not_synced) ? "NORMAL" : "FULL",
             planted(defect::commit_not_synced) ? "1" : "2");
  set_pragma(db, "foreign_keys", "ON", "1");
  set_pragma(db, "trusted_schema", "OFF", "0");
  set_pragma(db, "wal_autocheckpoint", "0", "0");
  set_pragma(db, "journal_size_limit", "67108864", "67108864");
  set_pragma(db, "secure_delete", "OFF", "0");
  set_pragma(db, "temp_store", "MEMORY", "2");
  set_pragma(db, "cache_size", std::to_string(-cache_kib), std::to_string(-cache_kib));
  db.execute("PRAGMA mmap_size=0");
  sqlite3_db_config(db.handle(), SQLITE_DBCONFIG_DEFENSIVE, 1, static_cast<int*>(nullptr));
}

void configure_reader(connection& db, int cache_kib) {
  set_pragma(db, "query_only", "ON", "1");
  set_pragma(db, "trusted_schema", "OFF", "0");
  set_pragma(db, "temp_store", "MEMORY", "2");  // a full disk is no reason to fail a query
  set_pragma(db, "cache_size", std::to_string(-cache_kib), std::to_string(-cache_kib));
  db.execute("PRAGMA mmap_size=0");
  db.leave_untouched();  // checkpoints are the writer's, whichever connection closes last
}

checkpoint_result checkpoint(connection& db, int mode) {
  checkpoint_result result;
  const int code =
      sqlite3_wal_checkpoint_v2(db.handle(), "main", mode, &result.wal_pages, &result.done_pages);
  result.busy = (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED;
  if (code != SQLITE_OK && !result.busy) throw SQLite::Exception(db.handle(), code);
  return result;
}

}  // namespace orchestrator::store
