// Finds the processes of one lease in /proc and signals them: by session, by ORCHESTRATOR_LEASE in the
// environment, and by descent from either. Used by the supervisor for timeouts and kills, and by the daemon
// when its supervisor died.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "identity.hpp"

namespace orchestrator::process {

/// What /proc showed at one moment. One is shared by all kills of a turn, because taking it is the expensive
/// part.
class process_snapshot {
 public:
  static process_snapshot take();

  /// Living processes of the lease. `session` is 0 if unknown. With `root`, only descendants of that process
  /// count: the supervisor adopts orphans, so that nothing of ours can be elsewhere. Without, everything but
  /// ourselves and our ancestors counts.
  std::vector<process_stat> tree(std::uint64_t lease, int session, int root);

 private:
  /// Who may belong to a lease at all, by the lease and by the session they name.
  struct index {
    int root = -1;
    std::unordered_map<std::uint64_t, std::vector<int>> by_lease;
    std::unordered_map<int, std::vector<int>> by_session;
  };
  void build_index(int root);
  std::set<int> descendants(int root) const;
  std::set<int> ancestors(int pid) const;
  /// ORCHESTRATOR_LEASE of a process; nothing if it has none, or is not ours to look at.
  std::optional<std::uint64_t> lease_of(int pid);

  std::unordered_map<int, process_stat> processes_;
  std::unordered_map<int, std::vector<int>> children_;
  std::unordered_map<int, std::optional<std::uint64_t>> leases_;
  std::set<int> excluded_;
  index index_;
};

/// Signals exactly this process: not a later one that got its number.
void send_signal(const process_stat& process, int signal);

}  // namespace orchestrator::process
