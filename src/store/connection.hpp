// A thin layer over SQLiteCpp for the store's threads: one connection, used by one thread at a time, with its
// prepared statements. Every failure is an SQLite::Exception; the caller's thread decides what it means.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>
#include <sqlite3.h>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::store {

/// A prepared statement. Bound texts and blobs are not copied: they must live until run() or the last next().
class statement {
 public:
  statement(sqlite3* db, std::string_view sql);
  statement(statement&& other) noexcept;
  statement& operator=(statement&&) = delete;
  ~statement();

  /// Resets the statement and binds all parameters from the first on.
  template <class... Values>
  statement& with(Values&&... values) {
    static_assert((!is_passing<Values> && ...), "texts and ids are bound by reference: give them a name");
    reset();
    int index = 0;
    (bind(++index, values), ...);
    return *this;
  }
  void bind(int index, std::int64_t value);
  void bind(int index, std::uint64_t value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, int value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, std::uint32_t value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, bool value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, double value);
  void bind(int index, std::string_view text);
  void bind(int index, const std::string& text) { bind(index, std::string_view{text}); }
  void bind(int index, const char* text) { bind(index, std::string_view{text}); }
  void bind(int index, wall_time value) { bind(index, to_unix_ms(value)); }
  void bind(int index, const uuid& id);
  void bind(int index, std::nullopt_t);
  template <class Tag>
  void bind(int index, strong_number<Tag> number) {
    bind(index, number.value);
  }
  template <class Value>
  void bind(int index, const std::optional<Value>& value) {
    if (value)
      bind(index, *value);
    else
      bind(index, std::nullopt);
  }
  void bind_blob(int index, std::string_view bytes);

  /// Fetches the next row; after the last one the statement is reset and false comes back.
  bool next();
  /// Runs a statement that yields no rows.
  void run() {
    while (next()) {
    }
  }
  void reset();

  bool is_null(int column) const { return sqlite3_column_type(handle_, column) == SQLITE_NULL; }
  std::int64_t integer(int column) const { return sqlite3_column_int64(handle_, column); }
  std::uint64_t number(int column) const { return static_cast<std::uint64_t>(integer(column)); }
  double real(int column) const { return sqlite3_column_double(handle_, column); }
  wall_time time(int column) const { return from_unix_ms(integer(column)); }
  /// Valid until the next step.
  std::string_view bytes(int column) const;
  std::string text(int column) const { return std::string{bytes(column)}; }
  uuid id(int column) const;
  std::optional<wall_time> maybe_time(int column) const;
  std::optional<std::int64_t> maybe_integer(int column) const;
  std::optional<double> maybe_real(int column) const;
  std::optional<uuid> maybe_id(int column) const;

 private:
  template <class Value>
  static constexpr bool is_passing =
      std::is_same_v<Value, uuid> || std::is_same_v<Value, std::string> ||
      std::is_same_v<Value, std::optional<uuid>> || std::is_same_v<Value, std::optional<std::string>>;
  void check(int code) const;
  sqlite3* db_;
  sqlite3_stmt* handle_ = nullptr;
};

enum class access { create, read_write, read_only };

class connection {
 public:
  connection(const std::filesystem::path& file, access how);
  sqlite3* handle() const { return db_.getHandle(); }
  void execute(const std::string& sql) { db_.exec(sql); }
  /// Prepared once per connection and text.
  statement& prepared(std::string_view sql);
  std::int64_t integer(const std::string& sql);
  std::string text(const std::string& sql);
  std::int64_t changes() const { return sqlite3_changes64(handle()); }
  bool in_transaction() const { return sqlite3_get_autocommit(handle()) == 0; }
  /// Ends an open transaction without its effects; for use in a handler, so it throws nothing.
  void roll_back() noexcept;
  /// When this is the last connection, its end does not touch the database file.
  void leave_untouched();

 private:
  SQLite::Database db_;
  std::map<std::string, statement, std::less<>> statements_;  // ends before db_
};

/// WAL, FULL and the other settings of a connection that writes, each read back. `cache_kib` bounds its
/// memory.
void configure_writer(connection& db, int cache_kib);
void configure_reader(connection& db, int cache_kib);

/// Pages in the WAL and pages of it that are in the database, after a checkpoint; busy says that somebody
/// else kept it from finishing. Throws on anything else.
struct checkpoint_result {
  int wal_pages = 0;
  int done_pages = 0;
  bool busy = false;
};
checkpoint_result checkpoint(connection& db, int mode);

}  // namespace orchestrator::store
