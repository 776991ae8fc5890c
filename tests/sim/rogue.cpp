// A worker with bad intentions. See rogue.hpp.
#include "rogue.hpp"

#include <orchestrator/protocol/codec.hpp>

#include "world.hpp"

namespace orchestrator::sim {
namespace {

constexpr int wire_number = 900;

}  // namespace

rogue::rogue(world& w) : world_(w) {}

void rogue::act() {
  if (gone_) return;
  if (!wire_) return dial();
  for (std::uint64_t i = 1 + world_.chance.below(4); i > 0 && wire_; --i) say_something();
}

void rogue::leave() {
  gone_ = true;
  ++connection_;
  if (wire_) wire_->end_process(side::worker);
  wire_.reset();
}

void rogue::dial() {
  if (!world_.server.accepts()) return;
  const bool borrows_a_name = world_.chance.below(4) == 0;
  id_ = borrows_a_name ? world_.machines[world_.chance.below(world_.machines.size())]->id() : "rogue";
  instance_ = make_uuid_v4(0xbad, 1 + world_.chance.below(3));
  seq_ = 0;
  wire_ = std::make_shared<link>(world_, wire_number);
  world_.links.push_back(wire_);
  end_events events;
  const std::uint64_t mine = ++connection_;
  events.frame = [this, mine](const std::string& text) {
    if (mine != connection_) return;
    const auto decoded = protocol::decode_coordinator_frame(text, false);
    if (!decoded) return;
    for (const protocol::coordinator_message& m : *decoded) {
      if (mine == connection_) hear(m);
    }
  };
  events.alive = [](std::optional<nanoseconds>) {};
  events.closed = [this, mine](std::uint16_t, const std::string&) {
    if (mine == connection_) wire_.reset();
  };
  const auto wire = wire_;
  wire->attach(side::worker, std::move(events), 20s);
  world_.server.accept(wire, {instance_, id_, peer_kind::rogue});
  if (borrows_a_name) world_.saw("a stranger took a worker's name");
  introduce_itself();
}

void rogue::introduce_itself() {
  dice& d = world_.chance;
  protocol::worker_register r;
  r.worker_id = id_;
  r.hostname = "elsewhere";
  r.platform = "Linux";
  r.protocol = d.below(12) == 0 ? 0 : d.below(4) == 0 ? 7 : 1;
  if (*r.protocol == 0) world_.saw("a worker spoke no common protocol");
  if (*r.protocol == 7) world_.saw("a worker spoke a newer protocol");
  r.slots = static_cast<int>(d.below(2));
  r.credit = 0;
  r.version = "9";
  r.instance = instance_;
  r.boot_id = "boot-" + std::to_string(d.below(2));
  r.process = std::to_string(d.below(2));
  r.opened = world_.time.now().count();
  r.highest_lease = lease_id{d.below(8) == 0 ? d.below(std::uint64_t{1} << 40) : d.below(50)};
  for (auto* list : {&r.running, &r.unacked, &r.lost}) {
    for (std::uint64_t i = d.below(3); i > 0; --i) list->push_back(some_lease());
  }
  send(std::move(r));
}

/// A lease of somebody, or of nobody, with the run that belongs to it or another.
protocol::lease_ref rogue::some_lease() {
  dice& d = world_.chance;
  auto [lease, run] = world_.judge.any_lease(d);
  if (d.below(6) == 0) lease.value += 1 + d.below(std::uint64_t{1} << d.below(45));
  if (d.below(6) == 0) run = make_uuid_v4(d.next(), d.next());
  return {{to_string(run)}, lease};
}

void rogue::hear(const protocol::coordinator_message& m) {
  if (const auto* offer = std::get_if<protocol::execute_job>(&m.body))
    return answer_offer(*offer, m.seq.value_or(0));
  const auto* ack = std::get_if<protocol::ack>(&m.body);
  if (ack != nullptr && ack->disposition == disposition::superseded)
    world_.saw("a stranger's result was put aside");
  if (ack != nullptr && ack->disposition == disposition::unknown_lease)
    world_.saw("a stranger's result was for a lease never issued");
}

void rogue::answer_offer(const protocol::execute_job& offer, std::uint64_t seq) {
  dice& d = world_.chance;
  world_.saw("an offer went to a stranger");
  own_ = {offer.job_id, *offer.lease};
  const std::uint64_t what = d.below(4);
  if (what == 0) return;  // and never a word
  send(protocol::worker_ack{seq + (d.below(8) == 0 ? 5 : 0), d.below(2) == 0});
  if (what == 1) return;
  protocol::job_result r;
  r.job_id = offer.job_id;
  r.worker_id = id_;
  constexpr protocol::result_status lies[] = {
      protocol::result_status::success,  protocol::result_status::failure, protocol::result_status::cancelled,
      protocol::result_status::rejected, protocol::result_status::lost,    protocol::result_status::timeout};
  r.status = d.one_of(lies);
  r.run_time = "2026-03-02T00:00:00+00:00";
  r.lease = offer.lease;
  if (what == 3) r.exit_code = 0;
  send(std::move(r));
}

void rogue::say_something() {
  dice& d = world_.chance;
  const bool of_its_own = own_ && d.below(3) == 0;
  const protocol::lease_ref ref = of_its_own ? *own_ : some_lease();
  switch (of_its_own ? d.below(6) : d.below(12)) {
    case 0:
    case 1:
    case 2: {
      protocol::job_result r;
      r.job_id = ref.job_id;
      r.worker_id = id_;
      r.lease = ref.lease;
      r.run_time = "2026-03-02T00:00:00+00:00";
      r.status = d.below(2) == 0 ? protocol::result_status::success : protocol::result_status::rejected;
      world_.saw("a stranger sent a result of another's lease");
      return send(std::move(r));
    }
    case 3: {
      protocol::job_output o;
      o.worker_id = id_;
      o.job_id = ref.job_id;
      o.lease = ref.lease;
      o.stream = "stdout";
      o.offset = d.below(2) == 0 ? 0 : d.below(std::uint64_t{1} << d.below(50));
      o.data = "lies";
      return send(std::move(o));
    }
    case 4: {
      protocol::job_output o;
      o.worker_id = id_;
      o.lease = ref.lease;
      o.stream = "stdout";
      o.data = std::string(limits::output_chunk + 1, 'x');
      world_.saw("a stranger sent too much at once");
      return send(std::move(o));
    }
    case 5: {
      protocol::event e;
      e.name = d.below(2) == 0 ? "job_started" : "progress";
      e.worker_id = id_;
      e.job_id = ref.job_id;
      e.lease = ref.lease;
      e.n = 1 + d.below(5);
      return send(std::move(e));
    }
    case 6: return send(protocol::worker_ack{d.below(20), d.below(2) == 0});
    case 7:
      seq_ += 1 + d.below(3);
      world_.saw("a stranger's numbers had a gap");
      return send(protocol::heartbeat{id_, "idle", 0, 0, "", {}, {}, {}});
    case 8: return wire_->send(side::worker, d.below(2) == 0 ? "{\"type\":" : "[1,2]");
    case 9: return introduce_itself();  // once more on the same connection
    case 10: {
      protocol::unknown_message u{"from_the_future", id_};
      return send(std::move(u));
    }
    default: return wire_->close(side::worker, 1000, "bye");
  }
}

void rogue::send(decltype(protocol::worker_message::body) body) {
  if (!wire_) return;
  protocol::worker_message m;
  if (!std::holds_alternative<protocol::worker_ack>(body)) m.seq = ++seq_;
  m.body = std::move(body);
  std::string text;
  protocol::encode(m, text);
  wire_->send(side::worker, std::move(text));
}

}  // namespace orchestrator::sim
