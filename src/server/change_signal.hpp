// How coroutines wait for a change without missing one: they note the count before they look, and wait for a
// higher one after. Everything runs on the one I/O thread. Owned by the coordinator, used by the API
// handlers.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

namespace orchestrator::server {

struct watched;

class change_signal {
 public:
  /// How often it was raised. To be read before what it speaks of is read.
  std::uint64_t count() const { return count_; }
  /// Wakes everybody who waits.
  void raise();

 private:
  friend boost::asio::awaitable<bool> wait_for_any(std::vector<watched> signals,
                                                   std::chrono::milliseconds limit);
  std::uint64_t count_ = 0;
  std::list<boost::asio::steady_timer*> timers_;
};

/// A signal, and how often it had been raised when what it speaks of was looked at.
struct watched {
  std::shared_ptr<change_signal> signal;
  std::uint64_t seen = 0;
  bool changed() const { return signal->count() > seen; }
};

/// Waits until one of the signals was raised more often than it was seen to be, at once if one was; false if
/// `limit` passed first.
boost::asio::awaitable<bool> wait_for_any(std::vector<watched> signals, std::chrono::milliseconds limit);
/// The same for a single one.
boost::asio::awaitable<bool> wait_for(std::shared_ptr<change_signal> signal, std::uint64_t seen,
                                      std::chrono::milliseconds limit);

}  // namespace orchestrator::server
