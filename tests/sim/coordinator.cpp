// The coordinator's process without a machine. See coordinator.hpp.
#include "coordinator.hpp"

#include <orchestrator/base/planted.hpp>
#include <orchestrator/protocol/codec.hpp>

#include "oracle.hpp"
#include "world.hpp"

namespace orchestrator::sim {
namespace {

constexpr nanoseconds pulse = 250ms;

/// The runs that a key made, which bear its name.
std::vector<std::string> keys_of_runs(store::memory_store& disk) {
  store::run_filter all;
  all.limit = 100'000;
  std::vector<std::string> found;
  disk.read([&](store::reader& r) {
    for (const auto& row : r.list_runs(all)) {
      if (row.run.job.starts_with("key-") && r.fetch_key(row.run.job).key_found) found.push_back(row.run.job);
    }
  });
  return found;
}

}  // namespace

coordinator::coordinator(world& w) : world_(w) {
  store::store_events events;
  events.persisted = [this](std::uint64_t number) {
    run(life_, [this, number] { feed(engine::persisted{number}); });
  };
  events.output_persisted = [this](std::uint64_t number) {
    run(life_, [this, number] { feed(engine::output_persisted{number}); });
  };
  disk_ = std::make_unique<store::memory_store>(std::move(events));
}

engine_time coordinator::clock() const {
  const nanoseconds now = world_.time.now();
  return {mono_time{1h + now}, wall_time{milliseconds{first_wall_seconds * 1000} +
                                         std::chrono::duration_cast<milliseconds>(now) + wall_offset_}};
}

nanoseconds coordinator::last_heard(const uuid& instance) const {
  const auto found = heard_.find(instance);
  return found == heard_.end() ? nanoseconds{-1} : found->second;
}

/// Something that happens to this life of the process, as soon as it runs.
template <class F>
void coordinator::run(std::uint64_t life, F what) {
  world_.time.after(world_.chance.between(0us, 300us), [this, life, what = std::move(what)]() mutable {
    if (life != life_ || !up()) return;
    if (paused_) {
      backlog_.push_back(std::move(what));
    } else {
      what();
    }
  });
}

void coordinator::start() {
  if (up()) return;
  ++life_;
  engine::config settings;
  settings.lease_ttl = world_.draw.lease_ttl;
  engine_ = std::make_unique<engine::engine>(settings);
  paused_ = stall_pending_ = turn_end_scheduled_ = syncing_ = disk_breaks_ = false;
  effects_left_ = -1;
  armed_for_.reset();
  heard_.clear();
  speaks_for_.clear();
  started_at_ = world_.time.now();
  world_.say([] { return "coordinator starts"; });
  orchestrator::snapshot found = disk_->reopen(clock().wall);
  retention_clock_.emplace(found.retained_at, clock());
  const bool first_retention = !found.retained_at;
  world_.judge.coordinator_starts(found);
  feed(engine::started{std::move(found), world_.chance.next()});
  if (up()) world_.judge.coordinator_started(*engine_);
  // The server makes a pass at every start; the first one puts on disk what time it went by.
  if (up() && first_retention) retain(std::chrono::hours{24 * 30});
  if (up() && disk_full_) feed(engine::space_changed{true});
}

void coordinator::kill() {
  if (!up()) return;
  world_.say([] { return "coordinator killed"; });
  world_.judge.coordinator_dies(*engine_);
  ++life_;
  engine_.reset();
  disk_->crash();
  issued_.clear();
  issued_output_ = 0;
  backlog_.clear();
  replies_.clear();
  dirty_.clear();
  for (auto& [id, s] : sessions_) s.wire->end_process(side::coordinator);
  sessions_.clear();
  world_.time.after(world_.chance.spread(50ms, 60s), [this] { start(); });
}

void coordinator::stop() {
  if (!accepts()) return;
  world_.saw("coordinator stopped in order");
  feed(engine::stopping{});
  world_.time.after(world_.chance.between(1ms, 2s), [this, life = life_] {
    if (life == life_) kill();
  });
}

bool coordinator::dies_here() {
  if (effects_left_ < 0) return false;
  --effects_left_;
  if (effects_left_ >= 0) return false;
  world_.saw("coordinator killed between two effects");
  kill();
  return true;
}

void coordinator::pause(nanoseconds how_long) {
  if (!up() || paused_ || stall_pending_) return;
  paused_ = true;
  world_.say(
      [&] { return "coordinator stopped for " + std::to_string(how_long.count() / 1'000'000) + " ms"; });
  const nanoseconds since = world_.time.now();
  for (auto& [id, s] : sessions_) s.wire->hold(side::coordinator, true);
  world_.time.after(how_long, [this, since, life = life_] {
    if (life != life_ || !up()) return;
    paused_ = false;
    const nanoseconds slept = world_.time.now() - since;
    stall_pending_ = slept > limits::stall_threshold;
    if (stall_pending_) stopped_for_ += slept;
    for (auto list = std::exchange(backlog_, {}); !list.empty() && life == life_; list.pop_front())
      list.front()();
    std::vector<std::shared_ptr<link>> wires;
    for (auto& [id, s] : sessions_) {
      if (!s.unread) wires.push_back(s.wire);
    }
    for (const auto& wire : wires) wire->hold(side::coordinator, false);
    armed_for_.reset();
    if (life != life_ || !up()) return;
    if (!stall_pending_) return arm_timer();
    // The sockets' backlog is read first; then every deadline moves.
    run(life_, [this, since, life] {
      world_.time.after(pulse, [this, since, life] {
        if (life != life_ || !up() || paused_) return;
        stall_pending_ = false;
        world_.saw("coordinator stalled");
        feed(engine::stalled{world_.time.now() - since});
        stopped_for_ += pulse;
        armed_for_.reset();
        if (up()) arm_timer();
      });
    });
  });
}

void coordinator::set_disk_full(bool full) {
  if (disk_full_ == full) return;
  disk_full_ = full;
  if (full) world_.saw("disk full");
  run(life_, [this, full] { feed(engine::space_changed{full}); });
  if (!full) sync_soon();
}

void coordinator::stop_reading(nanoseconds how_long) {
  if (!accepts() || sessions_.empty()) return;
  auto at = sessions_.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(world_.chance.below(sessions_.size())));
  const session_id id = at->first;
  if (std::exchange(at->second.unread, true)) return;
  world_.saw("a socket was not read for a while");
  at->second.wire->hold(side::coordinator, true);
  feed(engine::session_reading{id, false});
  world_.time.after(how_long, [this, id, life = life_] { run(life, [this, id] { read_again(id); }); });
}

