// Tests that a failed root coroutine ends the process, and that sleeping sleeps.
#include <orchestrator/net/io.hpp>

#include <stdexcept>

#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>
#include <boost/asio/io_context.hpp>

#include <support/net_world.hpp>

namespace net = orchestrator::net;
using namespace std::chrono_literals;

namespace {
net::asio::awaitable<void> fail() {
  throw std::runtime_error("on purpose");
  co_return;
}
}  // namespace

TEST_CASE("an exception that leaves a root coroutine ends the process with 70") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(STDERR_FILENO);
    boost::asio::io_context io;
    net::spawn(io.get_executor(), "test loop", fail());
    io.run();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 70);
}

TEST_CASE("sleep_for waits at least as long as told") {
  orchestrator::testing::net_world world;
  const auto start = std::chrono::steady_clock::now();
  const auto sleep = []() -> net::asio::awaitable<void> {
    const bool whole = co_await net::sleep_for(10ms);
    CHECK(whole);
  };
  world.run(sleep());
  CHECK(std::chrono::steady_clock::now() - start >= 10ms);
}
