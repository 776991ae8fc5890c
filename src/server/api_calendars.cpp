// Named calendars: list, show, put, delete. Several at once, and with the jobs that name them: POST
// /jobs:apply.
#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

struct calendar_rows {
  std::vector<stored_calendar> rows;
};

asio::awaitable<calendar_rows> read_rows(api& a) {
  std::function<calendar_rows(store::reader&)> query = [](store::reader& reader) {
    return calendar_rows{reader.list_calendars()};
  };
  co_return co_await a.core.read(std::move(query));
}

json::object show_row(const stored_calendar& row) {
  json::object o;
  if (auto parsed = protocol::parse_json(row.text); parsed && parsed->is_object()) o = parsed->as_object();
  o["updated_at"] = to_rfc3339(row.updated_at);
  return o;
}

asio::awaitable<net::http_response> list(api& a, net::http_request r) {
  const auto page = name_page_of(r);
  if (!page) co_return reply(a, page.error());
  const calendar_rows found = co_await read_rows(a);
  co_return reply_page(
      a, *page, found.rows, [](const stored_calendar& row) -> const std::string& { return row.name; },
      show_row);
}

asio::awaitable<net::http_response> show(api& a, std::string name) {
  const calendar_rows found = co_await read_rows(a);
  for (const stored_calendar& row : found.rows) {
    if (row.name == name) co_return reply(a, show_row(row));
  }
  co_return reply(a, refusal{errc::not_found, fmt::format("there is no calendar `{}`", printable(name)), "",
                             "`orchestrator calendar list` shows all"});
}

asio::awaitable<net::http_response> put(api& a, net::http_request r) {
  const auto body = body_of_named(r);
  if (!body) co_return reply(a, body.error());
  auto days = protocol::decode_calendar(*body);
  if (!days) co_return reply(a, days.error());
  engine::apply_jobs request;
  request.calendars.push_back(std::move(*days));
  const engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  co_return co_await show(a, r.path_parameters[0]);
}

asio::awaitable<net::http_response> remove(api& a, net::http_request r) {
  engine::remove_calendar request;
  request.name = r.path_parameters[0];
  const engine::answer answer = co_await a.core.ask(std::move(request));
  co_return show_changes(a, answer);
}

}  // namespace

void add_calendar_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/calendars", [&a](net::http_request r) { return list(a, std::move(r)); }});
  http.add({"GET", "/api/v1/calendars/{name}",
            [&a](net::http_request r) { return show(a, r.path_parameters[0]); }});
  http.add({"PUT", "/api/v1/calendars/{name}", [&a](net::http_request r) { return put(a, std::move(r)); }});
  http.add(
      {"DELETE", "/api/v1/calendars/{name}", [&a](net::http_request r) { return remove(a, std::move(r)); }});
}

}  // namespace orchestrator::server
