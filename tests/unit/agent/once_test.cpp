// A lease runs at most once, whatever fails and whatever is repeated, and everything that was accepted is
// heard of in the end. Method: one fixed life with a failure put in at every single step, and long seeded
// random lives with all failures at once; after each, everything is healed and the coordinator's books are
// compared with what happened.
#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>

#include "support/agent_coordinator.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using protocol::result_status;

/// World and coordinator together, and the daemon's restarts.
struct life {
  explicit life(std::uint64_t seed = 1) : coordinator(world), random(seed) { world.settings.seed = seed; }

  agent_world world;
  agent_coordinator coordinator;
  random_source random;

  bool up() const { return world.daemon && !world.crashed && !world.exited; }

  /// After anything that may have ended the daemon or the connection.
  void settle() {
    if (!up()) {
      coordinator.connection_lost();
      for (auto& [lease, p] : world.processes) {
        if (p.killed && !p.end) world.end_unheard(lease, 0, 15);
      }
      const int crash = std::exchange(world.effects_until_crash, -1);
      world.start();
      world.effects_until_crash = crash;
    }
    if (!world.linked) coordinator.connection_lost();
    if (world.linked) coordinator.read();
    if (world.daemon->check_invariants()) FAIL(*world.daemon->check_invariants());
    for (const auto& [lease, n] : world.starts) {
      if (n > 1) FAIL("lease " << lease << " was started " << n << " times");
    }
  }

  void connect() {
    if (up() && !world.linked && world.dialling) world.link_up();
    settle();
  }

  void end_process(std::uint64_t lease) {
    world.end_unheard(lease, 0, world.processes.at(lease).killed ? 15 : 0);
    if (up()) world.give(agent::process_ended{*world.processes.at(lease).end});
    settle();
  }

  void supervisor_dies() {
    world.processes.clear();
    world.launched = 0;
    if (up()) world.give(agent::supervisor_lost{});
    settle();
  }

  /// Nothing fails any more: all must come to its end within a few rounds.
  void heal() {
    world.writes_until_failure = world.effects_until_crash = -1;
    world.disk_full = false;
    for (int round = 0; round < 60; ++round) {
      settle();
      world.pass(70s);
      settle();
      if (!world.linked) connect();
      std::vector<std::uint64_t> running;
      for (const auto& [lease, p] : world.processes) {
        if (!p.end) running.push_back(lease);
      }
      for (const auto lease : running) end_process(lease);
      coordinator.acknowledge();
      settle();
      if (world.linked && world.records.empty() && world.processes.empty()) return;
    }
  }

  void check_the_books() {
    for (const std::string& fault : coordinator.faults) FAIL_CHECK(fault);
    CHECK(world.records.empty());
    CHECK(world.processes.empty());
    CHECK(world.spools.empty());
    for (const auto& [lease, t] : coordinator.leases) {
      CAPTURE(lease);
      const int started = world.starts.contains(lease) ? world.starts.at(lease) : 0;
      CHECK(started <= 1);
      CHECK((t.result || t.not_started || t.lost));
      if (t.not_started) CHECK(started == 0);
      if (t.not_started && t.result) CHECK(t.result->status == result_status::rejected);
      if (!t.result) continue;
      if (t.result->status == result_status::rejected) CHECK(started == 0);
      if (t.result->status == result_status::success) CHECK((started == 1 || t.noop));
      if (t.result->status == result_status::success && t.output.contains("stdout")) {
        CHECK(t.output.at("stdout").find('?') == std::string::npos);
      }
    }
  }
};

