// See tcp_connect.hpp. A look-up cannot be interrupted (Asio runs getaddrinfo on a thread of its own and
// reports a cancel only after it returned), so it is left behind when the deadline passes instead of being
// waited for.
#include "tcp_connect.hpp"

#include <memory>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "deadline.hpp"

namespace orchestrator::net {

namespace {

struct lookup {
  explicit lookup(asio::any_io_executor executor) : resolver(executor), done(executor) {}
  tcp::resolver resolver;
  wake_event done;
  error_code error = asio::error::timed_out;  // until the answer comes
  std::vector<tcp::endpoint> endpoints;
};

asio::awaitable<std::shared_ptr<lookup>> look_up(asio::any_io_executor executor, std::string host,
                                                 std::uint16_t port, wake_event::clock::time_point limit) {
  auto state = std::make_shared<lookup>(executor);
  error_code not_literal;
  const auto literal = asio::ip::make_address(host, not_literal);
  if (!not_literal) {
    state->error = {};
    state->endpoints.emplace_back(literal, port);
    co_return state;
  }
  state->resolver.async_resolve(host, std::to_string(port), tcp::resolver::numeric_service,
                                [state](error_code ec, const tcp::resolver::results_type& found) {
                                  state->error = ec;
                                  for (const auto& entry : found)
                                    state->endpoints.push_back(entry.endpoint());
                                  state->done.notify();
                                });
  co_await state->done.wait_until(limit);
  co_return state;
}

}  // namespace

std::string message_for_people(const error_code& ec) {
  if (ec == asio::error::timed_out || ec == asio::error::operation_aborted) return "timed out";
  if (ec == asio::error::eof) return "connection closed by the other side";
  if (ec == asio::error::host_not_found || ec == asio::error::host_not_found_try_again)
    return "host not found";
  return ec.message();
}

asio::awaitable<error_code> connect_by_name(tcp::socket& socket, std::string host, std::uint16_t port,
                                            wake_event::clock::time_point limit) {
  const auto executor = socket.get_executor();
  const auto found = co_await look_up(executor, std::move(host), port, limit);
  if (found->error) co_return found->error;
  // Closing the socket also stops the attempts at the remaining addresses.
  deadline give_up(executor, [&socket] {
    error_code ignored;
    socket.close(ignored);
  });
  give_up.expires_after(limit - wake_event::clock::now());
  const auto [ec, used] =
      co_await asio::async_connect(socket, found->endpoints, asio::as_tuple(asio::use_awaitable));
  if (give_up.expired()) co_return asio::error::timed_out;
  if (!ec) prepare_socket(socket);
  co_return ec;
}

}  // namespace orchestrator::net
