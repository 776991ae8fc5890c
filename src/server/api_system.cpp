// What is asked of the server itself: version, status, liveness, readiness.
#include "api.hpp"

namespace orchestrator::server {
namespace {

asio::awaitable<net::http_response> version(api& a, net::http_request) {
  json::object o;
  o["version"] = a.version;
  co_return reply(a, o);
}

asio::awaitable<net::http_response> status(api& a, net::http_request) {
  std::function<store::run_counts(store::reader&)> query = [](store::reader& reader) {
    return reader.count_runs();
  };
  const store::run_counts counts = co_await a.core.read(std::move(query));
  json::object runs;
  for (int s = 0; s <= static_cast<int>(run_state::skipped); ++s) {
    runs[to_string(static_cast<run_state>(s))] = counts.by_state[s];
  }
  json::object workers;
  std::uint64_t by_presence[3] = {};
  for (const auto& w : a.core.view().workers(read_mono_clock())) ++by_presence[static_cast<int>(w.state)];
  for (const auto p : {protocol::presence::online, protocol::presence::stale, protocol::presence::offline}) {
    workers[protocol::to_string(p)] = by_presence[static_cast<int>(p)];
  }
  json::object o;
  o["version"] = a.version;
  o["cluster"] = to_string(a.core.view().cluster());
  o["term"] = a.core.view().term();
  o["started_at"] = to_rfc3339(a.started_at);
  o["disk"] = engine::to_string(a.core.view().space());
  o["runs"] = std::move(runs);
  o["workers"] = std::move(workers);
  co_return reply(a, o);
}

/// One word for probes, without a token: nothing about the inside is told.
asio::awaitable<net::http_response> word(int code, std::string text) {
  net::http_response out;
  out.status = code;
  out.content_type = "text/plain; charset=utf-8";
  out.body = std::move(text);
  co_return out;
}

}  // namespace

void add_system_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/version", [&a](net::http_request r) { return version(a, std::move(r)); }});
  http.add({"GET", "/api/v1/status", [&a](net::http_request r) { return status(a, std::move(r)); }});
  http.add({"GET", "/healthz", [](const net::http_request&) { return word(200, "ok\n"); }});
  http.add({"GET", "/readyz", [&a](const net::http_request&) {
              return a.core.ready() ? word(200, "ready\n") : word(503, "not ready\n");
            }});
}

}  // namespace orchestrator::server
