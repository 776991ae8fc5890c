// `server restore`: a backup becomes the data of a directory. See maintenance.hpp.
//
// The order is made for a kill at any moment: whole copies first, under names that nobody reads; then a
// rename makes the mark by which every start refuses; then the former files go aside and the new ones take
// their names, the marked one last.
#include <fcntl.h>
#include <sys/stat.h>
#include <cerrno>
#include <cstdio>

#include <orchestrator/store/maintenance.hpp>

#include "copy_database.hpp"
#include "data_dir.hpp"
#include "open.hpp"
#include "stored_texts.hpp"

namespace orchestrator::store {
namespace {

namespace fs = std::filesystem;

// Leases and terms that the lost database may have issued since the backup lie within this range.
constexpr std::uint64_t jump = std::uint64_t{1} << 32;

/// What the next start finds: the engine settles what a backup cannot know in its first commit, after which
/// the number here is no longer the last one.
std::string stamp(wall_time now) {
  return "UPDATE meta SET value=value+" + std::to_string(jump) +
         " WHERE key='term';"
         "INSERT OR REPLACE INTO meta(key,value) VALUES('restored_at'," +
         std::to_string(to_unix_ms(now)) +
         ");"
         "INSERT OR REPLACE INTO meta(key,value) SELECT 'restored_number',last_number FROM progress;"
         "DELETE FROM meta WHERE key='backed_up_at'";
}

void rename_over(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    refuse_errno(quoted(from) + " cannot be renamed to " + quoted(to), errno);
}

void copy_half(connection& from, const fs::path& dir, const char* file, const std::string& how_marked) {
  const fs::path copy = dir / (std::string{file} + ".copying");
  std::error_code ignored;
  fs::remove(copy, ignored);
  copy_database(from, copy, how_marked);
}

/// Former databases of `dir` with their logs; an index of a log is worth nothing.
fs::path set_aside(const fs::path& dir, wall_time now) {
  fs::path aside;
  for (const char* file : {main_file, output_file}) {
    for (const char* suffix : {"", "-wal", "-journal"}) {
      const std::string name = std::string{file} + suffix;
      if (!is_there(dir / name)) continue;
      if (aside.empty()) {
        aside = dir / ("replaced-" + compact_time(now));
        if (::mkdir(aside.c_str(), 0700) != 0)
          refuse_errno("The directory " + quoted(aside) + " cannot be made", errno);
      }
      move_new(dir / name, aside / name);
    }
    std::error_code ignored;
    fs::remove(dir / (std::string{file} + "-shm"), ignored);
  }
  if (!aside.empty()) sync_directory(aside);
  return aside;
}

restore_done put_back(const fs::path& backup, const fs::path& dir, bool replace, wall_time now,
                      const text_judge& texts) {
  connection main = open_read_only(backup, main_file);
  connection output = open_read_only(backup, output_file);
  refuse_unreadable_texts(main, backup, texts);
  prepare_data_dir(dir);
  const owned_fd lock = lock_data_dir(dir);
  if (fs::equivalent(backup, dir)) refuse(73, quoted(backup) + " is the data directory itself.");
  const bool cut_short = is_there(dir / restoring_file);
  if (!replace && !cut_short && (is_there(dir / main_file) || is_there(dir / output_file)))
    refuse(73, "The data directory " + quoted(dir) +
                   " holds databases already. --replace sets them aside in it and restores.");
  restore_done done;
  done.runs = static_cast<std::uint64_t>(main.integer("SELECT total(count) FROM run_counts"));
  if (const std::int64_t at = main.integer("SELECT value FROM meta WHERE key='backed_up_at'"); at != 0)
    done.backed_up_at = from_unix_ms(at);
  copy_half(output, dir, output_file, "");
  copy_half(main, dir, main_file, stamp(now));
  rename_over(dir / (std::string{main_file} + ".copying"), dir / restoring_file);
  sync_directory(dir);
  done.replaced = set_aside(dir, now);
  rename_over(dir / (std::string{output_file} + ".copying"), dir / output_file);
  sync_directory(dir);
  rename_over(dir / restoring_file, dir / main_file);
  sync_directory(dir);
  return done;
}

}  // namespace

boost::system::result<restore_done, open_failure> restore(const fs::path& backup, const fs::path& dir,
                                                          bool replace, wall_time now,
                                                          const text_judge& texts) {
  try {
    return put_back(backup, dir, replace, now, texts);
  } catch (const open_error& e) {
    return e.failure;
  } catch (const SQLite::Exception& e) {
    return open_failure{74, "The backup " + quoted(backup) + " cannot be read: " + e.what() + "."};
  }
}

}  // namespace orchestrator::store
