// What a registration leads to: the rows of the table "what happens when" that meet the coordinator's core.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

struct bench {
  world w;
  test_worker worker{w};
  run_id run;
  protocol::execute_job offer;
  explicit bench(bool acknowledge = true, run_spec spec = command_spec()) {
    worker.connect();
    run = w.run(std::move(spec));
    offer = worker.take_offer(acknowledge);
    w.settle();
  }
  attempt_state state() const { return w.disk.attempts.at(*offer.lease).state; }
  void list_running() { worker.form.running = {test_worker::ref(offer)}; }
  bool kept() { return worker.registration().keep == std::vector{test_worker::ref(offer)}; }
  bool abandoned() { return worker.registration().abandon == std::vector{test_worker::ref(offer)}; }
};

run_spec once() {
  run_spec s = command_spec();
  s.at_most_once = true;
  return s;
}

}  // namespace

TEST_CASE("row 1: a daemon that was killed and comes back with its job keeps it, and uses no retry") {
  bench b;
  b.worker.start(b.offer, 1);
  b.w.settle();
  b.worker.drop();
  b.list_running();
  b.worker.form.process = "process-2";
  b.worker.connect();
  CHECK(b.kept());
  CHECK(b.state() == attempt_state::running);
  b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
  CHECK(b.w.stored(b.run).attempts == 1);
}

TEST_CASE("row 2: a machine that rebooted has lost its processes, which is known at once") {
  bench b;
  b.worker.drop();
  b.worker.form.boot_id = "boot-2";
  b.worker.form.lost = {test_worker::ref(b.offer)};
  b.worker.connect();
  CHECK(b.state() == attempt_state::lost);
  CHECK(b.w.disk.attempts.at(*b.offer.lease).reason == "boot_changed");
  CHECK(b.w.stored(b.run).state == run_state::retry_wait);
}

TEST_CASE("a rebooted machine whose outbox holds the result is believed") {
  bench b;
  b.worker.drop();
  b.worker.form.boot_id = "boot-2";
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  CHECK(b.kept());
  b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
}

TEST_CASE("a running process cannot have survived a reboot") {
  bench b;
  b.worker.drop();
  b.worker.form.boot_id = "boot-2";
  b.list_running();
  b.worker.connect();
  CHECK(b.abandoned());
  CHECK(b.state() == attempt_state::lost);
}

TEST_CASE("what a reboot ended stays ended when the answer that said so was lost, over a restart too") {
  for (const bool silent : {false, true}) {
    for (const bool restarted : {false, true}) {
      bench b;
      b.worker.start(b.offer, 1);
      b.w.settle();
      b.worker.drop();
      if (silent) b.w.advance(75s);  // thought lost before
      b.worker.form.boot_id = "boot-2";
      b.list_running();
      b.worker.connect();
      CHECK(b.abandoned());
      b.worker.drop();
      if (restarted) b.w.restart(1s);
      b.list_running();
      b.worker.connect();
      CHECK(b.abandoned());
      CHECK(b.state() == attempt_state::lost);
    }
  }
}

TEST_CASE("row 4: a partition that ends before the next offer brings the running attempt back") {
  bench b;
  b.worker.start(b.offer, 1);
  b.w.settle();
  b.worker.drop();
  b.w.advance(75s);
  REQUIRE(b.state() == attempt_state::lost);
  REQUIRE(b.w.stored(b.run).state == run_state::retry_wait);
  b.list_running();
  b.worker.connect();
  CHECK(b.kept());
  CHECK(b.state() == attempt_state::running);
  CHECK(b.w.stored(b.run).state == run_state::active);
  b.w.advance(1min);
  CHECK(b.worker.take_offers().empty());
}

TEST_CASE("row 5: a partition that ends after the next offer abandons the old attempt") {
  bench b;
  b.worker.drop();
  b.w.advance(75s);
  test_worker second(b.w, "w2", 2);
  second.connect();
  b.w.advance(15s);
  const auto newer = second.take_offer();
  CHECK(*b.offer.lease < *newer.lease);
  b.list_running();
  b.worker.connect();
  CHECK(b.abandoned());
  second.finish(newer);
  const auto late = b.worker.finish(b.offer, result_status::cancelled);
  b.w.settle();
  CHECK(b.worker.verdict(late) == disposition::superseded);
  CHECK(b.w.stored(b.run).deciding_lease == *newer.lease);
}

