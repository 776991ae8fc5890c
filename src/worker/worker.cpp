// The effect runner of the worker: carries out what the agent core wants, in order, and feeds back what
// happened. One thread, one timer. See worker.hpp.
#include <orchestrator/worker/worker.hpp>

#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <orchestrator/agent/agent.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/base/version.hpp>
#include <orchestrator/net/http.hpp>
#include <orchestrator/process/supervisor.hpp>
#include <orchestrator/protocol/codec.hpp>
#include <orchestrator/store/outbox.hpp>
#include <orchestrator/telemetry/log.hpp>

#include "token.hpp"
#include "work_dir.hpp"

namespace orchestrator::worker_shell {
namespace {

namespace asio = boost::asio;

constexpr int exit_usage = 64;
constexpr int exit_io = 74;
constexpr int exit_in_use = 75;
constexpr auto shortest_life = std::chrono::seconds{10};  ///< a supervisor that dies sooner would die again

void warn_of(const char* what, boost::system::error_code ec) {
  if (ec) telemetry::warning("cannot {}: {}", what, ec.message());
}

agent_time clock_now() { return {read_boot_clock(), read_wall_clock()}; }

telemetry::level level_of(agent::note_level l) {
  switch (l) {
    case agent::note_level::debug: return telemetry::level::debug;
    case agent::note_level::info: return telemetry::level::info;
    case agent::note_level::warning: return telemetry::level::warning;
    case agent::note_level::error: break;
  }
  return telemetry::level::error;
}

/// What a job's process inherits of ours: a clean environment, not the operator's secrets.
std::map<std::string, std::string> base_environment() {
  std::map<std::string, std::string> env;
  for (const char* name : {"PATH", "HOME", "USER", "LANG", "TZ"}) {
    if (const char* value = std::getenv(name); value != nullptr) env[name] = value;
  }
  if (!env.contains("PATH")) env["PATH"] = "/usr/local/bin:/usr/bin:/bin";
  return env;
}

std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

agent::process_end convert(const process::process_end& e) {
  agent::process_end out;
  out.lease = e.lease;
  out.started = e.started;
  out.exit_code = e.exit_code;
  out.signal = e.signal;
  out.timed_out = e.timed_out;
  out.lease_lost = e.lease_lost;
  out.killed = e.killed;
  out.max_rss_bytes = e.max_rss_bytes;
  out.cpu_seconds = e.cpu_seconds;
  out.duration_seconds = e.duration_seconds;
  out.error_number = e.error_number;
  out.error = e.error;
  out.output_detached = e.output_detached;
  out.output_bytes = e.output_bytes;
  return out;
}

agent::supervised_process convert(const process::supervised& s) {
  agent::supervised_process out;
  out.lease = s.lease;
  out.started_at = s.started_at;
  for (const auto& [stream, end] : s.output_end) out.output.push_back({stream, end});
  if (s.end) out.end = convert(*s.end);
  return out;
}

std::vector<agent::stored_record> convert(const std::vector<store::outbox_record>& records) {
  std::vector<agent::stored_record> out;
  out.reserve(records.size());
  for (const auto& r : records) out.push_back({r.lease, r.kind, r.body});
  return out;
}

struct opened_outbox {
  std::unique_ptr<store::outbox> outbox;
  store::outbox_recovery recovered;
  std::string cluster;
};

class daemon final : public process::supervisor_events {
 public:
  daemon(worker_options options, net::server_url server, work_dir dir, opened_outbox box,
         std::unique_ptr<process::supervisor_client> supervisor)
      : options_(std::move(options)),
        server_(std::move(server)),
        dir_(std::move(dir)),
        supervisor_(std::move(supervisor)),
        box_(std::move(box)),
        signals_(io_, SIGTERM, SIGINT),
        timer_(io_),
        supervisor_socket_(io_) {}

  int run();

 private:
  // process::supervisor_events: called from inside poll(), so they are only collected there and fed behind
  // it.
  void started(std::uint64_t lease, int pid, wall_time) override {
    sessions_[lease] = process::session_led_by(pid);
    collected_.emplace_back(agent::process_started{lease});
  }
  void output(std::uint64_t lease, const std::string& stream, std::uint64_t end) override {
    collected_.emplace_back(agent::process_output{lease, stream, end});
  }
  void ended(const process::process_end& end) override {
    collected_.emplace_back(agent::process_ended{convert(end)});
  }
  void supervisor_lost() override;
  void replaced() override;

