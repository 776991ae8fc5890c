// A run's output, as newline-delimited JSON or as plain bytes, once or followed until the run is final.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

constexpr std::size_t page_bytes = 256 * 1024;
/// How long a follower waits before it looks again although nothing woke it.
constexpr auto follow_interval = std::chrono::seconds{5};

struct log_request {
  run_id run;
  std::optional<int> attempt;
  std::vector<std::string> streams;
  std::optional<std::uint64_t> tail;
  bool follow = false;
  bool plain = false;
};

/// Where reading stands: the attempt being shown and the next byte of each stream.
struct log_position {
  int attempt = 0;
  std::map<std::string, std::uint64_t> next;
};

/// One look at the store: what is new since the position.
struct log_look {
  bool found = false;
  run_state state = run_state::queued;
  bool attempt_over = true;
  int attempt = 0;
  std::vector<std::pair<std::string, store::output_page>> pages;
  bool more = false;  ///< a page was full: look again at once
};

result<log_request> decode(const net::http_request& r, run_id run) {
  if (auto bad = check_parameters(r, {"attempt", "stream", "tail", "follow"})) return *bad;
  log_request q;
  q.run = run;
  const auto attempt = number_parameter(r, "attempt", 0, 1, 1'000'000);
  if (!attempt) return attempt.error();
  if (*attempt != 0) q.attempt = static_cast<int>(*attempt);
  q.streams = {"stdout", "stderr"};
  if (const auto s = r.query.find("stream"); s != r.query.end()) {
    if (s->second != "stdout" && s->second != "stderr") {
      return refusal{errc::bad_field, "`stream` must be stdout or stderr", "", ""};
    }
    q.streams = {s->second};
  }
  if (r.query.contains("tail")) {
    const auto tail = number_parameter(r, "tail", 0, 0, limits::output_max);
    if (!tail) return tail.error();
    q.tail = *tail;
  }
  const auto follow = number_parameter(r, "follow", 0, 0, 1);
  if (!follow) return follow.error();
  q.follow = *follow == 1;
  const std::string* accept = r.header("accept");
  q.plain = accept != nullptr && accept->starts_with("text/plain");
  return q;
}

const attempt* pick_attempt(const store::run_with_attempts& row, const log_request& q, int after) {
  const attempt* chosen = nullptr;
  for (const attempt& a : row.attempts) {
    if (q.attempt ? a.number == *q.attempt : a.number >= after) chosen = &a;
    // A follower that shows an attempt stays with it until it is over, then goes on to the next one.
    if (chosen != nullptr && !q.attempt && q.follow && after > 0) break;
  }
  return chosen;
}

log_look look(store::reader& reader, const log_request& q, const log_position& at) {
  log_look out;
  const auto row = reader.find_run(q.run);
  if (!row) return out;
  out.found = true;
  out.state = row->run.state;
  const attempt* chosen = pick_attempt(*row, q, at.attempt);
  if (chosen == nullptr) return out;
  out.attempt = chosen->number;
  out.attempt_over = !is_live(chosen->state);
  for (const std::string& stream : q.streams) {
    std::uint64_t from = 0;
    const auto known = at.next.find(stream);
    if (at.attempt == chosen->number && known != at.next.end()) {
      from = known->second;
    } else if (q.tail) {
      const auto ends = reader.read_output(chosen->lease, stream, UINT64_MAX, 0);
      from = ends.end > *q.tail ? ends.end - *q.tail : 0;
    }
    auto page = reader.read_output(chosen->lease, stream, from, page_bytes);
    // A page ends at its size, and before a gap.
    if (page.offset + page.data.size() < page.end) out.more = true;
    out.pages.emplace_back(stream, std::move(page));
  }
  return out;
}

/// Splits so that no UTF-8 character is torn between two pieces, if the data is text at all.
std::string encode_piece(int attempt, const std::string& stream, std::uint64_t offset,
                         std::string_view data) {
  json::object o;
  o["attempt"] = attempt;
  o["stream"] = stream;
  o["offset"] = offset;
  if (is_utf8(data)) {
    o["data"] = json::string_view(data.data(), data.size());
  } else {
    o["data"] = base64_encode(data);
    o["encoding"] = "base64";
  }
  return protocol::write_json(o) + "\n";
}

std::string encode_gap(int attempt, const std::string& stream, const store::output_page::gap& gap) {
  json::object range;
  range["from"] = gap.from;
  range["to"] = gap.to;
  json::object o;
  o["attempt"] = attempt;
  o["stream"] = stream;
  o["gap"] = std::move(range);
  return protocol::write_json(o) + "\n";
}

