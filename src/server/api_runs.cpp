// Runs: submit, list, show, cancel, retry, hold, release, resolve.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/api_json.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

/// Above this much waiting for the disk new work is refused, so that memory stays bounded.
constexpr std::size_t commit_backlog = 64 * 1024 * 1024;
constexpr std::uint64_t longest_wait_seconds = 60;

json::object show_answer(const engine::run_answer& answer) {
  return protocol::run_to_json(answer.run, answer.spec ? &*answer.spec : nullptr, {});
}

result<store::run_filter> decode_filter(const net::http_request& r) {
  if (auto bad = check_parameters(r, {"state", "job", "worker", "tag", "since", "cursor", "limit"}))
    return *bad;
  store::run_filter f;
  const auto get = [&r](const char* name) {
    const auto found = r.query.find(name);
    return found == r.query.end() ? std::string{} : found->second;
  };
  std::string states = get("state");
  while (!states.empty()) {
    const std::size_t comma = states.find(',');
    const std::string word = states.substr(0, comma);
    const auto state = parse_run_state(word);
    if (!state) {
      return refusal{errc::bad_field, fmt::format("`state` has no value `{}`", printable(word)), "",
                     "queued, active, retry_wait, unknown, succeeded, failed, cancelled, expired, skipped"};
    }
    f.states.push_back(*state);
    states = comma == std::string::npos ? "" : states.substr(comma + 1);
  }
  f.job = get("job");
  f.worker_id = get("worker");
  if (const std::string tag = get("tag"); !tag.empty()) {
    const std::size_t equals = tag.find('=');
    if (equals == std::string::npos) return refusal{errc::bad_field, "`tag` must be key=value", "", ""};
    f.tag_key = tag.substr(0, equals);
    f.tag_value = tag.substr(equals + 1);
  }
  const auto since = since_of(get("since"));
  if (!since) return since.error();
  f.since = *since;
  if (const std::string cursor = get("cursor"); !cursor.empty()) {
    f.before = parse_uuid(cursor);
    if (!f.before) return refusal{errc::bad_field, "`cursor` is not one that this API gave out", "", ""};
  }
  const auto limit = number_parameter(r, "limit", limits::page_default, 1, limits::page_max);
  if (!limit) return limit.error();
  f.limit = *limit;
  return f;
}

asio::awaitable<net::http_response> list_runs(api& a, net::http_request r) {
  const auto filter = decode_filter(r);
  if (!filter) co_return reply(a, filter.error());
  store::run_filter wanted = *filter;
  ++wanted.limit;  // one more, to know whether there is a next page
  std::function<std::vector<store::run_with_attempts>(store::reader&)> query =
      [wanted](store::reader& reader) { return reader.list_runs(wanted); };
  auto rows = co_await a.core.read(std::move(query));
  json::value next = nullptr;
  if (rows.size() > filter->limit) {
    rows.resize(filter->limit);
    next = to_string(rows.back().run.id);
  }
  json::array items;
  for (const auto& row : rows) items.push_back(show_run(row));
  co_return reply_page(a, std::move(items), std::move(next));
}

struct found_run {
  std::optional<store::run_with_attempts> row;
};

asio::awaitable<found_run> find_run(api& a, run_id id) {
  std::function<found_run(store::reader&)> query = [id](store::reader& reader) {
    return found_run{reader.find_run(id)};
  };
  found_run found = co_await a.core.read(std::move(query));
  co_return found;
}

asio::awaitable<net::http_response> show(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {"wait"})) co_return reply(a, *bad);
  const auto wait = number_parameter(r, "wait", 0, 0, longest_wait_seconds);
  if (!wait) co_return reply(a, wait.error());
  const auto id = co_await resolve_run_id(a, r.path_parameters[0]);
  if (!id) co_return reply(a, id.error());
  const mono_time until = read_mono_clock() + seconds{*wait};
  const auto changes = a.core.run_changes(*id);
  std::uint64_t seen = changes->count();
  found_run found = co_await find_run(a, *id);
  while (found.row && !is_final(found.row->run.state) && read_mono_clock() < until && !a.core.stopping()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - read_mono_clock());
    co_await wait_for(changes, seen, left);
    seen = changes->count();
    found = co_await find_run(a, *id);
  }
  if (!found.row) {
    co_return reply(a, refusal{errc::not_found, fmt::format("there is no run {}", to_string(*id)), "", ""});
  }
  co_return reply(a, show_run(*found.row));
}

