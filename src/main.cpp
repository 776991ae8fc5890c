// The one executable: chooses between the two roles and the client commands, and wires settings to them.
#include <charconv>
#include <cstdio>

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <orchestrator/base/text.hpp>
#include <orchestrator/cli/cli.hpp>
#include <orchestrator/engine/stored_texts.hpp>
#include <orchestrator/engine/timetable.hpp>
#include <orchestrator/server/server.hpp>
#include <orchestrator/server/zones.hpp>
#include <orchestrator/store/maintenance.hpp>
#include <orchestrator/telemetry/log.hpp>
#include <orchestrator/worker/worker.hpp>

namespace {

using orchestrator::cli::settings;
namespace telemetry = orchestrator::telemetry;

constexpr int exit_usage = 64;

void complain(const std::string& what) { std::fputs(("orchestrator --role=" + what + "\n").c_str(), stderr); }

telemetry::level level_of(const std::string& word) {
  if (word == "debug") return telemetry::level::debug;
  if (word == "warning") return telemetry::level::warning;
  if (word == "error") return telemetry::level::error;
  return telemetry::level::info;
}

orchestrator::net::websocket_options websocket_options(const settings& s) {
  orchestrator::net::websocket_options o;
  o.ping_interval = s.duration("ping-interval");
  o.ping_timeout = s.duration("ping-timeout");
  o.close_timeout = s.duration("close-timeout");
  return o;
}

/// HOST:PORT, with port 0 for a free one; an IPv6 host stands in brackets, as in a URL.
std::optional<std::pair<std::string, std::uint16_t>> parse_listen(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  std::uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [rest, ec] = std::from_chars(text.data() + colon + 1, end, port);
  if (ec != std::errc{} || rest != end) return std::nullopt;
  std::string host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return std::pair{host, port};
}

int run_server(const settings& s) {
  const auto address = parse_listen(s.text("listen"));
  if (!address) {
    complain(fmt::format("server: --listen takes HOST:PORT, not `{}`", s.text("listen")));
    return exit_usage;
  }
  orchestrator::server::server_options o;
  o.listen_host = address->first;
  o.listen_port = address->second;
  o.data_dir = s.text("data-dir");
  o.auth =
      s.text("auth") == "off" ? orchestrator::server::auth_mode::off : orchestrator::server::auth_mode::token;
  o.insecure_plaintext = s.boolean("insecure-plaintext");
  o.allowed_hosts = s.list("allowed-host");
  o.websocket = websocket_options(s);
  o.engine.lease_ttl = s.duration("lease-ttl");
  o.engine.ping_interval = o.websocket.ping_interval;
  o.engine.ping_timeout = o.websocket.ping_timeout;
  o.engine.stale_after = s.duration("stale-after");
  o.engine.offline_after = s.duration("offline-after");
  o.engine.disk_reserve = static_cast<std::uint64_t>(s.number("disk-reserve")) * 1024 * 1024;
  o.retain_age = s.duration("retain-age");
  o.retain_count = static_cast<std::uint64_t>(s.number("retain-count"));
  o.accept_lost_output = s.boolean("accept-lost-output");
  o.trust_clock = s.boolean("trust-clock");
  o.audit_age = s.duration("audit-age");
  o.audit_count = static_cast<std::uint64_t>(s.number("audit-count"));
  return orchestrator::server::run_server(std::move(o));
}

/// `k=v` of each --label.
std::optional<std::map<std::string, std::string>> parse_labels(const std::vector<std::string>& list) {
  std::map<std::string, std::string> out;
  for (const std::string& text : list) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      complain(fmt::format("worker: --label takes KEY=VALUE, not `{}`", text));
      return std::nullopt;
    }
    out[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return out;
}

std::optional<orchestrator::resource_amounts> parse_resources(const std::vector<std::string>& list) {
  orchestrator::resource_amounts out;
  for (const std::string& text : list) {
    const std::size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    const auto amount =
        equals == std::string::npos ? std::nullopt : orchestrator::parse_amount(text.substr(equals + 1));
    if (!orchestrator::is_valid_name(name) || !amount) {
      fmt::print(stderr,
                 "orchestrator --role=worker: --resource takes NAME=AMOUNT such as gpu=2, cpu=0.5 or "
                 "memory=8GiB, not `{}`\n",
                 text);
      return std::nullopt;
    }
    out[name] = *amount;
  }
  if (out.size() + 2 > orchestrator::limits::resources_of_run) {
    fmt::print(stderr, "orchestrator --role=worker: at most {} resources\n",
               orchestrator::limits::resources_of_run - 2);
    return std::nullopt;
  }
  return out;
}

int run_worker(const settings& s) {
  using orchestrator::worker_shell::on_stop;
  orchestrator::worker_shell::worker_options o;
  auto labels = parse_labels(s.list("label"));
  if (!labels) return exit_usage;
  o.labels = std::move(*labels);
  auto resources = parse_resources(s.list("resource"));
  if (!resources) return exit_usage;
  o.resources = std::move(*resources);
  o.server = s.text("server");
  o.slots = static_cast<int>(s.number("slots"));
  o.credit = static_cast<int>(s.number("credit"));
  o.worker_id = s.text("worker-id");
  o.work_dir = s.text("work-dir");
  o.token_file = s.text("token-file");
  o.websocket = websocket_options(s);
  o.heartbeat_interval = s.duration("heartbeat-interval");
  o.retry_delay = s.duration("retry-delay");
  o.retry_max = s.duration("retry-max");
  const std::string stop = s.text("on-stop");
  o.stop = stop == "leave"   ? on_stop::leave
           : stop == "drain" ? on_stop::drain
           : stop == "kill"  ? on_stop::kill
                             : on_stop::automatic;
  o.log_level = level_of(s.text("log-level"));
  o.log_time = s.boolean("log-time");
  return orchestrator::worker_shell::run_worker(std::move(o));
}

/// For job files on the client's side: the engine's own check, and whether the zone exists.
std::optional<orchestrator::refusal> check_schedule(const orchestrator::schedule& s) {
  if (auto wrong = orchestrator::engine::check_schedule(s)) return wrong;
  const auto zone = orchestrator::server::load_zone_table(s.time_zone);
  if (zone) return std::nullopt;
  auto wrong = zone.error();
  if (wrong.pointer.empty()) wrong.pointer = "/schedule/time_zone";
  return wrong;
}

using orchestrator::cli::offline_outcome;
namespace json = boost::json;
namespace store = orchestrator::store;

offline_outcome refused(const store::open_failure& f) { return {f.exit_code, f.message, nullptr}; }

offline_outcome check_data_dir(const std::string& dir) {
  const auto findings = store::check_data_dir(dir, orchestrator::engine::judge_stored_text);
  if (!findings) return refused(findings.error());
  json::array list;
  for (const store::check_finding& f : *findings)
    list.push_back(json::object{{"id", f.id},
                                {"title", f.title},
                                {"ok", f.ok()},
                                {"offenders", json::array(f.offenders.begin(), f.offenders.end())}});
  return {0, "", std::move(list)};
}

offline_outcome back_up(const std::string& dir, const std::string& target) {
  const auto made =
      store::back_up(dir, target, orchestrator::read_wall_clock(), orchestrator::engine::judge_stored_text);
  if (!made) return refused(made.error());
  return {0, "",
          json::object{{"path", made->path.string()},
                       {"bytes", made->bytes},
                       {"runs", made->runs},
                       {"last_number", made->last_number}}};
}

offline_outcome restore(const std::string& backup, const std::string& dir, bool replace) {
  const auto done = store::restore(backup, dir, replace, orchestrator::read_wall_clock(),
                                   orchestrator::engine::judge_stored_text);
  if (!done) return refused(done.error());
  json::object o{{"data_dir", dir}, {"runs", done->runs}, {"backed_up_at", nullptr}, {"replaced", nullptr}};
  if (done->backed_up_at) o["backed_up_at"] = orchestrator::to_rfc3339(*done->backed_up_at);
  if (!done->replaced.empty()) o["replaced"] = done->replaced.string();
  return {0, "", std::move(o)};
}

orchestrator::cli::offline_tools offline_tools() {
  return {[] { return orchestrator::server::default_data_dir().string(); }, check_data_dir, back_up, restore};
}

}  // namespace

int main(int argc, char** argv) {
  const auto choice = orchestrator::cli::parse_role(argc, argv);
  if (!choice) return orchestrator::cli::run_client(argc, argv, check_schedule, offline_tools());
  if (!choice->request) return choice->exit_code;
  const settings& s = choice->request->values;
  int code = 0;
  if (choice->request->role == "server") {
    telemetry::start_logging(level_of(s.text("log-level")), s.boolean("log-time"));
    code = run_server(s);
  } else {
    code = run_worker(s);
  }
  telemetry::stop_logging();
  return code;
}
