// A worker without a machine: the agent with an outbox, a supervisor, a socket and a clock in memory, each of
// which can fail. Effects are carried out as the shell does, and written down in words, so that a test can
// say what it expects line by line. Used by tests/unit/agent.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <orchestrator/agent/agent.hpp>
#include <orchestrator/protocol/codec.hpp>

namespace orchestrator::test {

using namespace std::chrono_literals;

inline agent::config agent_settings() {
  agent::config s;
  s.worker_id = "worker-1";
  s.hostname = "host";
  s.platform = "Linux";
  s.version = "test";
  s.slots = 2;
  s.credit = 2;
  s.instance = *parse_uuid("11111111-1111-4111-8111-111111111111");
  s.boot_id = "boot";
  s.process = "process";
  s.url = "ws://localhost:8000/ws/heartbeat";
  s.base_env = {{"PATH", "/usr/bin:/bin"}};
  s.start_directory = "/srv";
  return s;
}

inline const uuid test_cluster = *parse_uuid("aaaaaaaa-0000-4000-8000-000000000001");

/// A process as the supervisor has it.
struct fake_process {
  std::optional<agent::process_end> end;
  bool killed = false;
};

class agent_world {
 public:
  explicit agent_world(agent::config settings = agent_settings()) : settings(std::move(settings)) {}

  // ---- what is durable, and what happened
  // -----------------------------------------------------------------------
  agent::config settings;
  std::vector<agent::stored_record> records;
  std::uint64_t stored_highest = 0;
  std::string cluster;
  std::uint64_t term = 0;
  std::map<std::uint64_t, fake_process> processes;
  std::map<std::uint64_t, std::map<std::string, std::string>> spools;  ///< files: they survive the supervisor
  std::uint64_t launched = 0;                                          ///< the supervisor's highest
  std::map<std::uint64_t, int> starts;                                 ///< of real processes, over all lives
  agent_time now{boot_time{1000s}, wall_time{1'700'000'000'000ms}};

  // ---- this daemon
  // ----------------------------------------------------------------------------------------------
  std::unique_ptr<agent::agent> daemon;
  std::vector<std::string> log;               ///< effects in words since the last take_log
  std::deque<protocol::worker_message> sent;  ///< on this connection, not looked at by the test yet
  bool linked = false, dialling = false;
  std::optional<agent::exit_now> exited;

  // ---- faults
  // ---------------------------------------------------------------------------------------------------
  int writes_until_failure = -1;  ///< -1: none fails
  bool disk_full = false;
  int effects_until_crash = -1;  ///< the daemon is killed before that effect
  bool crashed = false;

  std::map<std::uint64_t, boot_time> renewed;  ///< what the supervisor was told last
  std::set<std::uint64_t> files;               ///< leases with output on the disk, for start()

  void start() {
    daemon = std::make_unique<agent::agent>(settings);
    log.clear();
    sent.clear();
    linked = dialling = crashed = false;
    exited.reset();
    agent::started in;
    in.records = records;
    in.highest_lease = stored_highest;
    in.cluster = cluster;
    in.term = term;
    in.supervisor_fresh = processes.empty();
    in.files = files;
    for (auto& [lease, p] : processes) {
      agent::supervised_process s;
      s.lease = lease;
      s.started_at = now.wall;
      for (const auto& [stream, text] : spool_of(lease)) s.output.push_back({stream, text.size()});
      s.end = p.end;
      in.processes.push_back(std::move(s));
    }
    give(in);
  }

  /// One input, and all that follows from it in this turn.
  void give(agent::input in) {
    inputs_.push_back(std::move(in));
    while (!inputs_.empty() && !crashed) {
      const agent::input next = std::move(inputs_.front());
      inputs_.pop_front();
      step(next);
    }
    if (crashed) inputs_.clear();
  }