/// Text of one look; moves the position on. A torn UTF-8 character at the end of a live stream waits for its
/// rest.
std::string render(const log_request& q, const log_look& seen, log_position& at) {
  if (at.attempt != seen.attempt) at = {seen.attempt, {}};
  std::string out;
  for (const auto& [stream, page] : seen.pages) {
    for (const auto& gap : page.gaps) {
      out += q.plain ? fmt::format("\n[{} bytes of {} were dropped]\n", gap.to - gap.from, stream)
                     : encode_gap(seen.attempt, stream, gap);
    }
    std::string_view data = page.data;
    const std::size_t whole = utf8_complete_prefix(data);
    if (whole < data.size() && whole > 0 && data.size() - whole < 4 && (!seen.attempt_over || seen.more)) {
      data = data.substr(0, whole);
    }
    if (!data.empty())
      out += q.plain ? std::string(data) : encode_piece(seen.attempt, stream, page.offset, data);
    at.next[stream] = std::max(page.offset + data.size(), at.next[stream]);
  }
  return out;
}

asio::awaitable<log_look> look_again(api& a, log_request q, log_position at) {
  std::function<log_look(store::reader&)> query = [q, at](store::reader& reader) {
    return look(reader, q, at);
  };
  log_look seen = co_await a.core.read(std::move(query));
  co_return seen;
}

/// What ends a follower's wait: output of any job, or a change of the run, since a silent attempt ends
/// without output.
struct log_changes {
  watched output, run;
  void note() {
    output.seen = output.signal->count();
    run.seen = run.signal->count();
  }
};

asio::awaitable<void> stream_logs(api& a, log_request q, log_look first, log_changes changes,
                                  std::shared_ptr<net::body_writer> body) {
  log_position at;
  log_look seen = std::move(first);
  for (;;) {
    if (!body->open()) co_return;
    const std::string text = render(q, seen, at);
    if (!text.empty()) {
      const bool taken = co_await body->write(text);
      if (!taken) co_return;
    }
    if (!seen.more) {
      const bool final = is_final(seen.state) || seen.state == run_state::unknown;
      if (!q.follow) break;
      if (a.core.stopping()) co_return;  // no end line: the follower asks again after the restart
      if (seen.attempt_over && at.attempt != 0 && !q.attempt && !final) {
        at = {at.attempt + 1, {}};  // this attempt is over: the next one is what a follower waits for
      }
      if (final || (q.attempt && seen.attempt_over && seen.attempt != 0)) break;
      std::vector<watched> both = {changes.output, changes.run};
      co_await wait_for_any(std::move(both), follow_interval);
    }
    changes.note();
    seen = co_await look_again(a, q, at);
    if (!seen.found) co_return;
    if (seen.attempt == 0) seen.attempt = at.attempt;
  }
  if (q.plain) co_return;
  json::object last;
  last["end"] = true;
  last["state"] = to_string(seen.state);
  const std::string line = protocol::write_json(last) + "\n";
  co_await body->write(line);
}

asio::awaitable<net::http_response> logs(api& a, net::http_request r) {
  const auto id = co_await resolve_run_id(a, r.path_parameters[0]);
  if (!id) co_return reply(a, id.error());
  const auto q = decode(r, *id);
  if (!q) co_return reply(a, q.error());
  log_position start;
  log_changes changes{{a.core.output_changes()}, {a.core.run_changes(*id)}};
  changes.note();  // before the look, so that nothing is missed
  log_look first = co_await look_again(a, *q, start);
  if (!first.found) {
    co_return reply(a, refusal{errc::not_found, fmt::format("there is no run {}", to_string(*id)), "", ""});
  }
  if (q->attempt && first.attempt == 0) {
    co_return reply(a,
                    refusal{errc::not_found, fmt::format("this run has no attempt {}", *q->attempt), "", ""});
  }
  net::http_response out;
  out.content_type = q->plain ? "text/plain; charset=utf-8" : "application/x-ndjson";
  out.stream = [&a, request = *q, first, changes](std::shared_ptr<net::body_writer> body) {
    return stream_logs(a, request, first, changes, std::move(body));
  };
  co_return out;
}

}  // namespace

void add_log_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/runs/{id}/logs", [&a](net::http_request r) { return logs(a, std::move(r)); }});
}

}  // namespace orchestrator::server