  agent::config make_config() const;
  std::filesystem::path outputs() const { return dir_.cluster_path() / "outputs"; }
  std::set<std::uint64_t> leases_with_files() const;
  void feed(agent::input in);
  void step(const agent::input& in);
  std::optional<agent::outbox_failed> run_effects(agent::effects effects);
  bool carry_out_write(agent::effect& e, boost::system::error_code& ec);
  void carry_out_link(agent::effect& e);
  void carry_out_process(agent::effect& e);
  boost::system::error_code switch_outbox(const std::string& cluster);
  void start_process(agent::start_process& start);
  void kill_leftovers(const std::vector<std::uint64_t>& leases);
  void read_spool(const agent::read_spool& r);
  void flush();
  void schedule_flush();
  void arm_timer();
  void finish(agent::exit_now how);
  asio::awaitable<void> dial();
  void attach(std::shared_ptr<net::websocket> socket);
  asio::awaitable<void> watch_supervisor();
  asio::awaitable<void> wait_for_signals();
  asio::awaitable<void> report_load();

  worker_options options_;
  net::server_url server_;
  std::map<std::uint64_t, process::lease_session> sessions_;  ///< of leases whose supervisor may die
  work_dir dir_;
  std::unique_ptr<process::supervisor_client> supervisor_;
  opened_outbox box_;
  asio::io_context io_{1};
  asio::signal_set signals_;
  asio::steady_timer timer_;
  asio::posix::stream_descriptor supervisor_socket_;
  std::unique_ptr<agent::agent> agent_;
  std::shared_ptr<net::websocket> socket_;
  std::uint64_t connection_ = 0;  ///< counts sockets: what an older one still says is dropped
  std::vector<protocol::worker_message> outgoing_;
  bool batch_ = false;
  std::size_t max_bytes_ = limits::frame;
  bool flush_scheduled_ = false;
  bool supervisor_gone_ = false;
  bool finishing_ = false;
  boot_time born_ = read_boot_clock();
  std::deque<agent::input> inputs_;  ///< not stepped yet
  bool stepping_ = false;
  std::vector<agent::input> collected_;
  agent::exit_now end_;
  asio::thread_pool killers_{1};  ///< looking for leftovers takes seconds; the connection must not wait
};

/// A new supervisor can only be forked by a process without threads and sockets: this program begins anew.
[[noreturn]] void start_again() {
  std::vector<std::string> words;
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  telemetry::stop_logging();
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  ::execv("/proc/self/exe", argv.data());
  fmt::print(stderr, "[ERROR] cannot start this worker again: {}\n", std::strerror(errno));
  std::_Exit(exit_io);
}

// ---- start
// -----------------------------------------------------------------------------------------------------

/// The machine's processors and memory, unless the flags say otherwise.
resource_amounts offered_resources(const resource_amounts& given) {
  resource_amounts offered;
  const long processors = ::sysconf(_SC_NPROCESSORS_ONLN);
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGE_SIZE);
  if (processors > 0) offered["cpu"] = processors * resource_unit;
  if (pages > 0 && page_bytes > 0)
    offered["memory"] = static_cast<std::int64_t>(pages) * page_bytes * resource_unit;
  for (const auto& [name, amount] : given) offered[name] = amount;
  return offered;
}

agent::config daemon::make_config() const {
  agent::config c;
  c.worker_id = options_.worker_id.empty() ? dir_.worker_id() : options_.worker_id;
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  c.hostname = host;
  utsname system{};
  if (::uname(&system) == 0)
    c.platform = fmt::format("{}-{}-{}", system.sysname, system.release, system.machine);
  c.version = version_text;
  c.slots = options_.slots;
  c.credit =
      options_.credit >= 0 ? options_.credit : options_.slots * static_cast<int>(limits::credit_per_slot_max);
  c.labels = options_.labels;
  c.resources = offered_resources(options_.resources);
  c.pid = ::getpid();
  c.instance = dir_.instance();
  c.boot_id = process::read_boot_id();
  c.process = fmt::format("{:016x}", system_random());
  c.url = server_.websocket();
  c.heartbeat_interval = options_.heartbeat_interval;
  c.retry_delay = options_.retry_delay;
  c.retry_max = options_.retry_max;
  c.ping_interval = options_.websocket.ping_interval;
  c.base_env = base_environment();
  c.start_directory = std::filesystem::current_path().string();
  c.output_directory = outputs().string();
  c.seed = system_random();
  return c;
}

int daemon::run() {
  agent::started first;
  first.records = convert(box_.recovered.records);
  first.highest_lease = box_.recovered.highest_lease;
  first.cluster = box_.cluster;
  first.term = dir_.term();
  if (box_.recovered.torn_bytes + box_.recovered.quarantined_bytes > 0) {
    first.warning = fmt::format(
        "the outbox had {} bytes of an unfinished record, which were cut, and {} unreadable "
        "bytes, which were set aside",
        box_.recovered.torn_bytes, box_.recovered.quarantined_bytes);
  }
  box_.recovered = {};
  std::error_code ignored;  // without it jobs have no ORCHESTRATOR_OUTPUT to write to, and say so themselves
  std::filesystem::create_directory(outputs(), ignored);
  for (const auto& s : supervisor_->inventory()) {
    first.processes.push_back(convert(s));
    if (!s.end) sessions_[s.lease] = process::session_led_by(s.pid);
  }
  first.supervisor_fresh = supervisor_->fresh();
  first.files = leases_with_files();
  agent_ = std::make_unique<agent::agent>(make_config());
  supervisor_socket_.assign(supervisor_->native_handle());
  feed(std::move(first));
  if (const std::string other = supervisor_->difference(); !other.empty()) telemetry::warning("{}", other);
  net::spawn(io_.get_executor(), "supervisor", watch_supervisor());
  net::spawn(io_.get_executor(), "signals", wait_for_signals());
  net::spawn(io_.get_executor(), "load", report_load());
  io_.run();
  supervisor_socket_.release();
  killers_.join();
  if (!end_.restart) return end_.code;
  if (end_.code != 0 && read_boot_clock() - born_ < shortest_life) {
    telemetry::error("The supervisor died within seconds of its start; see supervisor.log in {}",
                     dir_.cluster_path().string());
    return end_.code;
  }
  if (!options_.start_again) return exit_in_use;
  start_again();
}

std::set<std::uint64_t> daemon::leases_with_files() const {
  auto leases = process::spooled_leases(dir_.cluster_path());
  std::error_code ignored;
  for (std::filesystem::directory_iterator it(outputs(), ignored), end; it != end; it.increment(ignored)) {
    const std::string name = it->path().filename().string();
    std::uint64_t lease = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), lease).ec == std::errc{})
      leases.insert(lease);
  }
  return leases;
}

