// An io_context that runs one test coroutine to its end (or fails after 20 s), and raw TCP peers that say
// exactly the bytes they are given. Used by the tests of the net layer and of the layers above it.
#pragma once

#include <chrono>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace orchestrator::testing {

namespace asio = boost::asio;
using boost::system::error_code;

class net_world {
 public:
  asio::io_context io{1};

  /// Runs `task` on this thread; rethrows what it throws; fails the test if it takes longer than `limit`.
  void run(asio::awaitable<void> task, std::chrono::seconds limit = std::chrono::seconds(20)) {
    bool done = false;
    std::exception_ptr thrown;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr e) {
      done = true;
      thrown = e;
    });
    const auto until = std::chrono::steady_clock::now() + limit;
    io.restart();
    while (!done && std::chrono::steady_clock::now() < until) io.run_one_for(std::chrono::milliseconds(100));
    if (thrown) std::rethrow_exception(thrown);
    if (!done) FAIL("the test did not end within its limit of time");
  }
};

/// Lets the io_context work until `condition` holds; the limit of net_world::run bounds it.
template <class Condition>
asio::awaitable<void> eventually(asio::io_context& io, Condition condition) {
  asio::steady_timer timer(io);
  while (!condition()) {
    timer.expires_after(std::chrono::milliseconds(1));
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

/// One TCP connection whose bytes the test writes and reads itself.
class raw_peer {
 public:
  explicit raw_peer(asio::io_context& io) : socket(io) {}

  asio::awaitable<void> connect(std::uint16_t port) {
    const asio::ip::tcp::endpoint server(asio::ip::address_v4::loopback(), port);
    co_await socket.async_connect(server, asio::use_awaitable);
  }

  /// False once the other side does not take bytes any more.
  asio::awaitable<bool> send(std::string text) {
    const auto [ec, n] =
        co_await asio::async_write(socket, asio::buffer(text), asio::as_tuple(asio::use_awaitable));
    co_return !ec;
  }

  /// Adds what arrives next to `received`; false at the end of the connection.
  asio::awaitable<bool> more() {
    std::string buffer(16 * 1024, '\0');
    const auto [ec, n] =
        co_await socket.async_read_some(asio::buffer(buffer), asio::as_tuple(asio::use_awaitable));
    received.append(buffer, 0, n);
    last_error = ec;
    co_return !ec;
  }

  asio::awaitable<void> read_until(std::string mark) {
    bool open = true;
    while (open && received.find(mark) == received.npos) open = co_await more();
  }

  asio::awaitable<void> read_to_end() {
    bool open = true;
    while (open) open = co_await more();
  }

  /// Reads one HTTP answer with a Content-Length (or until the connection ends) and takes it out of
  /// `received`.
  asio::awaitable<std::string> read_answer() {
    co_await read_until("\r\n\r\n");
    const std::size_t head = received.find("\r\n\r\n");
    if (head == received.npos) co_return std::exchange(received, {});
    std::size_t size = 0;
    const std::size_t at = received.find("Content-Length: ");
    if (at < head) size = std::stoul(received.substr(at + 16));
    bool open = true;
    while (open && received.size() < head + 4 + size) open = co_await more();
    std::string answer = received.substr(0, head + 4 + size);
    received.erase(0, answer.size());
    co_return answer;
  }

  asio::ip::tcp::socket socket;
  std::string received;
  error_code last_error;
};

/// "HTTP/1.1 404 Not Found..." -> 404; 0 if `answer` is none.
inline int status_of(std::string_view answer) {
  if (answer.substr(0, 9) != "HTTP/1.1 " || answer.size() < 12) return 0;
  return std::stoi(std::string(answer.substr(9, 3)));
}

}  // namespace orchestrator::testing