void coordinator::read_again(session_id id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  found->second.unread = false;
  hear(id);
  const auto wire = found->second.wire;
  feed(engine::session_reading{id, true});
  wire->hold(side::coordinator, false);
}

/// Only the connection that registered last speaks for a worker.
void coordinator::hear(session_id id) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  const auto speaker = speaks_for_.find(found->second.who.instance);
  if (speaker != speaks_for_.end() && speaker->second == id)
    heard_[found->second.who.instance] = world_.time.now() - stopped_for_;
}

/// What it said while nobody read is gone then: its silence begins.
void coordinator::parted(const uuid& instance) {
  const auto speaker = speaks_for_.find(instance);
  if (speaker == speaks_for_.end()) return;
  const auto found = sessions_.find(speaker->second);
  if (found != sessions_.end() && found->second.unread) heard_[instance] = world_.time.now() - stopped_for_;
  speaks_for_.erase(speaker);
}

bool coordinator::unread(const uuid& instance) const {
  const auto speaker = speaks_for_.find(instance);
  if (speaker == speaks_for_.end()) return false;
  const auto found = sessions_.find(speaker->second);
  return found != sessions_.end() && found->second.unread;
}

void coordinator::retain(milliseconds age) {
  if (!up()) return;
  if (clock_was_behind_) world_.judge.history_was_cut();
  const auto time = retention_clock_->read(clock());
  if (time.ahead) world_.saw("retention doubted the clock");
  const std::vector<std::string> keys = keys_of_runs(*disk_);
  disk_->retain(planted(defect::retention_by_wall_clock) ? clock().wall : time.now, age, UINT64_MAX);
  if (clock_was_behind_) return;
  // No seed is a week long, and by no step of the clock may it look like one (rule 12).
  disk_->read([&](store::reader& r) {
    for (const std::string& key : keys) {
      if (!r.fetch_key(key).key_found)
        world_.judge.broken("rule 12: retention removed " + key + ", whose run ended less than a week ago");
    }
  });
}

