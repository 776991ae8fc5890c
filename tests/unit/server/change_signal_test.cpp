// change_signal: nobody sleeps through a change.
#include "change_signal.hpp"

#include <doctest/doctest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

using namespace orchestrator::server;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

/// What a wait for more than `seen` says, if `meanwhile` happens while it waits.
template <class F>
bool waited(const std::shared_ptr<change_signal>& signal, std::uint64_t seen, std::chrono::milliseconds limit,
            F meanwhile) {
  asio::io_context io;
  bool changed = false;
  asio::co_spawn(
      io, [&]() -> asio::awaitable<void> { changed = co_await wait_for(signal, seen, limit); },
      asio::detached);
  asio::post(io, meanwhile);
  io.run();
  return changed;
}

}  // namespace

TEST_CASE("a change between the look and the wait ends the wait at once") {
  const auto signal = std::make_shared<change_signal>();
  const std::uint64_t seen = signal->count();
  signal->raise();
  CHECK(waited(signal, seen, 1h, [] {}));
}

TEST_CASE("a change during the wait ends it, and one before the look does not") {
  const auto signal = std::make_shared<change_signal>();
  signal->raise();
  CHECK(waited(signal, signal->count(), 1h, [&] { signal->raise(); }));
  CHECK_FALSE(waited(signal, signal->count(), 1ms, [] {}));
}

TEST_CASE("everybody who waits is woken") {
  const auto signal = std::make_shared<change_signal>();
  asio::io_context io;
  int woken = 0;
  for (int i = 0; i < 3; ++i) {
    asio::co_spawn(
        io,
        [&]() -> asio::awaitable<void> {
          const bool changed = co_await wait_for(signal, signal->count(), 1h);
          woken += changed ? 1 : 0;
        },
        asio::detached);
  }
  asio::post(io, [&] { signal->raise(); });
  io.run();
  CHECK(woken == 3);
}

TEST_CASE("of two signals either ends the wait, also when it was raised before") {
  const auto quiet = std::make_shared<change_signal>();
  const auto raised = std::make_shared<change_signal>();
  const auto wait = [&](std::vector<watched> signals, auto meanwhile) {
    asio::io_context io;
    bool changed = false;
    asio::co_spawn(
        io, [&]() -> asio::awaitable<void> { changed = co_await wait_for_any(signals, 1h); }, asio::detached);
    asio::post(io, meanwhile);
    io.run();
    return changed;
  };
  CHECK(wait({{quiet, 0}, {raised, 0}}, [&] { raised->raise(); }));
  CHECK(wait({{raised, 0}, {quiet, 0}}, [] {}));
  CHECK(wait({{raised, 1}, {quiet, 0}}, [&] { quiet->raise(); }));
}
