// The worker's core under whole lives: any coordinator, honest or not, says any messages in any order, while
// the outbox fails, the supervisor dies, clocks move and the daemon is killed before any effect. After every
// step its books must be right, and no lease may ever have started twice.
#include "fuzz/script.hpp"
#include "support/agent_world.hpp"

#include <set>

using namespace orchestrator;
using namespace orchestrator::test;
using fuzz::must;

namespace {

constexpr int operations_max = 200;
using body = decltype(protocol::coordinator_message::body);

class life {
 public:
  explicit life(fuzz::source in) : in_(in) {
    world_.settings.slots = static_cast<int>(in_.below(4));
    world_.settings.credit = static_cast<int>(in_.below(4));
    world_.on_effect = [this](const agent::effect& e) { seen(e); };
    world_.start();
  }

  void go() {
    for (int i = 0; i < operations_max && !in_.done(); ++i) {
      one_operation();
      check();
    }
    world_.effects_until_crash = world_.writes_until_failure = -1;
    world_.disk_full = false;
    check();
    pass(std::chrono::hours{2});
    check();
  }

 private:
  void one_operation() {
    switch (in_.below(20)) {
      case 0: return dial();
      case 1: return greet();
      case 2:
      case 3:
      case 4:
      case 5: return say();
      case 6: return acknowledge();
      case 7: return deliver(std::string(in_.take(in_.below(120))));
      case 8:
      case 9: return process_news();
      case 10: return end_process();
      case 11: return print();
      case 12: return pass(milliseconds{in_.number(2) * 2});
      case 13:
        if (world_.linked) world_.link_down();
        return;
      case 14:
        if (in_.coin()) world_.effects_until_crash = static_cast<int>(in_.below(12));
        return;
      case 15:
        world_.writes_until_failure = static_cast<int>(in_.below(6));
        world_.disk_full = in_.below(8) == 0;
        return;
      case 16:
        if (in_.below(4) == 0) supervisor_dies();
        return;
      case 17:
        if (world_.linked) world_.give(agent::pong{world_.now.boot - seconds{in_.below(30)}});
        return;
      case 18: return world_.give(agent::load_report{0.5, 1});
      default:
        if (in_.below(8) == 0) world_.give(agent::stop{static_cast<agent::stop_mode>(in_.below(3))});
        return;
    }
  }

  /// The daemon is started again whenever it has ended.
  void check() {
    if (world_.crashed || world_.exited) {
      const int crash = std::exchange(world_.effects_until_crash, -1);
      for (auto& [lease, p] : world_.processes) {
        if (p.killed && !p.end) world_.end_unheard(lease, 0, 15);
      }
      world_.start();
      world_.effects_until_crash = crash;
    }
    const auto broken = world_.daemon->check_invariants();
    must(!broken, "the agent's books are right", broken.value_or(""));
    world_.log.clear();
  }

  void seen(const agent::effect& e) {
    if (std::holds_alternative<agent::switch_outbox>(e)) started_.clear();  // another cluster counts its own
    if (const auto* s = std::get_if<agent::start_process>(&e))
      must(started_.insert(s->lease).second, "no lease starts twice", std::to_string(s->lease));
    if (const auto* s = std::get_if<agent::send>(&e); s != nullptr && s->message.seq)
      last_seen_ = *s->message.seq;
  }

  void dial() {
    if (world_.linked || !world_.dialling) return;
    if (in_.below(4) == 0) {
      world_.dialling = false;
      return world_.give(agent::connect_failed{"Connection refused"});
    }
    said_ = 0;
    world_.link_up();
  }

  std::uint64_t some_lease() { return in_.below(16) == 0 ? in_.number() >> 1U : 1 + in_.below(12); }
  std::vector<std::uint64_t> some_leases() {
    std::vector<std::uint64_t> list;
    for (std::size_t n = in_.below(4); n > 0; --n) list.push_back(some_lease());
    return list;
  }

  void greet() {
    if (in_.below(8) == 0) {
      protocol::ack original;
      original.registered = true;
      return tell({numbered(0, original)});
    }
    const uuid cluster = in_.below(16) == 15 ? world_.settings.instance : test_cluster;
    tell({greeting(some_leases(), some_leases(), cluster, in_.below(4))});
  }

