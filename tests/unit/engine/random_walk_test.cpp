// A seeded walk over everything that can happen, with the invariants checked after each step by the world. At
// the end faults stop and every run must come to its end. Each seed is walked twice and must leave the same
// trace.
#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

// A worker with an outbox, as honest as ours: it runs a lease at most once and sends a result until it is
// acknowledged.
class walking_worker {
 public:
  walking_worker(world& w, random_source& random, std::uint8_t number)
      : talk_(w, "w" + std::to_string(number), number), world_(w), random_(random) {
    talk_.form.slots = 1 + number % 3;
    talk_.form.credit = number % 4;
  }
  bool connected() const { return connected_ && !world_.closed.contains(talk_.session); }
  void connect() {
    if (connected_) talk_.drop();
    talk_.form.running.clear();
    talk_.form.unacked.clear();
    for (const auto& [lease, offer] : running_) talk_.form.running.push_back(test_worker::ref(offer));
    for (const auto& [lease, r] : results_) talk_.form.unacked.push_back({r.job_id, lease});
    talk_.open();
    connected_ = true;
    listed_ = false;
    resent_.clear();
  }
  void drop() {
    if (connected_) talk_.drop();
    connected_ = false;
  }
  void reboot() {
    drop();
    running_.clear();
    talk_.form.boot_id += "x";
  }
  void lose_everything_sent() { world_.inbox.erase(talk_.session); }
  /// Reads what came and reacts.
  void work() {
    if (!connected()) return;
    read_registration();
    if (!listed_) return;
    read_acks();
    for (const auto& offer : talk_.take_offers()) running_.emplace(*offer.lease, offer);
    for (const auto& c : talk_.received<protocol::cancel_job>()) {
      if (running_.contains(c.lease) && random_.below(2) == 0) end(c.lease, result_status::cancelled);
    }
    if (!running_.empty() && random_.below(3) != 0) {
      static constexpr result_status ends[] = {result_status::success, result_status::success,
                                               result_status::failure, result_status::timeout,
                                               result_status::rejected};
      end(running_.begin()->first, ends[random_.below(std::size(ends))]);
    }
    if (!running_.empty() && random_.below(2) == 0) talk_.output(running_.begin()->second, 0, "text");
    if (random_.below(3) == 0) talk_.beat();
    send_results();
  }
  bool idle() const { return running_.empty() && results_.empty(); }

 private:
  void read_registration() {
    if (listed_ || talk_.received<protocol::registration>().empty()) return;
    listed_ = true;
    for (const auto& ref : talk_.registration().abandon) {
      if (running_.contains(ref.lease)) end(ref.lease, result_status::cancelled);
    }
  }
  void end(lease_id lease, result_status status) {
    results_.emplace(lease, talk_.result_for(running_.at(lease), status));
    running_.erase(lease);
  }
  void send_results() {
    for (const auto& [lease, r] : results_) {
      const bool again = random_.below(5) == 0;
      if (!resent_.contains(lease) || again)
        resent_[lease] = talk_.say(r, static_cast<std::uint32_t>(lease.value));
    }
  }
  void read_acks() {
    const std::uint64_t reach = talk_.acked();
    std::erase_if(results_, [&](const auto& entry) {
      const auto sent = resent_.find(entry.first);
      return sent != resent_.end() && sent->second <= reach;
    });
  }

  test_worker talk_;
  world& world_;
  random_source& random_;
  bool connected_ = false;
  bool listed_ = false;
  std::map<lease_id, protocol::execute_job> running_;
  std::map<lease_id, protocol::job_result> results_;
  std::map<lease_id, std::uint64_t> resent_;
};

// A worker of the original protocol, which may forget what it was doing when its connection breaks.
class walking_legacy_worker {
 public:
  walking_legacy_worker(world& w, random_source& random) : talk_(w), world_(w), random_(random) {}
  bool connected() const { return connected_ && !world_.closed.contains(talk_.session); }
  void connect() {
    if (connected_) talk_.drop();
    talk_.session = world_.new_session();
    world_.give(session_opened{talk_.session, "peer"});
    if (random_.below(2) == 0) talk_.say(talk_.form);
    talk_.beat();
    connected_ = true;
    if (random_.below(2) == 0) job_.reset();
  }
  void drop() {
    if (connected_) talk_.drop();
    connected_ = false;
  }
  void work() {
    if (!connected()) return;
    if (const auto offer = talk_.offer(); offer && !(last_ && offer->job_id == *last_)) {
      job_ = offer;
      last_ = offer->job_id;
    }
    talk_.beat();
    if (!job_ || random_.below(2) == 0) return;
    talk_.finish(*job_, result_status::success, "log");
    job_.reset();
  }

 private:
  legacy_worker talk_;
  world& world_;
  random_source& random_;
  bool connected_ = false;
  std::optional<protocol::execute_job> job_;
  std::optional<protocol::job_ref> last_;
};

