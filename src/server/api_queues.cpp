// Queues: list, show, set, pause, resume.
#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

json::object show_queue(const engine::queue_status& s) {
  json::object o;
  o["name"] = s.queue.name;
  o["paused"] = s.queue.paused;
  o["concurrency"] = s.queue.max_running == 0 ? json::value() : json::value(s.queue.max_running);
  o["rate"] = s.queue.rate ? json::value(format_rate(*s.queue.rate)) : json::value();
  o["priority"] = s.queue.priority;
  o["waiting"] = s.waiting;
  o["running"] = s.running;
  return o;
}

asio::awaitable<std::vector<engine::queue_status>> current(api& a) {
  auto list = a.core.view().queues();
  const std::uint64_t issued = a.core.view().issued();
  co_await a.core.until_durable(issued);
  co_return list;
}

asio::awaitable<net::http_response> list(api& a, net::http_request r) {
  const auto page = name_page_of(r);
  if (!page) co_return reply(a, page.error());
  const auto all = co_await current(a);
  co_return reply_page(
      a, *page, all, [](const engine::queue_status& s) -> const std::string& { return s.queue.name; },
      show_queue);
}

// A queue exists by its name: one that nobody set up and that has no runs is shown as it would be.
asio::awaitable<net::http_response> show(api& a, std::string name) {
  if (!is_valid_name(name)) {
    co_return reply(a, refusal{errc::not_found, fmt::format("`{}` is no name of a queue", printable(name)),
                               "", "`orchestrator queue list` shows all"});
  }
  const auto all = co_await current(a);
  for (const auto& s : all) {
    if (s.queue.name == name) co_return reply(a, show_queue(s));
  }
  engine::queue_status plain;
  plain.queue.name = name;
  co_return reply(a, show_queue(plain));
}

asio::awaitable<net::http_response> change(api& a, engine::set_queue request) {
  std::string name = request.name;
  const engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  co_return co_await show(a, std::move(name));
}

/// A whole number or, where `null` says that there is no limit, null.
std::optional<refusal> read_number(const json::object& body, const char* key, bool may_be_null,
                                   std::optional<int>& out) {
  const json::value* v = body.if_contains(key);
  if (v == nullptr) return std::nullopt;
  if (v->is_null() && may_be_null) {
    out = 0;
    return std::nullopt;
  }
  const bool fits = v->is_int64() && v->get_int64() >= -limits::max_running_max &&
                    v->get_int64() <= limits::max_running_max;
  if (!fits) {
    return refusal{errc::bad_field, fmt::format("`{}` must be a whole number", key), std::string("/") + key,
                   ""};
  }
  out = static_cast<int>(v->get_int64());
  return std::nullopt;
}

result<engine::set_queue> decode(const json::object& body) {
  if (auto bad = check_keys(body, {"concurrency", "rate", "priority"})) return *bad;
  engine::set_queue request;
  if (auto bad = read_number(body, "concurrency", true, request.max_running)) return *bad;
  if (auto bad = read_number(body, "priority", false, request.priority)) return *bad;
  const json::value* rate = body.if_contains("rate");
  if (rate == nullptr) return request;
  request.rate.emplace();
  if (rate->is_null()) return request;
  if (rate->is_string()) *request.rate = parse_rate(std::string_view(rate->get_string()));
  if (!*request.rate) {
    return refusal{errc::bad_field, "`rate` must be null, or starts and a time such as \"10/m\" or \"1/6s\"",
                   "/rate", "at most 1,000,000, within 1ms to 30d"};
  }
  return request;
}

asio::awaitable<net::http_response> set(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  auto request = decode(*body);
  if (!request) co_return reply(a, request.error());
  request->name = r.path_parameters[0];
  co_return co_await change(a, std::move(*request));
}

asio::awaitable<net::http_response> pause(api& a, std::string name, bool paused) {
  engine::set_queue request;
  request.name = std::move(name);
  request.paused = paused;
  co_return co_await change(a, std::move(request));
}

}  // namespace

void add_queue_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/queues", [&a](net::http_request r) { return list(a, std::move(r)); }});
  http.add(
      {"GET", "/api/v1/queues/{name}", [&a](net::http_request r) { return show(a, r.path_parameters[0]); }});
  http.add({"PUT", "/api/v1/queues/{name}", [&a](net::http_request r) { return set(a, std::move(r)); }});
  http.add({"POST", "/api/v1/queues/{name}/pause",
            without_fields(a, [&a](net::http_request r) { return pause(a, r.path_parameters[0], true); })});
  http.add({"POST", "/api/v1/queues/{name}/resume",
            without_fields(a, [&a](net::http_request r) { return pause(a, r.path_parameters[0], false); })});
}

}  // namespace orchestrator::server