  /// Lets virtual time pass, with a tick whenever the agent wants one.
  void pass(nanoseconds by) {
    const boot_time until = now.boot + by;
    while (!crashed) {
      const auto next = daemon->next_deadline();
      if (!next || *next > until) break;
      move_to(std::max(*next, now.boot));
      give(agent::tick{});
      if (daemon->next_deadline() == next) move_to(now.boot + 1ms);  // nothing came of it: do not stand still
    }
    if (now.boot < until) move_to(until);
  }

  void link_up() {
    dialling = false;
    linked = true;
    sent.clear();
    give(agent::connected{});
  }
  void link_down(std::uint16_t code = 1006, std::string reason = "") {
    linked = dialling = false;
    sent.clear();
    give(agent::disconnected{code, std::move(reason)});
  }
  void receive(std::vector<protocol::coordinator_message> messages) {
    give(agent::frame{std::move(messages), ""});
  }
  void receive(protocol::coordinator_message m) {
    std::vector<protocol::coordinator_message> messages;
    messages.push_back(std::move(m));
    receive(std::move(messages));
  }

  /// The supervisor's news.
  void run(std::uint64_t lease) { give(agent::process_started{lease}); }
  void print(std::uint64_t lease, const std::string& stream, const std::string& text) {
    std::string& all = spools[lease][stream];
    all += text;
    give(agent::process_output{lease, stream, all.size()});
  }
  void end(std::uint64_t lease, int exit_code = 0, int signal = 0) {
    end_unheard(lease, exit_code, signal);
    give(agent::process_ended{*processes.at(lease).end});
  }

  std::map<std::string, std::string> spool_of(std::uint64_t lease) const {
    const auto it = spools.find(lease);
    return it == spools.end() ? std::map<std::string, std::string>{} : it->second;
  }
  /// It ends, and the daemon does not hear of it (yet).
  void end_unheard(std::uint64_t lease, int exit_code = 0, int signal = 0) {
    fake_process& p = processes.at(lease);
    agent::process_end e;
    e.lease = lease;
    e.exit_code = exit_code;
    e.signal = signal;
    e.killed = p.killed;
    e.duration_seconds = 1;
    for (const auto& [stream, text] : spool_of(lease)) e.output_bytes[stream] = text.size();
    p.end = e;
  }

  std::vector<std::string> take_log() { return std::exchange(log, {}); }
  bool logged(const std::string& part) const {
    return std::any_of(log.begin(), log.end(),
                       [&](const auto& l) { return l.find(part) != std::string::npos; });
  }

  template <class Body>
  std::vector<Body> sent_of() const {
    std::vector<Body> found;
    for (const auto& m : sent) {
      if (const auto* body = std::get_if<Body>(&m.body)) found.push_back(*body);
    }
    return found;
  }
  /// The seq of the newest message of that kind.
  template <class Body>
  std::uint64_t seq_of() const {
    std::uint64_t seq = 0;
    for (const auto& m : sent) {
      if (std::holds_alternative<Body>(m.body)) seq = m.seq.value_or(0);
    }
    return seq;
  }

  std::function<void(const agent::effect&)> on_effect;  ///< also tells a fake coordinator

 private:
  void move_to(boot_time t) {
    now.wall += std::chrono::duration_cast<milliseconds>(t - now.boot);
    now.boot = t;
  }

  void step(const agent::input& in) {
    agent::effects list = daemon->step(now, in);
    for (;;) {
      const std::size_t failed = carry_out(list);
      if (failed == list.size() || crashed) return;
      agent::outbox_failed f{"No space left on device",
                             {list.begin() + static_cast<std::ptrdiff_t>(failed), list.end()}};
      list = daemon->step(now, f);
    }
  }