// ---- the agent
// -------------------------------------------------------------------------------------------------

/// What an effect leads to at once (spool bytes, a failed dial) waits until the present list is done.
void daemon::feed(agent::input in) {
  inputs_.push_back(std::move(in));
  if (std::exchange(stepping_, true)) return;
  while (!inputs_.empty()) {
    const agent::input next = std::move(inputs_.front());
    inputs_.pop_front();
    step(next);
  }
  stepping_ = false;
  arm_timer();
}

/// A failed write comes before any other input: messages are numbered, and what was not sent must be said
/// again first.
void daemon::step(const agent::input& in) {
  std::optional<agent::outbox_failed> failed = run_effects(agent_->step(clock_now(), in));
  while (failed) {
    const agent::input again = std::move(*failed);
    failed = run_effects(agent_->step(clock_now(), again));
  }
}

/// In order; when a write fails the rest of the list is not done, so that nothing is acknowledged that is not
/// written.
std::optional<agent::outbox_failed> daemon::run_effects(agent::effects effects) {
  for (std::size_t i = 0; i < effects.size(); ++i) {
    boost::system::error_code ec;
    if (carry_out_write(effects[i], ec)) {
      if (!ec) continue;
      return agent::outbox_failed{ec.message(),
                                  {std::make_move_iterator(effects.begin() + static_cast<std::ptrdiff_t>(i)),
                                   std::make_move_iterator(effects.end())}};
    }
    carry_out_link(effects[i]);
    carry_out_process(effects[i]);
  }
  return std::nullopt;
}

