// Start-up and shutdown of the coordinator: data directory, tokens, listener, signals. See server.hpp.
#include <orchestrator/server/server.hpp>

#include <csignal>

#include <fmt/format.h>
#include <sys/resource.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <orchestrator/base/version.hpp>
#include <orchestrator/net/http.hpp>
#include <orchestrator/net/local_servers.hpp>
#include <orchestrator/store/maintenance.hpp>
#include <orchestrator/store/sqlite_store.hpp>
#include <orchestrator/telemetry/log.hpp>

#include "api.hpp"
#include "auth.hpp"
#include "coordinator.hpp"
#include "dashboard.hpp"

namespace orchestrator::server {
namespace {

constexpr int exit_unavailable = 75;
constexpr int exit_permission = 77;
constexpr int exit_config = 78;
/// For answers in flight and the goodbyes of WebSockets. The rest of the 5 s that a stop may take is for what
/// is to be committed.
constexpr auto stop_limit = std::chrono::seconds{3};
constexpr auto retention_interval = std::chrono::minutes{10};

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" || host.starts_with("127.");
}

/// What may not be listened to; the sentence names the ways out.
std::optional<std::string> refuse_exposure(const server_options& o) {
  if (is_loopback(o.listen_host)) return std::nullopt;
  if (o.auth == auth_mode::off) {
    return fmt::format(
        "--auth=off is for loopback only, and --listen {} is not loopback: listen on 127.0.0.1, or keep "
        "--auth=token",
        o.listen_host);
  }
  if (o.insecure_plaintext) return std::nullopt;
  return fmt::format(
      "--listen {} is reachable by others, and this connection is not encrypted: listen on 127.0.0.1 "
      "behind a TLS proxy, or give --insecure-plaintext to send tokens and commands readable by anyone "
      "on the network",
      o.listen_host);
}

/// Sockets are descriptors: the soft limit is raised to the hard one.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

class daemon {
 public:
  explicit daemon(server_options options)
      : options_(std::move(options)),
        signals_(io_, SIGTERM, SIGINT),
        core_(io_, options_.engine, options_.websocket),
        api_{core_, read_wall_clock(), version_text} {}

  int run();

 private:
  int open();
  int listen();
  void add_routes();
  asio::awaitable<void> wait_for_signals();
  asio::awaitable<void> shut_down();
  asio::awaitable<void> retain();

