// The coordinator's core under whole lives of worker connections: any peers, honest or not, say any messages
// in any order, while people ask for things, the disk lags, clocks move and the process is killed. The world
// of the unit tests checks the invariants after every step and refuses what no disk may hold; no check may
// fire, and in the end every request has its answer and what is on the disk can be loaded.
#include "fuzz/script.hpp"
#include "support/engine_script.hpp"

#include <orchestrator/protocol/codec.hpp>

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using fuzz::must;

namespace {

constexpr int operations_max = 160;
constexpr std::size_t peers_max = 4;
constexpr std::size_t runs_checked_each_step = 100;  // a check looks at all of them

struct peer {
  session_id session{};
  bool open = false;
  std::uint64_t seq = 0;
};

class life {
 public:
  explicit life(fuzz::source in) : in_(in) {}

  void go() {
    for (int i = 0; i < operations_max && !in_.done(); ++i) {
      const auto count = world_.view().count();
      world_.checks_each_step = count.queued + count.active + count.retry_wait <= runs_checked_each_step;
      one_operation();
      world_.check();
    }
    rest();
    restart();
    rest();
  }

 private:
  void one_operation() {
    switch (in_.below(24)) {
      case 0: return open();
      case 1: return hang_up();
      case 2:
      case 3: return register_peer();
      case 4:
      case 5:
      case 6:
      case 7: return say();
      case 8: return answer_offers();
      case 9: return say_bytes();
      case 10: return world_.sync(1 + in_.below(3));
      case 11: return world_.sync_output();
      case 12: return world_.turn();
      case 13: return world_.answer_lookups();
      case 14: return world_.settle();
      case 15: return move_time();
      case 16:
      case 17: return submit();
      case 18:
      case 19: return ask_about_a_run();
      case 20: return ask_about_a_job();
      case 21: return ask_about_a_worker();
      case 22: return news_of_the_shell();
      default: return in_.below(4) == 0 ? restart() : world_.turn();
    }
  }

  // ---- connections

  peer& some_peer() { return peers_[in_.below(peers_max)]; }

  void open() {
    peer& p = some_peer();
    if (p.open) close(p);
    p = {world_.new_session(), true, 0};
    world_.give(session_opened{p.session, "peer"});
  }
  void close(peer& p) {
    world_.give(session_closed{p.session, 1006, ""});
    p.open = false;
  }
  void hang_up() {
    peer& p = some_peer();
    if (p.open) close(p);
  }

  protocol::lease_ref some_lease() {
    if (!offers_.empty() && in_.below(8) != 0) return offers_[in_.below(offers_.size())];
    return {{"run-" + std::to_string(in_.below(3))},
            lease_id{in_.below(16) == 0 ? in_.number() : in_.below(8)}};
  }
  std::vector<protocol::lease_ref> some_leases() {
    std::vector<protocol::lease_ref> list;
    for (std::size_t n = in_.below(4); n > 0; --n) list.push_back(some_lease());
    return list;
  }
  std::string some_name() { return "w" + std::to_string(in_.below(3)); }

  void register_peer() {
    protocol::worker_register m;
    m.worker_id = some_name();
    m.hostname = m.platform = "h";
    if (in_.below(6) == 0) {
      m.python_version = "3.11";
      return say_one(some_peer(), m);
    }
    m.protocol = static_cast<int>(in_.below(8) == 0 ? in_.below(3) : 1);
    m.features = {"batch"};
    m.slots = static_cast<int>(in_.below(4));
    m.credit = static_cast<int>(in_.below(3));
    m.instance = instance_number(static_cast<std::uint8_t>(in_.below(3)));
    m.boot_id = in_.below(8) == 0 ? "other boot" : "boot";
    m.process = in_.below(4) == 0 ? "other process" : "process";
    m.opened = static_cast<std::int64_t>(in_.below(4) == 0 ? in_.below(100) : ++opened_);
    if (in_.coin()) m.cluster = in_.below(4) == 0 ? instance_number(9) : world_.disk.cluster;
    if (in_.coin()) m.term = in_.below(4);
    m.highest_lease = in_.below(4) == 0 ? lease_id{in_.number()} : highest_;
    m.running = some_leases();
    m.unacked = some_leases();
    m.lost = some_leases();
    if (in_.coin()) m.labels = {{"zone", "a"}};
    say_one(some_peer(), m);
  }