TEST_CASE("row 9: an offer that provably never arrived is not started, and is offered again") {
  bench b(false);
  b.worker.drop();
  b.worker.form.highest_lease = lease_id{0};
  b.worker.connect();
  CHECK(b.state() == attempt_state::not_started);
  CHECK(b.w.stored(b.run).state == run_state::retry_wait);
  b.w.advance(2s);
  const auto again = b.worker.take_offer();
  CHECK(*b.offer.lease < *again.lease);
  CHECK(b.w.stored(b.run).failures == 0);
  CHECK(b.w.stored(b.run).losses == 0);
}

TEST_CASE("an absent lease is not started only under every one of the conditions") {
  const auto outcome = [](bool acknowledge, auto change, run_spec spec = command_spec()) {
    bench b(acknowledge, std::move(spec));
    b.worker.drop();
    b.worker.form.highest_lease = lease_id{b.offer.lease->value - 1};
    change(b);
    b.worker.connect();
    return b.state();
  };
  const auto nothing = [](bench&) {};
  CHECK(outcome(false, nothing) == attempt_state::not_started);
  CHECK(outcome(true, nothing) == attempt_state::lost);  // it acked: it had it
  CHECK(outcome(false, [](bench& b) { b.worker.form.highest_lease = b.offer.lease; }) == attempt_state::lost);
  CHECK(outcome(false, [](bench& b) { b.worker.form.highest_lease.reset(); }) == attempt_state::lost);
  CHECK(outcome(false, [](bench& b) { b.worker.form.boot_id = "boot-2"; }) == attempt_state::lost);
  CHECK(outcome(false, [](bench& b) { b.worker.form.process = "p2"; }) == attempt_state::not_started);
  CHECK(outcome(false, nothing, once()) == attempt_state::not_started);
  CHECK(outcome(false, [](bench& b) { b.worker.form.process = "p2"; }, once()) == attempt_state::lost);
}

TEST_CASE("an outbox that forgot a lease it once acknowledged proves nothing") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.run(command_spec());
  worker.finish(worker.take_offer());
  w.settle();
  const run_id run = w.run(command_spec());
  const auto offer = worker.take_offer(false);
  w.settle();
  worker.drop();
  worker.form.highest_lease = lease_id{0};  // below a lease this instance acked: its outbox was wiped
  worker.connect();
  CHECK(w.disk.attempts.at(*offer.lease).state == attempt_state::lost);
  CHECK(w.stored(run).losses == 1);
}

TEST_CASE("row 10: an offer that arrived but whose ack was lost is kept") {
  bench b(false);
  b.worker.drop();
  b.list_running();
  b.worker.connect();
  CHECK(b.kept());
  CHECK(b.state() == attempt_state::accepted);
  CHECK(b.worker.take_offers().empty());  // sent on one connection only
}

TEST_CASE("row 12: a restart renews every lease") {
  bench b;
  b.w.restart(1h);
  b.w.advance(84s);
  CHECK(b.state() == attempt_state::accepted);
  b.list_running();
  b.worker.connect();
  CHECK(b.kept());
  CHECK(b.worker.registration().term == 2);
  b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
}

TEST_CASE("a worker that does not come back after a restart is lost at the end of the grace") {
  bench b;
  b.w.restart(1h);
  b.w.advance(86s);
  CHECK(b.state() == attempt_state::lost);
}

TEST_CASE("another instance under the same name proves nothing about the first one's attempts") {
  bench b;
  b.worker.drop();
  test_worker other(b.w, "w1", 2);
  other.connect();
  CHECK(other.registration().keep.empty());
  CHECK(b.state() == attempt_state::accepted);
}

