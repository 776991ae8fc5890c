// The life of one HTTP connection. The order of the checks is the order of the functions: head, access,
// route, type, size, body, handler. Nothing of a body is read before everything that can be judged without it
// was judged.
#include "http_session.hpp"

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/telemetry/log.hpp>

#include "ws_session.hpp"

namespace orchestrator::net {

namespace {

constexpr std::size_t body_bytes_per_second = 64 * 1024;

http_response internal_error() {
  return problem(
      http_refusal{500, "internal", "the server failed on this request; the reason is in its log", {}});
}

void log_bug(const http_request& request, std::string_view what) {
  telemetry::error("Bug: the handler of {} {} failed: {}", printable(request.method), printable(request.path),
                   what);
}

bool is_known_method(std::string_view method) {
  constexpr std::array<std::string_view, 9> known = {"GET",    "HEAD",    "POST",  "PUT",    "PATCH",
                                                     "DELETE", "OPTIONS", "TRACE", "CONNECT"};
  return std::find(known.begin(), known.end(), method) != known.end();
}

/// RFC 9110's date, e.g. "Sun, 06 Nov 1994 08:49:37 GMT".
std::string http_date(wall_time now) {
  constexpr std::array<const char*, 7> days = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array<const char*, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const civil_time c = seconds_to_civil(to_unix_ms(now) / 1000);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", days[weekday_of(c.year, c.month, c.day)],
                     c.day, months[c.month - 1], c.year, c.hour, c.minute, c.second);
}

bool has_header(const http_response& response, std::string_view lower_case_name) {
  return std::any_of(response.headers.begin(), response.headers.end(),
                     [&](const auto& header) { return to_lower(header.first) == lower_case_name; });
}

/// A line break in a value would let whoever wrote that value write headers of their own.
bool headers_are_clean(const http_response& response) {
  const auto clean = [](std::string_view text) {
    return std::none_of(text.begin(), text.end(),
                        [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  };
  return clean(response.content_type) &&
         std::all_of(response.headers.begin(), response.headers.end(),
                     [&](const auto& header) { return clean(header.first) && clean(header.second); });
}

bool may_have_body(int status) { return status != 204 && status != 304; }

/// The head of an answer up to and without the framing headers.
std::string start_of_head(const http_response& response, bool keep_open) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status,
                                 reason_phrase(response.status), http_date(read_wall_clock()));
  if (may_have_body(response.status)) head += fmt::format("Content-Type: {}\r\n", response.content_type);
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  if (!has_header(response, "cache-control")) head += "Cache-Control: no-store\r\n";
  if (!has_header(response, "x-content-type-options")) head += "X-Content-Type-Options: nosniff\r\n";
  if (!keep_open) head += "Connection: close\r\n";
  return head;
}

/// Streams a body in chunks (HTTP/1.1) or as it is until the connection closes (1.0).
class chunk_writer final : public body_writer {
 public:
  chunk_writer(std::shared_ptr<http_session> session, bool chunked)
      : session_(std::move(session)), chunked_(chunked) {}

  asio::awaitable<bool> write(std::string_view data) override {
    if (gone_ || finished_) co_return false;
    if (data.empty()) co_return true;  // an empty chunk would end the body
    const std::string size = chunked_ ? fmt::format("{:x}\r\n", data.size()) : std::string();
    const std::string_view end = chunked_ ? "\r\n" : "";
    const auto stall = session_->core()->options.write_stall;
    const bool written = co_await session_->stream().write(size, data, end, stall);
    if (!written) gone_ = true;
    co_return written;
  }

  bool open() const override {
    return !gone_ && !finished_ && !session_->core()->stopping && session_->stream().socket().is_open();
  }

  /// Ends the body properly, so that the peer knows it is whole. Later writes are refused.
  asio::awaitable<void> finish() {
    finished_ = true;
    session_->stream().cancel();  // ends the watch
    if (gone_ || !chunked_) co_return;
    const auto stall = session_->core()->options.write_stall;
    co_await session_->stream().write("0\r\n\r\n", "", "", stall);
  }
  /// The handler failed: the body ends without its last chunk, which tells the peer that it is not whole.
  void give_up() { finished_ = gone_ = true; }

