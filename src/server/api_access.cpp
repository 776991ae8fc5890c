// Tokens, the session of a browser, and the audit trail.
#include <cmath>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

const identity& caller_of(const net::http_request& r) { return static_cast<const identity&>(*r.from); }

json::value time_or_null(std::optional<wall_time> t) {
  return t ? json::value(to_rfc3339(*t)) : json::value(nullptr);
}

// ---- tokens

json::object show_token(const shown_token& t) {
  json::object o;
  o["id"] = t.row.id;
  o["name"] = t.row.name;
  o["role"] = t.row.role;
  o["worker_id"] = t.row.worker_id.empty() ? json::value(nullptr) : json::value(t.row.worker_id);
  o["state"] = t.state;
  o["file"] = t.is_file;
  o["created_at"] = to_rfc3339(t.row.created_at);
  o["expires_at"] = time_or_null(t.row.expires_at);
  o["revoked_at"] = time_or_null(t.row.revoked_at);
  o["last_used_at"] = time_or_null(t.row.last_used_at);
  return o;
}

/// In the order of the list: the files come first.
std::string place_of(const shown_token& t) {
  return t.is_file ? "0 " + t.row.id : fmt::format("1 {} {}", to_rfc3339(t.row.created_at), t.row.id);
}

asio::awaitable<net::http_response> list_tokens(api& a, net::http_request r) {
  const auto page = name_page_of(r);
  if (!page) co_return reply(a, page.error());
  std::vector<std::pair<std::string, shown_token>> all;
  for (shown_token& t : a.auth.tokens(read_wall_clock())) {
    std::string place = place_of(t);
    all.emplace_back(std::move(place), std::move(t));
  }
  using placed = std::pair<std::string, shown_token>;
  co_return reply_page(
      a, *page, all, [](const placed& p) -> const std::string& { return p.first; },
      [](const placed& p) { return std::optional(show_token(p.second)); });
}

asio::awaitable<net::http_response> one_token(api& a, net::http_request r) {
  const auto found = a.auth.find_token(r.path_parameters[0], read_wall_clock());
  if (found) co_return reply(a, show_token(*found));
  co_return reply(
      a, refusal{errc::not_found, fmt::format("there is no token `{}`", printable(r.path_parameters[0])), "",
                 "`orchestrator token list` shows all"});
}

result<std::string> name_in(const json::object& body, const char* key, bool required) {
  const json::value* given = body.if_contains(key);
  if (given == nullptr && !required) return std::string{};
  const std::string pointer = fmt::format("/{}", key);
  if (given == nullptr || !given->is_string() || !is_valid_name(given->get_string())) {
    return refusal{errc::bad_field,
                   fmt::format("`{}` must be a name: letters, digits, `_`, `.` and `-`, at most 128", key),
                   pointer, ""};
  }
  return std::string(given->get_string());
}

/// Absent: people's tokens end after 90 days, a worker's does not. null: never.
result<std::optional<wall_time>> expiry_in(const json::object& body, role r, wall_time now) {
  const json::value* given = body.if_contains("expires_in");
  if (given == nullptr) {
    if (r == role::worker) return std::optional<wall_time>{};
    return std::optional<wall_time>(now + milliseconds{limits::token_expires_default});
  }
  if (given->is_null()) return std::optional<wall_time>{};
  const auto most = std::chrono::duration_cast<seconds>(limits::token_expires_max).count();
  const double wanted = given->is_number() ? given->to_number<double>() : -1;
  if (!(wanted >= 1 && wanted <= static_cast<double>(most))) {
    return refusal{errc::bad_field,
                   fmt::format("`expires_in` must be seconds from 1 to {}, or null for never", most),
                   "/expires_in", ""};
  }
  return std::optional<wall_time>(now + milliseconds{static_cast<std::int64_t>(std::llround(wanted * 1000))});
}

result<token_wish> wish_in(const json::object& body, wall_time now) {
  if (auto bad = check_keys(body, {"name", "role", "worker_id", "expires_in"})) return *bad;
  token_wish wish;
  auto name = name_in(body, "name", true);
  if (!name) return name.error();
  wish.name = std::move(*name);
  const json::value* word = body.if_contains("role");
  const auto given =
      word != nullptr && word->is_string() ? parse_role_word(word->get_string()) : std::nullopt;
  if (!given)
    return refusal{errc::bad_field, "`role` must be one of read, operator, admin and worker", "/role", ""};
  wish.role = *given;
  auto worker = name_in(body, "worker_id", false);
  if (!worker) return worker.error();
  wish.worker_id = std::move(*worker);
  if (!wish.worker_id.empty() && wish.role != role::worker)
    return refusal{errc::bad_field, "only a token with the role worker has a `worker_id`", "/worker_id", ""};
  const auto expires = expiry_in(body, wish.role, now);
  if (!expires) return expires.error();
  wish.expires_at = *expires;
  return wish;
}

asio::awaitable<net::http_response> make_token(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  const wall_time now = read_wall_clock();
  const auto wish = wish_in(*body, now);
  if (!wish) co_return reply(a, wish.error());
  std::vector<store::access_change> rows;
  const auto made = a.auth.make_token(*wish, now, rows);
  if (!made) co_return reply(a, made.error());
  co_await a.audit.commit(std::move(rows));
  json::object o = show_token(made->shown);
  o["token"] = made->secret;
  net::http_response out = reply(a, o, 201);
  out.headers.emplace_back("Location", "/api/v1/tokens/" + made->shown.row.id);
  co_return out;
}

