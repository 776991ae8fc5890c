// Every process the supervisor has, running or ended and not yet forgotten, with the timetable of their
// deadlines and the list of those with news for the daemon. The supervisor's loop drives it; it never waits.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "frame_socket.hpp"
#include "identity.hpp"
#include "process_limits.hpp"
#include "spawner.hpp"
#include "spool.hpp"
#include "supervised_process.hpp"

namespace orchestrator::process {

class process_table {
 public:
  /// Pipes are registered with `epoll` as (pipe_tag | descriptor).
  process_table(unique_fd spool, int epoll);
  static constexpr std::uint64_t pipe_tag = std::uint64_t{1} << 32;

  // What the daemon asks for.
  /// Starts a process, or makes an entry that ended unstarted. An end is returned only if there was no room
  /// for one.
  std::optional<process_end> start(const launch& what);
  void kill(std::uint64_t lease, milliseconds grace);
  void renew(std::uint64_t lease, boot_time until);
  void forget(std::uint64_t lease);
  void release_output(std::uint64_t lease, std::string_view stream, std::uint64_t offset);
  /// From now on nothing is started, and everything is stopped with its own grace.
  void stop_all();

  // What the kernel reports.
  /// Reaps children, our own and adopted ones. True if there may be more.
  bool reap();
  void on_pipe(int fd);
  void on_time();
  std::optional<boot_time> next_due() const;

  // What the daemon is told.
  /// Queues the whole inventory, which contains all news so far.
  void write_inventory(frame_socket& socket);
  /// Queues starts and ends, and, if `with_output`, how far the outputs are, while there is room.
  void write_news(frame_socket& socket, bool with_output);
  bool has_output_news() const { return !output_news_.empty(); }
  bool has_news() const { return !news_.empty(); }

  std::size_t running() const { return by_pid_.size() + draining_; }
  std::size_t size() const { return processes_.size(); }

 private:
  struct pipe_owner {
    std::uint64_t lease = 0;
    std::size_t stream = 0;
  };
  supervised_process* find(std::uint64_t lease);
  void add(std::unique_ptr<supervised_process> process);
  /// Its record in the spool; a child of ours is of our boot and namespace.
  void record_session(std::uint64_t lease, int leader);
  /// Of a lease of an earlier supervisor.
  void remove_files(std::uint64_t lease);
  void watch_pipe(const supervised_process& process, std::size_t stream);
  /// After every touch of a process: ends it if it is complete, and brings timetable and news up to date.
  void settle(supervised_process& process);
  void schedule(supervised_process& process);
  void sweep(const std::vector<std::uint64_t>& leases);
  std::optional<spawned> refuse(const launch& what) const;

  spool_directory spool_;
  int epoll_;
  spawner spawner_;
  process_identity self_ = this_process();
  std::set<std::uint64_t> leftovers_;  ///< leases with files of an earlier supervisor
  std::map<std::uint64_t, std::unique_ptr<supervised_process>> processes_;
  std::unordered_map<int, std::uint64_t> by_pid_;      ///< main processes that were not reaped yet
  std::unordered_map<int, std::uint64_t> by_session_;  ///< all entries with a session
  std::vector<pipe_owner> pipes_;                      ///< by descriptor; stale entries are recognised
  std::set<std::pair<boot_time, std::uint64_t>> timetable_;
  std::deque<std::uint64_t> news_;
  std::deque<std::uint64_t> output_news_;
  std::uint64_t highest_ = 0;  ///< highest lease ever seen: at or below it nothing is started
  std::size_t draining_ = 0;   ///< reaped, but not ended
  boot_time next_sweep_{};
  bool stopping_ = false;
  std::vector<char> buffer_ = std::vector<char>(limits::read_bytes);
};

}  // namespace orchestrator::process
