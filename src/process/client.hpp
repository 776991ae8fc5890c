// The daemon's end of the socket to its supervisor. Made by connect_supervisor, used by the worker's shell on
// its I/O thread.
#pragma once

#include <csignal>
#include <vector>

#include <boost/system/result.hpp>
#include <orchestrator/process/supervisor.hpp>

#include "frame_socket.hpp"
#include "pidfd.hpp"
#include "unique_fd.hpp"
#include "wire.hpp"

namespace orchestrator::process {

/// What connecting can fail of besides the system's own errors.
enum class connect_errc { silent = 1, ended, foreign_namespace, bad_message, elsewhere };
boost::system::error_code make_error_code(connect_errc code);

class client final : public supervisor_client {
 public:
  /// Says hello on a connected socket and waits until `deadline` for the answer and the inventory.
  static boost::system::result<std::unique_ptr<client>> handshake(unique_fd socket, boot_time deadline,
                                                                  bool fresh);

  int native_handle() const override { return epoll_.get(); }
  void poll(supervisor_events& events) override;
  void start(const launch& what) override;
  void kill(std::uint64_t lease, milliseconds grace) override;
  void renew(std::uint64_t lease, boot_time until) override;
  void forget(std::uint64_t lease) override;
  void release_output(std::uint64_t lease, const std::string& stream, std::uint64_t offset) override;
  const std::vector<supervised>& inventory() const override { return inventory_; }
  bool fresh() const override { return fresh_; }
  int pid() const override { return pid_; }
  std::string difference() const override;
  /// Of an older version, and without any process or end: there is nothing to keep it for.
  bool is_outdated_and_idle() const { return version_ < protocol_version && inventory_.empty(); }
  void end_supervisor() const { signal_pidfd(supervisor_, SIGTERM); }

 private:
  client(unique_fd socket, bool fresh);
  boost::system::error_code receive_inventory(boot_time deadline);
  /// Takes one message of the handshake. True when it was the last.
  bool take_greeting(const frame& message);
  void read_news(supervisor_events& events);
  void send(const std::string& bytes);
  void refuse(std::uint64_t lease, int error_number, const char* error);
  void dispatch(const frame& message, supervisor_events& events);
  void on_end(supervisor_events& events);
  void watch_writable();

  frame_socket socket_;
  unique_fd epoll_;  ///< what the daemon watches: readable when the socket has news or room, or on a refusal
  unique_fd refusals_;    ///< eventfd
  unique_fd supervisor_;  ///< pidfd: tells a dead supervisor from one that serves another daemon
  bool writable_watched_ = false;
  bool polling_ = false;  ///< messages sent by event handlers leave together at the end of poll()
  bool was_replaced_ = false;
  bool finished_ = false;
  bool fresh_;
  int pid_ = 0;
  std::uint64_t version_ = protocol_version;
  std::vector<supervised> inventory_;
  std::vector<process_end> refused_;
};

}  // namespace orchestrator::process