// ---- the engine

void coordinator::feed(const engine::input& in) {
  if (!up()) return;
  ++world_.inputs;
  engine::effects e = engine_->step(clock(), in);
  world_.judge.engine_stepped(*engine_, e);
  carry_out(e);
  if (!up()) return;
  if (!std::exchange(turn_end_scheduled_, true)) run(life_, [this] { end_turn(); });
  arm_timer();
}

void coordinator::end_turn() {
  turn_end_scheduled_ = false;
  ++world_.inputs;
  engine::effects e = engine_->step(clock(), engine::turn_end{});
  world_.judge.engine_stepped(*engine_, e);
  carry_out(e);
  if (!up()) return;
  for (const session_id id : std::exchange(dirty_, {})) {
    if (const auto found = sessions_.find(id); found != sessions_.end()) flush(found->second);
  }
  arm_timer();
}

void coordinator::carry_out(engine::effects& e) {
  if (e.commit_output) {
    if (dies_here()) return;
    ++issued_output_;
    disk_->commit_output(std::move(*e.commit_output));
  }
  if (e.commit) {
    if (dies_here()) return;
    issued_.push_back(*e.commit);
    disk_->commit(std::move(*e.commit));
  }
  sync_soon();
  for (engine::output& o : e.outputs) {
    if (dies_here()) return;
    carry_out(o);
  }
  for (const engine::lookup& l : e.lookups) look_up(l);
}

void coordinator::carry_out(engine::output& o) {
  if (auto* out = std::get_if<engine::send>(&o)) {
    const auto found = sessions_.find(out->session);
    if (found == sessions_.end()) return;
    world_.judge.leaves(found->second.who, out->session, out->message);
    found->second.outgoing.push_back(std::move(out->message));
    if (!std::exchange(found->second.dirty, true)) dirty_.push_back(out->session);
  } else if (const auto* closing = std::get_if<engine::close_session>(&o)) {
    const auto found = sessions_.find(closing->session);
    if (found == sessions_.end()) return;
    flush(found->second);
    world_.saw("close ", std::to_string(closing->code));
    found->second.wire->close(side::coordinator, closing->code, closing->reason);
  } else if (const auto* pings = std::get_if<engine::set_ping_interval>(&o)) {
    if (const auto found = sessions_.find(pings->session); found != sessions_.end())
      found->second.wire->set_ping_interval(side::coordinator, pings->interval);
  } else if (const auto* registered = std::get_if<engine::session_registered>(&o)) {
    if (const auto found = sessions_.find(registered->session); found != sessions_.end()) {
      speaks_for_[found->second.who.instance] = registered->session;
      found->second.batch = registered->batch;
      found->second.registered = true;
      hear(registered->session);
    }
  } else if (const auto* ping = std::get_if<engine::ping_session>(&o)) {
    if (const auto found = sessions_.find(ping->session); found != sessions_.end())
      found->second.wire->ping(side::coordinator);
  } else if (auto* answered = std::get_if<engine::answer>(&o)) {
    world_.judge.answered(*answered);
    const auto found = replies_.find(answered->request);
    if (found == replies_.end()) return;
    const reply then = std::move(found->second);
    replies_.erase(found);
    const nanoseconds way = world_.chance.between(0ms, 20ms);
    world_.time.after(way, [this, then, a = std::move(*answered), database = world_.judge.databases()] {
      if (database == world_.judge.databases()) then(a);
    });
  } else if (const auto* line = std::get_if<engine::note>(&o)) {
    if (line->level == engine::note_level::error)
      world_.judge.broken("only a bug logs at ERROR: " + line->text);
  }
}

