// Common words of the net layer. All of it runs on one io_context with one thread: no locks, and a callback
// is never called from inside the call that caused it.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/system/error_code.hpp>

namespace orchestrator::net {

namespace asio = boost::asio;
using boost::system::error_code;

/// Starts a named root coroutine. An exception that leaves it is a bug: it is logged at ERROR with the name,
/// and the process ends with 70 (a service that lost a loop must not look alive).
void spawn(asio::any_io_executor executor, std::string name, asio::awaitable<void> task);

/// Waits; false if the wait was cut short by cancellation.
asio::awaitable<bool> sleep_for(std::chrono::nanoseconds duration);

}  // namespace orchestrator::net