TEST_CASE("leases nobody knows are abandoned, and a higher one makes the counter jump") {
  bench b;
  b.worker.finish(b.offer);
  b.w.settle();
  b.worker.drop();
  b.worker.form.running = {{{std::string("run-of-a-lost-database")}, lease_id{500}}};
  b.worker.form.highest_lease = lease_id{500};
  b.worker.connect();
  CHECK(b.worker.registration().abandon.size() == 1);
  CHECK(b.w.noted("Leases go on at"));
  const run_id run = b.w.run(command_spec());
  const auto next = b.worker.take_offer();
  CHECK(next.lease->value == 500 + (std::uint64_t{1} << 32) + 1);
  CHECK(b.w.stored(run).state == run_state::active);
  b.w.settle();
  b.w.restart();
  CHECK(b.w.disk.lease_counter >= *next.lease);
}

TEST_CASE("a worker that has seen a later term makes ours go on above it, durably and before any offer") {
  world w;
  test_worker worker(w);
  worker.form.cluster = w.disk.cluster;
  worker.form.term = 7;
  worker.open();
  const request_id asked = w.submit(command_spec());
  w.turn();
  CHECK(worker.received<protocol::registration>().empty());  // what it says is not on disk
  w.settle();
  REQUIRE(w.answered<run_answer>(asked) != nullptr);
  CHECK(worker.registration().term == 8);
  CHECK(worker.take_offer().term == 8);
  CHECK(w.noted("Terms go on at 8"));
  CHECK(w.disk.term == 8);
  w.settle();
  CHECK(w.disk.attempts.begin()->second.term == 8);
  w.restart();
  CHECK(w.view().term() == 9);
}

TEST_CASE(
    "a term that no database of this cluster can have come to, or of another cluster, is not believed") {
  world w;
  test_worker worker(w);
  worker.form.cluster = w.disk.cluster;
  worker.form.term = std::uint64_t{1} << 62;
  worker.connect();
  CHECK(worker.registration().term == 1);
  CHECK(w.noted("no database of this cluster can have come that far"));
  worker.drop();
  worker.form.cluster = uuid{{7}};
  worker.form.term = 5;
  worker.connect();
  worker.drop();
  worker.form.cluster.reset();
  worker.connect();
  CHECK(w.view().term() == 1);
}

TEST_CASE("the lists of a worker that comes from another cluster are not about our leases") {
  bench b;
  b.worker.drop();
  b.worker.form.cluster = uuid{{7}};
  b.worker.form.highest_lease = lease_id{1'000'000};
  b.list_running();
  b.worker.connect();
  CHECK(b.worker.registration().keep.empty());
  CHECK(b.state() == attempt_state::lost);
  b.w.advance(15s);
  CHECK(b.worker.take_offer().lease->value < 1'000);
}

TEST_CASE("a cancel is sent again at each registration until its attempt ends") {
  bench b;
  b.worker.drop();
  b.w.cancel(b.run);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::active);
  b.list_running();
  b.worker.connect();
  CHECK(b.kept());
  CHECK(b.worker.received<protocol::cancel_job>().size() == 1);
  b.worker.drop();
  b.worker.connect();
  REQUIRE(b.worker.received<protocol::cancel_job>().size() == 1);
  CHECK(b.worker.received<protocol::cancel_job>()[0].lease == *b.offer.lease);
  b.worker.finish(b.offer, result_status::cancelled);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::cancelled);
}

TEST_CASE("a drain survives a restart and is sent again at each registration") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.give(drain_worker{w.ask(), "w1", true});
  w.settle();
  w.restart();
  worker.connect();
  REQUIRE(worker.received<protocol::drain>().size() == 1);
  CHECK(worker.received<protocol::drain>()[0].on);
  w.run(command_spec());
  CHECK(worker.take_offers().empty());
  w.give(drain_worker{w.ask(), "w1", false});
  w.settle();
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("row 21: a fast reconnect of the same daemon replaces its old connection") {
  bench b;
  const session_id old = b.worker.session;
  b.list_running();
  b.worker.connect();
  CHECK(b.w.closed.at(old).code == 4001);
  CHECK(b.kept());
  // Nothing the replaced connection still says has any effect.
  b.w.give(
      session_frame{old, {{std::uint64_t{99}, b.worker.result_for(b.offer, result_status::failure), 1}}});
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::active);
}

