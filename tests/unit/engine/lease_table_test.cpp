// Deadlines of attempts on virtual time: silence, the coordinator's own stalls, and the ends that need no
// silence.
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
  explicit bench(run_spec spec = command_spec(), bool acknowledge = true) {
    worker.connect();
    run = w.run(std::move(spec));
    offer = worker.take_offer(acknowledge);
    w.settle();
  }
  attempt_state state() const { return w.disk.attempts.at(*offer.lease).state; }
  std::string lost_data() const {
    for (const fact& f : w.disk.facts) {
      if (f.type == "attempt.lost") return f.data;
    }
    return "";
  }
};

}  // namespace

TEST_CASE("a lease is lost at TTL plus 10 s of silence and not before") {
  bench b;
  b.worker.drop();
  b.w.advance(69s);
  CHECK(b.state() == attempt_state::accepted);
  b.w.advance(2s);
  CHECK(b.state() == attempt_state::lost);
  CHECK(b.w.stored(b.run).state == run_state::retry_wait);
  CHECK(b.lost_data().find(R"("reason":"silence","silence_ms":70000,"stall_ms":0,"grace_ms":70000)") !=
        std::string::npos);
}

TEST_CASE("any frame renews the lease, a pong included") {
  bench b;
  for (int i = 0; i < 10; ++i) {
    b.w.advance(60s);
    b.w.give(session_alive{b.worker.session});
  }
  CHECK(b.state() == attempt_state::accepted);
}

TEST_CASE("before a loss by silence an open socket is read once more") {
  bench b;
  b.w.advance(70s);
  CHECK(b.w.pings == std::vector{b.worker.session});
  CHECK(b.state() == attempt_state::accepted);
  SUBCASE("an answer saves it") {
    b.w.give(session_alive{b.worker.session});
    b.w.advance(60s);
    CHECK(b.state() == attempt_state::accepted);
  }
  SUBCASE("silence loses it, and the connection is closed first") {
    b.w.advance(11s);
    CHECK(b.state() == attempt_state::lost);
    CHECK(b.worker.closed(4011));
  }
}

TEST_CASE("a stall of the coordinator shifts every deadline") {
  bench b;
  b.worker.drop();
  b.w.advance(60s);
  b.w.skip_mono(300s);  // not scheduled: SIGSTOP, a paused machine
  b.w.give(stalled{300s});
  b.w.advance(9s);
  CHECK(b.state() == attempt_state::accepted);
  b.w.advance(2s);
  CHECK(b.state() == attempt_state::lost);
  CHECK(b.lost_data().find(R"("stall_ms":300000)") != std::string::npos);
}

TEST_CASE("a job's own lost_after and kill grace set its limit") {
  run_spec s = command_spec();
  s.lost_after = 20s;
  s.on_lease_lost = on_lease_lost::kill;
  s.kill_grace = 5s;
  bench b(s);
  b.worker.drop();
  b.w.advance(34s);
  CHECK(b.state() == attempt_state::accepted);
  b.w.advance(2s);
  CHECK(b.state() == attempt_state::lost);
}

TEST_CASE("an offer that is not acknowledged within 30 s is lost, and its connection closed") {
  bench b(command_spec(), false);
  b.w.advance(29s);
  CHECK(b.state() == attempt_state::offered);
  b.w.advance(2s);
  CHECK(b.state() == attempt_state::lost);
  CHECK(b.worker.closed(4011));
}

TEST_CASE("the 30 s begin when the offer is sent, not while the disk is slow") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.submit(command_spec());
  w.turn();
  for (int i = 0; i < 6; ++i) {
    w.advance(10s, false);
    worker.beat();
  }
  CHECK_FALSE(w.closed.contains(worker.session));
  w.settle();
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("an attempt ends at its own deadline even if its worker is lively and says nothing about it") {
  run_spec s = command_spec();
  s.timeout = 100s;
  s.kill_grace = 10s;
  bench b(s);
  for (int i = 0; i < 16; ++i) {
    b.w.advance(10s);
    b.worker.beat();
  }
  CHECK(b.state() == attempt_state::accepted);
  b.w.advance(11s);
  CHECK(b.state() == attempt_state::lost);
  CHECK(b.lost_data().find("run_deadline") != std::string::npos);
}

