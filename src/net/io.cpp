// Starting root coroutines and sleeping. Called by every shell.
#include <orchestrator/net/io.hpp>

#include <cstdlib>
#include <exception>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <orchestrator/telemetry/log.hpp>

namespace orchestrator::net {

namespace {

constexpr int exit_internal = 70;  // EX_SOFTWARE

[[noreturn]] void end_after_bug(const std::string& name, const std::exception_ptr& thrown) {
  std::string what;
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
    what = "unknown exception";
  }
  telemetry::error("Bug: {} ended with an exception: {}. The process stops; please report this.", name, what);
  telemetry::stop_logging();
  std::_Exit(exit_internal);  // no destructors: the state that led here is not to be trusted
}

}  // namespace

void spawn(asio::any_io_executor executor, std::string name, asio::awaitable<void> task) {
  asio::co_spawn(executor, std::move(task), [name = std::move(name)](const std::exception_ptr& thrown) {
    if (thrown) end_after_bug(name, thrown);
  });
}

asio::awaitable<bool> sleep_for(std::chrono::nanoseconds duration) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(duration);
  const auto [ec] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return !ec;
}

}  // namespace orchestrator::net
