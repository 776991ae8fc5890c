// The HTTP server of the public header: binds, accepts within its limits, and stops everything it accepted.
#include <utility>

#include <fcntl.h>

#include <fmt/format.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <orchestrator/telemetry/log.hpp>

#include "http_core.hpp"
#include "http_session.hpp"
#include "ws_session.hpp"

namespace orchestrator::net {

namespace {

constexpr auto pause_without_descriptors = std::chrono::milliseconds(100);
constexpr auto warn_again_after = std::chrono::seconds(10);
constexpr std::size_t refusals_at_once = 64;
constexpr std::uint16_t close_going_away = 1001;
constexpr std::uint16_t close_policy = 1008;
constexpr auto goodbye_to_who_is_out = std::chrono::milliseconds(500);

/// Tells a connection over the limit so, without reading what it wants.
asio::awaitable<void> refuse_connection(std::shared_ptr<http_core> core, tcp::socket socket) {
  ++core->being_refused;
  const http_response full =
      problem(http_refusal{503, "unavailable", "too many connections; try again in a moment", {}});
  const std::string text = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: {}\r\nContent-Length: {}\r\nRetry-After: 1\r\n"
      "Cache-Control: no-store\r\nConnection: close\r\n\r\n{}",
      full.content_type, full.body.size(), full.body);
  http_stream stream(std::move(socket));
  const bool written = co_await stream.write(text, "", "", std::chrono::seconds(1));
  if (written) co_await stream.close_gracefully(std::chrono::seconds(1));
  --core->being_refused;
}

void take_connection(const std::shared_ptr<http_core>& core, tcp::socket socket) {
  prepare_socket(socket);
  const http_server_options& options = core->options;
  if (core->connections >= options.max_connections || core->unauthenticated >= options.max_unauthenticated) {
    // The number of those we talk to is bounded as well; the rest of a flood is closed at once.
    if (core->being_refused < refusals_at_once)
      spawn(core->executor, "http refusal", refuse_connection(core, std::move(socket)));
    return;
  }
  const auto session = std::make_shared<http_session>(core, std::move(socket));
  spawn(core->executor, "http session", session->run(session));
}

asio::awaitable<void> accept_connections(std::shared_ptr<http_core> core) {
  auto quiet_until = wake_event::clock::time_point::min();
  while (core->acceptor.is_open()) {
    tcp::socket socket(core->executor);
    const auto [ec] = co_await core->acceptor.async_accept(socket, asio::as_tuple(asio::use_awaitable));
    if (!core->acceptor.is_open()) break;
    if (!ec) {
      take_connection(core, std::move(socket));
      continue;
    }
    if (ec == asio::error::connection_aborted) continue;  // it was gone before it was taken
    // Most likely no descriptors are left: the connections wait in the kernel's queue until some are free
    // again.
    const auto now = wake_event::clock::now();
    if (now >= quiet_until) {
      telemetry::warning("Cannot accept connections: {}. Trying again every 100 ms.", ec.message());
      quiet_until = now + warn_again_after;
    }
    core->accept_pause.expires_after(pause_without_descriptors);
    co_await core->accept_pause.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

boost::system::result<tcp::endpoint> endpoint_of(const asio::any_io_executor& executor,
                                                 const std::string& host, std::uint16_t port) {
  error_code ec;
  const auto literal = asio::ip::make_address(host, ec);
  if (!ec) return tcp::endpoint(literal, port);
  tcp::resolver resolver(executor);  // at start-up only, so it may block
  const auto found = resolver.resolve(host, std::to_string(port), tcp::resolver::passive, ec);
  if (ec) return ec;
  return found.begin()->endpoint();
}

/// Who is out is not waited for as others are: after a moment for its goodbye the connection is gone.
asio::awaitable<void> end_websocket(std::shared_ptr<ws_session> socket, std::string reason) {
  socket->close(close_policy, std::move(reason));
  const std::weak_ptr<ws_session> weak = socket;
  socket.reset();
  co_await sleep_for(goodbye_to_who_is_out);
  if (const auto left = weak.lock()) left->abort();
}

class tcp_http_server final : public http_server {
 public:
  tcp_http_server(asio::any_io_executor executor, http_server_options options)
      : core_(std::make_shared<http_core>(std::move(executor), std::move(options))) {}
  ~tcp_http_server() override { stop_accepting(); }

  void add(route r) override { core_->routes.add(std::move(r)); }
  void add(websocket_endpoint endpoint) override { core_->routes.add(std::move(endpoint)); }
  void set_access_check(access_check check) override { core_->access = std::move(check); }

  boost::system::result<std::uint16_t> listen(const std::string& host, std::uint16_t port) override {
    const auto at = endpoint_of(core_->executor, host, port);
    if (at.has_error()) return at.error();
    tcp::acceptor& acceptor = core_->acceptor;
    error_code ec;
    acceptor.open(at->protocol(), ec);
    if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec && at->address().is_v6()) acceptor.set_option(asio::ip::v6_only(false), ec);
    if (!ec) ::fcntl(acceptor.native_handle(), F_SETFD, FD_CLOEXEC);
    if (!ec) acceptor.bind(*at, ec);
    if (!ec) acceptor.listen(tcp::acceptor::max_listen_connections, ec);
    if (ec) {
      stop_accepting();
      return ec;
    }
    core_->hosts = {host, acceptor.local_endpoint().port(), core_->options.allowed_hosts};
    return core_->hosts.port;
  }

  void start() override { spawn(core_->executor, "http accept", accept_connections(core_)); }

  asio::awaitable<void> stop(std::chrono::milliseconds limit) override {
    const auto core = core_;  // the server object may go away while we wait
    const auto until = wake_event::clock::now() + limit;
    core->stopping = true;
    stop_accepting();
    for (const auto& [key, weak] : snapshot(core->sessions))
      if (const auto session = weak.lock(); session && session->without_request()) session->abort();
    for (const auto& [key, weak] : snapshot(core->websockets))
      if (const auto socket = weak.lock()) socket->close(close_going_away, "going away");
    while (core->connections > 0 && wake_event::clock::now() < until)
      co_await core->connection_ended.wait_until(until);
    for (const auto& [key, weak] : snapshot(core->sessions))
      if (const auto session = weak.lock()) session->abort();
    for (const auto& [key, weak] : snapshot(core->websockets))
      if (const auto socket = weak.lock()) socket->abort();
  }

  void end_connections(const std::function<bool(const caller&)>& is_out, const std::string& reason) override {
    for (const auto& [key, weak] : snapshot(core_->sessions)) {
      const auto session = weak.lock();
      if (session && session->from() && is_out(*session->from())) session->abort();
    }
    for (const auto& [key, weak] : snapshot(core_->websockets)) {
      auto socket = weak.lock();
      if (socket && socket->from() && is_out(*socket->from()))
        spawn(core_->executor, "websocket goodbye", end_websocket(std::move(socket), reason));
    }
  }

  std::vector<std::pair<std::string, std::string>> routes() const override { return core_->routes.routes(); }

 private:
  /// Ending a connection changes the table it is in, so the tables are walked as copies.
  template <class Map>
  static Map snapshot(const Map& map) {
    return map;
  }

  void stop_accepting() {
    error_code ignored;
    core_->acceptor.close(ignored);
    core_->accept_pause.cancel();
  }

  std::shared_ptr<http_core> core_;
};

}  // namespace

std::unique_ptr<http_server> make_http_server(asio::any_io_executor executor, http_server_options options) {
  return std::make_unique<tcp_http_server>(std::move(executor), std::move(options));
}

}  // namespace orchestrator::net
