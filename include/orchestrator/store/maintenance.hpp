// What an operator does with a data directory beside running a server on it: check it, back it up, restore
// it. main.cpp hands these to the command line; the chaos tests and the storage sweep call the same checks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/base/time.hpp>
#include <orchestrator/store/sqlite_store.hpp>

namespace orchestrator::store {

/// Some rows hold text that the store keeps for somebody else and cannot read itself: specs, job_versions and
/// calendars. This says why the text of such a row cannot be read; nothing if it can. `name` is the job's or
/// the calendar's.
using text_judge = std::function<std::optional<std::string>(std::string_view table, std::string_view name,
                                                            std::string_view text)>;

/// What a start, a backup and a restore say of a row that cannot be used: which, why, and what to do (65).
open_failure unusable_row_failure(const std::filesystem::path& dir, std::string_view table,
                                  std::string_view row, std::string_view why);

/// One thing that was looked at. `id` is the invariant's number in the guarantees (I3), or the name of a
/// check that all of them rest on (integrity, schema).
struct check_finding {
  std::string id;
  std::string title;
  std::vector<std::string> offenders;  ///< at most a few; empty: it holds
  bool ok() const { return offenders.empty(); }
};

/// Everything that can be judged on the two databases alone. Reads only, also beside a running server. A
/// failure: they cannot be read at all (65 damaged, 78 newer, 73 not there).
boost::system::result<std::vector<check_finding>, open_failure> check_data_dir(
    const std::filesystem::path& dir, const text_judge& texts);

struct backup_made {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  std::uint64_t runs = 0;
  std::uint64_t last_number = 0;  ///< of the last commit in it
};

/// Copies both databases of `dir`, as they are at one moment, to a directory that is made for them: `target`
/// itself if there is nothing of that name, else a new one with the time in its name inside `target`. Works
/// beside a running server and does not hold its writer up. What a failed backup wrote is removed. Refused if
/// a text in it cannot be read: no server would start on it.
boost::system::result<backup_made, open_failure> back_up(const std::filesystem::path& dir,
                                                         const std::filesystem::path& target, wall_time now,
                                                         const text_judge& texts);

struct restore_done {
  std::uint64_t runs = 0;
  std::optional<wall_time> backed_up_at;
  std::filesystem::path replaced;  ///< where the former databases lie now; empty: there were none
};

/// Puts a backup into `dir`. Refused while a server has `dir` (75), and over existing databases unless
/// `replace`, which sets those aside. The next start raises the lease counter, makes unfinished at_most_once
/// runs unknown and records the schedule instants since the backup as missed. Refused before anything is
/// touched if a text in it cannot be read.
boost::system::result<restore_done, open_failure> restore(const std::filesystem::path& backup,
                                                          const std::filesystem::path& dir, bool replace,
                                                          wall_time now, const text_judge& texts);

}  // namespace orchestrator::store
