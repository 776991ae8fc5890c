// Talking to the supervisor: see client.hpp.
#include "client.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>

#include <fmt/format.h>

#include "process_limits.hpp"

namespace orchestrator::process {

namespace {

constexpr int death_patience_ms = 1000;  ///< a dying process closes its sockets shortly before it is dead

class connect_category final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "orchestrator.supervisor"; }
  std::string message(int code) const override {
    switch (static_cast<connect_errc>(code)) {
      case connect_errc::silent:
        return "the supervisor holds supervisor.lock but does not answer; see supervisor.log, or end the "
               "process "
               "that supervisor.lock names";
      case connect_errc::ended:
        return "the supervisor ended before it answered; see supervisor.log in the work directory";
      case connect_errc::foreign_namespace:
        return "the work directory is used by a supervisor in another PID namespace (container); use another "
               "work directory";
      case connect_errc::elsewhere:
        return "the process that supervisor.lock names lives, and serves another directory: this one is a "
               "copy "
               "of that; use that one, or another work directory";
      case connect_errc::bad_message: return "the supervisor sent a message that cannot be read";
    }
    return "unknown error";
  }
};

int remaining_ms(boot_time deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - read_boot_clock());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

}  // namespace

boost::system::error_code make_error_code(connect_errc code) {
  static const connect_category category;
  return {static_cast<int>(code), category};
}

client::client(unique_fd socket, bool fresh)
    : socket_(std::move(socket)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      refusals_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      fresh_(fresh) {
  for (const int fd : {socket_.fd(), refusals_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
}

boost::system::result<std::unique_ptr<client>> client::handshake(unique_fd socket, boot_time deadline,
                                                                 bool fresh) {
  std::unique_ptr<client> made(new client(std::move(socket), fresh));
  if (!made->epoll_ || !made->refusals_)
    return boost::system::error_code(errno, boost::system::system_category());
  made->send(encode_hello(message_kind::daemon_hello, {protocol_version, ::getpid()}));
  if (const auto error = made->receive_inventory(deadline)) return error;
  made->supervisor_ = open_pidfd(made->pid_);
  return made;
}

boost::system::error_code client::receive_inventory(boot_time deadline) {
  for (;;) {
    while (const auto message = socket_.next()) {
      if (take_greeting(*message)) return {};
    }
    if (socket_.broken()) return make_error_code(connect_errc::bad_message);
    if (socket_.at_end()) return make_error_code(connect_errc::ended);
    pollfd readable{socket_.fd(), POLLIN, 0};
    const int ready = ::poll(&readable, 1, remaining_ms(deadline));
    if (ready == 0) return make_error_code(connect_errc::silent);
    socket_.fill();
  }
}

bool client::take_greeting(const frame& message) {
  if (message.kind == message_kind::supervisor_hello) {
    if (const auto greeting = decode_hello(message.body)) {
      pid_ = greeting->pid;
      version_ = greeting->version;
    }
  }
  if (message.kind == message_kind::inventory_item) {
    if (auto item = decode_supervised(message.body)) inventory_.push_back(std::move(*item));
  }
  return message.kind == message_kind::inventory_end;
}

std::string client::difference() const {
  if (version_ < protocol_version) {
    return fmt::format(
        "The supervisor with pid {} was started by an older worker (its messages have version {}, ours {}): "
        "its "
        "jobs go on, but {}. A worker started after its last job has ended replaces it",
        pid_, version_, protocol_version,
        version_ < 2 ? "on_lease_lost = kill is not enforced while no worker runs here"
                     : "if it dies, those that cleared their environment are not found");
  }
  if (version_ > protocol_version) {
    return fmt::format(
        "The supervisor with pid {} was started by a newer worker (its messages have version {}, ours {}): "
        "its "
        "jobs go on, and what only the newer version knows is not used",
        pid_, version_, protocol_version);
  }
  return {};
}

void client::poll(supervisor_events& events) {
  polling_ = true;
  read_news(events);
  polling_ = false;
  if (finished_) return;
  socket_.flush();
  watch_writable();
}

void client::read_news(supervisor_events& events) {
  if (std::uint64_t count = 0; !refused_.empty() && ::read(refusals_.get(), &count, sizeof count) > 0) {
    for (const auto& end : std::exchange(refused_, {})) events.ended(end);
  }
  if (finished_) return;
  bool more = true;
  for (std::size_t i = 0; i < limits::client_reads_per_poll && more; ++i) {
    more = socket_.fill();
    while (const auto message = socket_.next()) dispatch(*message, events);
  }
  if (socket_.broken() || (socket_.at_end() && !more)) on_end(events);
}

void client::dispatch(const frame& message, supervisor_events& events) {
  switch (message.kind) {
    case message_kind::started:
      if (const auto s = decode_started(message.body)) events.started(s->lease, s->pid, s->at);
      break;
    case message_kind::output:
      if (const auto o = decode_output(message.body)) events.output(o->lease, o->stream, o->end);
      break;
    case message_kind::ended:
      if (const auto e = decode_end(message.body)) events.ended(*e);
      break;
    case message_kind::replaced: was_replaced_ = true; break;
    default: break;  // of a newer supervisor, which knows our version
  }
}

void client::on_end(supervisor_events& events) {
  finished_ = true;
  socket_.close();
  if (!was_replaced_ && supervisor_) {
    // To take a living supervisor for a dead one would kill every job it has: the process itself is asked.
    pollfd death{supervisor_.get(), POLLIN, 0};
    was_replaced_ = ::poll(&death, 1, death_patience_ms) == 0;
  }
  if (was_replaced_) {
    events.replaced();
  } else {
    events.supervisor_lost();
  }
}

void client::send(const std::string& bytes) {
  if (finished_) return;
  socket_.queue(bytes);
  if (polling_) return;
  socket_.flush();
  watch_writable();
}

void client::watch_writable() {
  const bool wanted = socket_.queued_bytes() > 0;
  if (finished_ || wanted == writable_watched_) return;
  writable_watched_ = wanted;
  epoll_event event{};
  event.events = EPOLLIN | (wanted ? EPOLLOUT : 0u);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket_.fd(), &event);
}

void client::start(const launch& what) {
  const auto bytes = encode_launch(what);
  if (finished_) {
    refuse(what.lease, ENOTCONN, "nothing is started: the supervisor is gone or serves another daemon");
  } else if (bytes.size() > limits::frame_bytes) {
    refuse(what.lease, E2BIG,
           "arguments, environment and input together exceed 1 MiB; pass large data by file");
  } else if (socket_.queued_bytes() + bytes.size() > limits::client_queue_bytes) {
    refuse(what.lease, EAGAIN,
           "the supervisor does not read its messages; see supervisor.log in the work directory");
  } else {
    send(bytes);
  }
}

void client::refuse(std::uint64_t lease, int error_number, const char* error) {
  process_end end;
  end.lease = lease;
  end.started = false;
  end.error_number = error_number;
  end.error = error;
  refused_.push_back(std::move(end));
  const std::uint64_t one = 1;
  static_cast<void>(::write(refusals_.get(), &one, sizeof one));
}

void client::kill(std::uint64_t lease, milliseconds grace) { send(encode_kill({lease, grace})); }

void client::renew(std::uint64_t lease, boot_time until) { send(encode_renewal({lease, until})); }

void client::forget(std::uint64_t lease) { send(encode_lease(message_kind::forget, lease)); }

void client::release_output(std::uint64_t lease, const std::string& stream, std::uint64_t offset) {
  send(encode_release({lease, stream, offset}));
}

}  // namespace orchestrator::process
