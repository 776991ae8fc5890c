// The supervisor's end of the connection to its daemon. At most one daemon is served. A newcomer replaces it
// once it has said hello, but only after the old one's socket was read to its end: a launch that was sent is
// a launch that was started, whatever happened to its sender (guarantees.md, rule 9).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <orchestrator/base/time.hpp>

#include "frame_socket.hpp"

namespace orchestrator::process {

class daemon_link {
 public:
  using handler = std::function<void(const frame&)>;

  /// Descriptors are registered with `epoll` under their own number.
  daemon_link(unique_fd listener, int epoll);
  int listener() const { return listener_.get(); }

  /// Takes every connection that waits.
  void accept(boot_time now);
  /// Reads from whichever connection `fd` is.
  void on_event(int fd);
  /// Makes the newest connection that said hello the daemon. `handle` gets what the old one had sent. True if
  /// so.
  bool replace(const handler& handle);
  /// Hands over what was read, up to and including `limit` starts. True if some may be left.
  bool deliver(const handler& handle, int limit);
  /// Sends what can be sent, forgets who is gone. True if the daemon went away.
  bool flush(boot_time now);

  bool has_daemon() const { return daemon_.is_open(); }
  bool has_candidates() const { return !candidates_.empty(); }
  frame_socket& daemon() { return daemon_; }
  const frame_socket& daemon() const { return daemon_; }

 private:
  struct candidate {
    frame_socket socket;
    boot_time since;
    bool said_hello = false;
  };
  void watch(int fd);
  void watch_writable(bool wanted);
  void retire(const handler& handle);

  unique_fd listener_;
  int epoll_;
  frame_socket daemon_;
  bool writable_watched_ = false;
  bool undelivered_ = false;  ///< the last deliver() stopped at its limit
  std::vector<candidate> candidates_;
};

}  // namespace orchestrator::process