  /// The index of the first that failed, or the size.
  std::size_t carry_out(const agent::effects& list) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (effects_until_crash == 0) {
        effects_until_crash = -1;
        crashed = true;
        return list.size();
      }
      if (effects_until_crash > 0) --effects_until_crash;
      if (!std::visit([this](const auto& e) { return apply(e); }, list[i])) return i;
      if (on_effect) on_effect(list[i]);
    }
    return list.size();
  }

  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    log.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  bool apply(const agent::write_outbox& e) {
    const bool fails = disk_full || writes_until_failure == 0;
    if (writes_until_failure >= 0) --writes_until_failure;
    say("{} {} {}", fails ? "cannot write" : "write", e.lease, e.kind);
    if (fails) return false;
    records.push_back({e.lease, e.kind, e.body});
    stored_highest = std::max(stored_highest, e.lease);
    return true;
  }
  bool apply(const agent::drop_outbox& e) {
    say("drop {}", e.lease);
    std::erase_if(records, [&](const auto& r) { return r.lease == e.lease; });
    return true;
  }
  bool apply(const agent::switch_outbox& e) {
    say("switch to {}", e.cluster);
    set_aside_[cluster] = {records, stored_highest};
    cluster = e.cluster;
    records = set_aside_[cluster].first;
    stored_highest = set_aside_[cluster].second;
    inputs_.push_front(agent::outbox_switched{records, stored_highest});
    return true;
  }
  bool apply(const agent::store_term& e) {
    say("term {}", e.term);
    term = e.term;
    return true;
  }
  bool apply(const agent::connect&) {
    say("connect");
    dialling = true;
    return true;
  }
  bool apply(const agent::send& e) {
    say("send {}", in_words(e.message));
    sent.push_back(e.message);
    return true;
  }
  bool apply(const agent::disconnect& e) {
    say("disconnect {} {}", e.code, e.reason);
    if (linked) inputs_.push_back(agent::disconnected{e.code, e.reason});
    linked = false;
    sent.clear();
    return true;
  }
  bool apply(const agent::set_ping_interval& e) {
    say("ping every {}", format_duration(e.interval));
    return true;
  }
  bool apply(const agent::set_framing& e) {
    say("framing {} {}", e.batch ? "batch" : "single", e.max_bytes);
    return true;
  }
  bool apply(const agent::start_process& e) {
    say("start {}", e.lease);
    last_start = e;
    if (e.lease <= launched) {
      if (processes.contains(e.lease)) return true;
      agent::process_end refused;
      refused.lease = e.lease;
      refused.started = false;
      refused.error = "seen before";
      inputs_.push_back(agent::process_ended{refused});
      return true;
    }
    launched = e.lease;
    ++starts[e.lease];
    processes[e.lease] = {};
    return true;
  }
  bool apply(const agent::kill_process& e) {
    say("kill {} {}", e.lease, format_duration(e.grace));
    if (const auto it = processes.find(e.lease); it != processes.end() && !it->second.end)
      it->second.killed = true;
    return true;
  }
  bool apply(const agent::renew_lease& e) {
    renewed[e.lease] = e.until;
    return true;
  }
  bool apply(const agent::forget_process& e) {
    say("forget {}", e.lease);
    processes.erase(e.lease);
    spools.erase(e.lease);
    return true;
  }
  bool apply(const agent::kill_leftovers& e) {
    for (const std::uint64_t lease : e.leases) {
      say("kill leftovers of {}", lease);
      agent::leftovers_killed done{lease, true, {}};
      for (const auto& [stream, text] : spool_of(lease)) done.output.push_back({stream, text.size()});
      inputs_.push_back(std::move(done));
    }
    return true;
  }
  bool apply(const agent::release_spool& e) {
    say("release {} {} {}", e.lease, e.stream, e.offset);
    return true;
  }
  bool apply(const agent::read_spool& e) {
    agent::spool_data d{e.lease, e.stream, e.offset, e.offset, ""};
    const auto it = spools.find(e.lease);
    if (it != spools.end() && it->second.contains(e.stream)) {
      const std::string& text = it->second.at(e.stream);
      const std::uint64_t hole_end = holes.contains(e.lease) ? holes.at(e.lease) : 0;
      d.offset = std::max(e.offset, hole_end);
      if (d.offset < text.size()) d.data = text.substr(d.offset, e.limit);
    }
    inputs_.push_back(std::move(d));
    return true;
  }
  bool apply(const agent::note& e) {
    static constexpr const char* levels[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
    say("[{}] {}", levels[static_cast<int>(e.level)], e.text);
    return true;
  }
  bool apply(const agent::exit_now& e) {
    say("exit {}{}", e.code, e.restart ? " restart" : "");
    exited = e;
    return true;
  }

  static std::string in_words(const protocol::worker_message& m) {
    const std::string seq = m.seq ? fmt::format("#{} ", *m.seq) : "";
    if (const auto* r = std::get_if<protocol::job_result>(&m.body)) {
      return seq + fmt::format("result {} {}", r->lease ? std::to_string(r->lease->value) : "-",
                               protocol::to_string(r->status));
    }
    if (const auto* o = std::get_if<protocol::job_output>(&m.body)) {
      const std::string gap = o->gap_from ? fmt::format(" gap from {}", *o->gap_from) : "";
      return seq +
             fmt::format("output {} {} {}+{}{}", o->lease.value, o->stream, o->offset, o->data.size(), gap);
    }
    if (const auto* e = std::get_if<protocol::event>(&m.body)) {
      return seq + fmt::format("event {} {}", e->name, e->lease ? std::to_string(e->lease->value) : "-");
    }
    if (const auto* a = std::get_if<protocol::worker_ack>(&m.body)) {
      return fmt::format("ack {}{}", a->seq.value_or(0), a->cumulative ? " cumulative" : "");
    }
    if (const auto* h = std::get_if<protocol::heartbeat>(&m.body)) return seq + "heartbeat " + h->status;
    if (std::holds_alternative<protocol::worker_register>(m.body)) return seq + "register";
    return seq + "?";
  }

  std::deque<agent::input> inputs_;
  std::map<std::string, std::pair<std::vector<agent::stored_record>, std::uint64_t>> set_aside_;

 public:
  std::optional<agent::start_process> last_start;
  std::map<std::uint64_t, std::uint64_t> holes;  ///< lease -> its output below this was dropped by the spool
};

