// A remembered signal for one waiting coroutine: the bell beside a queue or a flag. Items stay with their
// owner, so nothing is lost by cancellation or close (experimental::channel of Boost 1.81 loses buffered
// items).
#pragma once

#include <chrono>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <orchestrator/net/io.hpp>

namespace orchestrator::net {

class wake_event {
 public:
  using clock = asio::steady_timer::clock_type;

  explicit wake_event(asio::any_io_executor executor) : timer_(executor) {}

  void notify() {
    set_ = true;
    timer_.cancel();
  }

  /// Returns at the first notify since the last wait, at once if there was one.
  asio::awaitable<void> wait() { co_await wait_until(clock::time_point::max()); }

  /// True if notified, false if `limit` came first.
  asio::awaitable<bool> wait_until(clock::time_point limit) {
    if (!set_) {
      timer_.expires_at(limit);
      co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return std::exchange(set_, false);
  }

 private:
  asio::steady_timer timer_;
  bool set_ = false;
};

}  // namespace orchestrator::net