class walk {
 public:
  explicit walk(std::uint64_t seed) : random_(seed), world_({}, seed) {
    for (std::uint8_t n = 1; n <= 4; ++n)
      workers_.push_back(std::make_unique<walking_worker>(world_, random_, n));
  }

  std::string go(int steps) {
    job_definition d;
    d.name = "tick";
    d.spec = command_spec();
    d.schedule = schedule{};
    d.schedule->kind = schedule_kind::interval;
    d.schedule->every = 30s;
    d.schedule->overlap = overlap_policy::queue;
    world_.apply(d);
    for (int i = 0; i < steps; ++i) one_step();
    come_to_rest();
    std::string trace;
    for (const fact& f : world_.disk.facts) trace += f.type + " " + f.subject + " " + f.data + "\n";
    return trace;
  }

 private:
  walking_worker& some_worker() { return *workers_[random_.below(workers_.size())]; }

  run_spec some_spec() {
    run_spec s = random_.below(2) == 0 ? noop_spec() : random_.below(2) == 0 ? command_spec() : script_spec();
    s.timeout = 5min;
    s.priority = static_cast<int>(random_.below(3));
    s.retry.max_attempts = 1 + static_cast<int>(random_.below(3));
    s.at_most_once = s.retry.max_attempts == 1 && random_.below(4) == 0;
    return s;
  }

  void one_step() {
    switch (random_.below(25)) {
      case 0:
      case 1:
      case 2: submit(); break;
      case 3:
        if (!asked_.empty()) world_.cancel(asked_[random_.below(asked_.size())]);
        break;
      case 4:
      case 5: some_worker().connect(); break;
      case 6: some_worker().drop(); break;
      case 7:
        if (random_.below(4) == 0) some_worker().reboot();
        break;
      case 8: some_worker().lose_everything_sent(); break;
      case 9:
        world_.advance(nanoseconds{static_cast<std::int64_t>(random_.below(20'000'000'000))},
                       random_.below(2) == 0);
        break;
      case 10:
        if (random_.below(5) == 0) restart();
        break;
      case 11: world_.sync_output(); break;
      case 12:
      case 13: world_.sync(1 + random_.below(3)); break;
      case 14: world_.answer_lookups(); break;
      case 15: world_.turn(); break;
      case 16:
        if (random_.below(2) == 0) legacy_.connect();
        break;
      case 17:
      case 18: legacy_.work(); break;
      case 19: drain(random_.below(2) == 0); break;
      case 20: hold_some(random_.below(2) == 0); break;
      case 21:
        world_.skip_mono(3s);
        world_.give(stalled{3s});
        break;
      default: some_worker().work();
    }
  }

  void submit() {
    const std::string key = random_.below(2) == 0 ? "" : "key" + std::to_string(random_.below(50));
    const request_id id = world_.submit(some_spec(), key);
    world_.settle();
    if (const auto* a = world_.answered<run_answer>(id)) asked_.push_back(a->run.id);
  }

  void drain(bool on) {
    world_.give(drain_worker{world_.ask(), "w" + std::to_string(1 + random_.below(4)), on});
  }

  void hold_some(bool held) {
    if (asked_.empty()) return;
    world_.give(hold_run{world_.ask(), asked_[random_.below(asked_.size())], held});
  }

  void restart() {
    for (auto& w : workers_) w->drop();
    legacy_.drop();
    world_.restart(5s);
  }

  void come_to_rest() {
    world_.settle();
    world_.give(pause_job{world_.ask(), "tick", true, true});
    for (int n = 1; n <= 4; ++n) world_.give(drain_worker{world_.ask(), "w" + std::to_string(n), false});
    for (const run_id& run : asked_) world_.give(hold_run{world_.ask(), run, false});
    for (int round = 0; round < 2'000; ++round) {
      if (!legacy_.connected()) legacy_.connect();
      world_.settle();
      legacy_.work();
      for (auto& w : workers_) {
        if (!w->connected()) w->connect();
        world_.settle();
        w->work();
        world_.settle();
      }
      world_.advance(10s);
      const bool open = std::any_of(world_.disk.runs.begin(), world_.disk.runs.end(), [](const auto& row) {
        return !is_final(row.second.state) && row.second.state != run_state::unknown;
      });
      if (!open) return;
    }
    FAIL("I6: some run never ended");
  }

  random_source random_;
  world world_;
  std::vector<std::unique_ptr<walking_worker>> workers_;
  walking_legacy_worker legacy_{world_, random_};
  std::vector<run_id> asked_;
};

}  // namespace

TEST_CASE("random walks keep every invariant, end every run, and replay to the same trace") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    walk first(seed);
    const std::string trace = first.go(600);
    walk second(seed);
    CHECK(second.go(600) == trace);
    CHECK(trace.find("run.succeeded") != std::string::npos);
  }
}