void coordinator::look_up(const engine::lookup& l) {
  if (const auto* zone = std::get_if<engine::load_zone>(&l)) {
    run(life_, [this, name = zone->name] { feed(engine::zone_loaded{name, zone_named(name)}); });
    return;
  }
  if (const auto* past = std::get_if<engine::load_instants>(&l)) {
    world_.saw("the decided instants were read again");
    run(life_, [this, after = past->after] {
      recent_instants found;
      disk_->read([&](store::reader& r) { found = r.instants_after(after); });
      run(life_, [this, after, found] { feed(engine::instants_loaded{after, found}); });
    });
    return;
  }
  if (const auto* window = std::get_if<engine::load_window>(&l)) {
    world_.saw("the ledger of a window was read");
    run(life_, [this, w = *window] {
      std::vector<stored_instant> found;
      disk_->read([&](store::reader& r) { found = store::ledger_window(r, w.job, w.from, w.to); });
      run(life_, [this, id = w.request, found] { feed(engine::window_loaded{id, found}); });
    });
    return;
  }
  const auto& wanted = std::get<engine::fetch>(l);
  world_.saw("a row was looked up");
  // The reader sees what is durable when it runs; its answer takes a while longer.
  run(life_, [this, id = wanted.id, key = wanted.key] {
    fetched_rows rows;
    disk_->read([&](store::reader& r) {
      if (const auto* run = std::get_if<run_id>(&key)) rows = r.fetch_run(*run);
      if (const auto* lease = std::get_if<lease_id>(&key)) rows = r.fetch_lease(*lease);
      if (const auto* text = std::get_if<std::string>(&key)) rows = r.fetch_key(*text);
    });
    run(life_, [this, id, rows = std::move(rows)] { feed(engine::fetched{id, rows}); });
  });
}

/// A deadline that moves away leaves the timer where it is; it looks again when it fires.
void coordinator::arm_timer() {
  const auto next = engine_->next_deadline();
  if (!next || stall_pending_ || (armed_for_ && *armed_for_ <= *next)) return;
  armed_for_ = next;
  world_.time.at(next->time_since_epoch() - 1h, [this, life = life_, at = *next] {
    if (life != life_ || armed_for_ != at) return;
    // A timer of a stopped process fires when it runs again; the stall rule then comes first.
    if (paused_ || stall_pending_) return;
    armed_for_.reset();
    const auto due = engine_->next_deadline();
    if (due && *due <= clock().mono) return feed(engine::tick{});
    arm_timer();
  });
}

// ---- the disk

void coordinator::sync_soon() {
  if (syncing_ || disk_full_ || (issued_.empty() && issued_output_ == 0)) return;
  syncing_ = true;
  const nanoseconds takes = world_.chance.spread(100us, world_.draw.slowest_commit);
  if (takes > 1s) world_.saw("a commit took seconds");
  // What is queued now is one group; what comes meanwhile waits for the next.
  world_.time.after(takes, [this, life = life_, n = issued_.size(), m = issued_output_] {
    if (life == life_) sync_now(n, m);
  });
}

void coordinator::sync_now(std::size_t batches, std::size_t output_batches) {
  syncing_ = false;
  if (disk_full_) return;
  // Two databases with a writer each: either may be first, and output is often behind.
  if (world_.chance.below(4) != 0) output_batches = 0;
  if (output_batches > 0) {
    issued_output_ -= output_batches;
    disk_->sync_output(output_batches);
  }
  const bool fails = std::exchange(disk_breaks_, false);
  if (fails && world_.chance.below(2) == 0) {
    world_.saw("a commit failed");
    if (!planted(defect::gate_opens_after_failure) || batches == 0) return kill();
    syncing_ = true;  // no other commit until it dies a moment later
    world_.time.after(50ms, [this, life = life_] {
      if (life == life_) kill();
    });
    return feed(engine::persisted{issued_[batches - 1].number});
  }
  for (std::size_t i = 0; i < batches; ++i) {
    world_.judge.became_durable(issued_.front());
    issued_.pop_front();
  }
  if (fails) {  // it arrived, and nobody was told
    world_.saw("a commit failed and was there all the same");
    disk_->sync(batches);
    return kill();
  }
  disk_->sync(batches);
  sync_soon();
}

// ---- sessions

