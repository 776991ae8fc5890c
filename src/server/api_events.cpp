// The durable event log: pages of facts, and a server-sent stream that resumes by Last-Event-ID.
#include <charconv>

#include <fmt/format.h>

#include <orchestrator/protocol/api_json.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

constexpr std::size_t stream_page = 500;
/// Proxies and people see that the stream lives.
constexpr auto stream_heartbeat = std::chrono::seconds{15};

struct fact_rows {
  std::vector<store::stored_fact> rows;
};

asio::awaitable<fact_rows> facts_after(api& a, std::optional<std::uint64_t> after, std::size_t limit) {
  std::function<fact_rows(store::reader&)> query = [after, limit](store::reader& reader) {
    return fact_rows{after ? reader.list_facts(*after, limit) : reader.last_facts(limit)};
  };
  fact_rows found = co_await a.core.read(std::move(query));
  co_return found;
}

std::string encode_event(const store::stored_fact& f) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", f.sequence, f.fact.type,
                     protocol::write_json(protocol::fact_to_json(f.sequence, f.fact)));
}

asio::awaitable<void> stream_facts(api& a, std::optional<std::uint64_t> after,
                                   std::shared_ptr<net::body_writer> body) {
  if (!after) {  // a new follower starts at the present end
    const fact_rows newest = co_await facts_after(a, std::nullopt, 1);
    after = newest.rows.empty() ? 0 : newest.rows.back().sequence;
  }
  const std::string hello = "retry: 1000\n\n";
  bool open = co_await body->write(hello);
  while (open && body->open() && !a.core.stopping()) {
    const std::uint64_t seen = a.core.fact_changes()->count();
    const fact_rows found = co_await facts_after(a, after, stream_page);
    std::string text;
    for (const auto& row : found.rows) text += encode_event(row);
    if (!found.rows.empty()) after = found.rows.back().sequence;
    if (found.rows.size() < stream_page) {
      if (text.empty()) {
        const bool woken = co_await wait_for(a.core.fact_changes(), seen, stream_heartbeat);
        if (!woken) text = ": alive\n\n";
      }
    }
    if (!text.empty()) open = co_await body->write(text);
  }
}

std::optional<std::uint64_t> parse_sequence(const std::string& text) {
  std::uint64_t n = 0;
  const auto [rest, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || rest != text.data() + text.size() || n > INT64_MAX) return std::nullopt;
  return n;
}

asio::awaitable<net::http_response> events(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {"after", "limit"})) co_return reply(a, *bad);
  const auto limit = number_parameter(r, "limit", limits::page_default, 1, limits::page_max);
  if (!limit) co_return reply(a, limit.error());
  std::optional<std::uint64_t> after;
  if (r.query.contains("after")) {
    const auto given = number_parameter(r, "after", 0, 0, INT64_MAX);
    if (!given) co_return reply(a, given.error());
    after = *given;
  }
  const std::string* accept = r.header("accept");
  if (accept != nullptr && accept->starts_with("text/event-stream")) {
    if (const std::string* given = r.header("last-event-id")) {
      after = parse_sequence(*given);
      if (!after)
        co_return reply(a, refusal{errc::bad_field, "Last-Event-ID is not one that this stream gave out", "",
                                   "it is the sequence number of an event"});
    }
    net::http_response out;
    out.content_type = "text/event-stream";
    out.stream = [&a, after](std::shared_ptr<net::body_writer> body) {
      return stream_facts(a, after, std::move(body));
    };
    co_return out;
  }
  const fact_rows found = co_await facts_after(a, after, *limit);
  json::array items;
  for (const auto& row : found.rows) items.push_back(protocol::fact_to_json(row.sequence, row.fact));
  json::value next = nullptr;
  if (found.rows.size() == *limit) next = std::to_string(found.rows.back().sequence);
  co_return reply_page(a, std::move(items), std::move(next));
}

}  // namespace

void add_event_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/events", [&a](net::http_request r) { return events(a, std::move(r)); }});
}

}  // namespace orchestrator::server