/// A life with a bit of everything, in a fixed number of steps. `before` is called with the number of each.
void fixed_life(life& l, const std::function<void(int)>& before) {
  int n = 0;
  const auto step = [&](auto&& action) {
    before(n++);
    l.settle();
    if (!l.world.linked) {
      if (!l.world.dialling) l.world.pass(70s);
      l.connect();
    }
    if (l.up() && l.world.linked && l.coordinator.registered) action();
    l.settle();
  };
  const auto process = [&](std::uint64_t lease, auto&& action) {
    if (l.world.processes.contains(lease) && !l.world.processes.at(lease).end) action();
  };
  l.world.start();
  l.connect();
  for (int i = 0; i < 5; ++i) l.coordinator.next_lease();
  step([&] { l.coordinator.say({job(1), job(2), noop(3)}); });
  step([&] { l.coordinator.say({job(4)}); });
  step([&] { process(1, [&] { l.world.run(1); }); });
  step([&] { process(1, [&] { l.world.print(1, "stdout", "hello"); }); });
  step([&] { l.coordinator.acknowledge(); });
  step([&] { l.coordinator.say({protocol::cancel_job{{"run-2"}, lease_id{2}, 1}}); });
  step([&] { process(1, [&] { l.end_process(1); }); });
  step([&] { l.coordinator.say({job(5), job(1)}); });  // and one repeated
  step([&] { process(2, [&] { l.end_process(2); }); });
  step([&] { l.coordinator.acknowledge(); });
  step([&] { process(4, [&] { l.end_process(4); }); });
}

constexpr int fixed_steps = 11;

}  // namespace

TEST_CASE("a life without failures ends with every result and an empty outbox") {
  life l;
  int steps = 0;
  fixed_life(l, [&](int n) { steps = n + 1; });
  CHECK(steps == fixed_steps);
  l.heal();
  l.check_the_books();
  CHECK(l.coordinator.leases.at(1).result->status == result_status::success);
  CHECK(l.coordinator.leases.at(1).output.at("stdout") == "hello");
  CHECK(l.coordinator.leases.at(2).result->status == result_status::cancelled);
  CHECK(l.coordinator.leases.at(3).result->status == result_status::success);
  CHECK(l.coordinator.leases.at(5).result->status == result_status::success);
}

TEST_CASE("a lost connection before every step changes nothing but the time it takes") {
  for (int at = 0; at < fixed_steps; ++at) {
    CAPTURE(at);
    life l;
    fixed_life(l, [&](int n) {
      if (n == at && l.world.linked) l.world.link_down();
    });
    l.heal();
    l.check_the_books();
  }
}

TEST_CASE("the daemon killed at every single effect loses nothing it had acknowledged") {
  int survived = 0;
  for (int at = 0; at < 100; ++at) {
    CAPTURE(at);
    life l;
    l.world.effects_until_crash = at;
    fixed_life(l, [](int) {});
    if (l.world.effects_until_crash >= 0) ++survived;
    l.heal();
    l.check_the_books();
  }
  CHECK(survived > 0);  // so every effect had its turn
}

TEST_CASE("a write that fails, whichever it is, is never acknowledged and never loses a result") {
  int survived = 0;
  for (int at = 0; at < 30; ++at) {
    CAPTURE(at);
    life l;
    l.world.writes_until_failure = at;
    fixed_life(l, [](int) {});
    if (l.world.writes_until_failure >= 0) ++survived;
    l.heal();
    l.check_the_books();
  }
  CHECK(survived > 0);
}

TEST_CASE("the supervisor's death before every step is reported as loss and nothing is started twice") {
  for (int at = 0; at < fixed_steps; ++at) {
    CAPTURE(at);
    life l;
    fixed_life(l, [&](int n) {
      if (n == at) l.supervisor_dies();
    });
    l.heal();
    l.check_the_books();
  }
}

namespace {

std::uint64_t any_process(life& l, bool running) {
  std::vector<std::uint64_t> found;
  for (const auto& [lease, p] : l.world.processes) {
    if (!p.end == running) found.push_back(lease);
  }
  return found.empty() ? 0 : found[l.random.below(found.size())];
}

std::uint64_t any_lease(life& l) {
  if (l.coordinator.leases.empty()) return 0;
  auto it = l.coordinator.leases.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(l.random.below(l.coordinator.leases.size())));
  return it->first;
}

