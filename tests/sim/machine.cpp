// A worker's machine without a machine. See machine.hpp.
#include "machine.hpp"

#include <orchestrator/base/planted.hpp>
#include <orchestrator/protocol/codec.hpp>

#include "world.hpp"

namespace orchestrator::sim {

char output_byte(std::uint64_t lease, const std::string& stream, std::uint64_t offset) {
  return static_cast<char>('a' + (lease * 7 + offset * 11 + offset / 97 + stream.size()) % 26);
}

machine::machine(world& w, int number)
    : world_(w),
      number_(number),
      id_("worker-" + std::to_string(number)),
      instance_(make_uuid_v4(0x1000 + static_cast<std::uint64_t>(number), 7)),
      slots_(1 + static_cast<int>(w.chance.below(3))),
      credit_(static_cast<int>(w.chance.below(3)) * 4) {
  // The first one has enough for whatever is drawn, as it has the label.
  if (number == 0) resources_ = {{"disk", 2'000}, {"gpu", 2'000}};
  if (number > 0 && w.chance.below(2) == 0) resources_ = {{"gpu", 1'000}};
}

machine::machine(world& w, int number, const machine& copied) : machine(w, number) {
  id_ = copied.id_;
  instance_ = copied.instance_;
  records_ = copied.records_;
  highest_ = copied.highest_;
  term_ = copied.term_;
  slots_ = copied.slots_;
  credit_ = copied.credit_;
  resources_ = copied.resources_;
  cluster_ = copied.cluster_;
  boots_ = 1000 + number;
}

agent_time machine::clock() const {
  const nanoseconds now = world_.time.now();
  return {boot_time{1h + now - booted_at_},
          wall_time{milliseconds{first_wall_seconds * 1000} + std::chrono::duration_cast<milliseconds>(now) +
                    wall_offset_}};
}

bool machine::idle() const {
  return std::all_of(processes_.begin(), processes_.end(),
                     [](const auto& p) { return p.second.end.has_value(); });
}

template <class F>
void machine::run(std::uint64_t life, F what) {
  world_.time.after(world_.chance.between(0us, 300us), [this, life, what = std::move(what)]() mutable {
    if (life != life_ || !up()) return;
    if (paused_) {
      backlog_.push_back(std::move(what));
    } else {
      what();
    }
  });
}

// ---- lives of the daemon

void machine::start() {
  if (up() || gone_) return;
  ++life_;
  agent::config c;
  c.worker_id = id_;
  c.hostname = "host";
  c.platform = "Linux";
  c.version = "sim";
  c.slots = slots_;
  c.credit = credit_;
  c.instance = instance_;
  if (id_ == "worker-0") c.labels = {{"kind", "first"}};
  c.resources = resources_;
  world_.judge.admission().knows(instance_, {c.resources, c.labels});
  c.boot_id = "boot-" + std::to_string(number_) + "-" + std::to_string(boots_);
  c.process = std::to_string(world_.chance.next());
  c.url = "ws://localhost:8000/ws/heartbeat";
  c.base_env = {{"PATH", "/usr/bin:/bin"}};
  c.start_directory = "/srv";
  c.seed = world_.chance.next();
  agent_ = std::make_unique<agent::agent>(c);
  paused_ = stepping_ = batch_ = flush_scheduled_ = finishing_ = false;
  max_bytes_ = limits::frame;
  effects_left_ = -1;
  armed_for_.reset();
  agent::started in;
  in.records = records_;
  in.highest_lease = highest_;
  in.cluster = cluster_;
  in.term = term_;
  in.supervisor_fresh = std::exchange(supervisor_fresh_, false);
  for (const auto& [lease, streams] : spools_) in.files.insert(lease);
  for (const auto& [lease, p] : processes_) {
    agent::supervised_process s;
    s.lease = lease;
    s.started_at = p.started_wall;
    for (const auto& [stream, end] : p.printed) s.output.push_back({stream, end});
    s.end = p.end;
    in.processes.push_back(std::move(s));
  }
  if (!in.processes.empty()) world_.saw("a daemon found processes of its predecessor");
  feed(std::move(in));
}

void machine::daemon_is_gone() {
  ++life_;
  ++connection_;
  agent_.reset();
  if (wire_) wire_->end_process(side::worker);
  wire_.reset();
  outgoing_.clear();
  inputs_.clear();
  backlog_.clear();
}

void machine::kill_daemon(nanoseconds away) {
  if (!up()) return;
  world_.say([&] { return id_ + "'s daemon is gone"; });
  daemon_is_gone();
  world_.time.after(away, [this] { start(); });
}

/// Its processes end with it, as far as anybody here can tell; what they printed stays on the disk.
void machine::supervisor_is_gone() {
  for (const auto& [lease, p] : processes_) {
    for (const auto& [stream, end] : p.printed) {
      const auto hole = p.dropped.find(stream);
      spools_[lease][stream] = {end, hole == p.dropped.end() ? 0 : hole->second};
    }
  }
  processes_.clear();
  launched_ = 0;
  supervisor_fresh_ = true;
}

void machine::kill_supervisor() {
  if (gone_ || paused_) return;
  world_.saw("supervisor killed", up() ? "" : " while no daemon was there");
  supervisor_is_gone();
  for (const auto& [lease, streams] : spools_) {
    for (const auto& [stream, file] : streams) world_.judge.spool_left(lease_id{lease}, stream, file.end);
  }
  if (up()) feed(agent::supervisor_lost{});
}

void machine::stop() {
  if (!up() || paused_ || finishing_) return;
  constexpr agent::stop_mode modes[] = {agent::stop_mode::leave, agent::stop_mode::drain,
                                        agent::stop_mode::kill};
  const agent::stop_mode mode = world_.chance.one_of(modes);
  constexpr const char* names[] = {"leaving its jobs", "draining", "killing its jobs"};
  world_.saw("daemon stopped in order, ", names[static_cast<int>(mode)]);
  feed(agent::stop{mode});
}

void machine::reboot(nanoseconds away) {
  if (gone_) return;
  world_.saw("machine rebooted");
  if (up()) daemon_is_gone();
  ++boots_;
  booted_at_ = world_.time.now();
  supervisor_is_gone();
  // The tails of files may not have reached the disk.
  for (auto& [lease, streams] : spools_) {
    for (auto& [stream, file] : streams) {
      if (world_.chance.below(3) == 0) file.end = world_.chance.below(file.end + 1);
      world_.judge.spool_left(lease_id{lease}, stream, file.end);
    }
  }
  while (!records_.empty() && world_.chance.below(3) == 0) {
    world_.saw("a power cut took the end of an outbox");
    records_.pop_back();
  }
  world_.time.after(away, [this] { start(); });
}

void machine::leave_for_good() {
  if (up()) daemon_is_gone();
  gone_ = true;
  processes_.clear();
  world_.saw("machine gone for good");
}

void machine::pause(nanoseconds how_long) {
  if (!up() || paused_) return;
  paused_ = true;
  world_.saw("daemon stopped");
  if (wire_) wire_->hold(side::worker, true);
  world_.time.after(how_long, [this, life = life_] {
    if (life != life_ || !up()) return;
    paused_ = false;
    for (auto list = std::exchange(backlog_, {}); !list.empty() && life == life_; list.pop_front())
      list.front()();
    if (life != life_ || !up()) return;
    if (const auto wire = wire_) wire->hold(side::worker, false);
    armed_for_.reset();
    if (life == life_ && up()) arm_timer();
  });
}

// ---- the agent

void machine::feed(agent::input in) {
  if (!up()) return;
  inputs_.push_back(std::move(in));
  if (std::exchange(stepping_, true)) return;
  const std::uint64_t life = life_;
  while (life == life_ && !inputs_.empty()) {
    const agent::input next = std::move(inputs_.front());
    inputs_.pop_front();
    step(next);
  }
  if (life != life_) return;
  stepping_ = false;
  if (up()) arm_timer();
}

void machine::step(const agent::input& in) {
  ++world_.agent_inputs;
  const std::uint64_t life = life_;
  std::optional<agent::outbox_failed> failed = carry_out(agent_->step(clock(), in));
  while (failed && life == life_) {
    const agent::input again = std::move(*failed);
    failed = carry_out(agent_->step(clock(), again));
  }
  if (life == life_ && world_.look_inside()) {
    if (const auto wrong = agent_->check_invariants()) world_.judge.broken("agent: " + *wrong);
  }
}

std::optional<agent::outbox_failed> machine::carry_out(agent::effects list) {
  const std::uint64_t life = life_;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const bool dies = effects_left_ == 0;
    if (effects_left_ >= 0) --effects_left_;
    if (dies) {
      world_.saw("daemon killed between two effects");
      kill_daemon(world_.chance.spread(50ms, 120s));
      return std::nullopt;
    }
    if (!write(list[i])) {
      world_.saw("outbox full");
      return agent::outbox_failed{"No space left on device",
                                  {list.begin() + static_cast<std::ptrdiff_t>(i), list.end()}};
    }
    carry_out(list[i]);
    if (life != life_) return std::nullopt;
  }
  return std::nullopt;
}

/// False if it is a write that failed.
bool machine::write(const agent::effect& e) {
  if (const auto* w = std::get_if<agent::write_outbox>(&e)) {
    if (disk_full_) return false;
    records_.push_back({w->lease, w->kind, w->body});
    highest_ = std::max(highest_, w->lease);
  } else if (const auto* drop = std::get_if<agent::drop_outbox>(&e)) {
    const bool kept = std::any_of(records_.begin(), records_.end(), [&](const agent::stored_record& r) {
      return r.lease == drop->lease && r.kind == "parked";
    });
    // What a database that was rolled back had acknowledged is gone, and no promise covers it.
    if (told_by_database_ == world_.judge.databases())
      world_.judge.worker_forgets(*this, lease_id{drop->lease}, kept);
    std::erase_if(records_, [&](const auto& r) { return r.lease == drop->lease; });
  } else if (const auto* term = std::get_if<agent::store_term>(&e)) {
    term_ = term->term;
  } else if (const auto* change = std::get_if<agent::switch_outbox>(&e)) {
    cluster_ = change->cluster;
    inputs_.push_back(agent::outbox_switched{records_, highest_});
  }
  return true;
}

void machine::carry_out(agent::effect& e) {
  if (std::get_if<agent::connect>(&e) != nullptr) {
    dial();
  } else if (auto* out = std::get_if<agent::send>(&e)) {
    outgoing_.push_back(std::move(out->message));
    if (!std::exchange(flush_scheduled_, true)) run(life_, [this] { flush(); });
  } else if (const auto* bye = std::get_if<agent::disconnect>(&e)) {
    if (!wire_) return;
    flush();
    wire_->close(side::worker, bye->code, bye->reason);
  } else if (const auto* pings = std::get_if<agent::set_ping_interval>(&e)) {
    if (wire_) wire_->set_ping_interval(side::worker, pings->interval);
  } else if (const auto* framing = std::get_if<agent::set_framing>(&e)) {
    flush();
    batch_ = framing->batch;
    max_bytes_ = framing->max_bytes == 0 ? limits::frame : framing->max_bytes;
  } else if (const auto* start = std::get_if<agent::start_process>(&e)) {
    launch(*start);
  } else if (const auto* end = std::get_if<agent::kill_process>(&e)) {
    kill(end->lease, end->grace, false);
  } else if (const auto* done = std::get_if<agent::forget_process>(&e)) {
    processes_.erase(done->lease);
    spools_.erase(done->lease);
  } else if (const auto* leftovers = std::get_if<agent::kill_leftovers>(&e)) {
    for (const std::uint64_t lease : leftovers->leases) {
      run(life_, [this, lease] {
        agent::leftovers_killed done{lease, true, {}};
        if (const auto left = spools_.find(lease); left != spools_.end()) {
          for (const auto& [stream, file] : left->second) done.output.push_back({stream, file.end});
        }
        feed(std::move(done));
      });
    }
  } else if (const auto* wanted = std::get_if<agent::read_spool>(&e)) {
    inputs_.push_back(read(*wanted));
  } else if (const auto* line = std::get_if<agent::note>(&e)) {
    if (line->level == agent::note_level::error && line->text.find("supervisor") == std::string::npos)
      world_.judge.broken("only a bug logs at ERROR: " + line->text);
  } else if (const auto* over = std::get_if<agent::exit_now>(&e)) {
    if (std::exchange(finishing_, true)) return;
    const nanoseconds away = over->restart ? 20ms : world_.chance.between(1s, 30s);
    run(life_, [this, away] { kill_daemon(away); });
  }
}

/// A deadline that moves away leaves the timer where it is; it looks again when it fires.
void machine::arm_timer() {
  const auto next = agent_->next_deadline();
  if (!next || (armed_for_ && *armed_for_ <= *next)) return;
  armed_for_ = next;
  world_.time.at(next->time_since_epoch() - 1h + booted_at_, [this, life = life_, at = *next] {
    if (life != life_ || armed_for_ != at || paused_) return;
    armed_for_.reset();
    const auto due = agent_->next_deadline();
    if (due && *due <= clock().boot) return feed(agent::tick{});
    arm_timer();
  });
}

// ---- the connection

void machine::dial() {
  const std::uint64_t life = life_;
  const bool reachable = world_.reachable(number_);
  const nanoseconds way = world_.chance.between(1ms, 30ms);
  run(life, [this, life, reachable, way] {
    world_.time.after(reachable ? way : 10s, [this, life, reachable] {
      run(life, [this, reachable] {
        if (finishing_) return;
        if (!reachable || !world_.server.accepts() || !world_.reachable(number_))
          return feed(agent::connect_failed{"Connection refused"});
        const std::uint64_t mine = ++connection_;
        told_by_database_ = world_.judge.databases();
        wire_ = std::make_shared<link>(world_, number_);
        world_.links.push_back(wire_);
        outgoing_.clear();
        batch_ = false;
        max_bytes_ = limits::frame;
        end_events events;
        events.frame = [this, mine, l = life_](const std::string& text) {
          const bool stale = mine != connection_ && !planted(defect::ack_across_connections);
          if (l != life_ || stale) return;
          auto decoded = protocol::decode_coordinator_frame(text, batch_);
          agent::frame f;
          if (!decoded)
            world_.judge.broken("a worker was sent what it cannot read: " + decoded.error().detail);
          f.messages = std::move(*decoded);
          feed(std::move(f));
        };
        events.alive = [this, mine, l = life_](std::optional<nanoseconds> pinged) {
          if (l != life_ || mine != connection_ || !pinged) return;
          feed(agent::pong{boot_time{1h + *pinged - booted_at_}});
        };
        events.closed = [this, mine, l = life_](std::uint16_t code, const std::string& reason) {
          if (l != life_ || mine != connection_) return;
          wire_.reset();
          feed(agent::disconnected{code, reason});
        };
        const auto wire = wire_;
        wire->attach(side::worker, std::move(events), 20s);
        world_.server.accept(wire, {instance_, id_, peer_kind::machine});
        feed(agent::connected{});
      });
    });
  });
}

void machine::flush() {
  flush_scheduled_ = false;
  const auto messages = std::exchange(outgoing_, {});
  if (messages.empty() || !wire_) return;
  for (std::string& frame : protocol::encode_frames(messages, batch_, max_bytes_))
    wire_->send(side::worker, std::move(frame));
}

// ---- the supervisor

template <class F>
void machine::later(std::uint64_t lease, nanoseconds delay, F what) {
  world_.time.after(delay, [this, lease, start = processes_.at(lease).life, what = std::move(what)] {
    const auto found = processes_.find(lease);
    if (found != processes_.end() && found->second.life == start && !found->second.end) what();
  });
}

void machine::launch(const agent::start_process& s) {
  if (s.lease <= launched_) {
    if (processes_.contains(s.lease)) return;
    agent::process_end refused;
    refused.lease = s.lease;
    refused.started = false;
    refused.error = "seen before";
    inputs_.push_back(agent::process_ended{refused});
    return;
  }
  launched_ = s.lease;
  process& p = processes_[s.lease];
  p.life = ++process_lives_;
  p.started = world_.time.now();
  p.started_wall = clock().wall;
  p.output_limit = s.output_limit;
  const auto run_of = s.env.find("ORCHESTRATOR_RUN_ID");
  world_.judge.process_starts(*this, lease_id{s.lease}, run_of == s.env.end() ? "" : run_of->second);
  run(life_, [this, lease = s.lease] { feed(agent::process_started{lease}); });
  live(s.lease, s);
}

/// What it will do, drawn at once.
void machine::live(std::uint64_t lease, const agent::start_process& s) {
  process& p = processes_.at(lease);
  p.ignores_term = world_.chance.below(8) == 0;
  const std::uint64_t kind = world_.chance.below(10);
  const bool endless = kind == 0 && !world_.healing;
  const nanoseconds length = kind < 4 ? world_.chance.between(0ms, 50ms) : world_.chance.spread(50ms, 90s);
  for (std::uint64_t i = world_.chance.below(4); i > 0; --i) {
    const std::string stream = world_.chance.below(3) == 0 ? "stderr" : "stdout";
    const std::uint64_t bytes = 1 + world_.chance.below(world_.chance.below(8) == 0 ? 3000 : 120);
    later(lease, world_.chance.between(0ms, length),
          [this, lease, stream, bytes] { print(lease, stream, bytes); });
  }
  if (!endless) {
    const std::uint64_t end = world_.chance.below(10);
    const int code = end < 7 ? 0 : end == 7 ? 1 : 3;
    const int signal = end == 9 ? 11 : 0;
    later(lease, length,
          [this, lease, code, signal] { finish(lease, signal != 0 ? 0 : code, signal, false); });
  }
  later(lease, s.timeout, [this, lease, grace = s.kill_grace] { kill(lease, grace, true); });
}

void machine::print(std::uint64_t lease, const std::string& stream, std::uint64_t bytes) {
  process& p = processes_.at(lease);
  std::uint64_t& end = p.printed[stream];
  end += bytes;
  // The spool keeps head and tail of what is beyond the limit, roughly.
  if (end > p.output_limit) p.dropped[stream] = end;
  run(life_, [this, lease, stream, end = end] { feed(agent::process_output{lease, stream, end}); });
}

void machine::kill(std::uint64_t lease, nanoseconds grace, bool timed_out) {
  const auto found = processes_.find(lease);
  if (found == processes_.end() || found->second.end) return;
  found->second.killed = !timed_out;
  const bool stubborn = found->second.ignores_term;
  later(lease, stubborn ? grace : nanoseconds{1ms},
        [this, lease, stubborn, timed_out] { finish(lease, 0, stubborn ? 9 : 15, timed_out); });
}

void machine::finish(std::uint64_t lease, int exit_code, int signal, bool timed_out) {
  process& p = processes_.at(lease);
  agent::process_end e;
  e.lease = lease;
  e.exit_code = exit_code;
  e.signal = signal;
  e.timed_out = timed_out;
  e.killed = p.killed;
  e.duration_seconds = std::chrono::duration<double>(world_.time.now() - p.started).count();
  for (const auto& [stream, end] : p.printed) e.output_bytes[stream] = end;
  p.end = e;
  world_.judge.process_ends(lease_id{lease}, exit_code, signal);
  run(life_, [this, e] { feed(agent::process_ended{e}); });
}

agent::spool_data machine::read(const agent::read_spool& r) const {
  agent::spool_data d{r.lease, r.stream, r.offset, r.offset, ""};
  const spool_file file = spool_of(r.lease, r.stream);
  d.offset = std::max(r.offset, file.dropped);
  for (std::uint64_t at = d.offset; at < file.end && d.data.size() < r.limit; ++at)
    d.data += output_byte(r.lease, r.stream, at);
  return d;
}

spool_file machine::spool_of(std::uint64_t lease, const std::string& stream) const {
  if (const auto left = spools_.find(lease); left != spools_.end() && left->second.contains(stream))
    return left->second.at(stream);
  const auto found = processes_.find(lease);
  if (found == processes_.end() || !found->second.printed.contains(stream)) return {};
  const auto hole = found->second.dropped.find(stream);
  return {found->second.printed.at(stream), hole == found->second.dropped.end() ? 0 : hole->second};
}

}  // namespace orchestrator::sim
