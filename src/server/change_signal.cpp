// Waiting for a change. See change_signal.hpp.
#include "change_signal.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace orchestrator::server {

namespace asio = boost::asio;

void change_signal::raise() {
  ++count_;
  for (asio::steady_timer* t : timers_) t->cancel();
}

asio::awaitable<bool> wait_for(std::shared_ptr<change_signal> signal, std::uint64_t seen,
                               std::chrono::milliseconds limit) {
  if (signal->count_ > seen) co_return true;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  const auto place = signal->timers_.insert(signal->timers_.end(), &timer);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  signal->timers_.erase(place);
  co_return signal->count_ > seen;
}

}  // namespace orchestrator::server
