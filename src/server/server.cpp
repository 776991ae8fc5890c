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
#include <orchestrator/store/retention_clock.hpp>
#include <orchestrator/store/sqlite_store.hpp>
#include <orchestrator/telemetry/log.hpp>

#include "api.hpp"
#include "audit.hpp"
#include "auth.hpp"
#include "coordinator.hpp"
#include "dashboard.hpp"
#include "gate.hpp"

namespace orchestrator::server {
namespace {

constexpr int exit_unavailable = 75;
constexpr int exit_permission = 77;
constexpr int exit_config = 78;
/// For answers in flight and the goodbyes of WebSockets. The rest of the 5 s that a stop may take is for what
/// is to be committed.
constexpr auto stop_limit = std::chrono::seconds{3};
constexpr auto retention_interval = std::chrono::minutes{10};
/// Who is out is shown out within a second; token files are looked at, and entries of the audit trail that
/// wait for another commit are given one of their own, once a second.
constexpr auto watch_interval = std::chrono::milliseconds{250};
constexpr int watches_a_second = 4;

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
        api_{core_, auth_, audit_, read_wall_clock(), version_text} {}

  int run();

 private:
  int open();
  int listen();
  void add_routes();
  asio::awaitable<void> wait_for_signals();
  asio::awaitable<void> shut_down();
  asio::awaitable<void> retain();
  asio::awaitable<void> watch_access();

  server_options options_;
  asio::io_context io_{1};
  asio::signal_set signals_;
  coordinator core_;
  authenticator auth_ = authenticator::off();
  audit_trail audit_;
  store::access_records* access_ = nullptr;
  api api_;
  std::optional<store::retention_clock> retention_clock_;
  std::unique_ptr<gate> http_;
};

int daemon::open() {
  if (options_.data_dir.empty()) options_.data_dir = default_data_dir();
  auto opened = store::open_sqlite_store(options_.data_dir, read_wall_clock(), core_.events(),
                                         options_.accept_lost_output);
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
  retention_clock_.emplace(options_.trust_clock ? std::nullopt : opened->snapshot.retained_at,
                           engine_time{read_mono_clock(), read_wall_clock()});
  access_ = opened->access;
  audit_.attach(*access_, opened->access_found.last_audit_id);
  auth_.adopt(std::move(opened->access_found), *access_, to_string(opened->snapshot.cluster).substr(0, 8));
  if (opened->snapshot.restored_now) {
    std::vector<store::access_change> rows;
    auth_.end_all_sessions(rows);
    access_->write(std::move(rows), store::access_records::when::with_next, {});
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
  add_access_routes(*http_, api_);
  add_metrics_routes(*http_, api_);
  add_system_routes(*http_, api_);
  add_dashboard_routes(*http_);
  http_->expect_all_rules();
  net::websocket_endpoint workers;
  workers.path = "/ws/heartbeat";
  workers.options = options_.websocket;
  workers.check = [this](net::http_request&) -> std::optional<refusal> {
    if (core_.stopping()) return refusal{errc::unavailable, "the coordinator is stopping", "", ""};
    return std::nullopt;
  };
  workers.accepted = [this](const std::shared_ptr<net::websocket>& socket, const net::http_request& head) {
    auto who = std::static_pointer_cast<const identity>(head.from);
    // It may have ended while the answer to the upgrade was under way, when nobody could find this
    // connection.
    if (!auth_.is_in(*who, read_wall_clock())) socket->close(1008, "the token has ended");
    core_.accept_worker(socket, std::move(who));
  };
  http_->add(std::move(workers));
}

int daemon::listen() {
  net::http_server_options http_options;
  http_options.allowed_hosts = options_.allowed_hosts;
  http_options.close_timeout = options_.websocket.close_timeout;
  http_options.answered = [this](const net::http_answered& a) { core_.note_answer(a); };
  http_ = std::make_unique<gate>(net::make_http_server(io_.get_executor(), std::move(http_options)), auth_,
                                 audit_);
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
  audit_.flush(read_wall_clock(), true);
  core_.close();
  io_.stop();
}

asio::awaitable<void> daemon::retain() {
  while (!core_.stopping()) {
    const auto time = retention_clock_->read({read_mono_clock(), read_wall_clock()});
    if (time.ahead) {
      telemetry::warning(
          "the clock is {} ahead of what is known to have passed, so what it makes look old is not removed "
          "before this server has run for six hours; set the clock right, or if it is right (the machine was "
          "off, say) wait, or start with --trust-clock",
          format_duration(*time.ahead));
    }
    core_.disk().retain(time.now, options_.retain_age, options_.retain_count);
    access_->trim_audit(time.now, options_.audit_age, options_.audit_count);
    std::vector<store::access_change> rows;
    auth_.sweep(time.now, rows);
    access_->write(std::move(rows), store::access_records::when::with_next, {});
    co_await net::sleep_for(retention_interval);
  }
}

asio::awaitable<void> daemon::watch_access() {
  for (int i = 0; !core_.stopping(); i = (i + 1) % watches_a_second) {
    if (i == 0) {
      auth_.look_at_files();
      audit_.flush(read_wall_clock(), false);
    }
    http_->show_out();
    co_await net::sleep_for(watch_interval);
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
  net::spawn(io_.get_executor(), "access watch", watch_access());
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
