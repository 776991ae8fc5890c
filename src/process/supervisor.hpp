// The supervisor's main loop: one thread, one epoll, no Asio, nothing that waits for anything but epoll. It
// runs in a process of its own, forked by connect_supervisor.
#pragma once

#include <optional>

#include <orchestrator/base/time.hpp>

#include "daemon_link.hpp"
#include "process_table.hpp"
#include "unique_fd.hpp"

namespace orchestrator::process {

/// What the supervisor inherits: nothing else stays open across its fork.
struct supervisor_files {
  unique_fd work_dir;
  unique_fd lock;
  unique_fd listener;
  unique_fd spool;
};

class supervisor {
 public:
  explicit supervisor(supervisor_files files);
  /// Serves until there is no daemon, no process and nothing to fetch.
  void run();

 private:
  void turn();
  void on_event(std::uint64_t tag);
  void on_signals();
  void serve_daemon(boot_time now);
  void handle(const frame& message);
  void welcome();
  int pause(boot_time now) const;
  void arm_timer();
  bool life_is_over(boot_time now);

  supervisor_files files_;
  unique_fd epoll_;
  unique_fd signals_;
  unique_fd timer_;
  std::optional<boot_time> armed_;  ///< what the timer is set to
  daemon_link link_;
  process_table table_;
  bool children_changed_ = false;
  bool backlog_ = false;  ///< work is left that no descriptor will announce
  bool stopping_ = false;
  boot_time last_output_news_{};
  boot_time idle_since_;
};

}  // namespace orchestrator::process
