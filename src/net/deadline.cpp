// See deadline.hpp. The timer's handler holds the state, so an owner may go away while a wait is pending.
#include "deadline.hpp"

#include <utility>

namespace orchestrator::net {

struct deadline::state : std::enable_shared_from_this<deadline::state> {
  using time_point = asio::steady_timer::time_point;

  state(asio::any_io_executor executor, std::function<void()> on_expiry)
      : timer(executor), expired(std::move(on_expiry)) {}

  void wait_until(time_point t) {
    armed = t;
    timer.expires_at(t);  // cancels a wait for a later time
    timer.async_wait([self = shared_from_this()](error_code ec) {
      if (!ec) self->fired();
    });
  }

  void fired() {
    armed = time_point::max();
    if (at == time_point::max() || !expired) return;
    if (at > asio::steady_timer::clock_type::now()) return wait_until(at);
    at = time_point::max();
    has_expired = true;
    const std::function<void()> act = expired;  // the owner may drop us while it runs
    act();
  }

  asio::steady_timer timer;
  std::function<void()> expired;
  time_point at = time_point::max();     // when the owner wants to be told
  time_point armed = time_point::max();  // when the timer fires; never later than `at`
  bool has_expired = false;
};

deadline::deadline(asio::any_io_executor executor, std::function<void()> expired)
    : state_(std::make_shared<state>(std::move(executor), std::move(expired))) {}

deadline::~deadline() {
  state_->expired = nullptr;
  state_->timer.cancel();
}

void deadline::expires_after(std::chrono::nanoseconds duration) {
  state_->has_expired = false;
  state_->at = asio::steady_timer::clock_type::now() + duration;
  if (state_->at < state_->armed) state_->wait_until(state_->at);
}

void deadline::off() {
  state_->at = state::time_point::max();
  state_->has_expired = false;
}

bool deadline::expired() const { return state_->has_expired; }

}  // namespace orchestrator::net
