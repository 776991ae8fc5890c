// The loop, its timer, and when it ends: see supervisor.hpp.
#include "supervisor.hpp"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

#include <fmt/format.h>
#include <orchestrator/base/check.hpp>

namespace orchestrator::process {

namespace {

constexpr std::size_t events_per_turn = 256;

/// supervisor.log is standard error of this process; it gets a few lines in its life.
void log_line(std::string_view text) {
  const auto line = fmt::format("{} supervisor {}: {}\n", to_rfc3339(read_wall_clock()), ::getpid(), text);
  static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()));
}

unique_fd open_signals() {
  sigset_t handled;
  ::sigemptyset(&handled);
  ::sigaddset(&handled, SIGCHLD);
  ::sigaddset(&handled, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);
  return unique_fd(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
}

void add_readable(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<std::uint32_t>(fd);
  ORC_CHECK(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "a fresh descriptor can be watched");
}

int whole_milliseconds(nanoseconds d) {
  return static_cast<int>(std::chrono::ceil<milliseconds>(std::max(d, nanoseconds{0})).count());
}

}  // namespace

supervisor::supervisor(supervisor_files files)
    : files_(std::move(files)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      signals_(open_signals()),
      timer_(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)),
      link_(std::move(files_.listener), epoll_.get()),
      table_(std::move(files_.spool), epoll_.get()),
      idle_since_(read_boot_clock()) {
  add_readable(epoll_.get(), signals_.get());
  add_readable(epoll_.get(), timer_.get());
}

void supervisor::run() {
  log_line("started");
  do {
    turn();
  } while (!life_is_over(read_boot_clock()));
  ::unlinkat(files_.work_dir.get(), "supervisor.sock", 0);
  log_line("ended");
}

void supervisor::turn() {
  arm_timer();
  std::array<epoll_event, events_per_turn> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), pause(read_boot_clock()));
  backlog_ = false;
  for (int i = 0; i < count; ++i) on_event(events[static_cast<std::size_t>(i)].data.u64);
  if (children_changed_) {
    children_changed_ = table_.reap();
    backlog_ |= children_changed_;
  }
  const auto now = read_boot_clock();
  serve_daemon(now);
  table_.on_time();
  const bool with_output = now - last_output_news_ >= limits::output_news_pause;
  if (link_.has_daemon()) {
    if (with_output && table_.has_output_news()) last_output_news_ = now;
    table_.write_news(link_.daemon(), with_output);
  }
  if (link_.flush(now)) log_line("the daemon is gone; its processes go on");
}

void supervisor::on_event(std::uint64_t tag) {
  const int fd = static_cast<int>(tag & 0xffff'ffffu);
  if ((tag & process_table::pipe_tag) != 0) {
    table_.on_pipe(fd);
  } else if (fd == signals_.get()) {
    on_signals();
  } else if (fd == timer_.get()) {
    std::uint64_t expirations = 0;
    static_cast<void>(::read(timer_.get(), &expirations, sizeof expirations));
    armed_.reset();
  } else if (fd == link_.listener()) {
    link_.accept(read_boot_clock());
  } else {
    link_.on_event(fd);
  }
}

void supervisor::on_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) children_changed_ = true;
    if (info.ssi_signo == SIGTERM && !stopping_) {
      stopping_ = true;
      log_line(fmt::format("SIGTERM from process {}: stopping {} processes", info.ssi_pid, table_.running()));
      table_.stop_all();
    }
  }
}

void supervisor::serve_daemon(boot_time now) {
  const daemon_link::handler handle_message = [this](const frame& message) { handle(message); };
  while (link_.replace(handle_message)) {
    welcome();
    log_line(fmt::format("a daemon connected; it was told of {} processes", table_.size()));
  }
  backlog_ |= link_.deliver(handle_message, limits::starts_per_turn);
  if (link_.has_daemon() || link_.has_candidates() || table_.running() > 0) idle_since_ = now;
}

void supervisor::welcome() {
  auto& socket = link_.daemon();
  socket.queue(encode_hello(message_kind::supervisor_hello, {protocol_version, ::getpid()}));
  table_.write_inventory(socket);
}

void supervisor::handle(const frame& message) {
  switch (message.kind) {
    case message_kind::start:
      if (const auto what = decode_launch(message.body)) {
        if (const auto refused = table_.start(*what)) link_.daemon().queue(encode_end(*refused));
      }
      break;
    case message_kind::kill:
      if (const auto request = decode_kill(message.body)) table_.kill(request->lease, request->grace);
      break;
    case message_kind::renew:
      if (const auto request = decode_renewal(message.body)) table_.renew(request->lease, request->until);
      break;
    case message_kind::forget:
      if (const auto lease = decode_lease(message.body)) table_.forget(*lease);
      break;
    case message_kind::release_output:
      if (const auto request = decode_release(message.body)) {
        table_.release_output(request->lease, request->stream, request->offset);
      }
      break;
    default: break;  // of a newer daemon: it finds out by our version what we do not know
  }
}

int supervisor::pause(boot_time now) const {
  if (backlog_ || children_changed_) return 0;
  int wait = -1;
  const auto at_most = [&wait](int ms) { wait = wait < 0 ? ms : std::min(wait, ms); };
  if (link_.has_candidates()) at_most(whole_milliseconds(limits::hello_patience));
  if (link_.has_daemon()) {
    const bool can_send = link_.daemon().queued_bytes() < limits::link_queue_bytes;
    if (table_.has_output_news() && can_send) {
      at_most(whole_milliseconds(last_output_news_ + limits::output_news_pause - now));
    }
  } else if (table_.running() == 0) {
    const nanoseconds life =
        table_.size() == 0 ? nanoseconds{limits::idle_life} : nanoseconds{limits::unread_ends_life};
    at_most(whole_milliseconds(idle_since_ + life - now));
  }
  return wait;
}

/// epoll's own timeout stops while the machine sleeps; the deadlines of processes do not. The timer is only
/// ever set earlier: most deadlines are far away and cancelled by the end of their process.
void supervisor::arm_timer() {
  const auto due = table_.next_due();
  if (!due || (armed_ && *armed_ <= *due)) return;
  const auto since_boot = std::max(due->time_since_epoch(), nanoseconds{1});
  const auto whole = std::chrono::duration_cast<seconds>(since_boot);
  itimerspec when{};
  when.it_value.tv_sec = whole.count();
  when.it_value.tv_nsec = (since_boot - whole).count();
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  armed_ = due;
}

bool supervisor::life_is_over(boot_time now) {
  if (table_.running() > 0) return false;
  if (stopping_ && !(link_.has_daemon() && (table_.has_news() || link_.daemon().queued_bytes() > 0)))
    return true;
  if (link_.has_daemon() || link_.has_candidates()) return false;
  const nanoseconds life =
      table_.size() == 0 ? nanoseconds{limits::idle_life} : nanoseconds{limits::unread_ends_life};
  if (now - idle_since_ < life) return false;
  link_.accept(now);  // one that came in this very moment is served
  return !link_.has_candidates();
}

}  // namespace orchestrator::process
