// Jobs: apply, list, show, put, delete, run, pause, resume.
#include <charconv>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/api_json.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

/// The job of a stored row, with its definition decoded.
result<job> decode_row(const stored_job& row) {
  auto parsed = protocol::parse_json(row.text);
  if (!parsed) return parsed.error();
  auto definition = protocol::decode_job(*parsed);
  if (!definition) return definition.error();
  job j = row.job;
  j.definition = std::move(*definition);
  return j;
}

json::object show_change(const engine::jobs_answer::change& change) {
  json::object o;
  o["name"] = change.name;
  if (change.version > 0) o["version"] = change.version;
  o["created"] = change.created;
  o["changed"] = change.changed;
  return o;
}

/// The engine points into its list of jobs, or into the only one; the request has them below `jobs`.
refusal below_jobs(refusal r, std::size_t jobs) {
  if (r.pointer.starts_with("/calendars")) return r;
  r.pointer = (jobs == 1 ? "/jobs/0" : "/jobs") + r.pointer;
  return r;
}

/// Each item of a list of the body, by the decoder of one; a refusal says which item it is about.
template <class Item>
result<std::vector<Item>> decode_list(const json::value* list, std::string_view key, std::string_view what,
                                      result<Item> (*decode)(const json::value&)) {
  if (list == nullptr || !list->is_array())
    return refusal{errc::bad_field, fmt::format("`{}` must be a list of {}", key, what),
                   fmt::format("/{}", key), ""};
  std::vector<Item> out;
  for (std::size_t i = 0; i < list->as_array().size(); ++i) {
    auto item = decode(list->as_array()[i]);
    if (!item) {
      refusal r = item.error();
      r.pointer = fmt::format("/{}/{}{}", key, i, r.pointer);
      return r;
    }
    out.push_back(std::move(*item));
  }
  return out;
}

result<engine::apply_jobs> decode_apply(const json::object& body) {
  if (auto bad = check_keys(body, {"jobs", "calendars", "dry_run"})) return *bad;
  engine::apply_jobs request;
  auto jobs = decode_list(body.if_contains("jobs"), "jobs", "job definitions", protocol::decode_job);
  if (!jobs) return jobs.error();
  request.jobs = std::move(*jobs);
  if (const json::value* list = body.if_contains("calendars"); list != nullptr) {
    auto calendars = decode_list(list, "calendars", "calendars", protocol::decode_calendar);
    if (!calendars) return calendars.error();
    request.calendars = std::move(*calendars);
  }
  const auto dry = flag_of(body, "dry_run");
  if (!dry) return dry.error();
  request.dry_run = *dry;
  return request;
}

asio::awaitable<net::http_response> apply(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  auto request = decode_apply(*body);
  if (!request) co_return reply(a, request.error());
  const std::size_t count = request->jobs.size();
  const engine::answer answer = co_await a.core.ask(std::move(*request));
  if (const auto* refused = std::get_if<refusal>(&answer.body))
    co_return reply(a, refused->pointer.empty() ? *refused : below_jobs(*refused, count));
  co_return show_changes(a, answer);
}

