// The log's sink. Any thread calls log(); one thread of this file writes to stderr. The queue between them is
// bounded and drops the newest lines when stderr is slower, counting them: a stopped terminal or a full pipe
// must not stall heartbeats. The only file that includes Boost.Log.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <shared_mutex>
#include <string>

#include <poll.h>
#include <unistd.h>
#include <boost/log/core.hpp>
#include <boost/log/expressions/message.hpp>
#include <boost/log/sinks/async_frontend.hpp>
#include <boost/log/sinks/basic_sink_backend.hpp>
#include <boost/log/sinks/bounded_fifo_queue.hpp>
#include <boost/log/sources/logger.hpp>
#include <boost/log/sources/record_ostream.hpp>
#include <boost/make_shared.hpp>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/telemetry/log.hpp>

namespace orchestrator::telemetry {
namespace {

namespace sinks = boost::log::sinks;
using namespace std::chrono_literals;

// How long a line, or everything that is queued at the stop, waits for a stderr that takes nothing.
constexpr auto patience = 1s;
constexpr auto poll_interval = 50ms;

std::atomic<std::uint64_t> dropped_lines{0};
// Nanoseconds on the monotonic clock after which the sink waits for nothing any more.
std::atomic<std::int64_t> give_up_at{INT64_MAX};

std::int64_t now_ns() { return read_mono_clock().time_since_epoch().count(); }

// Waits until stderr takes at least PIPE_BUF bytes without blocking. False if it is gone or time is up.
bool wait_writable(std::int64_t deadline) {
  for (;;) {
    const bool last_look = now_ns() >= std::min(deadline, give_up_at.load());
    pollfd stderr_events{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&stderr_events, 1, last_look ? 0 : static_cast<int>(poll_interval.count()));
    if (ready > 0) return (stderr_events.revents & POLLOUT) != 0;
    if (ready < 0 && errno != EINTR) return false;
    if (last_look) return false;
  }
}

// Writes a line, which is at most PIPE_BUF bytes, so that lines of several processes on one pipe do not mix.
// stderr may be non-blocking, because that is a property of the terminal and not of our descriptor.
bool write_line(std::string_view line, std::int64_t deadline) {
  while (!line.empty()) {
    if (!wait_writable(deadline)) return false;
    const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    if (written > 0) line.remove_prefix(static_cast<std::size_t>(written));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return false;
  }
  return true;
}

void report_dropped(std::int64_t deadline) {
  const std::uint64_t dropped = dropped_lines.exchange(0);
  if (dropped == 0) return;
  const std::string line =
      fmt::format("[WARNING] {} log lines were dropped: stderr takes them too slowly\n", dropped);
  if (!write_line(line, deadline)) dropped_lines += dropped;
}

// What Boost.Log asks when the queue is full: the record at hand is refused, nobody waits.
struct drop_and_count {
  template <class Lock>
  static bool on_overflow(const boost::log::record_view&, Lock&) {
    ++dropped_lines;
    return false;
  }
  static void on_queue_space_available() {}
  static void interrupt() {}
};

// Runs on the sink's thread. Each line is one write, so there is no buffer of ours to flush.
class stderr_backend : public sinks::basic_sink_backend<sinks::synchronized_feeding> {
 public:
  void consume(const boost::log::record_view& record) {
    report_dropped(INT64_MAX);
    const auto line = record[boost::log::expressions::smessage];
    if (line && !write_line(*line, INT64_MAX)) ++dropped_lines;
  }
};

using stderr_sink =
    sinks::asynchronous_sink<stderr_backend, sinks::bounded_fifo_queue<limits::log_lines, drop_and_count>>;

// Callers of log() share `gate`; start and stop own it, so that no line falls between the two ways of
// writing.
struct logging_state {
  std::shared_mutex gate;
  boost::shared_ptr<stderr_sink> sink;
  boost::log::sources::logger_mt logger;
  bool prefix_time = false;
  std::atomic<level> lowest{level::info};
};

// Never destroyed: static destructors may still log.
logging_state& state() {
  static auto* const instance = new logging_state;
  return *instance;
}

std::string_view word_for(level l) {
  switch (l) {
    case level::debug: return "DEBUG";
    case level::info: return "INFO";
    case level::warning: return "WARNING";
    case level::error: return "ERROR";
  }
  return "ERROR";
}

// The sink's thread inherits the mask: signals are for the I/O thread, which waits for them.
boost::shared_ptr<stderr_sink> make_sink() {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  auto sink = boost::make_shared<stderr_sink>();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return sink;
}

}  // namespace

void start_logging(level lowest, bool prefix_time) {
  logging_state& s = state();
  const std::unique_lock own{s.gate};
  s.lowest = lowest;
  s.prefix_time = prefix_time;
  if (s.sink) return;
  const auto core = boost::log::core::get();
  // A return from main, or exit(), writes what is queued. Registered after Boost.Log's core exists, so it
  // runs before the core goes.
  [[maybe_unused]] static const int registered = std::atexit(stop_logging);
  give_up_at = INT64_MAX;
  s.sink = make_sink();
  core->add_sink(s.sink);
}

void stop_logging() {
  logging_state& s = state();
  const std::unique_lock own{s.gate};
  if (!s.sink) return;
  give_up_at = now_ns() + nanoseconds{patience}.count();
  boost::log::core::get()->remove_sink(s.sink);
  s.sink->stop();
  s.sink->flush();
  s.sink.reset();
  report_dropped(now_ns());
  give_up_at = INT64_MAX;
}

void log(level l, std::string_view text) {
  logging_state& s = state();
  if (l < s.lowest) return;
  const std::string shown = printable(text, limits::log_line_bytes);
  const std::shared_lock shared{s.gate};
  const std::string time = s.prefix_time ? to_rfc3339(read_wall_clock()) + ' ' : std::string{};
  const std::string line = fmt::format("{}[{}] {}\n", time, word_for(l), shown);
  if (!s.sink) {
    write_line(line, now_ns() + nanoseconds{patience}.count());
    return;
  }
  boost::log::record record = s.logger.open_record();
  if (!record) return;
  boost::log::record_ostream stream{record};
  stream << line;
  stream.flush();
  s.logger.push_record(boost::move(record));
}

}  // namespace orchestrator::telemetry
