// What an operator does with a data directory beside running a server on it: check it, back it up, restore
// it. main.cpp hands these to the command line; the chaos tests and the storage sweep call the same checks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/base/time.hpp>
#include <orchestrator/store/sqlite_store.hpp>

namespace orchestrator::store {

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
    const std::filesystem::path& dir);

struct backup_made {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  std::uint64_t runs = 0;
  std::uint64_t last_number = 0;  ///< of the last commit in it
};

/// Copies both databases of `dir`, as they are at one moment, to a directory that is made for them: `target`
/// itself if there is nothing of that name, else a new one with the time in its name inside `target`. Works
/// beside a running server and does not hold its writer up. What a failed backup wrote is removed.
boost::system::result<backup_made, open_failure> back_up(const std::filesystem::path& dir,
                                                         const std::filesystem::path& target, wall_time now);

struct restore_done {
  std::uint64_t runs = 0;
  std::optional<wall_time> backed_up_at;
  std::filesystem::path replaced;  ///< where the former databases lie now; empty: there were none
};

/// Puts a backup into `dir`. Refused while a server has `dir` (75), and over existing databases unless
/// `replace`, which sets those aside. The next start raises the lease counter, makes unfinished at_most_once
/// runs unknown and records the schedule instants since the backup as missed.
boost::system::result<restore_done, open_failure> restore(const std::filesystem::path& backup,
                                                          const std::filesystem::path& dir, bool replace,
                                                          wall_time now);

}  // namespace orchestrator::store
