// A database's copy through SQLite's backup interface; see copy_database.hpp.
#include "copy_database.hpp"

#include <memory>

#include "data_dir.hpp"
#include "open.hpp"

namespace orchestrator::store {
namespace {

constexpr int pages_per_step = 1'000;

[[noreturn]] void refuse_copy(const std::filesystem::path& file, const SQLite::Exception& e) {
  const int code = e.getErrorCode() & 0xff;
  const bool no_room = code == SQLITE_FULL || code == SQLITE_CANTOPEN || code == SQLITE_READONLY;
  refuse(code == SQLITE_CORRUPT ? 65
         : no_room              ? 73
                                : 74,
         "The copy " + quoted(file) + " cannot be made: " + e.what() + ". Nothing is left of it.");
}

struct removed_unless_kept {
  std::filesystem::path file;
  bool keep = false;
  ~removed_unless_kept() {
    std::error_code ignored;
    if (!keep) std::filesystem::remove(file, ignored);
  }
};

void copy_pages(connection& from, connection& to) {
  struct finish {
    void operator()(sqlite3_backup* b) const { sqlite3_backup_finish(b); }
  };
  const std::unique_ptr<sqlite3_backup, finish> backup(
      sqlite3_backup_init(to.handle(), "main", from.handle(), "main"));
  if (backup == nullptr) throw SQLite::Exception(to.handle(), sqlite3_errcode(to.handle()));
  int code = SQLITE_OK;
  while (code == SQLITE_OK) code = sqlite3_backup_step(backup.get(), pages_per_step);
  if (code != SQLITE_DONE) throw SQLite::Exception(sqlite3_errstr(code), code);
}

}  // namespace

void copy_database(connection& from, const std::filesystem::path& file, const std::string& stamp) {
  create_private_file(file);
  removed_unless_kept guard{file};
  try {
    connection to(file, access::read_write);
    to.execute("PRAGMA synchronous=FULL");
    copy_pages(from, to);
    to.execute("PRAGMA journal_mode=DELETE");
    if (!stamp.empty()) to.execute(stamp);
    check_integrity(to, file);
  } catch (const SQLite::Exception& e) {
    refuse_copy(file, e);
  }
  sync_file(file);
  guard.keep = true;
}

}  // namespace orchestrator::store
