// A deadline that can be moved cheaply: one timer per owner, re-armed only when it fires or when the new time
// is earlier. It acts on the object it guards (cancels a socket, aborts a stream) instead of on one
// operation, because Boost 1.81 has no cancel_after and slots bound to single operations hide outer
// cancellation.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include <boost/asio/steady_timer.hpp>

#include <orchestrator/net/io.hpp>

namespace orchestrator::net {

class deadline {
 public:
  /// `expired` runs on the executor when the time is reached, at most once per expires_after.
  deadline(asio::any_io_executor executor, std::function<void()> expired);
  ~deadline();
  deadline(const deadline&) = delete;
  deadline& operator=(const deadline&) = delete;

  /// Sets or moves the deadline and forgets an earlier expiry.
  void expires_after(std::chrono::nanoseconds duration);
  void off();
  /// True from the expiry until the next expires_after or off. Cancelling a socket without a pending
  /// operation is not remembered by Asio, so this is asked before each operation.
  bool expired() const;

 private:
  struct state;
  std::shared_ptr<state> state_;
};

}  // namespace orchestrator::net