  decltype(protocol::worker_message::body) some_message() {
    switch (in_.below(8)) {
      case 0: return make_heartbeat();
      case 1:
      case 2: return make_event();
      case 3: return make_output();
      case 4:
      case 5: return make_result();
      case 6:
        return protocol::worker_ack{in_.coin() ? std::optional(in_.number(1)) : std::nullopt, in_.coin()};
      default: return protocol::unknown_message{"future", some_name()};
    }
  }
  protocol::heartbeat make_heartbeat() {
    static constexpr const char* words[] = {"idle", "busy", "draining", "dreaming"};
    protocol::heartbeat m;
    m.worker_id = some_name();
    m.status = words[in_.below(4)];
    return m;
  }
  protocol::event make_event() {
    const protocol::lease_ref about = some_lease();
    protocol::event m;
    m.name = in_.below(3) == 0 ? "progress" : "job_started";
    m.worker_id = some_name();
    if (in_.below(8) != 0) m.job_id = about.job_id;
    if (in_.below(8) != 0) m.lease = about.lease;
    if (in_.coin()) m.n = 1 + in_.below(4);
    return m;
  }
  protocol::job_output make_output() {
    const protocol::lease_ref about = some_lease();
    protocol::job_output m;
    m.worker_id = some_name();
    m.job_id = about.job_id;
    m.lease = about.lease;
    m.stream = in_.coin() ? "stdout" : "stderr";
    m.offset = in_.below(16) == 0 ? in_.number() >> 1U : in_.below(64);
    if (in_.below(3) == 0) m.gap_from = in_.below(64);
    m.data = std::string(in_.below(40), 'x');
    return m;
  }
  protocol::job_result make_result() {
    const protocol::lease_ref about = some_lease();
    protocol::job_result m;
    m.job_id = about.job_id;
    m.worker_id = some_name();
    m.status = static_cast<protocol::result_status>(in_.below(7));
    if (in_.below(8) != 0) m.lease = about.lease;
    if (in_.coin()) m.exit_code = static_cast<int>(in_.below(3));
    if (in_.below(4) == 0) m.output_bytes = {{"stdout", in_.below(64)}};
    if (in_.below(4) == 0) m.log_output = "text";
    m.output_lost = in_.below(8) == 0;
    return m;
  }

  void say() {
    peer& p = some_peer();
    std::vector<decltype(protocol::worker_message::body)> bodies;
    for (std::size_t n = 1 + in_.below(3); n > 0; --n) bodies.push_back(some_message());
    say_all(p, std::move(bodies));
  }
  void say_one(peer& p, decltype(protocol::worker_message::body) body) { say_all(p, {std::move(body)}); }

  /// As text, so that only what the decoder lets pass gets to the core; some of it is broken on the way.
  void say_all(peer& p, std::vector<decltype(protocol::worker_message::body)> bodies) {
    const bool counts = in_.below(16) != 0;
    std::vector<protocol::worker_message> messages;
    for (auto& body : bodies) {
      const bool is_ack = std::holds_alternative<protocol::worker_ack>(body);
      const auto seq =
          is_ack || !counts ? std::nullopt : std::optional(++p.seq + (in_.below(32) == 31 ? 1 : 0));
      messages.push_back({seq, std::move(body)});
    }
    for (const std::string& text : protocol::encode_frames(messages, true, limits::frame))
      deliver(p, fuzz::maybe_broken(in_, text));
  }
  void say_bytes() {
    peer& p = some_peer();
    deliver(p, std::string(in_.take(in_.below(120))));
  }
  void deliver(const peer& p, const std::string& text) {
    if (!p.open) return;
    auto decoded = protocol::decode_worker_frame(text, true);
    if (decoded) {
      world_.give(session_frame{p.session, std::move(*decoded)});
    } else {
      world_.give(session_bad_frame{p.session, decoded.error()});
    }
    look_at_offers();
  }

  /// What was offered to anybody: so that leases that exist are spoken of.
  void look_at_offers() {
    for (auto& [session, messages] : world_.inbox) {
      for (const auto& m : messages) {
        const auto* offer = std::get_if<protocol::execute_job>(&m.body);
        if (offer == nullptr) continue;
        const lease_id lease = offer->lease ? *offer->lease : lease_of_legacy(*offer);
        highest_ = std::max(highest_, lease);
        offers_.push_back({offer->job_id, lease});
        if (m.seq) unanswered_[session] = *m.seq;
      }
      messages.clear();
    }
    if (offers_.size() > 16) offers_.erase(offers_.begin(), offers_.end() - 16);
  }
  static lease_id lease_of_legacy(const protocol::execute_job& offer) {
    const auto* number = std::get_if<std::int64_t>(&offer.job_id.id);
    return lease_id{number == nullptr ? 0 : static_cast<std::uint64_t>(*number)};
  }
  void answer_offers() {
    look_at_offers();
    peer& p = some_peer();
    const auto found = unanswered_.find(p.session);
    if (found != unanswered_.end()) say_one(p, protocol::worker_ack{found->second, true});
  }

  // ---- people

  request_id ask() {
    asked_.push_back(world_.ask());
    return asked_.back();
  }
  run_id some_run() {
    if (world_.disk.runs.empty() || in_.below(16) == 0) return run_id{};
    auto at = world_.disk.runs.begin();
    std::advance(at, in_.below(world_.disk.runs.size()));
    return at->first;
  }
  std::string some_job() { return std::string("job") + static_cast<char>('a' + in_.below(3)); }

