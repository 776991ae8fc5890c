// Waiting for a change. See change_signal.hpp.
#include "change_signal.hpp"

#include <algorithm>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace orchestrator::server {

namespace asio = boost::asio;

void change_signal::raise() {
  ++count_;
  for (asio::steady_timer* t : timers_) t->cancel();
}

asio::awaitable<bool> wait_for_any(std::vector<watched> signals, std::chrono::milliseconds limit) {
  const auto any_changed = [&signals] {
    return std::any_of(signals.begin(), signals.end(), [](const watched& w) { return w.changed(); });
  };
  if (any_changed()) co_return true;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  std::vector<std::list<asio::steady_timer*>::iterator> places;
  for (const watched& w : signals) {
    auto& timers = w.signal->timers_;
    places.push_back(timers.insert(timers.end(), &timer));
  }
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  for (std::size_t i = 0; i < signals.size(); ++i) signals[i].signal->timers_.erase(places[i]);
  co_return any_changed();
}

asio::awaitable<bool> wait_for(std::shared_ptr<change_signal> signal, std::uint64_t seen,
                               std::chrono::milliseconds limit) {
  std::vector<watched> one = {{std::move(signal), seen}};
  co_return co_await wait_for_any(std::move(one), limit);
}

}  // namespace orchestrator::server