/// The answer of a request that changes one run: the run as it is on disk now, with its attempts.
asio::awaitable<net::http_response> changed_run(api& a, engine::answer answer) {
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  const auto* run = std::get_if<engine::run_answer>(&answer.body);
  if (run == nullptr) co_return reply(a, json::object{});
  const found_run found = co_await find_run(a, run->run.id);
  const bool is_new = run->created || run->replayed;  // a repetition is answered as the first was
  const int status = is_new ? 201 : 200;
  net::http_response out = reply(a, found.row ? show_run(*found.row) : show_answer(*run), status);
  if (is_new) out.headers.emplace_back("Location", "/api/v1/runs/" + to_string(run->run.id));
  if (run->replayed) out.headers.emplace_back("Idempotency-Replayed", "true");
  co_return out;
}

template <class Request>
asio::awaitable<net::http_response> change_run(api& a, net::http_request r, Request request) {
  const auto id = co_await resolve_run_id(a, r.path_parameters[0]);
  if (!id) co_return reply(a, id.error());
  request.run = *id;
  engine::answer answer = co_await a.core.ask(std::move(request));
  co_return co_await changed_run(a, std::move(answer));
}

/// The header's key; empty without one.
result<std::string> read_key(const net::http_request& r) {
  const std::string* key = r.header("idempotency-key");
  if (key == nullptr) return std::string{};
  const bool printable_ascii =
      std::all_of(key->begin(), key->end(), [](char c) { return c > ' ' && c < 127; });
  if (key->empty() || key->size() > limits::idempotency_key || !printable_ascii) {
    return refusal{errc::bad_field,
                   "Idempotency-Key must be 1 to 255 printable ASCII characters without blanks", "", ""};
  }
  return *key;
}

/// The answer to a key whose run retention has removed.
net::http_response purged(api& a, const run_id& id) {
  json::object o;
  o["id"] = to_string(id);
  o["purged"] = true;
  net::http_response out = reply(a, o);
  out.headers.emplace_back("Idempotency-Replayed", "true");
  return out;
}

asio::awaitable<net::http_response> retry_one(api& a, net::http_request r) {
  const auto id = co_await resolve_run_id(a, r.path_parameters[0]);
  if (!id) co_return reply(a, id.error());
  auto key = read_key(r);
  if (!key) co_return reply(a, key.error());
  engine::retry_run request;
  request.run = *id;
  request.fingerprint = hash64("retry " + to_string(*id) + "\n" + r.body);
  request.idempotency_key = std::move(*key);
  engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* gone = std::get_if<engine::purged_answer>(&answer.body)) co_return purged(a, gone->id);
  co_return co_await changed_run(a, std::move(answer));
}

struct ended_runs {
  std::vector<engine::retry_runs::ended_run> again;
  std::size_t matched = 0, retried_before = 0, live = 0;
  bool more = false;
};

/// The newest runs that match, less those that live and those that were tried again already.
ended_runs find_ended(store::reader& reader, const store::run_filter& filter) {
  ended_runs found;
  store::run_filter page = filter;
  page.limit = limits::page_max;
  for (;;) {
    const auto rows = reader.list_runs(page);
    std::vector<run_id> ids;
    ids.reserve(rows.size());
    for (const auto& row : rows) ids.push_back(row.run.id);
    const std::set<run_id> before = reader.retried(ids);
    for (const auto& row : rows) {
      if (found.again.size() == filter.limit) {
        found.more = true;
        return found;
      }
      ++found.matched;
      if (!is_final(row.run.state)) {
        ++found.live;
      } else if (before.contains(row.run.id)) {
        ++found.retried_before;
      } else {
        found.again.push_back({row.run, row.spec_text});
      }
    }
    if (rows.size() < page.limit) return found;
    page.before = rows.back().run.id;
  }
}