// ---- messages a test says as the coordinator
// -----------------------------------------------------------------------

inline protocol::coordinator_message numbered(std::uint64_t seq,
                                              decltype(protocol::coordinator_message::body) body) {
  protocol::coordinator_message m;
  if (seq != 0) m.seq = seq;
  m.body = std::move(body);
  return m;
}

inline protocol::coordinator_message greeting(std::vector<std::uint64_t> keep = {},
                                              std::vector<std::uint64_t> abandon = {},
                                              uuid cluster = test_cluster, std::uint64_t term = 1) {
  protocol::registration g;
  g.seq = 1;
  g.session = "s";
  g.cluster = cluster;
  g.term = term;
  g.features = {"batch"};
  for (const auto lease : keep) g.keep.push_back({{"run"}, lease_id{lease}});
  for (const auto lease : abandon) g.abandon.push_back({{"run"}, lease_id{lease}});
  return numbered(0, std::move(g));
}

inline protocol::execute_job job(std::uint64_t lease) {
  protocol::execute_job e;
  e.job_id = {"run-" + std::to_string(lease)};
  e.command = {"true"};
  e.timeout_seconds = 60;
  e.lease = lease_id{lease};
  e.attempt = 1;
  e.term = 1;
  return e;
}

inline protocol::execute_job noop(std::uint64_t lease) {
  protocol::execute_job e = job(lease);
  e.command.clear();
  e.builtin = "noop";
  return e;
}

inline protocol::coordinator_message ack_of(std::uint64_t seq, bool cumulative = true) {
  protocol::ack a;
  a.seq = seq;
  a.cumulative = cumulative;
  return numbered(0, a);
}

/// Connected, registered, the noise of that out of the log.
inline void bring_up(agent_world& w, std::vector<std::uint64_t> keep = {}) {
  w.start();
  w.link_up();
  w.receive(greeting(std::move(keep)));
  w.take_log();
}

}  // namespace orchestrator::test