  /// A read must be pending while we only write, or a peer that left is noticed by a full socket buffer at
  /// best.
  asio::awaitable<void> watch([[maybe_unused]] std::shared_ptr<chunk_writer> self) {
    const bool gone = co_await session_->stream().wait_until_gone();
    if (!gone || finished_) co_return;
    gone_ = true;
    session_->stream().cancel();  // ends a write that is stuck
  }

 private:
  std::shared_ptr<http_session> session_;
  bool chunked_;
  bool gone_ = false;
  bool finished_ = false;
};

/// Runs a handler; an exception is a bug of ours, and is answered 500 by the caller.
asio::awaitable<std::optional<http_response>> run_handler(const route* to, http_request request) {
  std::string what;
  http_request shown;  // for the log; the handler gets the rest
  shown.method = request.method;
  shown.path = request.path;
  try {
    http_response response = co_await to->handler(std::move(request));
    if (headers_are_clean(response)) co_return response;
    what = "it set a header with a control character";
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
    what = "unknown exception";
  }
  log_bug(shown, what);
  co_return std::nullopt;
}

}  // namespace

const std::string* http_request::header(std::string_view lower_case_name) const {
  const auto at = headers.find(std::string(lower_case_name));
  return at == headers.end() ? nullptr : &at->second;
}

http_session::http_session(std::shared_ptr<http_core> core, tcp::socket socket)
    : core_(std::move(core)),
      slot_(std::make_shared<connection_slot>(core_)),
      stream_(std::move(socket)),
      peer_address_(peer_address_of(stream_.socket())) {
  error_code ec;
  const tcp::endpoint local = stream_.socket().local_endpoint(ec);
  if (!ec) local_address_ = plain_address(local.address()).to_string();
}

http_session::~http_session() { core_->sessions.erase(this); }

asio::awaitable<void> http_session::run([[maybe_unused]] std::shared_ptr<http_session> self) {
  core_->sessions.emplace(this, self);
  next then = next::keep_open;
  for (bool first = true; then == next::keep_open; first = false) then = co_await serve_one(first);
  if (then == next::close) co_await stream_.close_gracefully(core_->options.close_timeout);
}

asio::awaitable<http_session::next> http_session::serve_one(bool first) {
  if (core_->stopping) co_return next::close;
  without_request_ = true;
  const http_server_options& options = core_->options;
  const auto idle = first ? options.header_deadline : options.keep_alive;
  const http_stream::head_result read = co_await stream_.read_head(idle, options.header_deadline);
  head_read_at_ = read_mono_clock();
  method_.clear();
  pattern_ = {};
  switch (read.outcome) {
    case http_stream::head_outcome::idle_or_closed: co_return next::close;
    case http_stream::head_outcome::timed_out: {
      http_refusal late{408, "request_timeout", "the head did not arrive in time", {}};
      co_return co_await refuse(std::move(late), false);
    }
    case http_stream::head_outcome::refused: {
      http_refusal malformed = refusal_of(read.verdict);
      co_return co_await refuse(std::move(malformed), false);
    }
    case http_stream::head_outcome::complete: break;
  }
  std::optional<http_refusal> refused = check_version(read.head);
  if (refused) co_return co_await refuse(std::move(*refused), false);
  const std::optional<request_head> parsed = parse_request_head(read.head);
  if (!parsed) {
    http_refusal malformed = refusal_of(head_scanner::verdict::malformed);
    co_return co_await refuse(std::move(malformed), false);
  }
  checked_head head;
  head.request.peer_address = peer_address_;
  method_ = parsed->method;
  refused = check_head(*parsed, core_->hosts, local_address_, head);
  if (refused) co_return co_await refuse(std::move(*refused), parsed->method == "HEAD");
  co_return co_await serve_checked(std::move(head));
}

asio::awaitable<http_session::next> http_session::refuse(http_refusal refused, bool to_head) {
  http_response response = problem(refused);
  const manner how{to_head, false, false};
  co_return co_await send(std::move(response), how);
}

