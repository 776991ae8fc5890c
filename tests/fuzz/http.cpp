// HTTP as it arrives: the guards on a head by themselves, and whole connections (requests one after the
// other, bodies, upgrades and the frames behind them) through the server's own session, over a pair of
// sockets. An answer must come or the connection must end, nothing may be left behind, and no request may be
// answered 500. Also answers, as our client reads them.
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <boost/asio/io_context.hpp>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/codec.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "auth.hpp"
#include "fuzz/fuzz.hpp"
#include "http_session.hpp"

using namespace orchestrator;
using namespace orchestrator::net;
using fuzz::must;

namespace {

const std::string local_address = "127.0.0.1";

// ---- heads by themselves

head_scanner::verdict scan_in_pieces(std::string_view bytes, std::size_t piece, std::size_t& size) {
  head_scanner scanner;
  auto verdict = head_scanner::verdict::incomplete;
  for (std::size_t end = 0; end < bytes.size() && verdict == head_scanner::verdict::incomplete;) {
    end = std::min(end + piece, bytes.size());
    verdict = scanner.scan(bytes.substr(0, end));
  }
  size = scanner.size();
  return verdict;
}

void check_refusal(const http_refusal& r) {
  must(r.status >= 400 && r.status < 500 + 6 && !r.code.empty() && !r.detail.empty(),
       "a refusal is an answer");
  must(is_utf8(problem(r).body), "a refusal can be shown", problem(r).body);
}

void check_accepted(const checked_head& head) {
  const http_request& r = head.request;
  must(!r.header("transfer-encoding"), "no transfer encoding gets through");
  must(r.header("host") != nullptr, "no request without a host gets through");
  must(!r.path.empty() && r.path.front() == '/', "a path starts at the root", r.path);
  std::string joined;
  for (const std::string& segment : head.segments) joined += "/" + segment;
  must(joined == r.path, "the segments are the path", r.path);
  for (const auto& [key, value] : r.query) must(is_utf8(key) && is_utf8(value), "a query is text");
  for (const auto& [name, value] : r.headers) {
    const auto broken = value.find_first_of(std::string_view("\r\n\0", 3));
    must(name == to_lower(name) && broken == value.npos, "a field is one line", name);
  }
  if (const auto refused = check_upgrade(head)) check_refusal(*refused);
}

void check_one_head(std::string_view bytes) {
  std::size_t size = 0, size_by_byte = 0;
  const auto verdict = scan_in_pieces(bytes, bytes.size() + 1, size);
  must(scan_in_pieces(bytes, 1, size_by_byte) == verdict && size == size_by_byte,
       "a head is judged the same however it arrives");
  if (verdict != head_scanner::verdict::complete) {
    if (verdict != head_scanner::verdict::incomplete) check_refusal(refusal_of(verdict));
    return;
  }
  must(size <= bytes.size() && bytes.substr(0, size).ends_with("\r\n\r\n"), "a head ends in its empty line");
  const std::string_view head = bytes.substr(0, size);
  if (const auto refused = check_version(head)) return check_refusal(*refused);
  const auto parsed = parse_request_head(head);
  if (!parsed) return;
  const host_policy policy{local_address, 8000, {"fuzz.example"}};
  checked_head out;
  if (const auto refused = check_head(*parsed, policy, local_address, out)) return check_refusal(*refused);
  check_accepted(out);
}

// ---- answers, as our client reads them

void read_answer(std::string_view bytes, bool head_only) {
  response_parser parser(head_only, std::size_t{64 * 1024});
  std::size_t body = 0;
  for (std::size_t at = 0; at < bytes.size() && !parser.done(); at += 100) {
    if (parser.put(bytes.substr(at, 100))) return;
    if (!parser.has_head()) continue;
    must(parser.status() >= 0 && parser.status() < 1000, "a status has three digits");
    body += parser.take_body().size();
  }
  if (!parser.done()) parser.put_eof();
  must(body <= 64 * 1024 && body <= bytes.size(), "a body stays in its bound");
  if (parser.has_head()) parser.headers();
}

// ---- whole connections

server::authenticator& tokens() {
  static server::authenticator made = [] {
    std::string dir = "/tmp/fuzz-http-XXXXXX";
    must(::mkdtemp(dir.data()) != nullptr, "a directory can be made");
    const auto old_mask = ::umask(077);
    std::ofstream(dir + "/admin.token") << "admin-token-of-the-fuzzer-0123456789\n";
    std::ofstream(dir + "/worker.token") << "worker-token-of-the-fuzzer-012345678\n";
    ::umask(old_mask);
    auto read = server::authenticator::from_files(dir);
    std::filesystem::remove_all(dir);
    must(read.has_value(), "the tokens are read");
    return *read;
  }();
  return made;
}

/// What the API does with a body before anything is decided: JSON, then the decoder of the resource.
asio::awaitable<http_response> read_body(http_request request) {
  http_response response;
  const auto value = protocol::parse_json(request.body);
  if (!value) co_return problem(value.error());
  const bool a_run = request.path.ends_with("/runs");
  const auto submission = protocol::decode_submission(*value, wall_time{});
  const auto job = protocol::decode_job(*value);
  if (a_run && !submission) co_return problem(submission.error());
  if (!a_run && !job) co_return problem(job.error());
  response.body =
      protocol::write_json(a_run ? protocol::encode_submission(*submission) : protocol::encode_job(*job));
  co_return response;
}

asio::awaitable<http_response> stream_something(http_request) {
  http_response response;
  response.stream = [](std::shared_ptr<body_writer> out) -> asio::awaitable<void> {
    for (int i = 0; i < 3 && out->open(); ++i) co_await out->write("piece");
  };
  co_return response;
}

void add_routes(http_core& core) {
  core.routes.add({"POST", "/api/v1/runs", read_body});
  core.routes.add({"PUT", "/api/v1/jobs/{name}", read_body});
  core.routes.add({"GET", "/api/v1/runs/{id}/logs", stream_something});
  websocket_endpoint workers;
  workers.path = "/ws/heartbeat";
  workers.check = [](const http_request& head) -> std::optional<refusal> {
    const auto who = tokens().who_connects(head, wall_time{});
    if (!who) return who.error();
    if ((*who)->role != server::role::worker) return server::lacks_role(**who, server::need::worker);
    return std::nullopt;
  };
  workers.accepted = [](std::shared_ptr<websocket> socket, const http_request&) {
    websocket_events events;
    // The session owns these handlers and outlives each call of them.
    events.message = [to = socket.get()](const std::string& frame) {
      const auto decoded = protocol::decode_worker_frame(frame, true);
      to->send(decoded ? R"({"type":"ack","received":true})" : R"({"type":"error"})");
    };
    events.alive = [](std::optional<boot_time>) {};
    events.closed = [](const close_info&) {};
    socket->start(std::move(events));
  };
  core.routes.add(std::move(workers));
  core.access = [](const http_request& head, const route*) -> std::optional<refusal> {
    if (!head.header("authorization") && !head.header("cookie")) return std::nullopt;
    const auto who = tokens().who_calls(head, wall_time{});
    return who ? std::nullopt : std::optional(who.error());
  };
}

class connection {
 public:
  connection() : core_(std::make_shared<http_core>(io_.get_executor(), http_server_options{})) {
    core_->hosts = {local_address, 8000, {"fuzz.example"}};
    add_routes(*core_);
    int pair[2];
    must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "there are sockets");
    peer_ = pair[1];
    tcp::socket ours(io_.get_executor());
    ours.assign(tcp::v4(), pair[0]);
    const auto session = std::make_shared<http_session>(core_, std::move(ours));
    spawn(io_.get_executor(), "http session", session->run(session));
    turn();
  }
  ~connection() { ::close(peer_); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent = ::send(peer_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
      if (!turn() && sent < 0) return;  // the server takes no more
    }
    turn();
  }