  body some_message() {
    switch (in_.below(8)) {
      case 0:
      case 1: return job(some_lease());
      case 2: return noop(some_lease());
      case 3:
        return protocol::cancel_job{{"run"}, lease_id{some_lease()}, static_cast<double>(in_.below(100))};
      case 4: return protocol::drain{in_.coin()};
      case 5: return some_ack();
      case 6: return protocol::error_message{"refused", "detail", some_seq(), in_.coin()};
      default: return some_job();
    }
  }
  std::uint64_t some_seq() { return in_.coin() ? last_seen_ : in_.number(1); }
  protocol::ack some_ack() {
    protocol::ack a;
    a.seq = some_seq();
    a.cumulative = in_.coin();
    if (in_.below(4) == 0) a.disposition = static_cast<disposition>(in_.below(6));
    if (in_.below(4) == 0) a.dispositions[some_seq()] = static_cast<disposition>(in_.below(6));
    if (in_.below(8) == 0) a.seq.reset();
    return a;
  }
  protocol::execute_job some_job() {
    protocol::execute_job e;
    e.job_id = in_.coin() ? protocol::job_ref{std::int64_t{7}} : protocol::job_ref{std::string("text")};
    e.script_path = in_.coin() ? "jobs/a.py" : "jobs/a.sh";
    e.script_args = std::string(in_.take(in_.below(20)));
    if (in_.coin()) e.lease = lease_id{some_lease()};
    if (in_.coin()) e.timeout_seconds = static_cast<double>(in_.number(4));
    if (in_.coin()) e.on_lease_lost = "kill";
    if (in_.coin()) e.lease_ttl_seconds = static_cast<double>(in_.below(100));
    if (in_.coin()) e.term = in_.below(4);
    if (in_.coin()) e.output_limit_bytes = in_.number(3);
    return e;
  }

  void say() {
    std::vector<protocol::coordinator_message> messages;
    for (std::size_t n = 1 + in_.below(3); n > 0; --n) {
      body b = some_message();
      const bool counted = std::holds_alternative<protocol::execute_job>(b) ||
                           std::holds_alternative<protocol::cancel_job>(b) ||
                           std::holds_alternative<protocol::drain>(b);
      messages.push_back(numbered(counted && in_.below(16) != 15 ? ++said_ : 0, std::move(b)));
    }
    tell(messages);
  }
  void acknowledge() { tell({ack_of(last_seen_)}); }

  /// As text, so that only what the decoder lets pass gets to the core; some of it is broken on the way.
  void tell(const std::vector<protocol::coordinator_message>& messages) {
    for (const std::string& text : protocol::encode_frames(messages, true, limits::frame))
      deliver(fuzz::maybe_broken(in_, text));
  }
  void deliver(const std::string& text) {
    if (!world_.linked || world_.crashed) return;
    auto decoded = protocol::decode_coordinator_frame(text, true);
    if (decoded) return world_.receive(std::move(*decoded));
    world_.give(agent::frame{{}, decoded.error().detail});
  }

  // ---- the supervisor, which knows leases that the daemon may have forgotten

  std::uint64_t some_process(bool running) {
    std::vector<std::uint64_t> found;
    for (const auto& [lease, p] : world_.processes) {
      if (!p.end.has_value() == running) found.push_back(lease);
    }
    return found.empty() ? 0 : found[in_.below(found.size())];
  }
  void process_news() {
    if (in_.below(4) != 0) {
      if (const auto lease = some_process(true); lease != 0) world_.run(lease);
      return;
    }
    if (in_.coin()) return world_.give(agent::process_output{some_lease(), "stdout", in_.number(3)});
    if (in_.coin()) return world_.give(agent::leftovers_killed{some_lease(), in_.coin(), {}});
    agent::process_end e;
    e.lease = some_lease();
    e.started = in_.coin();
    world_.give(agent::process_ended{e});
  }
  void print() {
    const auto lease = some_process(true);
    if (lease == 0) return;
    world_.print(lease, in_.coin() ? "stdout" : "stderr", std::string(in_.number(2) >> in_.below(16), 'x'));
    if (in_.below(8) == 0) world_.holes[lease] = in_.number(2);
  }
  void end_process() {
    const auto lease = some_process(true);
    if (lease != 0)
      world_.end(lease, static_cast<int>(in_.below(3)), world_.processes.at(lease).killed ? 15 : 0);
  }
  void supervisor_dies() {
    world_.processes.clear();
    world_.launched = 0;
    world_.give(agent::supervisor_lost{});
  }
  void pass(nanoseconds by) { world_.pass(by); }

  fuzz::source in_;
  agent_world world_;
  std::set<std::uint64_t> started_;
  std::uint64_t said_ = 0, last_seen_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::take_assertions_seriously();
  life(fuzz::source(data, size)).go();
  return 0;
}
