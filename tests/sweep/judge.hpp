// What must be true after a fault: every row that was acknowledged is there, nothing is half there, both
// databases are whole, and the store carries on. The yardstick is the store in memory, given the same
// batches.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "scripts.hpp"

namespace orchestrator::sweep {

/// What a script may leave, by the number of the last batch; and by how many outputs of it were stored.
struct yardstick {
  std::map<std::uint64_t, std::string> rows;
  std::map<std::uint64_t, std::string> outputs;
  std::map<std::uint64_t, std::uint64_t> mutations;  ///< all up to that batch
  std::uint64_t base = 0;                            ///< the last batch before the work
};
yardstick measure(const script& s);

/// What the process that did the work told, also when it ended in the middle.
struct testimony {
  std::uint64_t acked, issued;                ///< batches
  std::uint64_t output_acked, output_issued;  ///< outputs, counted within the script
  std::uint64_t term;                         ///< its own, once it was open
  bool backup_done;
  std::uint64_t backup_from, backup_to;  ///< numbers between which the backup was made
  std::uint64_t shown;                   ///< the judge's own: batches that a start showed
  auto operator<=>(const testimony&) const = default;
};

/// Opens what is left and throws a sentence about what is wrong with it. Then the process ends with 0 if it
/// is to end without closing the store; otherwise one more batch is committed, and what is returned is the
/// number of rows that had to be there.
std::uint64_t judge(const script& s, const yardstick& y, testimony& t, const std::filesystem::path& dir,
                    bool end_without_close);

/// Of all files below but the lock, which holds a process id: what is there, to the byte.
std::uint64_t fingerprint(const std::filesystem::path& dir);

/// Runs the work; `begin` and `ready` are called before the store is opened and when it is open; `full` when
/// it reported a full disk. Returns the exit code of a start that was refused, else 0.
struct work_hooks {
  void (*begin)();
  void (*open)();
  void (*full)();
  void (*before_close)();
};
int do_work(const script& s, const std::filesystem::path& dir, testimony& t, const work_hooks& hooks);
/// Makes the directory as it is before the work.
void prepare(const script& s, const std::filesystem::path& dir);

}  // namespace orchestrator::sweep