/// The filter of a request body has the same words as the parameters of the list.
result<store::run_filter> decode_body_filter(const json::object& body) {
  net::http_request as_query;
  for (const char* key : {"state", "job", "worker", "tag", "since"}) {
    const json::value* v = body.if_contains(key);
    if (v == nullptr) continue;
    if (!v->is_string() || v->get_string().empty()) {
      return refusal{errc::bad_field, fmt::format("`{}` must be a text", key), std::string("/") + key, ""};
    }
    as_query.query[key] = std::string(v->get_string());
  }
  auto filter = decode_filter(as_query);
  if (!filter) return filter;
  if (filter->states.empty()) filter->states = {run_state::failed};
  filter->limit = limits::retries_a_request;
  const json::value* limit = body.if_contains("limit");
  if (limit == nullptr) return filter;
  const bool fits = limit->is_int64() && limit->get_int64() >= 1 &&
                    limit->get_int64() <= static_cast<std::int64_t>(limits::retries_a_request);
  if (!fits) {
    return refusal{errc::bad_field,
                   fmt::format("`limit` must be a whole number from 1 to {}", limits::retries_a_request),
                   "/limit", ""};
  }
  filter->limit = static_cast<std::size_t>(limit->get_int64());
  return filter;
}

class raised_flag {
 public:
  explicit raised_flag(bool& flag) : flag_(flag) { flag_ = true; }
  ~raised_flag() { flag_ = false; }
  raised_flag(const raised_flag&) = delete;
  raised_flag& operator=(const raised_flag&) = delete;

 private:
  bool& flag_;
};

asio::awaitable<net::http_response> retry_many(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  if (auto bad = check_keys(*body, {"state", "job", "worker", "tag", "since", "limit", "dry_run"}))
    co_return reply(a, *bad);
  const auto filter = decode_body_filter(*body);
  if (!filter) co_return reply(a, filter.error());
  const auto dry = flag_of(*body, "dry_run");
  if (!dry) co_return reply(a, dry.error());
  // Two that look at the same time would both find the same runs not retried yet.
  if (a.retrying_many) {
    co_return reply(
        a, refusal{errc::unavailable, "another bulk retry is under way", "", "try again in a second"});
  }
  const raised_flag busy(a.retrying_many);
  std::function<ended_runs(store::reader&)> query = [wanted = *filter](store::reader& reader) {
    return find_ended(reader, wanted);
  };
  ended_runs found = co_await a.core.read(std::move(query));
  json::object out;
  out["matched"] = found.matched;
  out["retried_before"] = found.retried_before;
  out["not_ended"] = found.live;
  out["more"] = found.more;
  out["dry_run"] = *dry;
  json::array items;
  for (const auto& old : found.again) {
    json::object o;
    o["retry_of"] = to_string(old.run.id);
    o["job"] = old.run.job;
    o["id"] = nullptr;
    items.push_back(std::move(o));
  }
  if (!*dry) {
    engine::retry_runs request;
    request.runs = std::move(found.again);
    const engine::answer answer = co_await a.core.ask(std::move(request));
    if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
    const auto& made = std::get<engine::retried_answer>(answer.body).runs;
    for (std::size_t i = 0; i < made.size(); ++i) items[i].as_object()["id"] = to_string(made[i]);
    out["retried"] = made.size();
  } else {
    out["retried"] = 0;
  }
  out["items"] = std::move(items);
  co_return reply(a, out);
}

asio::awaitable<net::http_response> resolve(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  if (auto bad = check_keys(*body, {"as"})) co_return reply(a, *bad);
  const json::value* as = body->if_contains("as");
  std::optional<run_state> state;
  if (as != nullptr && as->is_string()) state = parse_run_state(std::string_view(as->as_string()));
  if (state != run_state::succeeded && state != run_state::failed && state != run_state::cancelled) {
    co_return reply(a, refusal{errc::bad_field, "`as` must be succeeded, failed or cancelled", "/as", ""});
  }
  engine::resolve_run request;
  request.as = *state;
  co_return co_await change_run(a, std::move(r), request);
}

asio::awaitable<net::http_response> release(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  if (auto bad = check_keys(*body, {"after", "now"})) co_return reply(a, *bad);
  const auto after = flag_of(*body, "after");
  if (!after) co_return reply(a, after.error());
  const auto now = flag_of(*body, "now");
  if (!now) co_return reply(a, now.error());
  engine::hold_run request;
  request.held = false;
  request.forget_after = *after;
  request.start_now = *now;
  co_return co_await change_run(a, std::move(r), std::move(request));
}