/// True if `e` is a write; `ec` says how it went. A drop that fails costs a resend after a restart, and a
/// term that is not stored is learnt again at the next registration: nothing depends on them, so they only
/// warn.
bool daemon::carry_out_write(agent::effect& e, boost::system::error_code& ec) {
  if (auto* write = std::get_if<agent::write_outbox>(&e)) {
    store::outbox_record record{write->lease, std::move(write->kind), std::move(write->body)};
    ec = box_.outbox->append(record);
    if (ec) {  // the core is given it back
      write->kind = std::move(record.kind);
      write->body = std::move(record.body);
    }
  } else if (auto* drop = std::get_if<agent::drop_outbox>(&e)) {
    warn_of("drop a record of the outbox", box_.outbox->drop(drop->lease));
  } else if (auto* term = std::get_if<agent::store_term>(&e)) {
    warn_of("store the coordinator's term", dir_.store_term(term->term));
  } else if (auto* change = std::get_if<agent::switch_outbox>(&e)) {
    ec = switch_outbox(change->cluster);
  } else {
    return false;
  }
  return true;
}

void daemon::carry_out_link(agent::effect& e) {
  if (std::get_if<agent::connect>(&e) != nullptr) {
    if (!finishing_) net::spawn(io_.get_executor(), "dial", dial());
  } else if (auto* message = std::get_if<agent::send>(&e)) {
    outgoing_.push_back(std::move(message->message));
    schedule_flush();
  } else if (auto* bye = std::get_if<agent::disconnect>(&e)) {
    if (socket_ == nullptr) return;
    flush();
    socket_->close(bye->code, bye->reason);
  } else if (auto* pings = std::get_if<agent::set_ping_interval>(&e)) {
    if (socket_ != nullptr) socket_->set_ping_interval(pings->interval);
  } else if (auto* framing = std::get_if<agent::set_framing>(&e)) {
    flush();
    batch_ = framing->batch;
    max_bytes_ = framing->max_bytes == 0 ? limits::frame : framing->max_bytes;
  } else if (auto* line = std::get_if<agent::note>(&e)) {
    telemetry::log(level_of(line->level), line->text);
  } else if (auto* over = std::get_if<agent::exit_now>(&e)) {
    finish(*over);
  }
}

void daemon::carry_out_process(agent::effect& e) {
  if (auto* start = std::get_if<agent::start_process>(&e)) {
    start_process(*start);
  } else if (auto* end = std::get_if<agent::kill_process>(&e)) {
    supervisor_->kill(end->lease, end->grace);
  } else if (auto* renewed = std::get_if<agent::renew_lease>(&e)) {
    supervisor_->renew(renewed->lease, renewed->until);
  } else if (auto* done = std::get_if<agent::forget_process>(&e)) {
    supervisor_->forget(done->lease);
    sessions_.erase(done->lease);
    std::error_code ignored;  // most jobs wrote none
    std::filesystem::remove(outputs() / std::to_string(done->lease), ignored);
  } else if (auto* leftovers = std::get_if<agent::kill_leftovers>(&e)) {
    kill_leftovers(leftovers->leases);
  } else if (auto* release = std::get_if<agent::release_spool>(&e)) {
    supervisor_->release_output(release->lease, release->stream, release->offset);
  } else if (auto* read = std::get_if<agent::read_spool>(&e)) {
    read_spool(*read);
  }
}

/// An interpreter's exit status for a missing script would look like the script's own, so it is looked for
/// first.
void daemon::start_process(agent::start_process& start) {
  if (!start.script.empty() && ::access(start.script.c_str(), R_OK) != 0) {
    agent::process_end end;
    end.lease = start.lease;
    end.started = false;
    end.error_number = errno;
    end.error = fmt::format("cannot run '{}': {}", start.script, std::strerror(errno));
    feed(agent::process_ended{std::move(end)});
    return;
  }
  supervisor_->start({start.lease, std::move(start.argv), std::move(start.env), start.cwd,
                      std::move(start.stdin_text), start.timeout, start.kill_grace, start.output_limit,
                      start.lease_until});
}

void daemon::kill_leftovers(const std::vector<std::uint64_t>& leases) {
  for (const std::uint64_t lease : leases) {
    process::lease_mark mark{lease, (outputs() / std::to_string(lease)).string()};
    const auto remembered = sessions_.find(lease);
    const auto known = remembered == sessions_.end() ? process::lease_session{} : remembered->second;
    asio::post(killers_, [this, lease, known, mark = std::move(mark)] {
      const bool none_left = process::kill_lease_processes(dir_.cluster_path(), mark, known);
      agent::leftovers_killed done{lease, none_left, {}};
      for (const auto& [stream, end] : process::spooled_output(dir_.cluster_path(), lease))
        done.output.push_back({stream, end});
      asio::post(io_, [this, done = std::move(done)]() mutable { feed(std::move(done)); });
    });
  }
}