void coordinator::accept(const std::shared_ptr<link>& wire, peer who) {
  const session_id id{++last_session_};
  const std::uint64_t life = life_;
  end_events events;
  events.frame = [this, id, life](const std::string& text) {
    if (life != life_) return;
    hear(id);
    on_frame(id, text);
  };
  events.alive = [this, id, life](std::optional<nanoseconds>) {
    if (life != life_) return;
    hear(id);
    feed(engine::session_alive{id});
  };
  events.closed = [this, id, life](std::uint16_t code, const std::string& reason) {
    if (life != life_) return;
    feed(engine::session_closed{id, code, reason});
    sessions_.erase(id);
  };
  session s;
  s.wire = wire;
  if (who.kind == peer_kind::machine && world_.draw.repetitions) s.twice.emplace(world_.chance);
  s.who = std::move(who);
  sessions_.emplace(id, std::move(s));
  wire->attach(side::coordinator, std::move(events), std::min<nanoseconds>(20s, world_.draw.lease_ttl / 3));
  feed(engine::session_opened{id, "peer"});
}

void coordinator::on_frame(session_id id, const std::string& text) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  auto decoded = protocol::decode_worker_frame(text, found->second.batch);
  if (!decoded) return feed(engine::session_bad_frame{id, decoded.error()});
  world_.judge.arrives(found->second.who, *decoded);
  if (!found->second.twice) return deliver(id, std::move(*decoded), false);
  const std::uint64_t life = life_;
  for (replayer::delivery& d : found->second.twice->from_worker(std::move(*decoded))) {
    if (life == life_ && !d.messages.empty()) deliver(id, std::move(d.messages), d.repetition);
  }
}

void coordinator::deliver(session_id id, std::vector<protocol::worker_message> messages, bool repetition) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  judge::speaker who{
      .peer = &found->second.who, .replaced = is_replaced(id, found->second), .repeats = repetition};
  if (repetition) world_.saw("a message was delivered twice");
  world_.judge.listens_to(who);
  feed(engine::session_frame{id, std::move(messages)});
  world_.judge.listens_to({});
}

bool coordinator::is_replaced(session_id id, const session& s) const {
  if (!s.registered || s.who.kind == peer_kind::legacy) return false;
  const auto speaker = speaks_for_.find(s.who.instance);
  return speaker == speaks_for_.end() || speaker->second != id;
}

/// An offer whose result is recorded comes once more, perhaps over another connection: it must not start.
void coordinator::repeat_old_offer(session& s, std::vector<protocol::coordinator_message>& messages) {
  std::deque<protocol::execute_job>& old = old_offers_[s.who.instance];
  for (const protocol::coordinator_message& m : messages) {
    if (const auto* offer = std::get_if<protocol::execute_job>(&m.body)) old.push_back(*offer);
  }
  if (old.size() > 8) old.pop_front();
  // Of two machines with one identity the other one has never seen it, and would start it by right.
  if (world_.cloned || !s.registered || old.empty() || world_.chance.below(30) != 0) return;
  const protocol::execute_job& offer = old[world_.chance.below(old.size())];
  const bool greets = std::any_of(messages.begin(), messages.end(), [](const auto& m) {
    return std::holds_alternative<protocol::registration>(m.body);
  });
  if (greets || !world_.judge.has_result(*offer.lease)) return;
  world_.saw("an offer whose result is recorded came again");
  messages.push_back(s.twice->again(offer));
  if (world_.chance.below(2) == 0)
    messages.back().body = [&] {  // as a coordinator of now would write it
      protocol::execute_job fresh = offer;
      fresh.term = engine_->view().term();
      return fresh;
    }();
}

void coordinator::flush(session& s) {
  s.dirty = false;
  auto messages = std::exchange(s.outgoing, {});
  if (s.twice) {
    const std::size_t before = messages.size();
    messages = s.twice->to_worker(std::move(messages));
    if (messages.size() > before) world_.saw("a command was delivered twice");
    repeat_old_offer(s, messages);
  }
  for (std::string& frame : protocol::encode_frames(messages, s.batch, limits::frame)) {
    if (frame.size() > limits::frame) world_.judge.broken("I17: a frame is larger than a worker may be sent");
    s.wire->send(side::coordinator, std::move(frame));
  }
}

}  // namespace orchestrator::sim