/// What a key stands for: the request as it came, but that one instant may be written in any zone.
std::uint64_t fingerprint_of(const net::http_request& r) {
  std::string body = r.body;
  const auto parsed = protocol::parse_json(body);
  const json::value* at = parsed && parsed->is_object() ? parsed->as_object().if_contains("at") : nullptr;
  const std::string text = at != nullptr && at->is_string() ? std::string(at->as_string()) : "";
  const auto time = parse_rfc3339(text);
  const std::string quoted = '"' + text + '"';
  const std::size_t place = time ? body.find(quoted) : std::string::npos;
  if (place != std::string::npos && body.find(quoted, place + 1) == std::string::npos) {
    std::string utc = to_rfc3339(*time);
    if (utc.ends_with(".000Z")) utc.replace(utc.size() - 5, 5, "Z");
    body.replace(place + 1, text.size(), utc);
  }
  return hash64(r.path + "\n" + body);
}

asio::awaitable<net::http_response> post_run(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  auto what = protocol::decode_submission(*body, read_wall_clock());
  if (!what) co_return reply(a, what.error());
  co_return co_await submit(a, std::move(r), std::move(*what));
}

}  // namespace

asio::awaitable<net::http_response> submit(api& a, net::http_request r, protocol::submission what) {
  if (a.core.disk().queued_bytes() > commit_backlog) {
    co_return reply(
        a, refusal{errc::unavailable, "too much work is waiting for the disk", "", "try again in a second"});
  }
  engine::submit_run request;
  std::optional<refusal> unresolved;
  for (std::size_t i = 0; i < what.after.size() && !unresolved; ++i) {
    const auto id = co_await resolve_run_id(a, what.after[i].run);
    if (id) {
      request.after.push_back({*id, what.after[i].on});
    } else {
      unresolved = id.error();
      unresolved->pointer = fmt::format("/after/{}/run", i);
    }
  }
  request.what = std::move(what);
  request.fingerprint = fingerprint_of(r);
  auto key = read_key(r);
  if (!key) co_return reply(a, key.error());
  request.idempotency_key = std::move(*key);
  if (unresolved && request.idempotency_key.empty()) co_return reply(a, *unresolved);
  // What a name meant the first time it may not mean any more; the key's run is the answer all the same.
  request.replay_only = unresolved.has_value();
  engine::answer answer = co_await a.core.ask(std::move(request));
  const auto* refused = std::get_if<refusal>(&answer.body);
  if (unresolved && refused != nullptr && refused->code == errc::not_found) co_return reply(a, *unresolved);
  if (const auto* gone = std::get_if<engine::purged_answer>(&answer.body)) co_return purged(a, gone->id);
  const auto* run = std::get_if<engine::run_answer>(&answer.body);
  // A key's run may have begun, or ended, long ago. A new one has no attempts yet, and costs no read.
  if (run == nullptr || run->replayed) co_return co_await changed_run(a, std::move(answer));
  net::http_response out = reply(a, show_answer(*run), 201);
  out.headers.emplace_back("Location", "/api/v1/runs/" + to_string(run->run.id));
  co_return out;
}

void add_run_routes(net::http_server& http, api& a) {
  http.add({"POST", "/api/v1/runs", [&a](net::http_request r) { return post_run(a, std::move(r)); }});
  http.add({"GET", "/api/v1/runs", [&a](net::http_request r) { return list_runs(a, std::move(r)); }});
  http.add({"POST", "/api/v1/runs:retry", [&a](net::http_request r) { return retry_many(a, std::move(r)); }});
  http.add({"GET", "/api/v1/runs/{id}", [&a](net::http_request r) { return show(a, std::move(r)); }});
  const auto act = [&](const char* path, net::http_handler handler) {
    http.add({"POST", path, without_fields(a, std::move(handler))});
  };
  act("/api/v1/runs/{id}/cancel",
      [&a](net::http_request r) { return change_run(a, std::move(r), engine::cancel_run{}); });
  act("/api/v1/runs/{id}/retry", [&a](net::http_request r) { return retry_one(a, std::move(r)); });
  act("/api/v1/runs/{id}/hold",
      [&a](net::http_request r) { return change_run(a, std::move(r), engine::hold_run{{}, {}, true}); });
  http.add(
      {"POST", "/api/v1/runs/{id}/release", [&a](net::http_request r) { return release(a, std::move(r)); }});
  http.add(
      {"POST", "/api/v1/runs/{id}/resolve", [&a](net::http_request r) { return resolve(a, std::move(r)); }});
}

}  // namespace orchestrator::server