boost::system::error_code daemon::switch_outbox(const std::string& cluster) {
  const bool first_ever = box_.cluster.empty();
  if (first_ever) {
    if (const auto ec = dir_.adopt_cluster(cluster)) return ec;
  }
  auto recovered = box_.outbox->switch_cluster(cluster);
  if (!recovered) return recovered.error();
  box_.cluster = cluster;
  if (first_ever) feed(agent::outbox_switched{convert(recovered->records), recovered->highest_lease});
  return {};
}

void daemon::read_spool(const agent::read_spool& r) {
  auto found = process::read_spool(dir_.cluster_path(), r.lease, r.stream, r.offset, r.limit);
  feed(agent::spool_data{r.lease, r.stream, r.offset, found.offset, std::move(found.data)});
}

void daemon::finish(agent::exit_now how) {
  if (std::exchange(finishing_, true)) return;
  end_ = how;
  flush();
  if (socket_ == nullptr) {
    io_.stop();
    return;
  }
  socket_->close(1001, "worker stopping");
}

void daemon::arm_timer() {
  const auto next = agent_->next_deadline();
  if (!next) {
    timer_.cancel();
    return;
  }
  timer_.expires_after(std::max(*next - read_boot_clock(), nanoseconds{0}));
  timer_.async_wait([this](boost::system::error_code ec) {
    if (!ec) feed(agent::tick{});
  });
}

// ---- the connection
// --------------------------------------------------------------------------------------------

asio::awaitable<void> daemon::dial() {
  net::dial_request request;
  request.url = server_.websocket();
  request.options = options_.websocket;
  request.options.max_queue_bytes = limits::legacy_result_frame;  // the core bounds what is on the way
  if (server_.user.empty()) {
    auto token = find_worker_token(options_.token_file, server_);
    if (!token) {
      feed(agent::connect_failed{token.error().detail});
      co_return;
    }
    request.bearer_token = std::move(*token);
  } else {
    request.url = fmt::format("ws://{}:{}@{}", server_.user, server_.password, request.url.substr(5));
  }
  net::dial_result dialled = co_await net::dial_websocket(std::move(request));
  if (dialled.socket == nullptr) {
    feed(agent::connect_failed{dialled.message});
    co_return;
  }
  attach(std::move(dialled.socket));
}

void daemon::attach(std::shared_ptr<net::websocket> socket) {
  socket_ = std::move(socket);
  outgoing_.clear();
  batch_ = false;
  max_bytes_ = limits::frame;
  const std::uint64_t mine = ++connection_;
  net::websocket_events handlers;
  handlers.message = [this, mine](const std::string& text) {
    if (mine != connection_) return;
    auto decoded = protocol::decode_coordinator_frame(text, batch_);
    agent::frame f;
    if (decoded)
      f.messages = std::move(*decoded);
    else
      f.bad = decoded.error().detail;
    feed(std::move(f));
  };
  // A ping of the peer proves nothing about what of ours it has read; the pong to one of ours does.
  handlers.alive = [this, mine](std::optional<boot_time> pinged) {
    if (mine == connection_ && pinged) feed(agent::pong{*pinged});
  };
  handlers.closed = [this, mine](net::close_info info) {
    if (mine != connection_) return;
    socket_ = nullptr;
    if (info.reason.empty() && info.error) info.reason = info.error.message();
    feed(agent::disconnected{info.code, info.reason});
    if (finishing_) io_.stop();
  };
  socket_->start(std::move(handlers));
  feed(agent::connected{});
}

void daemon::schedule_flush() {
  if (std::exchange(flush_scheduled_, true)) return;
  asio::post(io_, [this] {
    flush_scheduled_ = false;
    flush();
  });
}

void daemon::flush() {
  const auto messages = std::exchange(outgoing_, {});
  if (messages.empty() || socket_ == nullptr) return;
  for (std::string& frame : protocol::encode_frames(messages, batch_, max_bytes_))
    socket_->send(std::move(frame));
}

// ---- supervisor, signals, load
// ---------------------------------------------------------------------------------

asio::awaitable<void> daemon::watch_supervisor() {
  while (!supervisor_gone_) {
    const auto [ec] = co_await supervisor_socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                                                             asio::as_tuple(asio::use_awaitable));
    if (ec) co_return;
    supervisor_->poll(*this);
    for (agent::input& in : std::exchange(collected_, {})) feed(std::move(in));
  }
}

