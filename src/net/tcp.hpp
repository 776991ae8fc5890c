// The socket type of this layer and the few settings every socket gets. Used by listener, sessions and
// clients.
#pragma once

#include <string>

#include <boost/asio/ip/tcp.hpp>

#include <orchestrator/net/io.hpp>

namespace orchestrator::net {

using tcp = asio::ip::tcp;

/// Close-on-exec (Asio leaves it off, and a job must not inherit a peer's connection) and no delay of small
/// writes.
void prepare_socket(tcp::socket& socket);
/// "127.0.0.1:4711", "[::1]:4711"; "" once the peer is gone.
std::string peer_address_of(const tcp::socket& socket);
/// An IPv4 address that arrived on a dual-stack socket as ::ffff:1.2.3.4 in its own form.
asio::ip::address plain_address(const asio::ip::address& address);
/// Reads and drops what the peer still sends until it closes, so that our last bytes are not lost to a reset,
/// which is what closing a socket with unread input causes. Gives up after 1 MiB; the caller bounds the time.
asio::awaitable<void> drain_until_closed(tcp::socket& socket);

}  // namespace orchestrator::net
