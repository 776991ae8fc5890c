// Tests the movable deadline and the wake event.
#include "deadline.hpp"

#include <doctest/doctest.h>

#include <support/net_world.hpp>

#include "wake_event.hpp"

using namespace std::chrono_literals;
using namespace orchestrator::net;
using orchestrator::testing::eventually;
using orchestrator::testing::net_world;

TEST_CASE("a deadline fires once, and not before its time") {
  net_world world;
  int fired = 0;
  deadline d(world.io.get_executor(), [&] { ++fired; });
  const auto start = std::chrono::steady_clock::now();
  d.expires_after(20ms);
  world.run(eventually(world.io, [&] { return fired > 0; }));
  CHECK(std::chrono::steady_clock::now() - start >= 20ms);
  CHECK(d.expired());
  world.io.run();
  CHECK(fired == 1);
}

TEST_CASE("a deadline can be moved in both directions and switched off") {
  net_world world;
  int fired = 0;
  deadline d(world.io.get_executor(), [&] { ++fired; });
  d.expires_after(1h);
  d.expires_after(1ms);
  world.run(eventually(world.io, [&] { return fired == 1; }));
  d.expires_after(1ms);
  CHECK_FALSE(d.expired());
  d.expires_after(30ms);
  const auto start = std::chrono::steady_clock::now();
  world.run(eventually(world.io, [&] { return fired == 2; }));
  CHECK(std::chrono::steady_clock::now() - start >= 29ms);
  d.expires_after(1ms);
  d.off();
  world.io.run();
  CHECK(fired == 2);
}

TEST_CASE("a deadline whose owner is gone does nothing") {
  net_world world;
  int fired = 0;
  {
    deadline d(world.io.get_executor(), [&] { ++fired; });
    d.expires_after(1ms);
  }
  world.io.run();
  CHECK(fired == 0);
}

TEST_CASE("a wake event remembers a notify that came before the wait") {
  net_world world;
  wake_event event(world.io.get_executor());
  event.notify();
  world.run(event.wait());
  bool notified = true;
  const auto wait = [&]() -> boost::asio::awaitable<void> {
    notified = co_await event.wait_until(wake_event::clock::now() + 5ms);
  };
  world.run(wait());
  CHECK_FALSE(notified);
}
