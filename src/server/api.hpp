// The HTTP API: handlers translate between JSON and the engine's inputs or the store's rows, and decide
// nothing. One file per resource; each adds its routes to the server. The contract is src/docs/api.md.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <orchestrator/net/http.hpp>

#include "audit.hpp"
#include "auth.hpp"
#include "coordinator.hpp"

namespace orchestrator::server {

namespace json = boost::json;

/// What every handler needs. Lives as long as the server.
struct api {
  coordinator& core;
  authenticator& auth;
  audit_trail& audit;
  wall_time started_at;
  std::string version;
  bool tls = false;            ///< browsers are to send the cookie over TLS only
  bool retrying_many = false;  ///< a bulk retry looked at what was retried before, and has not retried yet
};

void add_run_routes(net::http_server& http, api& a);
void add_log_routes(net::http_server& http, api& a);
void add_job_routes(net::http_server& http, api& a);
void add_schedule_routes(net::http_server& http, api& a);
void add_calendar_routes(net::http_server& http, api& a);
void add_worker_routes(net::http_server& http, api& a);
void add_queue_routes(net::http_server& http, api& a);
void add_why_routes(net::http_server& http, api& a);
void add_event_routes(net::http_server& http, api& a);
void add_access_routes(net::http_server& http, api& a);
void add_metrics_routes(net::http_server& http, api& a);
void add_system_routes(net::http_server& http, api& a);

// ---- shared by the resources
// -----------------------------------------------------------------------------------

/// 200 (or `status`) with this JSON and the durable revision.
net::http_response reply(const api& a, const json::value& body, int status = 200);
net::http_response reply(const api& a, const refusal& r);

/// A query parameter as a number in [low, high]; `fallback` when absent.
result<std::uint64_t> number_parameter(const net::http_request& r, const std::string& name,
                                       std::uint64_t fallback, std::uint64_t low, std::uint64_t high);
/// `since` as a time, or as a duration ago.
result<std::optional<wall_time>> since_of(const std::string& text);
/// Refuses query parameters that are not in `known`, with the nearest one.
std::optional<refusal> check_parameters(const net::http_request& r, std::vector<std::string_view> known);
/// Refuses keys of a body that are not in `known`.
std::optional<refusal> check_keys(const json::object& body, std::vector<std::string_view> known);
/// A page of a list: `{items, next_cursor}`.
net::http_response reply_page(const api& a, json::array items, json::value next_cursor);

/// Which page of a list by name is asked for. The cursor is the last name that was given out.
struct name_page {
  std::uint64_t limit = limits::page_default;
  std::optional<std::string> after;
};
result<name_page> name_page_of(const net::http_request& r);

/// That page of `rows`, which are sorted by name. `show` gives a row's object, or nothing to leave it out.
template <class Row, class Name, class Show>
net::http_response reply_page(const api& a, const name_page& page, const std::vector<Row>& rows, Name name_of,
                              Show show) {
  json::array items;
  json::value next = nullptr;
  std::string last;
  for (const Row& row : rows) {
    const std::string& name = name_of(row);
    if (page.after && name <= *page.after) continue;
    if (items.size() == page.limit) {
      next = last;
      break;
    }
    last = name;
    if (std::optional<json::object> shown = show(row)) items.push_back(std::move(*shown));
  }
  return reply_page(a, std::move(items), std::move(next));
}

/// The body as an object; an absent one is empty.
result<json::object> body_object(const net::http_request& r);
/// The same for what is named by the path's first parameter, which a `name` in the body may repeat.
result<json::object> body_of_named(const net::http_request& r);
/// The handler of an action that takes no field: a body that has one is refused.
net::http_handler without_fields(api& a, net::http_handler handler);
/// A member of the body that is true or false; false when absent.
result<bool> flag_of(const json::object& body, std::string_view key);

/// Whole id, unique prefix, unique suffix of 4 or more, `last`, or a job's name (its newest run).
asio::awaitable<result<run_id>> resolve_run_id(api& a, std::string text);
/// A run as the API shows it.
json::object show_run(const store::run_with_attempts& r);

/// POST /runs and POST /jobs/{name}/run: asks the engine and shows the run.
asio::awaitable<net::http_response> submit(api& a, net::http_request r, protocol::submission what);

/// What an apply changed, or its refusal.
net::http_response show_changes(const api& a, const engine::answer& answer);

/// Pauses or resumes a job, or only its schedule, and shows the job.
asio::awaitable<net::http_response> pause_job(api& a, std::string name, bool schedule_only, bool paused);

}  // namespace orchestrator::server