  run_spec some_spec() {
    static const auto kinds = {command_spec(), script_spec(), noop_spec()};
    run_spec s = kinds.begin()[in_.below(3)];
    s.timeout = seconds{1 + in_.below(120)};
    s.retry.max_attempts = static_cast<int>(1 + in_.below(3));
    s.retry.max_lost = static_cast<int>(1 + in_.below(3));
    s.at_most_once = s.retry.max_attempts == 1 && in_.coin();
    if (in_.below(4) == 0) s.on_lease_lost = on_lease_lost::kill;
    if (in_.below(4) == 0) s.lost_after = seconds{2 + in_.below(90)};
    if (in_.below(8) == 0) s.required_labels = {{"zone", "a"}};
    if (in_.below(8) == 0) s.env = {{"A", "b"}};
    s.priority = static_cast<int>(in_.below(3));
    return s;
  }
  void submit() {
    submit_run in;
    in.request = ask();
    if (in_.below(3) == 0) {
      in.what.job = some_job();
    } else {
      in.what.name = "adhoc";
      in.what.spec = some_spec();
    }
    if (in_.below(4) == 0) in.what.not_before = world_.wall() + seconds{in_.below(100)};
    in.what.held = in_.below(8) == 0;
    if (in_.coin()) in.idempotency_key = "key" + std::to_string(in_.below(4));
    in.fingerprint = in_.below(2);
    world_.give(in);
  }
  void ask_about_a_run() {
    switch (in_.below(4)) {
      case 0: return give(cancel_run{ask(), some_run()});
      case 1: return give(retry_run{ask(), some_run()});
      case 2: return give(hold_run{ask(), some_run(), in_.coin()});
      default: {
        static constexpr run_state ends[] = {run_state::succeeded, run_state::failed, run_state::cancelled};
        return give(resolve_run{ask(), some_run(), ends[in_.below(3)]});
      }
    }
  }
  void ask_about_a_job() {
    switch (in_.below(4)) {
      case 0: return give(deletion{ask(), some_job(), in_.coin()});
      case 1: return give(pause_job{ask(), some_job(), in_.coin(), in_.coin()});
      default: break;
    }
    apply_jobs in;
    in.request = ask();
    for (std::size_t n = 1 + in_.below(2); n > 0; --n) in.jobs.push_back(make_job());
    in.dry_run = in_.below(8) == 0;
    if (in_.below(8) == 0) in.if_version = in_.below(3);
    give(in);
  }
  job_definition make_job() {
    job_definition d;
    d.name = some_job();
    d.spec = some_spec();
    if (in_.coin()) return d;
    schedule s;
    s.kind = in_.coin() ? schedule_kind::interval : schedule_kind::cron;
    s.every = seconds{1 + in_.below(200)};
    s.cron = in_.coin() ? "* * * * *" : "*/20 * * * * *";
    if (in_.below(4) == 0) s.time_zone = in_.coin() ? "Test/Zone" : "Test/Unknown";
    s.overlap = static_cast<overlap_policy>(in_.below(5));
    s.catch_up = static_cast<catch_up_policy>(in_.below(3));
    s.start_deadline = seconds{1 + in_.below(200)};
    d.schedule = s;
    return d;
  }
  void ask_about_a_worker() {
    if (in_.coin()) return give(drain_worker{ask(), some_name(), in_.coin()});
    give(remove_worker{ask(), some_name()});
  }
  void give(input in) { world_.give(std::move(in)); }

  // ---- the shell

  void move_time() {
    switch (in_.below(4)) {
      case 0: return world_.skip_mono(milliseconds{in_.number(2)});
      case 1:
        return world_.jump_wall(seconds{static_cast<std::int16_t>(in_.number(2)) * (in_.coin() ? 1 : 60)});
      default: return world_.advance(milliseconds{in_.number(2) * 2}, in_.coin());
    }
  }
  void news_of_the_shell() {
    const peer& p = some_peer();
    switch (in_.below(7)) {
      case 0: return give(tick{});
      case 1: return give(persisted{world_.view().durable()});
      case 2: return give(space_changed{in_.coin()});
      case 3: {
        const auto by = seconds{1 + in_.below(100)};
        world_.skip_mono(by);
        return give(stalled{by});
      }
      case 4: return give(session_reading{p.session, in_.coin()});
      case 5: return give(session_alive{p.session});
      default: return in_.below(8) == 0 ? give(stopping{}) : give(session_alive{p.session});
    }
  }
  void restart() {
    peers_ = {};
    asked_.clear();
    unanswered_.clear();
    world_.restart(milliseconds{in_.number(2)});
  }
  void rest() {
    world_.settle();
    for (const request_id id : asked_) must(world_.answer_to(id) != nullptr, "every request has its answer");
  }

  fuzz::source in_;
  world world_;
  std::array<peer, peers_max> peers_;
  std::vector<protocol::lease_ref> offers_;
  std::map<session_id, std::uint64_t> unanswered_;
  std::vector<request_id> asked_;
  lease_id highest_{};
  std::uint64_t opened_ = 100;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::take_assertions_seriously();
  life(fuzz::source(data, size)).go();
  return 0;
}