  server_options options_;
  asio::io_context io_{1};
  asio::signal_set signals_;
  coordinator core_;
  api api_;
  authenticator auth_ = authenticator::off();
  std::unique_ptr<net::http_server> http_;
};

int daemon::open() {
  if (options_.data_dir.empty()) options_.data_dir = default_data_dir();
  auto opened = store::open_sqlite_store(options_.data_dir, read_wall_clock(), core_.events());
  if (!opened) {
    telemetry::error("{}", opened.error().message);
    return opened.error().exit_code;
  }
  if (options_.auth == auth_mode::token) {
    auto tokens = authenticator::from_files(options_.data_dir);
    if (!tokens) {
      telemetry::error("{} ({})", tokens.error().detail, tokens.error().hint);
      opened->store_ptr->close();
      return exit_permission;
    }
    auth_ = std::move(*tokens);
  }
  const auto unusable =
      core_.start(std::move(opened->store_ptr), std::move(opened->snapshot), options_.data_dir);
  if (!unusable) return 0;
  const auto failure =
      store::unusable_row_failure(options_.data_dir, unusable->table, unusable->row, unusable->why);
  telemetry::error("{}", failure.message);
  return failure.exit_code;
}

void daemon::add_routes() {
  add_run_routes(*http_, api_);
  add_log_routes(*http_, api_);
  add_job_routes(*http_, api_);
  add_schedule_routes(*http_, api_);
  add_calendar_routes(*http_, api_);
  add_worker_routes(*http_, api_);
  add_queue_routes(*http_, api_);
  add_why_routes(*http_, api_);
  add_event_routes(*http_, api_);
  add_metrics_routes(*http_, api_);
  add_system_routes(*http_, api_);
  add_dashboard_routes(*http_);
  http_->set_access_check(
      [this](const net::http_request& head, const net::route* matched) -> std::optional<refusal> {
        if (head.path == "/healthz" || head.path == "/readyz") return std::nullopt;
        if (matched != nullptr && is_dashboard_route(*matched)) return std::nullopt;
        return auth_.check_api(head);
      });
  net::websocket_endpoint workers;
  workers.path = "/ws/heartbeat";
  workers.options = options_.websocket;
  workers.check = [this](const net::http_request& head) -> std::optional<refusal> {
    if (core_.stopping()) return refusal{errc::unavailable, "the coordinator is stopping", "", ""};
    return auth_.check_worker(head);
  };
  workers.accepted = [this](const std::shared_ptr<net::websocket>& socket, const net::http_request&) {
    core_.accept_worker(socket);
  };
  http_->add(std::move(workers));
  for (const auto& [method, pattern] : http_->routes()) telemetry::debug("Serves {} {}", method, pattern);
}

int daemon::listen() {
  net::http_server_options http_options;
  http_options.allowed_hosts = options_.allowed_hosts;
  http_options.close_timeout = options_.websocket.close_timeout;
  http_options.answered = [this](const net::http_answered& a) { core_.note_answer(a); };
  http_ = net::make_http_server(io_.get_executor(), std::move(http_options));
  add_routes();
  const auto port = http_->listen(options_.listen_host, options_.listen_port);
  if (!port) {
    const bool in_use = port.error() == boost::system::errc::address_in_use;
    telemetry::error("cannot listen on {}:{}: {} ({})", options_.listen_host, options_.listen_port,
                     port.error().message(),
                     in_use ? "another coordinator may be running there; --listen HOST:0 picks a free port"
                            : "--listen takes an address of this machine");
    return port.error() == boost::system::errc::permission_denied ? exit_permission : exit_unavailable;
  }
  if (auto problem = net::record_server(options_.listen_host, *port, options_.data_dir)) {
    telemetry::warning("the command line will not find its token by itself: {}", *problem);
  }
  http_->start();
  telemetry::info("listening on http://{}:{}", options_.listen_host, *port);
  return 0;
}

asio::awaitable<void> daemon::wait_for_signals() {
  const auto [ec, first] = co_await signals_.async_wait(asio::as_tuple(asio::use_awaitable));
  if (ec) co_return;
  telemetry::info("Stopping on {}", first == SIGTERM ? "SIGTERM" : "SIGINT");
  net::spawn(io_.get_executor(), "shutdown", shut_down());
  const auto [ec_again, second] = co_await signals_.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!ec_again) {
    telemetry::stop_logging();
    std::_Exit(128 + second);
  }
}

asio::awaitable<void> daemon::shut_down() {
  core_.stop();
  co_await http_->stop(stop_limit);
  core_.close();
  io_.stop();
}

asio::awaitable<void> daemon::retain() {
  while (!core_.stopping()) {
    core_.disk().retain(read_wall_clock(), options_.retain_age, options_.retain_count);
    co_await net::sleep_for(retention_interval);
  }
}

int daemon::run() {
  if (const int code = open(); code != 0) return code;
  if (const int code = listen(); code != 0) {
    core_.stop();
    core_.close();
    return code;
  }
  net::spawn(io_.get_executor(), "signals", wait_for_signals());
  net::spawn(io_.get_executor(), "retention", retain());
  io_.run();
  return 0;
}

}  // namespace

int run_server(server_options options) {
  if (auto refused = refuse_exposure(options)) {
    telemetry::error("{}", *refused);
    return exit_config;
  }
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);
  daemon d(std::move(options));
  return d.run();
}

}  // namespace orchestrator::server
