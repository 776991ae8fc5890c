// What the resources of the API share: answers, parameters and the ways to name a run.
#include <charconv>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/api_json.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "api.hpp"

namespace orchestrator::server {

net::http_response reply(const api& a, const json::value& body, int status) {
  net::http_response out;
  out.status = status;
  out.body = protocol::write_json(body);
  out.headers.emplace_back("Orchestrator-Revision", std::to_string(a.core.view().durable()));
  return out;
}

net::http_response reply(const api& a, const refusal& r) {
  net::http_response out = net::problem(r);
  out.headers.emplace_back("Orchestrator-Revision", std::to_string(a.core.view().durable()));
  return out;
}

result<std::uint64_t> number_parameter(const net::http_request& r, const std::string& name,
                                       std::uint64_t fallback, std::uint64_t low, std::uint64_t high) {
  const auto found = r.query.find(name);
  if (found == r.query.end()) return fallback;
  std::uint64_t n = 0;
  const char* end = found->second.data() + found->second.size();
  const auto [rest, ec] = std::from_chars(found->second.data(), end, n);
  if (ec != std::errc{} || rest != end || n < low || n > high) {
    return refusal{errc::bad_field, fmt::format("`{}` must be a whole number from {} to {}", name, low, high),
                   "", ""};
  }
  return n;
}

result<std::optional<wall_time>> since_of(const std::string& text) {
  if (text.empty()) return std::optional<wall_time>{};
  std::optional<wall_time> since = parse_rfc3339(text);
  if (const auto ago = parse_duration(text); !since && ago) since = read_wall_clock() - *ago;
  if (since) return since;
  return refusal{errc::bad_field, "`since` must be an RFC 3339 time or a duration like 2h", "", ""};
}

namespace {

refusal unknown_name(std::string what, std::string_view name, const std::vector<std::string_view>& known) {
  refusal r{errc::unknown_field, fmt::format("unknown {} `{}`", what, printable(name)), "", ""};
  if (const auto near = nearest(name, known)) r.hint = fmt::format("did you mean `{}`?", *near);
  return r;
}

}  // namespace

std::optional<refusal> check_parameters(const net::http_request& r, std::vector<std::string_view> known) {
  for (const auto& [name, value] : r.query) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      return unknown_name("parameter", name, known);
  }
  return std::nullopt;
}

std::optional<refusal> check_keys(const json::object& body, std::vector<std::string_view> known) {
  for (const auto& member : body) {
    const std::string_view key(member.key().data(), member.key().size());
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      refusal r = unknown_name("key", key, known);
      r.pointer = "/" + std::string(key);
      return r;
    }
  }
  return std::nullopt;
}

net::http_response reply_page(const api& a, json::array items, json::value next_cursor) {
  json::object page;
  page["items"] = std::move(items);
  page["next_cursor"] = std::move(next_cursor);
  return reply(a, page);
}

result<name_page> name_page_of(const net::http_request& r) {
  if (auto bad = check_parameters(r, {"cursor", "limit"})) return *bad;
  const auto limit = number_parameter(r, "limit", limits::page_default, 1, limits::page_max);
  if (!limit) return limit.error();
  name_page page;
  page.limit = *limit;
  if (const auto cursor = r.query.find("cursor"); cursor != r.query.end()) page.after = cursor->second;
  return page;
}

result<json::object> body_object(const net::http_request& r) {
  if (r.body.empty()) return json::object{};
  auto parsed = protocol::parse_json(r.body);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return refusal{errc::bad_json, "the body must be a JSON object", "", ""};
  return std::move(parsed->as_object());
}

result<json::object> body_of_named(const net::http_request& r) {
  auto body = body_object(r);
  if (!body) return body;
  const std::string& name = r.path_parameters[0];
  const json::value* given = body->if_contains("name");
  if (given == nullptr)
    (*body)["name"] = name;
  else if (given->is_string() && given->get_string() != name)
    return refusal{errc::bad_field, "`name` differs from the name in the path", "/name", ""};
  return body;
}

namespace {

asio::awaitable<net::http_response> ready(net::http_response answer) { co_return answer; }

}  // namespace

net::http_handler without_fields(api& a, net::http_handler handler) {
  return [&a, handler = std::move(handler)](net::http_request r) {
    const auto body = body_object(r);
    const std::optional<refusal> wrong = body ? check_keys(*body, {}) : body.error();
    return wrong ? ready(reply(a, *wrong)) : handler(std::move(r));
  };
}

result<bool> flag_of(const json::object& body, std::string_view key) {
  const json::value* given = body.if_contains(key);
  if (given == nullptr) return false;
  if (!given->is_bool())
    return refusal{errc::bad_field, fmt::format("`{}` must be true or false", key), fmt::format("/{}", key),
                   ""};
  return given->get_bool();
}

json::object show_run(const store::run_with_attempts& r) {
  const auto spec = protocol::decode_spec(r.spec_text);
  return protocol::run_to_json(r.run, spec ? &*spec : nullptr, r.attempts);
}

namespace {

struct matches {
  std::vector<run_id> ids;
};

matches match_ids(store::reader& reader, const std::string& text) {
  if (text == "last") {
    const auto last = reader.last_run();
    return {last ? std::vector{*last} : std::vector<run_id>{}};
  }
  if (text.find_first_not_of("0123456789abcdef-") == std::string::npos) {
    auto ids = reader.match_run_ids(text, 2);
    if (!ids.empty()) return {std::move(ids)};
  }
  const auto newest = reader.last_run_of(text);
  return {newest ? std::vector{*newest} : std::vector<run_id>{}};
}

}  // namespace

asio::awaitable<result<run_id>> resolve_run_id(api& a, std::string text) {
  if (const auto whole = parse_uuid(text)) co_return *whole;
  std::function<matches(store::reader&)> query = [text](store::reader& reader) {
    return match_ids(reader, text);
  };
  const matches found = co_await a.core.read(std::move(query));
  if (found.ids.size() == 1) co_return found.ids.front();
  refusal r{errc::not_found, fmt::format("there is no run `{}`", printable(text)), "",
            "give a whole id, its beginning, 4 or more characters of its end, `last`, or a job's name"};
  if (found.ids.size() > 1) {
    r = {errc::conflict, fmt::format("`{}` fits more than one run", printable(text)), "",
         "give more of the id"};
  }
  co_return r;
}

}  // namespace orchestrator::server
