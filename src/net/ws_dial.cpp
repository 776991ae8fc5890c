// Dialling a WebSocket: look-up, connect, upgrade, all under one deadline. Called by the worker's link and by
// the command line's live views.
#include <utility>

#include <fmt/format.h>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <orchestrator/base/text.hpp>

#include "deadline.hpp"
#include "problem.hpp"
#include "tcp_connect.hpp"
#include "url.hpp"
#include "ws_session.hpp"

namespace orchestrator::net {

namespace {

constexpr std::uint16_t default_port = 8000;

dial_result failed(error_code error, std::string message) {
  dial_result out;
  out.error = error ? error : make_error_code(asio::error::invalid_argument);
  out.message = std::move(message);
  return out;
}

std::string authorization_of(const dial_request& request, const url& to) {
  if (!request.bearer_token.empty()) return "Bearer " + request.bearer_token;
  if (!to.user.empty()) return "Basic " + base64_encode(to.user + ":" + to.password);
  return {};
}

/// Nothing if `to` can be dialled; else why not.
std::string why_not_dialled(const url& to) {
  if (to.scheme == "wss" || to.scheme == "https")
    return fmt::format("{}:// is not supported by this version; use ws:// on loopback", to.scheme);
  if (!to.scheme.empty() && to.scheme != "ws" && to.scheme != "http")
    return fmt::format("{}:// is not a WebSocket address; use ws://HOST:PORT/PATH", printable(to.scheme));
  return {};
}

}  // namespace

asio::awaitable<dial_result> dial_websocket(dial_request request) {
  const result<url> to = parse_url(request.url);
  if (to.has_error()) co_return failed({}, to.error().detail);
  if (std::string why = why_not_dialled(*to); !why.empty()) co_return failed({}, std::move(why));

  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto limit = wake_event::clock::now() + request.handshake_timeout;
  tcp::socket socket(executor);
  const error_code refused =
      co_await connect_by_name(socket, to->host, to->port.value_or(default_port), limit);
  if (refused) co_return failed(refused, message_for_people(refused));

  std::string peer = peer_address_of(socket);
  std::unique_ptr<ws_stream> stream = make_ws_stream(std::move(socket), request.options.max_message);
  deadline give_up(executor, [&stream] { stream->abort(); });
  give_up.expires_after(limit - wake_event::clock::now());
  ws_offer offer;
  offer.host = to->authority(default_port);
  offer.target = to->target.empty() ? "/" : to->target;
  offer.authorization = authorization_of(request, *to);
  const ws_answer answer = co_await stream->handshake(std::move(offer));
  if (give_up.expired()) co_return failed(asio::error::timed_out, "timed out");
  if (answer.error && answer.status != 0)
    co_return failed(answer.error, answer_in_words(answer.status, answer.body));
  if (answer.error) co_return failed(answer.error, message_for_people(answer.error));
  give_up.off();
  dial_result out;
  out.socket = std::make_shared<ws_session>(executor, std::move(stream), request.options, std::move(peer));
  co_return out;
}

}  // namespace orchestrator::net