TEST_CASE("of two connections of one daemon the one opened later wins, in whatever order they come") {
  bench b;
  test_worker early = b.worker;
  early.form.opened = 0;
  early.session = b.w.new_session();
  b.w.give(session_opened{early.session, "peer"});
  b.w.give(session_frame{early.session, {{std::uint64_t{1}, early.form, 0}}});
  b.w.settle();
  CHECK(early.closed(4001));
  CHECK_FALSE(b.worker.closed(4001));
}

TEST_CASE("row 20: a second worker with a taken name is refused while the first one answers") {
  bench b;
  test_worker other(b.w, "w1", 2);
  other.open();
  b.w.settle();
  REQUIRE(b.w.pings == std::vector{b.worker.session});
  CHECK(other.inbox().empty());
  b.w.give(session_alive{b.worker.session});
  b.w.settle();
  CHECK(other.closed(4009));
  CHECK_FALSE(b.w.closed.contains(b.worker.session));
  CHECK(b.w.view().workers(b.w.mono()).front().connected);
}

TEST_CASE("a second worker takes the name when the first one is silent for the ping timeout") {
  bench b;
  test_worker other(b.w, "w1", 2);
  other.open();
  other.beat();
  b.w.advance(11s);
  CHECK(b.worker.closed(4001));
  CHECK(other.received<protocol::registration>().size() == 1);
  CHECK(b.state() == attempt_state::accepted);  // the first one's attempt waits for its instance
}

TEST_CASE("a second worker takes the name at once when the first one's connection ends") {
  bench b;
  test_worker other(b.w, "w1", 2);
  other.open();
  b.worker.drop();
  b.w.settle();
  CHECK(other.received<protocol::registration>().size() == 1);
}

TEST_CASE("an instance that lost its name but holds leases is let in for those alone") {
  bench b;
  b.worker.drop();
  test_worker other(b.w, "w1", 2);
  other.connect();
  b.list_running();
  b.worker.open();
  b.w.give(session_alive{other.session});
  b.w.settle();
  CHECK(b.kept());
  b.w.submit(command_spec());
  b.w.submit(command_spec());
  b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
  CHECK(b.worker.take_offers().empty());
  CHECK(other.take_offers().size() == 1);
}

TEST_CASE("an instance that was let in for its leases gets work when the other one of its name has gone") {
  bench b;
  b.worker.drop();
  test_worker other(b.w, "w1", 2);
  other.connect();
  b.list_running();
  b.worker.open();
  b.w.give(session_alive{other.session});
  b.w.settle();
  b.worker.finish(b.offer);
  b.w.submit(command_spec());
  b.w.settle();
  SUBCASE("when it leaves") {
    other.finish(other.take_offer());
    other.drop();
  }
  SUBCASE("when it breaks the protocol") {
    other.finish(other.take_offer());
    b.w.give(session_frame{other.session, {{std::uint64_t{99}, protocol::heartbeat{}, 0}}});
  }
  b.w.submit(command_spec());
  b.w.settle();
  CHECK(b.worker.take_offers().size() == 1);
}

TEST_CASE("a worker that connects again at once keeps its name before an instance let in for its leases") {
  bench b;
  b.worker.drop();
  test_worker other(b.w, "w1", 2);
  other.connect();
  b.list_running();
  b.worker.open();
  b.w.give(session_alive{other.session});
  b.w.settle();
  other.form.opened = other.form.opened.value_or(0) + 1;
  other.open();  // its old connection is still there
  b.w.settle();
  b.w.submit(command_spec());
  b.w.settle();
  CHECK(other.take_offers().size() == 1);
  CHECK(b.worker.take_offers().empty());
}

TEST_CASE("an instance whose name changed leaves one row") {
  world w;
  test_worker worker(w);
  worker.connect();
  worker.drop();
  worker.form.worker_id = "renamed";
  worker.connect();
  CHECK(w.disk.workers.size() == 1);
  CHECK(w.disk.workers.begin()->second.worker_id == "renamed");
}