/// If-Match: "3" or If-None-Match: *; the refusal says which form is wanted.
result<std::optional<std::uint32_t>> decode_precondition(const net::http_request& r) {
  if (const std::string* none = r.header("if-none-match"); none != nullptr) {
    if (*none == "*") return std::optional<std::uint32_t>{0};
    return refusal{errc::bad_field, "If-None-Match takes only *", "", ""};
  }
  const std::string* match = r.header("if-match");
  if (match == nullptr) return std::optional<std::uint32_t>{};
  std::string_view text = *match;
  if (text.size() > 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  std::uint32_t version = 0;
  const auto [rest, ec] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (ec != std::errc{} || rest != text.data() + text.size() || version == 0) {
    return refusal{errc::bad_field, "If-Match takes the ETag of the job, e.g. \"3\"", "", ""};
  }
  return std::optional<std::uint32_t>{version};
}

struct found_job {
  std::optional<stored_job> row;
};

asio::awaitable<net::http_response> show(api& a, std::string name) {
  std::function<found_job(store::reader&)> query = [name](store::reader& reader) {
    return found_job{reader.find_job(name)};
  };
  const found_job found = co_await a.core.read(std::move(query));
  if (!found.row) {
    co_return reply(a, refusal{errc::not_found, fmt::format("there is no job `{}`", printable(name)), "",
                               "`orchestrator job list` shows all"});
  }
  const auto decoded = decode_row(*found.row);
  if (!decoded) co_return reply(a, decoded.error());
  net::http_response out = reply(a, protocol::job_to_json(*decoded));
  out.headers.emplace_back("ETag", fmt::format("\"{}\"", decoded->version));
  co_return out;
}

asio::awaitable<net::http_response> put(api& a, net::http_request r) {
  const auto body = body_of_named(r);
  if (!body) co_return reply(a, body.error());
  const auto precondition = decode_precondition(r);
  if (!precondition) co_return reply(a, precondition.error());
  auto definition = protocol::decode_job(*body);
  if (!definition) co_return reply(a, definition.error());
  engine::apply_jobs request;
  request.jobs.push_back(std::move(*definition));
  request.if_version = *precondition;
  const engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  net::http_response out = co_await show(a, r.path_parameters[0]);
  const auto* changes = std::get_if<engine::jobs_answer>(&answer.body);
  if (changes != nullptr && !changes->changes.empty() && changes->changes.front().created) out.status = 201;
  co_return out;
}

struct job_rows {
  std::vector<stored_job> rows;
};

asio::awaitable<net::http_response> list(api& a, net::http_request r) {
  const auto page = name_page_of(r);
  if (!page) co_return reply(a, page.error());
  std::function<job_rows(store::reader&)> query = [](store::reader& reader) {
    return job_rows{reader.list_jobs()};
  };
  const job_rows found = co_await a.core.read(std::move(query));
  co_return reply_page(
      a, *page, found.rows, [](const stored_job& row) -> const std::string& { return row.job.name; },
      [](const stored_job& row) {
        const auto decoded = decode_row(row);
        return decoded ? std::optional(protocol::job_to_json(*decoded)) : std::nullopt;
      });
}

asio::awaitable<net::http_response> remove(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {"cancel"})) co_return reply(a, *bad);
  const auto cancel = number_parameter(r, "cancel", 0, 0, 1);
  if (!cancel) co_return reply(a, cancel.error());
  engine::delete_job request;
  request.name = r.path_parameters[0];
  request.cancel_runs = *cancel == 1;
  const engine::answer answer = co_await a.core.ask(std::move(request));
  co_return show_changes(a, answer);
}

asio::awaitable<net::http_response> run(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  if (auto bad = check_keys(*body, {"args", "at", "in", "hold", "after"})) co_return reply(a, *bad);
  json::object with_job = *body;
  with_job["job"] = r.path_parameters[0];
  auto what = protocol::decode_submission(with_job, read_wall_clock());
  if (!what) co_return reply(a, what.error());
  co_return co_await submit(a, std::move(r), std::move(*what));
}

}  // namespace

net::http_response show_changes(const api& a, const engine::answer& answer) {
  if (const auto* refused = std::get_if<refusal>(&answer.body)) return reply(a, *refused);
  json::object out;
  if (const auto* applied = std::get_if<engine::jobs_answer>(&answer.body)) {
    json::array jobs, calendars;
    for (const auto& change : applied->changes) jobs.push_back(show_change(change));
    for (const auto& change : applied->calendars) calendars.push_back(show_change(change));
    out["changes"] = std::move(jobs);
    if (!calendars.empty()) out["calendars"] = std::move(calendars);
  }
  return reply(a, out);
}

asio::awaitable<net::http_response> pause_job(api& a, std::string name, bool schedule_only, bool paused) {
  engine::pause_job request;
  request.name = name;
  request.schedule_only = schedule_only;
  request.paused = paused;
  const engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  co_return co_await show(a, std::move(name));
}

void add_job_routes(net::http_server& http, api& a) {
  http.add({"POST", "/api/v1/jobs:apply", [&a](net::http_request r) { return apply(a, std::move(r)); },
            limits::http_import_body});
  http.add({"GET", "/api/v1/jobs", [&a](net::http_request r) { return list(a, std::move(r)); }});
  http.add(
      {"GET", "/api/v1/jobs/{name}", [&a](net::http_request r) { return show(a, r.path_parameters[0]); }});
  http.add({"PUT", "/api/v1/jobs/{name}", [&a](net::http_request r) { return put(a, std::move(r)); }});
  http.add({"DELETE", "/api/v1/jobs/{name}", [&a](net::http_request r) { return remove(a, std::move(r)); }});
  http.add({"POST", "/api/v1/jobs/{name}/run", [&a](net::http_request r) { return run(a, std::move(r)); }});
  http.add({"POST", "/api/v1/jobs/{name}/pause", without_fields(a, [&a](net::http_request r) {
              return pause_job(a, r.path_parameters[0], false, true);
            })});
  http.add({"POST", "/api/v1/jobs/{name}/resume", without_fields(a, [&a](net::http_request r) {
              return pause_job(a, r.path_parameters[0], false, false);
            })});
}

}  // namespace orchestrator::server
