// Socket settings and the lingering close. Called by the listener, both kinds of session and the clients.
#include "tcp.hpp"

#include <array>

#include <fcntl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace orchestrator::net {

namespace {
constexpr std::size_t drain_limit = 1024 * 1024;
}

void prepare_socket(tcp::socket& socket) {
  ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
}

asio::ip::address plain_address(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

std::string peer_address_of(const tcp::socket& socket) {
  error_code ec;
  const tcp::endpoint peer = socket.remote_endpoint(ec);
  if (ec) return {};
  const asio::ip::address plain = plain_address(peer.address());
  const std::string address = plain.to_string();
  const std::string port = std::to_string(peer.port());
  return plain.is_v6() ? "[" + address + "]:" + port : address + ":" + port;
}

asio::awaitable<void> drain_until_closed(tcp::socket& socket) {
  std::array<char, 4096> discarded;
  std::size_t total = 0;
  while (total < drain_limit && socket.is_open()) {
    const auto room = asio::buffer(discarded);
    const auto [ec, n] = co_await socket.async_read_some(room, asio::as_tuple(asio::use_awaitable));
    if (ec) co_return;
    total += n;
  }
}

}  // namespace orchestrator::net
