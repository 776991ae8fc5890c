// What the tests of the worker's shell share: a directory that goes away, the daemon as a child process, and
// a peer that speaks the coordinator's side of the protocol as far as one test needs it.
#pragma once

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>
#include <boost/asio/io_context.hpp>

#include <orchestrator/net/http.hpp>
#include <orchestrator/protocol/codec.hpp>
#include <orchestrator/worker/worker.hpp>

namespace orchestrator::test {

/// Whether a process holds the lock of that supervisor.lock, and so is the one it names.
inline bool is_locked(const std::filesystem::path& lock) {
  const int fd = ::open(lock.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  const bool locked = ::flock(fd, LOCK_EX | LOCK_NB) != 0;
  ::close(fd);
  return locked;
}

/// The living supervisor whose lock file this is; 0 if there is none.
inline pid_t supervisor_of(const std::filesystem::path& lock) {
  std::ifstream in(lock);
  std::string word;
  pid_t pid = 0;
  while (in >> word) {
    if (word == "pid") in >> pid;
  }
  return is_locked(lock) ? pid : 0;
}

/// Gone afterwards, with the supervisors that live in it: they outlive their daemons by design.
struct temporary_directory {
  std::filesystem::path path;
  temporary_directory() {
    std::string name = (std::filesystem::temp_directory_path() / "orchestrator-worker-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path = name;
  }
  ~temporary_directory() {
    std::error_code ignored;
    std::vector<std::filesystem::path> locks;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path, ignored)) {
      if (entry.path().filename() == "supervisor.lock") locks.push_back(entry.path());
    }
    for (const auto& lock : locks) {
      if (const pid_t pid = supervisor_of(lock); pid > 0) ::kill(pid, SIGTERM);
      const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{20};
      while (is_locked(lock) && std::chrono::steady_clock::now() < limit) ::poll(nullptr, 0, 5);
    }
    std::filesystem::remove_all(path, ignored);
  }
  temporary_directory(const temporary_directory&) = delete;
};

/// run_worker in a process of its own, forked before it has threads.
class worker_process {
 public:
  explicit worker_process(worker_shell::worker_options options, const std::string& start_directory) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    if (::chdir(start_directory.c_str()) != 0) ::_exit(99);
    options.log_level = telemetry::level::error;
    options.start_again = false;  // this program is the tests
    const int code = worker_shell::run_worker(std::move(options));
    telemetry::stop_logging();
    ::_exit(code);
  }
  ~worker_process() {
    if (pid_ > 0) signal(SIGKILL), wait();
  }
  worker_process(const worker_process&) = delete;

  void signal(int number) const { ::kill(pid_, number); }
  /// The exit code, or -signal.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

/// Accepts workers, answers registrations, remembers messages, acknowledges on request.
class worker_peer {
 public:
  worker_peer() {
    server_ = net::make_http_server(io_.get_executor(), {});
    net::websocket_endpoint endpoint;
    endpoint.path = "/ws/heartbeat";
    endpoint.check = [](const net::http_request&) { return std::nullopt; };
    endpoint.accepted = [this](std::shared_ptr<net::websocket> socket, const net::http_request&) {
      accept(socket);
    };
    server_->add(std::move(endpoint));
    port = *server_->listen("127.0.0.1", 0);
    server_->start();
  }

  std::uint16_t port = 0;
  uuid cluster = *parse_uuid("aaaaaaaa-0000-4000-8000-000000000001");
  bool keep_all = true;
  std::vector<protocol::worker_message> messages;  ///< of all connections
  int connections = 0;
  bool connected = false;

  /// Works until `condition` holds; false after 20 s.
  bool until(const std::function<bool()>& condition) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    while (!condition()) {
      if (std::chrono::steady_clock::now() > limit) return false;
      io_.run_one_for(std::chrono::milliseconds{50});
    }
    return true;
  }

  void send(decltype(protocol::coordinator_message::body) body) {
    protocol::coordinator_message m;
    const bool plain =
        std::holds_alternative<protocol::ack>(body) || std::holds_alternative<protocol::registration>(body);
    if (!plain) m.seq = ++out_seq_;
    m.body = std::move(body);
    std::string text;
    protocol::encode(m, text);
    socket_->send(std::move(text));
  }
  void acknowledge() {
    protocol::ack a;
    a.seq = last_seq_;
    a.cumulative = true;
    send(a);
  }
  void close(std::uint16_t code, const std::string& reason) { socket_->close(code, reason); }

  template <class Body>
  std::vector<Body> all() const {
    std::vector<Body> found;
    for (const auto& m : messages) {
      if (const auto* body = std::get_if<Body>(&m.body)) found.push_back(*body);
    }
    return found;
  }
  std::string output(std::uint64_t lease, const std::string& stream) const {
    std::string text;
    for (const auto& o : all<protocol::job_output>()) {
      if (o.lease.value != lease || o.stream != stream) continue;
      text.resize(std::max(text.size(), o.offset + o.data.size()));
      text.replace(o.offset, o.data.size(), o.data);
    }
    return text;
  }

 private:
  void accept(std::shared_ptr<net::websocket> socket) {
    socket_ = std::move(socket);
    ++connections;
    connected = true;
    out_seq_ = last_seq_ = 0;
    net::websocket_events events;
    events.message = [this](std::string text) {
      auto decoded = protocol::decode_worker_frame(text, true);
      if (!decoded) throw std::runtime_error("the worker sent something that is not a message: " + text);
      for (auto& m : *decoded) take(std::move(m));
    };
    events.alive = [](std::optional<boot_time>) {};
    events.closed = [this](net::close_info) { connected = false; };
    socket_->start(std::move(events));
  }

  void take(protocol::worker_message m) {
    last_seq_ = m.seq.value_or(last_seq_);
    if (const auto* r = std::get_if<protocol::worker_register>(&m.body)) {
      protocol::registration g;
      g.seq = 1;
      g.session = "s";
      g.cluster = cluster;
      g.term = 1;
      g.features = {"batch"};
      (keep_all ? g.keep : g.abandon) = r->running;
      send(g);
    }
    messages.push_back(std::move(m));
  }

  boost::asio::io_context io_{1};
  std::unique_ptr<net::http_server> server_;
  std::shared_ptr<net::websocket> socket_;
  std::uint64_t out_seq_ = 0, last_seq_ = 0;
};

}  // namespace orchestrator::test