void daemon::supervisor_lost() {
  supervisor_gone_ = true;
  collected_.emplace_back(agent::supervisor_lost{});
}

void daemon::replaced() {
  supervisor_gone_ = true;
  telemetry::warning("A newer worker took over this work dir: this one stops");
  finish({exit_in_use, false});
}

asio::awaitable<void> daemon::wait_for_signals() {
  const auto [ec, first] = co_await signals_.async_wait(asio::as_tuple(asio::use_awaitable));
  if (ec) co_return;
  agent::stop_mode mode = agent::stop_mode::leave;
  if (options_.stop == on_stop::drain) mode = agent::stop_mode::drain;
  if (options_.stop == on_stop::kill) mode = agent::stop_mode::kill;
  if (options_.stop == on_stop::automatic && (first == SIGINT || ::getpid() == 1))
    mode = agent::stop_mode::kill;
  telemetry::info("Stopping on {}", first == SIGTERM ? "SIGTERM" : "SIGINT");
  feed(agent::stop{mode});
  const auto [again, second] = co_await signals_.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!again) {
    telemetry::stop_logging();
    std::_Exit(128 + second);
  }
}

asio::awaitable<void> daemon::report_load() {
  while (true) {
    agent::load_report report;
    double load[1] = {0};
    if (::getloadavg(load, 1) == 1) report.load = load[0];
    report.memory_bytes = resident_bytes();
    feed(report);
    co_await net::sleep_for(options_.heartbeat_interval);
  }
}

}  // namespace

namespace {

/// Everything that must be there before the supervisor is forked: files only, no thread and no socket.
struct prepared {
  net::server_url server;
  work_dir dir;
  opened_outbox box;
};

boost::system::result<prepared, work_dir_failure> prepare(const worker_options& options) {
  const auto server = net::parse_server_url(options.server);
  if (!server) return work_dir_failure{exit_usage, "--server: " + server.error().detail};
  if (server->tls)
    return work_dir_failure{exit_usage, "--server: https:// and wss:// are not supported by this version"};
  if (!options.worker_id.empty() && !is_valid_name(options.worker_id)) {
    return work_dir_failure{exit_usage,
                            fmt::format("--worker-id: '{}' is not a name: letters, digits and _ . - only, "
                                        "at most 128",
                                        printable(options.worker_id))};
  }
  // Later an unreadable file is tried again like any failed connection: somebody may be replacing it.
  if (!options.token_file.empty() && server->user.empty()) {
    const auto token = find_worker_token(options.token_file, *server);
    if (!token) return work_dir_failure{exit_usage, token.error().detail};
  }
  auto dir = work_dir::open(options.work_dir);
  if (!dir) return dir.error();
  opened_outbox box;
  auto opened = store::open_outbox(dir->path(), box.cluster);
  if (!opened) {
    return work_dir_failure{exit_io, fmt::format("cannot open the outbox in {}: {}", dir->path().string(),
                                                 opened.error().message())};
  }
  box.outbox = std::move(opened->first);
  box.recovered = std::move(opened->second);
  if (const auto ec = dir->enter_cluster(box.cluster)) {
    return work_dir_failure{exit_io, fmt::format("cannot use {}: {}", dir->path().string(), ec.message())};
  }
  return prepared{*server, std::move(*dir), std::move(box)};
}

}  // namespace

int run_worker(worker_options options) {
  auto ready = prepare(options);
  if (!ready) {
    telemetry::start_logging(options.log_level, options.log_time);
    telemetry::error("{}", ready.error().message);
    return ready.error().exit_code;
  }
  auto supervisor = process::connect_supervisor(ready->dir.cluster_path());
  telemetry::start_logging(options.log_level, options.log_time);
  if (!ready->dir.warning().empty()) telemetry::warning("{}", ready->dir.warning());
  if (!supervisor) {
    telemetry::error("cannot start the supervisor in {}: {}", ready->dir.cluster_path().string(),
                     supervisor.error().message());
    return process::is_in_use_elsewhere(supervisor.error()) ? exit_in_use : exit_io;
  }
  std::signal(SIGPIPE, SIG_IGN);
  daemon d(std::move(options), std::move(ready->server), std::move(ready->dir), std::move(ready->box),
           std::move(*supervisor));
  return d.run();
}

}  // namespace orchestrator::worker_shell
