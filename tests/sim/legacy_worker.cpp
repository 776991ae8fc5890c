// A worker of the original portal. See legacy_worker.hpp.
#include "legacy_worker.hpp"

#include <orchestrator/protocol/codec.hpp>

#include "world.hpp"

namespace orchestrator::sim {
namespace {

constexpr int wire_number = 800;
constexpr nanoseconds between_heartbeats = 60s, between_tries = 5s;

}  // namespace

legacy_worker::legacy_worker(world& w) : world_(w) {}

void legacy_worker::start() {
  if (up_) return;
  up_ = true;
  ++life_;
  dial();
}

void legacy_worker::kill(nanoseconds away) {
  if (!up_) return;
  world_.saw("legacy worker killed");
  up_ = busy_ = false;
  ++life_;
  jobs_.clear();
  if (wire_) wire_->end_process(side::worker);
  connection_is_gone();
  world_.time.after(away, [this] { start(); });
}

void legacy_worker::connection_is_gone() {
  ++connection_;
  wire_.reset();
}

void legacy_worker::dial() {
  const auto again = [this] {
    world_.time.after(between_tries, [this, life = life_] {
      if (life == life_ && up_ && !wire_) dial();
    });
  };
  if (!world_.server.accepts() || !world_.reachable(wire_number)) return again();
  wire_ = std::make_shared<link>(world_, wire_number);
  world_.links.push_back(wire_);
  end_events events;
  const std::uint64_t mine = ++connection_;
  events.frame = [this, mine](const std::string& text) {
    if (mine == connection_) hear(text);
  };
  events.alive = [](std::optional<nanoseconds>) {};
  events.closed = [this, mine, again](std::uint16_t, const std::string&) {
    if (mine != connection_) return;
    connection_is_gone();
    again();
  };
  const auto wire = wire_;
  wire->attach(side::worker, std::move(events), 20s);
  world_.server.accept(wire, {uuid{}, id_, peer_kind::legacy});
  protocol::worker_register r;
  r.worker_id = id_;
  r.hostname = "old";
  r.platform = "Linux";
  r.python_version = "3.9.1";
  if (world_.chance.below(4) != 0) send(std::move(r));  // else it is known by its first heartbeat
  if (last_result_ && world_.chance.below(2) == 0) {
    world_.saw("a legacy worker sent a result again");
    send(*last_result_);
  }
  if (wire_) beat(mine);
}

void legacy_worker::beat(std::uint64_t connection) {
  if (connection != connection_ || !wire_) return;
  if (!busy_) send(protocol::heartbeat{id_, "idle", 0, 0, "", {}, {}, {}});
  world_.time.after(between_heartbeats, [this, connection] { beat(connection); });
}

void legacy_worker::hear(const std::string& text) {
  const auto decoded = protocol::decode_coordinator_frame(text, false);
  if (!decoded || decoded->size() != 1) world_.judge.broken("a legacy worker was sent what it cannot read");
  const protocol::coordinator_message& m = decoded->front();
  const bool known = std::holds_alternative<protocol::ack>(m.body) ||
                     std::holds_alternative<protocol::execute_job>(m.body) ||
                     std::holds_alternative<protocol::error_message>(m.body);
  if (!known || m.seq) world_.judge.broken("a legacy worker was sent a message of ours: " + text);
  if (const auto* job = std::get_if<protocol::execute_job>(&m.body)) {
    const auto* number = std::get_if<std::int64_t>(&job->job_id.id);
    if (number == nullptr || job->script_path.empty())
      world_.judge.broken("a legacy worker was sent a job it cannot run: " + text);
    jobs_.push_back(*number);
    next_job();
  }
}

void legacy_worker::next_job() {
  if (busy_ || jobs_.empty()) return;
  busy_ = true;
  const std::int64_t job = jobs_.front();
  jobs_.pop_front();
  world_.judge.legacy_starts(lease_id{static_cast<std::uint64_t>(job)});
  protocol::event e;
  e.name = "job_started";
  e.worker_id = id_;
  e.job_id = protocol::job_ref{job};
  send(std::move(e));
  const bool success = world_.chance.below(4) != 0;
  // Some block their whole event loop, and then answer no ping.
  if (wire_ && world_.chance.below(4) == 0) wire_->hold(side::worker, true);
  world_.time.after(world_.chance.spread(100ms, 100s),
                    [this, life = life_, job, success] { finish(life, job, success); });
}

void legacy_worker::finish(std::uint64_t life, std::int64_t job, bool success) {
  if (life != life_) return;
  busy_ = false;
  world_.judge.process_ends(lease_id{static_cast<std::uint64_t>(job)}, success ? 0 : 1, 0);
  protocol::job_result r;
  r.job_id = protocol::job_ref{job};
  r.worker_id = id_;
  r.status = success ? protocol::result_status::success : protocol::result_status::failure;
  r.log_output = "old output\n";
  r.run_time = "2026-03-02T00:00:00+00:00";
  r.duration_seconds = 1;
  last_result_ = r;
  send(std::move(r));
  if (const auto wire = wire_) wire->hold(side::worker, false);
  next_job();
}

void legacy_worker::send(decltype(protocol::worker_message::body) body) {
  if (!wire_) return;
  std::string text;
  protocol::encode(protocol::worker_message{std::nullopt, std::move(body), 0}, text);
  wire_->send(side::worker, std::move(text));
}

}  // namespace orchestrator::sim