/// Calls the owner's check. Its answer, if it refuses; also when it throws, because then nobody was let in.
std::optional<http_response> http_session::check_access(checked_head& head, const router::match& match) {
  if (!core_->access) {
    slot_->authenticated();
    return std::nullopt;
  }
  try {
    if (const auto refused = core_->access(head.request, match.found)) return problem(*refused);
  } catch (const std::exception& e) {
    log_bug(head.request, e.what());
    head.keep_alive = false;
    return internal_error();
  }
  slot_->authenticated();
  from_ = head.request.from;
  return std::nullopt;
}

asio::awaitable<http_session::next> http_session::serve_checked(checked_head head) {
  const websocket_endpoint* endpoint = core_->routes.find_websocket(head.request.path);
  if (endpoint) co_return co_await upgrade(std::move(head), endpoint);

  router::match match = core_->routes.find(head.request.method, head.segments);
  head.request.path_parameters = match.parameters;
  if (match.found) pattern_ = match.found->pattern;
  std::optional<http_response> refused = check_access(head, match);
  if (!refused && head.wants_websocket)
    refused = problem(http_refusal{400, "bad_request", "this path is no WebSocket endpoint", {}});
  if (!refused && !match.found && !is_known_method(head.request.method))
    refused = problem(http_refusal{501, "method_not_implemented", "this method is not known", {}});
  if (!refused && !match.found && !match.allow.empty())
    refused = problem(http_refusal{
        405, "method_not_allowed", fmt::format("this path takes {}", match.allow), {{"Allow", match.allow}}});
  if (!refused && !match.found)
    refused = problem(http_refusal{
        404, "not_found", fmt::format("there is nothing at {}", printable(head.request.path)), {}});
  if (refused) {
    // An answer before the body was read may keep the connection only if there is no body in the way.
    const manner how{head.request.method == "HEAD", head.keep_alive && head.content_length == 0, false};
    co_return co_await send(std::move(*refused), how);
  }
  co_return co_await serve_route(std::move(head), std::move(match));
}

asio::awaitable<http_session::next> http_session::serve_route(checked_head head, router::match match) {
  const route& to = *match.found;
  std::optional<http_refusal> refused;
  const std::string* type = head.request.header("content-type");
  // A web page may send a POST of other types anywhere without asking; its body may be empty.
  const bool must_be_json = to.json_body && (head.content_length > 0 || head.request.method == "POST");
  if (const std::string* coding = head.request.header("content-encoding"); coding && *coding != "identity")
    refused = http_refusal{415, "unsupported", "encoded bodies are not accepted; send it as it is", {}};
  else if (must_be_json && !(type && is_json_type(*type)))
    refused = http_refusal{
        415, "unsupported", "send Content-Type: application/json, with a POST without a body too", {}};
  else if (head.content_length > to.max_body)
    refused =
        http_refusal{413, "too_large", fmt::format("the body may be {} bytes at most", to.max_body), {}};
  const manner how{head.request.method == "HEAD", head.keep_alive, head.understands_chunks};
  if (refused) co_return co_await refuse(std::move(*refused), how.to_head);

  if (head.content_length > 0) {
    if (head.expects_continue && !stream_.has_unread()) {
      const auto stall = core_->options.write_stall;
      const bool told = co_await stream_.write("HTTP/1.1 100 Continue\r\n\r\n", "", "", stall);
      if (!told) co_return next::close;
    }
    const auto limit =
        core_->options.body_deadline + std::chrono::seconds(head.content_length / body_bytes_per_second);
    std::optional<std::string> body = co_await stream_.read_body(head.content_length, limit);
    if (!body) {
      http_refusal late{408, "request_timeout", "the body did not arrive in time or whole", {}};
      co_return co_await refuse(std::move(late), how.to_head);
    }
    head.request.body = std::move(*body);
  }
  without_request_ = false;
  std::optional<http_response> response = co_await run_handler(&to, std::move(head.request));
  if (!response) {
    http_response failed = internal_error();
    const manner last{how.to_head, false, false};
    co_return co_await send(std::move(failed), last);
  }
  if (response->stream) co_return co_await send_stream(std::move(*response), how);
  co_return co_await send(std::move(*response), how);
}

void http_session::note_answer(int status) {
  const auto& tell = core_->options.answered;
  if (tell) tell({method_, pattern_, status, read_mono_clock() - head_read_at_});
}