asio::awaitable<net::http_response> revoke_token(api& a, net::http_request r) {
  caller_of(r).answer_first = true;
  std::vector<store::access_change> rows;
  const auto revoked = a.auth.revoke(r.path_parameters[0], read_wall_clock(), rows);
  if (!revoked) co_return reply(a, revoked.error());
  co_await a.audit.commit(std::move(rows));
  co_return reply(a, show_token(*revoked));
}

// ---- the session of a browser

json::object show_session(const identity& who) {
  json::object o;
  o["name"] = who.name;
  o["role"] = to_string(who.role);
  o["expires_at"] = time_or_null(who.expires_at);
  o["csrf"] = who.csrf.empty() ? json::value(nullptr) : json::value(who.csrf);
  return o;
}

asio::awaitable<net::http_response> who_am_i(api& a, net::http_request r) {
  co_return reply(a, show_session(caller_of(r)));
}

/// The page came by https, so something before us ends TLS. The origin was checked before.
bool is_behind_tls(const net::http_request& r) {
  const std::string* origin = r.header("origin");
  return origin != nullptr && origin->starts_with("https://");
}

asio::awaitable<net::http_response> log_in(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  if (auto bad = check_keys(*body, {"remember"})) co_return reply(a, *bad);
  const auto remember = flag_of(*body, "remember");
  if (!remember) co_return reply(a, remember.error());
  const identity& who = caller_of(r);
  if (who.key.empty() || !who.session.empty()) {
    co_return reply(a, refusal{errc::conflict, "a session begins with a token", "",
                               "send it as Authorization: Bearer TOKEN; with --auth=off none is needed"});
  }
  std::vector<store::access_change> rows;
  const std::string cookie =
      a.auth.begin_session(who, *remember, a.tls || is_behind_tls(r), read_wall_clock(), rows);
  co_await a.audit.commit(std::move(rows));
  net::http_response out = reply(a, show_session(who), 201);
  out.headers.emplace_back("Set-Cookie", cookie);
  co_return out;
}

asio::awaitable<net::http_response> log_out(api& a, net::http_request r) {
  const identity& who = caller_of(r);
  if (who.session.empty()) {
    co_return reply(a, refusal{errc::conflict, "this is no session: a token was sent", "",
                               "`orchestrator token revoke` ends a token"});
  }
  who.answer_first = true;
  std::vector<store::access_change> rows;
  const std::string cookie = a.auth.end_session(who, rows);
  co_await a.audit.commit(std::move(rows));
  net::http_response out = reply(a, json::object{});
  out.headers.emplace_back("Set-Cookie", cookie);
  co_return out;
}

// ---- the audit trail

json::object show_entry(const store::audit_entry& e) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? json::value(nullptr) : json::value(text);
  };
  json::object o;
  o["id"] = e.id;
  o["at"] = to_rfc3339(e.at);
  o["name"] = or_null(e.name);
  o["role"] = or_null(e.role);
  o["address"] = e.address;
  o["method"] = e.method;
  o["path"] = e.path;
  o["status"] = e.status ? json::value(*e.status) : json::value(nullptr);
  o["made"] = or_null(e.made);
  o["count"] = e.count;
  return o;
}

result<store::audit_filter> audit_filter_of(const net::http_request& r) {
  if (auto bad = check_parameters(r, {"cursor", "limit", "since", "name", "refused"})) return *bad;
  const auto get = [&r](const char* name) {
    const auto found = r.query.find(name);
    return found == r.query.end() ? std::string{} : found->second;
  };
  store::audit_filter f;
  const auto limit = number_parameter(r, "limit", limits::page_default, 1, limits::page_max);
  if (!limit) return limit.error();
  f.limit = *limit;
  const auto before = number_parameter(r, "cursor", INT64_MAX, 0, INT64_MAX);
  if (!before) return refusal{errc::bad_field, "`cursor` is not one that this API gave out", "", ""};
  f.before = *before;
  const auto since = since_of(get("since"));
  if (!since) return since.error();
  f.since = *since;
  f.name = get("name");
  const auto refused = number_parameter(r, "refused", 0, 0, 1);
  if (!refused) return refused.error();
  f.refused_only = *refused == 1;
  return f;
}

asio::awaitable<net::http_response> list_audit(api& a, net::http_request r) {
  const auto filter = audit_filter_of(r);
  if (!filter) co_return reply(a, filter.error());
  const auto found = co_await a.audit.list(*filter);
  json::array items;
  for (const store::audit_entry& e : found) items.push_back(show_entry(e));
  json::value next = nullptr;
  if (found.size() == filter->limit) next = std::to_string(found.back().id);
  co_return reply_page(a, std::move(items), std::move(next));
}

}  // namespace

void add_access_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/tokens", [&a](net::http_request r) { return list_tokens(a, std::move(r)); }});
  http.add({"POST", "/api/v1/tokens", [&a](net::http_request r) { return make_token(a, std::move(r)); }});
  http.add({"GET", "/api/v1/tokens/{id}", [&a](net::http_request r) { return one_token(a, std::move(r)); }});
  http.add({"POST", "/api/v1/tokens/{id}/revoke",
            without_fields(a, [&a](net::http_request r) { return revoke_token(a, std::move(r)); })});
  http.add({"GET", "/api/v1/session", [&a](net::http_request r) { return who_am_i(a, std::move(r)); }});
  http.add({"POST", "/api/v1/session", [&a](net::http_request r) { return log_in(a, std::move(r)); }});
  http.add({"DELETE", "/api/v1/session",
            without_fields(a, [&a](net::http_request r) { return log_out(a, std::move(r)); })});
  http.add({"GET", "/api/v1/audit", [&a](net::http_request r) { return list_audit(a, std::move(r)); }});
}

}  // namespace orchestrator::server
