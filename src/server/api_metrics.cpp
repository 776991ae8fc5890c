// GET /metrics: for Prometheus, with a token like every other route.
#include "api.hpp"

namespace orchestrator::server {
namespace {

asio::awaitable<net::http_response> scrape(api& a, net::http_request) {
  net::http_response out;
  out.content_type = "text/plain; version=0.0.4; charset=utf-8";
  out.body = a.core.metrics_text();
  co_return out;
}

}  // namespace

void add_metrics_routes(net::http_server& http, api& a) {
  http.add({"GET", "/metrics", [&a](net::http_request r) { return scrape(a, std::move(r)); }});
}

}  // namespace orchestrator::server
