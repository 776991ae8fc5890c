// Finds the processes of one lease in /proc and signals them: by session, by the lease's mark in the
// environment, and by descent from either. Used by the supervisor for timeouts and kills, and by the daemon
// when its supervisor died.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include <orchestrator/process/supervisor.hpp>

#include "identity.hpp"

namespace orchestrator::process {

/// What /proc showed at one moment. One is shared by all kills of a turn, because taking it is the expensive
/// part.
class process_snapshot {
 public:
  static process_snapshot take();

  /// Living processes of the lease. With `root`, only descendants of that process count: the supervisor
  /// adopts orphans, so that nothing of ours can be elsewhere. Without, everything but ourselves and our
  /// ancestors counts.
  std::vector<process_stat> tree(const lease_mark& mark, const lease_session& session, int root);

 private:
  /// Who may belong to a lease at all, by the mark they carry and by their session.
  struct index {
    int root = -1;
    std::map<lease_mark, std::vector<int>> by_mark;
    std::unordered_map<int, std::vector<int>> by_session;
  };
  void build_index(int root);
  std::set<int> descendants(int root) const;
  std::set<int> ancestors(int pid) const;
  /// Members of the session, unless its number is somebody else's by now.
  std::vector<int> members_of(const lease_session& session) const;
  /// What a process's environment tells, read once.
  struct environment {
    std::optional<lease_mark> mark;  ///< nothing without ORCHESTRATOR_LEASE, or if it is not ours to look at
    bool emptied = false;  ///< could be read, and holds what `env -i PATH=...` and a shell put there
  };
  const environment& environment_of(int pid);
  /// A process without a mark, in a session of that number, that is the lease's nevertheless.
  bool is_unmarked_member(int pid, const lease_session& session);

  std::unordered_map<int, process_stat> processes_;
  std::unordered_map<int, std::vector<int>> children_;
  std::unordered_map<int, environment> environments_;
  std::set<int> excluded_;
  index index_;
};

/// Signals exactly this process: not a later one that got its number.
void send_signal(const process_stat& process, int signal);

}  // namespace orchestrator::process
