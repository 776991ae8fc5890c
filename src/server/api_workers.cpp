// Workers: list, show, drain, resume, forget, and the original portal's /api/worker-status.
#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/api_json.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

asio::awaitable<std::vector<protocol::worker_status>> current(api& a) {
  auto list = a.core.view().workers(read_mono_clock());
  const std::uint64_t issued = a.core.view().issued();
  co_await a.core.until_durable(issued);
  co_return list;
}

refusal no_worker(const std::string& name) {
  return {errc::not_found, fmt::format("there is no worker `{}`", printable(name)), "",
          "`orchestrator worker list` shows all"};
}

asio::awaitable<net::http_response> list(api& a, net::http_request r) {
  const auto page = name_page_of(r);
  if (!page) co_return reply(a, page.error());
  const auto all = co_await current(a);
  co_return reply_page(
      a, *page, all,
      [](const protocol::worker_status& w) -> const std::string& { return w.worker.worker_id; },
      protocol::worker_to_json);
}

asio::awaitable<net::http_response> show(api& a, std::string name) {
  const auto all = co_await current(a);
  for (const auto& w : all) {
    if (w.worker.worker_id == name) co_return reply(a, protocol::worker_to_json(w));
  }
  co_return reply(a, no_worker(name));
}

asio::awaitable<net::http_response> drain(api& a, std::string name, bool on) {
  engine::drain_worker request;
  request.worker_id = name;
  request.on = on;
  const engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  co_return co_await show(a, std::move(name));
}

asio::awaitable<net::http_response> forget(api& a, std::string name) {
  engine::remove_worker request;
  request.worker_id = std::move(name);
  const engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  co_return reply(a, json::object{});
}

asio::awaitable<net::http_response> legacy_status(api& a, net::http_request) {
  const auto all = co_await current(a);
  json::object out;
  for (const auto& w : all) out[w.worker.worker_id] = protocol::worker_to_legacy_json(w);
  co_return reply(a, out);
}

}  // namespace

void add_worker_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/workers", [&a](net::http_request r) { return list(a, std::move(r)); }});
  http.add(
      {"GET", "/api/v1/workers/{id}", [&a](net::http_request r) { return show(a, r.path_parameters[0]); }});
  http.add({"DELETE", "/api/v1/workers/{id}",
            [&a](net::http_request r) { return forget(a, r.path_parameters[0]); }});
  http.add({"POST", "/api/v1/workers/{id}/drain",
            without_fields(a, [&a](net::http_request r) { return drain(a, r.path_parameters[0], true); })});
  http.add({"POST", "/api/v1/workers/{id}/resume",
            without_fields(a, [&a](net::http_request r) { return drain(a, r.path_parameters[0], false); })});
  http.add(
      {"GET", "/api/worker-status", [&a](net::http_request r) { return legacy_status(a, std::move(r)); }});
}

}  // namespace orchestrator::server