  /// Nothing more comes, and then the peer is gone: the server must be done with the connection at once.
  void finish() {
    ::shutdown(peer_, SHUT_WR);
    turn();
    must(answer_.empty() || answer_.starts_with("HTTP/1.1 "), "what comes back is HTTP", answer_);
    must(!answer_.starts_with("HTTP/1.1 500"), "no request makes the server fail", answer_);
    ::shutdown(peer_, SHUT_RDWR);
    io_.run_for(std::chrono::seconds(1));
    must(io_.stopped() && core_->connections == 0, "an ended connection leaves nothing behind");
  }

 private:
  /// Lets the server do what it can; true if that was anything.
  bool turn() {
    bool any = false;
    for (bool more = true; more; any = any || more) {
      more = io_.poll() > 0;
      char buffer[16 * 1024];
      for (ssize_t n; (n = ::recv(peer_, buffer, sizeof buffer, MSG_DONTWAIT)) > 0; more = true)
        if (answer_.size() < 64) answer_.append(buffer, static_cast<std::size_t>(n));
    }
    return any;
  }

  asio::io_context io_{1};
  std::shared_ptr<http_core> core_;
  int peer_ = -1;
  std::string answer_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::as_text(data, size);
  if (bytes.starts_with("HTTP/")) {
    read_answer(bytes, false);
    read_answer(bytes, true);
    return 0;
  }
  check_one_head(bytes);
  // A peer waits for the answer to an upgrade before it sends frames, so the rest comes after a pause.
  const std::size_t first =
      std::min(bytes.find("\r\n\r\n"), bytes.size() - std::min<std::size_t>(4, size)) + 4;
  connection c;
  c.send(bytes.substr(0, first));
  if (first < bytes.size()) c.send(bytes.substr(first));
  c.finish();
  return 0;
}