TEST_CASE(
    "that deadline goes on through a restart, and no step of the wall clock makes it longer than anew") {
  run_spec s = command_spec();
  s.timeout = 200s;
  s.kill_grace = 10s;
  bench b(s);
  const auto live = [&](int tens) {
    for (int i = 0; i < tens; ++i) {
      b.w.advance(10s);
      b.worker.beat();
    }
  };
  live(15);
  seconds left{0};
  SUBCASE("what passed before it counts") { left = 120s; }
  SUBCASE("a clock that went back gives no more than the whole time") {
    b.w.jump_wall(-1h);
    left = 270s;
  }
  b.w.restart();
  b.worker.form.running = {test_worker::ref(b.offer)};
  b.worker.connect();
  live(static_cast<int>(left / 10s) - 1);
  CHECK(b.state() == attempt_state::accepted);
  b.w.advance(11s);
  CHECK(b.state() == attempt_state::lost);
  CHECK(b.lost_data().find("run_deadline") != std::string::npos);
}

TEST_CASE("an attempt that waits behind others on its worker does not spend its own time there") {
  world w;
  test_worker worker(w);
  worker.form.credit = 4;
  worker.connect();
  run_spec s = noop_spec();
  s.timeout = 10s;
  w.submit(s);
  w.submit(s);
  w.settle();
  const auto offers = worker.take_offers();
  REQUIRE(offers.size() == 2);
  worker.start(offers[0]);
  w.settle();
  for (int i = 0; i < 7; ++i) {
    w.advance(10s);
    worker.beat();
  }
  worker.finish(offers[0]);
  w.settle();
  for (int i = 0; i < 7; ++i) {
    w.advance(10s);
    worker.beat();
  }
  CHECK(w.disk.attempts.at(*offers[1].lease).state == attempt_state::accepted);
}

TEST_CASE("one lost lease on an open connection does not lose the others of that worker") {
  world w;
  test_worker worker(w);
  worker.form.slots = 2;
  worker.connect();
  run_spec brief = command_spec();
  brief.timeout = 10s;
  brief.kill_grace = 1s;
  const run_id short_run = w.run(brief);
  const run_id long_run = w.run(command_spec());
  const auto offers = worker.take_offers();
  w.settle();
  for (int i = 0; i < 8; ++i) {
    w.advance(10s);
    if (!w.closed.contains(worker.session)) worker.beat();
  }
  CHECK(worker.closed(4011));
  CHECK(w.stored(short_run).losses == 1);
  worker.form.running = {test_worker::ref(offers[1])};
  worker.form.lost = {test_worker::ref(offers[0])};
  worker.connect();
  CHECK(worker.registration().keep.size() == 1);
  CHECK(w.stored(long_run).state == run_state::active);
}

TEST_CASE("silence does not count while the socket is not read, and begins anew when it is") {
  bench b;
  b.w.give(session_reading{b.worker.session, false});
  b.w.advance(300s);
  CHECK(b.state() == attempt_state::accepted);
  b.w.give(session_reading{b.worker.session, true});
  b.w.advance(60s);
  CHECK(b.state() == attempt_state::accepted);
  b.w.advance(21s);
  CHECK(b.state() == attempt_state::lost);
}

TEST_CASE("a worker that registers while a stall is drained is judged by the deadlines that follow it") {
  run_spec s = command_spec();
  s.timeout = 60s;
  bench b(s);
  b.worker.drop();
  b.w.skip_mono(7200s);  // SIGSTOP: far beyond the run's own deadline
  b.worker.form.running = {test_worker::ref(b.offer)};
  b.worker.open();
  b.w.settle();
  b.w.give(stalled{7200s});
  b.w.advance(1s);
  CHECK(b.state() == attempt_state::accepted);
}

TEST_CASE("an attempt that is lost and revived again and again is given up in the end") {
  bench b;
  b.worker.form.running = {test_worker::ref(b.offer)};
  int rounds = 0;
  for (; rounds < 200 && b.state() != attempt_state::lost; ++rounds) {
    b.worker.drop();
    b.w.advance(71s);
    REQUIRE(b.state() == attempt_state::lost);
    b.worker.connect();
  }
  CHECK(rounds == 101);
}

TEST_CASE("a worker that came back without slots and then fell silent loses what it held") {
  run_spec s = command_spec();
  s.timeout = s.kill_grace = 5s;  // its own time and the restart grace end at once
  bench b(s);
  b.worker.drop();
  b.w.restart();
  b.worker.form.slots = 0;
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  b.worker.drop();
  b.w.advance(200s);
  CHECK(b.state() == attempt_state::lost);
}

TEST_CASE("an attempt at a worker without slots ends at its own time, however lively the worker is") {
  run_spec s = command_spec();
  s.timeout = 20s;
  bench b(s);
  b.worker.drop();
  b.worker.form.slots = 0;
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  for (int i = 0; i < 20; ++i) {
    b.w.advance(20s);
    b.w.give(session_alive{b.worker.session});
  }
  CHECK(b.state() == attempt_state::lost);
}