asio::awaitable<http_session::next> http_session::send(http_response response, manner how) {
  without_request_ = false;
  note_answer(response.status);
  const bool keep_open = how.keep_open && !core_->stopping;
  std::string text = start_of_head(response, keep_open);
  if (may_have_body(response.status)) text += fmt::format("Content-Length: {}\r\n", response.body.size());
  text += "\r\n";
  const bool with_body = may_have_body(response.status) && !how.to_head;
  const std::string_view body = with_body ? std::string_view(response.body) : std::string_view();
  const auto stall = core_->options.write_stall;
  const bool written = co_await stream_.write(text, body, "", stall);
  if (!written) stream_.abort();
  co_return written&& keep_open ? next::keep_open : next::close;
}

/// A streamed answer is the last on its connection: its reader's goodbye must not be taken for another
/// request.
asio::awaitable<http_session::next> http_session::send_stream(http_response response, manner how) {
  note_answer(response.status);
  std::string text = start_of_head(response, false);
  if (how.chunked) text += "Transfer-Encoding: chunked\r\n";
  text += "\r\n";
  const auto stall = core_->options.write_stall;
  const bool written = co_await stream_.write(text, "", "", stall);
  if (!written || how.to_head) co_return next::close;

  const auto writer = std::make_shared<chunk_writer>(shared_from_this(), how.chunked);
  spawn(core_->executor, "http stream watch", writer->watch(writer));
  std::string what;
  try {
    co_await response.stream(writer);
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
    what = "unknown exception";
  }
  if (!what.empty()) {
    telemetry::error("Bug: a streamed answer failed: {}", what);
    writer->give_up();
  }
  co_await writer->finish();
  co_return next::close;
}

// --- WebSocket upgrade ---

asio::awaitable<http_session::next> http_session::upgrade(checked_head head,
                                                          const websocket_endpoint* endpoint) {
  without_request_ = false;
  if (head.request.method != "GET") {
    http_refusal wrong{405, "method_not_allowed", "this path takes GET", {{"Allow", "GET"}}};
    co_return co_await refuse(std::move(wrong), head.request.method == "HEAD");
  }
  std::optional<http_refusal> malformed = check_upgrade(head);
  if (!malformed && stream_.has_unread())
    malformed = http_refusal{400, "bad_request", "frames must wait for the answer to the upgrade", {}};
  if (malformed) co_return co_await refuse(std::move(*malformed), false);
  std::optional<http_response> refused;
  try {
    const auto no = endpoint->check ? endpoint->check(head.request) : std::nullopt;
    if (no) refused = problem(*no);
  } catch (const std::exception& e) {
    log_bug(head.request, e.what());
    refused = internal_error();
  }
  const manner last{};
  if (refused) co_return co_await send(std::move(*refused), last);
  slot_->authenticated();

  ws_upgrade accepted;
  accepted.host = *head.request.header("host");
  accepted.target = head.request.path;
  accepted.key = *head.request.header("sec-websocket-key");
  std::unique_ptr<ws_stream> stream = make_ws_stream(stream_.release(), endpoint->options.max_message);
  deadline give_up(core_->executor, [&stream] { stream->abort(); });
  give_up.expires_after(core_->options.header_deadline);
  const error_code ec = co_await stream->accept(std::move(accepted));
  give_up.off();
  if (!ec) hand_over(std::move(stream), head, *endpoint);
  co_return next::handed_over;
}

void http_session::hand_over(std::unique_ptr<ws_stream> stream, const checked_head& head,
                             const websocket_endpoint& endpoint) {
  auto session =
      std::make_shared<ws_session>(core_->executor, std::move(stream), endpoint.options, peer_address_);
  session->held_by(head.request.from);
  const void* key = session.get();
  core_->websockets.emplace(key, session);
  session->on_gone([core = core_, slot = slot_, key] { core->websockets.erase(key); });
  // An upgrade that was under way when the server was told to stop is not known to stop().
  if (core_->stopping) session->close(1001, "going away");
  try {
    endpoint.accepted(session, head.request);
  } catch (const std::exception& e) {
    log_bug(head.request, e.what());
    session->abort();
  }
}

}  // namespace orchestrator::net
