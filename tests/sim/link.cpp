// One connection between a machine and the coordinator. See link.hpp.
#include "link.hpp"

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>

#include "world.hpp"

namespace orchestrator::sim {
namespace {

constexpr nanoseconds ping_timeout = 10s;

}  // namespace

void link::attach(side s, end_events events, nanoseconds ping_interval) {
  end& e = of(s);
  e.events = std::move(events);
  e.attached = true;
  e.ping_interval = ping_interval;
  e.last_arrival = world_.time.now();
  arm_ping(s);
}

void link::send(side from, std::string frame) { carry(from, std::move(frame)); }

void link::close(side from, std::uint16_t code, const std::string& reason) {
  if (of(from).closed) return;
  carry(from, close_note{code, reason});
  of(from).held = false;  // whether it read or not, it is told when its own close is done
  of(from).arrived.clear();
  // The peer's close frame would come back; it is not waited for longer than a moment.
  const auto self = shared_from_this();
  of(from).events.frame = nullptr;
  of(from).events.alive = nullptr;
  world_.time.after(world_.chance.between(1ms, 50ms),
                    [self, from, code, reason] { self->finish(from, code, reason); });
}

void link::ping(side from) {
  end& e = of(from);
  if (e.closed) return;
  if (!e.waits_for_pong) e.waits_for_pong = world_.time.now();
  carry(from, ping_note{world_.time.now()});
  watch_pong(from);
}

/// One timer an end; it looks again when it fires.
void link::watch_pong(side s) {
  end& e = of(s);
  if (!e.waits_for_pong || std::exchange(e.watches_pong, true)) return;
  world_.time.at(*e.waits_for_pong + ping_timeout,
                 [self = shared_from_this(), s] { self->pong_is_overdue(s); });
}

void link::set_ping_interval(side s, nanoseconds interval) {
  of(s).ping_interval = std::max<nanoseconds>(interval, 100ms);
  arm_ping(s);
}

void link::hold(side s, bool held) {
  end& e = of(s);
  e.held = held;
  if (held) return;
  if (e.waits_for_pong) e.waits_for_pong = world_.time.now();  // pongs that came meanwhile are read only now
  for (std::deque<item> list = std::exchange(e.arrived, {}); !list.empty() && !e.held; list.pop_front())
    take(s, std::move(list.front()));
  watch_pong(s);
  arm_ping(s);
}

void link::end_process(side s) {
  end& e = of(s);
  if (e.closed) return;
  e.closed = true;
  e.events = {};
  const side peer = other(s);
  if (broken_ || e.silent) return;
  const auto self = shared_from_this();
  world_.time.after(world_.chance.between(0ms, 5ms),
                    [self, peer] { self->finish(peer, 1006, "connection reset"); });
}

void link::cut() {
  if (std::exchange(broken_, true)) return;
  const auto self = shared_from_this();
  for (const side s : {side::worker, side::coordinator})
    world_.time.after(world_.chance.between(0ms, 200ms),
                      [self, s] { self->finish(s, 1006, "connection reset"); });
}

void link::cut_unseen(side who_knows) {
  if (std::exchange(broken_, true)) return;
  const auto self = shared_from_this();
  world_.time.after(0ms, [self, who_knows] { self->finish(who_knows, 1006, "connection reset"); });
}

void link::silence(side from, bool on) {
  end& e = of(from);
  e.silent = on;
  if (on) return;
  for (item& what : std::exchange(e.unsent, {})) carry(from, std::move(what));
}

void link::carry(side from, item what) {
  end& e = of(from);
  if (e.closed || broken_) return;
  if (e.silent) {
    e.unsent.push_back(std::move(what));
    return;
  }
  e.last_arrival = std::max(e.last_arrival, world_.time.now() + world_.message_delay());
  const auto self = shared_from_this();
  world_.time.at(e.last_arrival, [self, from, what = std::move(what)]() mutable {
    self->arrive(other(from), std::move(what));
  });
}

void link::arrive(side to, item what) {
  end& e = of(to);
  if (planted(defect::ack_across_connections) && e.closed && e.late_frame) {
    if (const auto* text = std::get_if<std::string>(&what)) e.late_frame(*text);
  }
  if (e.closed || broken_) return;
  if (e.held) {
    e.arrived.push_back(std::move(what));
  } else {
    take(to, std::move(what));
  }
}

void link::take(side to, item what) {
  end& e = of(to);
  if (e.closed) return;
  const auto keep_alive = shared_from_this();
  if (auto* text = std::get_if<std::string>(&what)) {
    world_.say(
        [&] { return fmt::format("worker {} {} {}", machine_, to == side::worker ? "<-" : "->", *text); });
    if (e.events.frame) e.events.frame(std::move(*text));
  } else if (const auto* ping = std::get_if<ping_note>(&what)) {
    carry(to, pong_note{ping->sent});
    if (e.events.alive) e.events.alive(std::nullopt);
  } else if (const auto* pong = std::get_if<pong_note>(&what)) {
    e.waits_for_pong.reset();
    if (e.events.alive) e.events.alive(pong->sent);
  } else {
    const auto& bye = std::get<close_note>(what);
    finish(to, bye.code, bye.reason);
  }
}

void link::finish(side s, std::uint16_t code, const std::string& reason) {
  end& e = of(s);
  if (e.closed || !e.attached) return;
  if (e.held) {  // its process is stopped: it is told when it runs again
    e.arrived.push_back(close_note{code, reason});
    return;
  }
  e.closed = true;
  world_.say([&] {
    return fmt::format("the {}'s end of worker {}'s connection closes: {} {}",
                       s == side::worker ? "worker" : "coordinator", machine_, code, reason);
  });
  e.late_frame = e.events.frame;
  const auto closed = std::exchange(e.events, {}).closed;
  if (closed) closed(code, reason);
}

void link::arm_ping(side s) {
  end& e = of(s);
  const auto self = shared_from_this();
  world_.time.after(e.ping_interval, [self, s, t = ++e.ping_timer] { self->ping_is_due(s, t); });
}

void link::ping_is_due(side s, std::uint64_t timer) {
  end& e = of(s);
  if (e.closed || e.held || e.ping_timer != timer)
    return;  // a stopped process arms it anew when it runs again
  ping(s);
  arm_ping(s);
}

void link::pong_is_overdue(side s) {
  end& e = of(s);
  e.watches_pong = false;
  if (e.closed || e.held || !e.waits_for_pong) return;
  if (world_.time.now() - *e.waits_for_pong < ping_timeout) return watch_pong(s);
  const auto self = shared_from_this();
  world_.time.after(0ms, [self, s] { self->finish(s, 1006, "no pong within the ping timeout"); });
  end& peer = of(other(s));
  if (!peer.closed && !broken_ && !e.silent)
    world_.time.after(world_.message_delay(),
                      [self, s] { self->finish(other(s), 1006, "connection reset"); });
  broken_ = true;
}

}  // namespace orchestrator::sim
