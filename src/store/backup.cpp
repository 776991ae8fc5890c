// `server backup`: both databases as they were at one moment. See maintenance.hpp.
#include <sys/stat.h>
#include <cerrno>

#include <orchestrator/store/maintenance.hpp>

#include "copy_database.hpp"
#include "data_dir.hpp"
#include "open.hpp"
#include "stored_texts.hpp"

namespace orchestrator::store {
namespace {

namespace fs = std::filesystem;

/// The directory a backup is written to before it is whole; gone at the end unless it was kept.
class unfinished_dir {
 public:
  explicit unfinished_dir(fs::path dir) : dir_(std::move(dir)) {
    if (::mkdir(dir_.c_str(), 0700) != 0)
      refuse_errno("The directory " + quoted(dir_) + " cannot be made", errno);
  }
  unfinished_dir(const unfinished_dir&) = delete;
  ~unfinished_dir() {
    std::error_code ignored;
    if (!kept_) fs::remove_all(dir_, ignored);
  }
  const fs::path& path() const { return dir_; }
  void keep_as(const fs::path& name) {
    sync_directory(dir_);
    move_new(dir_, name);
    kept_ = true;
    sync_directory(name.has_parent_path() ? name.parent_path() : ".");
  }

 private:
  fs::path dir_;
  bool kept_ = false;
};

fs::path backup_name(const fs::path& target, wall_time now) {
  if (!fs::is_directory(target)) return target;
  return target / ("orchestrator-" + compact_time(now));
}

fs::path without_slash(const fs::path& p) { return p.has_filename() ? p : p.parent_path(); }

backup_made make_backup(const fs::path& dir, const fs::path& target, wall_time now, const text_judge& texts) {
  // Without a server the lock keeps one from starting meanwhile; with one, its own connection is what counts.
  const owned_fd lock = lock_if_free(dir);
  // In this order: what the runs say of their output is then in the output, however much follows meanwhile.
  connection main = open_read_only(dir, main_file);
  connection output = open_read_only(dir, output_file);
  backup_made made;
  made.path = backup_name(without_slash(target), now);
  if (is_there(made.path)) refuse(73, quoted(made.path) + " is there already. Name another place.");
  refuse_unreadable_texts(main, dir, texts);
  unfinished_dir copy(made.path.string() + ".partial");
  copy_database(main, copy.path() / main_file,
                "INSERT OR REPLACE INTO meta(key,value) VALUES('backed_up_at'," +
                    std::to_string(to_unix_ms(now)) + ")");
  copy_database(output, copy.path() / output_file, "");
  made.bytes = size_of(copy.path() / main_file) + size_of(copy.path() / output_file);
  made.runs = static_cast<std::uint64_t>(main.integer("SELECT total(count) FROM run_counts"));
  made.last_number = static_cast<std::uint64_t>(main.integer("SELECT last_number FROM progress"));
  copy.keep_as(made.path);
  return made;
}

}  // namespace

boost::system::result<backup_made, open_failure> back_up(const fs::path& dir, const fs::path& target,
                                                         wall_time now, const text_judge& texts) {
  try {
    return make_backup(dir, target, now, texts);
  } catch (const open_error& e) {
    return e.failure;
  } catch (const SQLite::Exception& e) {
    return open_failure{74, "The databases in " + quoted(dir) + " cannot be read: " + e.what() + "."};
  }
}

}  // namespace orchestrator::store