void speak(life& l) {
  std::vector<decltype(protocol::coordinator_message::body)> bodies;
  const auto n = 1 + l.random.below(4);
  for (std::uint64_t i = 0; i < n; ++i) {
    const auto kind = l.random.below(10);
    const std::uint64_t old = any_lease(l);
    if (kind < 4)
      bodies.push_back(job(l.coordinator.next_lease()));
    else if (kind < 6)
      bodies.push_back(noop(l.coordinator.next_lease()));
    else if (kind == 6 && old != 0)
      bodies.push_back(job(old));
    else if (kind == 7 && old != 0)
      bodies.push_back(protocol::cancel_job{{"run"}, lease_id{old}, 1});
    else if (kind == 8)
      bodies.push_back(protocol::drain{l.random.below(3) == 0});
    else
      bodies.push_back(job(l.coordinator.next_lease() + l.random.below(2)));
  }
  // A repeated offer of an answered lease would be a new promise: say only what a coordinator may.
  std::erase_if(bodies, [&](const auto& b) {
    const auto* e = std::get_if<protocol::execute_job>(&b);
    return e && l.coordinator.leases.contains(e->lease->value) &&
           !l.coordinator.leases[e->lease->value].live();
  });
  if (!bodies.empty()) l.coordinator.say(std::move(bodies));
}

void random_step(life& l) {
  agent_world& w = l.world;
  switch (l.random.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
      if (w.linked && l.coordinator.registered) speak(l);
      break;
    case 4:
    case 5:
      if (const auto lease = any_process(l, true); lease != 0 && l.up()) w.run(lease);
      break;
    case 6:
      if (const auto lease = any_process(l, true); lease != 0 && l.up()) {
        w.print(lease, l.random.below(2) ? "stdout" : "stderr", std::string(l.random.below(200'000), 'x'));
      }
      break;
    case 7:
    case 8:
    case 9:
      if (const auto lease = any_process(l, true); lease != 0) l.end_process(lease);
      break;
    case 10:
      if (w.linked) l.coordinator.acknowledge();
      break;
    case 11:
      if (w.linked && l.random.below(2)) w.link_down();
      break;
    case 12: w.pass(milliseconds{l.random.below(40'000)}); break;
    case 13:
      if (l.random.below(3) == 0) w.effects_until_crash = static_cast<int>(l.random.below(12));
      break;
    case 14:
      if (l.random.below(2))
        w.writes_until_failure = static_cast<int>(l.random.below(6));
      else
        w.disk_full = !w.disk_full && l.random.below(3) == 0;
      break;
    default:
      if (l.random.below(8) == 0)
        l.supervisor_dies();
      else if (l.random.below(8) == 0 && l.up())
        w.give(agent::stop{static_cast<agent::stop_mode>(l.random.below(3))});
      break;
  }
  l.settle();
  if (!w.linked && l.random.below(2)) l.connect();
}

}  // namespace

TEST_CASE("a lease runs at most once whatever is repeated, lost, killed or full, over many random lives") {
  int finished = 0, rejected = 0, lost = 0, not_started = 0, cancelled = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    life l(seed);
    l.world.start();
    l.connect();
    for (int i = 0; i < 250; ++i) random_step(l);
    l.heal();
    l.check_the_books();
    for (const auto& [lease, t] : l.coordinator.leases) {
      not_started += t.not_started;
      lost += t.lost;
      if (!t.result) continue;
      finished += t.result->status == result_status::success;
      rejected += t.result->status == result_status::rejected;
      cancelled += t.result->status == result_status::cancelled;
    }
  }
  // The walk must have been everywhere, or it proves little.
  CHECK(finished > 1000);
  CHECK(rejected > 100);
  CHECK(lost > 100);
  CHECK(not_started > 20);
  CHECK(cancelled > 100);
}