TEST_CASE("instances that held a name before and hold nothing now are forgotten") {
  world w;
  for (std::uint8_t n = 1; n <= 5; ++n) {
    test_worker worker(w, "pod", n);
    worker.connect();
    worker.drop();
    w.settle();
  }
  CHECK(w.disk.workers.size() == 1);
}

TEST_CASE("a result of a lease that the counter jumped over is not ours to settle, also after a restart") {
  bench b;
  b.worker.drop();
  b.worker.form.running = {test_worker::ref(b.offer)};
  b.worker.form.highest_lease = lease_id{500};
  b.worker.connect();
  auto foreign = b.offer;
  foreign.lease = lease_id{400};
  const auto seq = b.worker.finish(foreign);
  b.w.settle();
  CHECK(b.worker.verdict(seq) == disposition::unknown_lease);
  b.w.restart();
  b.worker.connect();
  const auto again = b.worker.finish(foreign);
  const auto own = b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.worker.verdict(again) == disposition::unknown_lease);
  CHECK(b.worker.verdict(own) == disposition::accepted);
}

TEST_CASE("jumps that follow each other make one range") {
  bench b;
  for (std::uint64_t seen : {std::uint64_t{500}, std::uint64_t{1} << 40, std::uint64_t{1} << 41}) {
    b.worker.drop();
    b.worker.form.highest_lease = lease_id{seen};
    b.worker.connect();
  }
  CHECK(b.w.disk.lease_holes.size() == 1);
}

TEST_CASE("a newcomer under a taken name that lists leases is let in to bring them home") {
  world w;
  test_worker first(w);
  first.connect();
  test_worker second(w, "w1", 2);
  second.form.unacked = {{{std::string("a-run-of-before")}, lease_id{0}}};
  second.form.unacked.front().lease = lease_id{1};
  second.open();
  w.give(session_alive{first.session});
  w.settle();
  CHECK_FALSE(second.closed(4009));
  CHECK(second.registration().abandon.size() == 1);
}

TEST_CASE("a worker that does not say which boot it is has proved nothing") {
  bench b(false);
  b.w.settle();
  b.worker.drop();
  b.worker.form.boot_id.clear();
  b.worker.form.highest_lease = lease_id{0};
  b.worker.connect();
  CHECK(b.state() == attempt_state::lost);
}

TEST_CASE("row 36: after a restore leases jump, and at_most_once runs that had not ended are unknown, once") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id running = w.run(once());
  const auto offer = worker.take_offer();
  w.settle();
  worker.drop();
  const run_id queued = w.run(once());
  const run_id other = w.run(command_spec());
  const lease_id before = w.disk.lease_counter;
  w.disk.restored(w.wall());
  w.restart();
  w.settle();
  CHECK(w.stored(running).state == run_state::unknown);
  CHECK(w.stored(running).reason == "restored");
  CHECK(w.disk.attempts.at(*offer.lease).state == attempt_state::lost);
  CHECK(w.stored(queued).state == run_state::unknown);
  CHECK(w.stored(other).state == run_state::queued);
  CHECK(w.disk.lease_counter.value == before.value + (std::uint64_t{1} << 32));
  CHECK(w.noted("restored from a backup"));
  CHECK(w.facts("server.restored") == 1);
  w.restart();
  w.settle();
  CHECK(w.disk.lease_counter.value == before.value + (std::uint64_t{1} << 32));
  CHECK(w.facts("server.restored") == 1);
  const run_id later = w.run(once());
  CHECK(w.stored(later).state == run_state::queued);
}

TEST_CASE("row 36: the result of a run that a restore made unknown still decides it") {
  bench b(true, once());
  b.worker.start(b.offer, 1);
  b.w.settle();
  b.worker.drop();
  b.w.disk.restored(b.w.wall());
  b.w.restart();
  b.w.settle();
  REQUIRE(b.w.stored(b.run).state == run_state::unknown);
  b.list_running();
  b.worker.connect();
  b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
}
