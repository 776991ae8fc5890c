// One process under supervision, from its start to its end: pipes, timeout, kill of its tree, drain, and the
// end that is reported. The supervisor's loop calls it; it never waits.
#pragma once

#include <sys/resource.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include <orchestrator/process/supervisor.hpp>

#include "process_tree.hpp"
#include "spawner.hpp"
#include "spool.hpp"

namespace orchestrator::process {

inline constexpr std::array<const char*, 2> stream_names{"stdout", "stderr"};

class supervised_process {
 public:
  /// A process that was started, or was not: then it is born ended, with the error of `child`.
  supervised_process(const launch& what, spawned child, int spool_directory, wall_time wall, boot_time now);

  enum class stop_reason { timeout, request, lease_lost };
  /// TERM to the tree now, KILL after `grace`. No effect once the main process is gone.
  void stop(stop_reason reason, milliseconds grace, boot_time now);
  /// The daemon could renew its lease up to there.
  void renew(boot_time until);
  /// The main process was reaped.
  void on_exit(int wait_status, const rusage& usage, boot_time now, std::span<char> buffer);
  /// Moves what a pipe holds into the spool, at most `reads` times the buffer. True if there was any.
  bool pump(std::size_t index, std::span<char> buffer, std::size_t reads);
  /// Acts on deadlines that have passed.
  void on_time(boot_time now, std::span<char> buffer);
  /// Signals the tree as its phase demands, and notices that it is gone.
  void sweep(process_snapshot& snapshot, boot_time now);
  bool wants_sweep(boot_time now) const { return sweep_at_ && *sweep_at_ <= now; }
  /// Earliest instant at which on_time or sweep has something to do.
  std::optional<boot_time> next_due() const;
  /// Sets the end once everything it waits for has happened. True if that was now.
  bool finish_if_complete();

  void release_output(std::string_view stream, std::uint64_t offset);
  void remove_output();
  /// Our session number was given to a new process, so nobody of ours is left in it.
  void session_was_reused() { session_ = 0; }

  std::uint64_t lease() const { return end_.lease; }
  int pid() const { return pid_; }
  wall_time started_at() const { return started_at_; }
  milliseconds kill_grace() const { return kill_grace_; }
  bool ended() const { return ended_; }
  const process_end& end() const { return end_; }
  int pipe(std::size_t index) const { return streams_[index].pipe.get(); }
  std::uint64_t output_end(std::size_t index) const { return streams_[index].spool.end(); }
  supervised describe() const;

  /// News for the daemon that were not sent yet: states, not events, so that they need no queue.
  struct news {
    bool queued = false;         ///< in the list of leases with `started` or `ended`
    bool output_queued = false;  ///< in the list of leases with `output`
    bool started = false;
    bool ended = false;
    std::array<bool, 2> output{};
  };
  news unsent;
  std::optional<boot_time> scheduled;  ///< the table's note of where this process is in its timetable

 private:
  enum class phase { running, terminating, killing };
  struct stream {
    unique_fd pipe;
    spool_writer spool;
  };
  bool pipes_open() const { return streams_[0].pipe || streams_[1].pipe; }
  bool waits_for_drain() const {
    return main_exited_ && pipes_open() && (phase_ == phase::running || tree_gone_);
  }
  void signal_group(int signal) const;
  void sweep_terminating(const std::vector<process_stat>& members, boot_time now);
  void sweep_killing(const std::vector<process_stat>& members, boot_time now);
  void leave_tree(std::size_t leaked);
  void set_end();

  int pid_ = 0;
  int session_ = 0;
  lease_mark mark_;
  wall_time started_at_;
  boot_time started_boot_;
  milliseconds kill_grace_;
  std::array<stream, 2> streams_;
  phase phase_ = phase::running;
  bool main_exited_ = false;
  bool tree_gone_ = false;           ///< after a kill: nobody is left, or we gave up
  bool term_outside_group_ = false;  ///< TERM still has to reach members that left the process group
  int empty_sweeps_ = 0;
  std::optional<boot_time> timeout_at_;
  std::optional<boot_time> lease_until_;  ///< only of jobs that must not outlive their lease
  std::optional<boot_time> kill_at_;
  std::optional<boot_time> sweep_at_;
  std::optional<boot_time> drain_until_;
  boot_time give_up_at_{};
  bool ended_ = false;
  process_end end_;
};

}  // namespace orchestrator::process
