// Name look-up and connect under one deadline. Used by the WebSocket dialler and the HTTP client.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "tcp.hpp"
#include "wake_event.hpp"

namespace orchestrator::net {

/// Why something on the network failed, in the words people know: "Connection refused", "timed out".
std::string message_for_people(const error_code& ec);

/// Connects `socket` to the first address of `host` that answers. error::timed_out at `limit`.
asio::awaitable<error_code> connect_by_name(tcp::socket& socket, std::string host, std::uint16_t port,
                                            wake_event::clock::time_point limit);

}  // namespace orchestrator::net
