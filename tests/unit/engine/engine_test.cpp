// The main path of one run, and the same path with the coordinator killed at every step of it.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

TEST_CASE("a run goes from submission to an acknowledged result") {
  world w;
  test_worker worker(w);
  worker.connect();
  CHECK(w.noted("Worker registered: w1"));
  const run_id run = w.run(command_spec());
  CHECK(w.stored(run).state == run_state::active);
  const auto offer = worker.take_offer();
  CHECK(offer.job_id.id == decltype(offer.job_id.id)(to_string(run)));
  CHECK(offer.command == std::vector<std::string>{"true"});
  CHECK(offer.attempt == 1);
  CHECK(offer.term == 1);
  w.settle();
  CHECK(w.attempts_of(run).front().state == attempt_state::accepted);
  worker.start(offer, 1);
  w.settle();
  CHECK(w.attempts_of(run).front().state == attempt_state::running);
  const auto seq = worker.finish(offer);
  w.settle();
  CHECK(worker.verdict(seq) == disposition::accepted);
  const auto row = w.stored(run);
  CHECK(row.state == run_state::succeeded);
  CHECK(row.deciding_lease == *offer.lease);
  CHECK(row.finished_at.has_value());
  CHECK(w.attempts_of(run).front().exit_code == 0);
  CHECK(w.view().count().active == 0);
  CHECK_FALSE(w.view().why(run, {w.mono(), w.wall()}).has_value());
  CHECK(w.facts("run.queued") == 1);
  CHECK(w.facts("run.active") == 1);
  CHECK(w.facts("run.succeeded") == 1);
}

TEST_CASE("a run of a batch is few facts, so that no-op jobs stay cheap") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = w.run(noop_spec());
  const auto offer = worker.take_offer(false);
  // The worker of a no-op says both at once.
  worker.say_all({{std::nullopt, protocol::worker_ack{1, true}, 0},
                  {std::nullopt, worker.result_for(offer, result_status::success), 5}});
  w.settle();
  CHECK(w.stored(run).state == run_state::succeeded);
  std::size_t of_run = 0;
  for (const fact& f : w.disk.facts) of_run += f.subject == "run/" + to_string(run) ? 1 : 0;
  CHECK(of_run == 3);
}

namespace {

// One life of a run. `step(name)` is called between any two things that happen; it may restart the world.
template <class Step>
run_id live_once(world& w, test_worker& worker, Step step) {
  const request_id id = w.submit(command_spec(), "key");
  step();
  w.sync();
  step();
  if (w.answer_to(id) == nullptr) w.submit(command_spec(), "key");  // the client asks again with its key
  w.settle();
  const run_id run = w.disk.keys.at("key").run;
  for (int round = 0; round < 20 && !is_final(w.stored(run).state); ++round) {
    if (w.inbox[worker.session].empty() && !w.closed.contains(worker.session)) {
      worker.form.running.clear();
    }
    step();
    worker.connect();
    step();
    w.advance(3s);
    if (is_final(w.stored(run).state)) break;
    auto offers = worker.take_offers(false);
    if (offers.empty()) continue;
    worker.say(protocol::worker_ack{1, true});
    step();
    w.sync();
    worker.form.running = {test_worker::ref(offers[0])};
    step();
    worker.start(offers[0], 1);
    step();
    w.settle();
    worker.form.running.clear();
    worker.form.unacked = {test_worker::ref(offers[0])};
    worker.finish(offers[0]);
    step();
    w.sync();
    step();
    // Until it is acknowledged the worker sends it on each connection.
    for (int tries = 0; tries < 3 && !is_final(w.stored(run).state); ++tries) {
      worker.connect();
      const auto seq = worker.finish(offers[0]);
      w.settle();
      if (worker.acked() >= seq) break;
    }
    worker.form.unacked.clear();
  }
  return run;
}

}  // namespace

TEST_CASE("a run survives a kill of the coordinator at any point of its life") {
  bool killed = true;
  int crash_at = 0;
  while (killed) {
    ++crash_at;
    CAPTURE(crash_at);
    world w;
    test_worker worker(w);
    int steps = 0;
    killed = false;
    const run_id run = live_once(w, worker, [&] {
      if (++steps != crash_at) return;
      killed = true;
      w.restart(2s);
      worker.connect();
    });
    CHECK(w.stored(run).state == run_state::succeeded);
    CHECK(w.disk.keys.size() == 1);
    int ends = 0;
    for (const fact& f : w.disk.facts) ends += f.type == "run.succeeded" ? 1 : 0;
    CHECK(ends == 1);
    CHECK(w.stored(run).losses == 0);
  }
  CHECK(crash_at == 10);  // nine points, and a life without a kill
}

TEST_CASE("a submission that was not durable at the kill never happened") {
  world w;
  w.submit(command_spec(), "key");
  w.restart();
  CHECK(w.disk.runs.empty());
  const request_id again = w.submit(command_spec(), "key");
  w.settle();
  CHECK(w.answered<run_answer>(again)->created);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("the same inputs give the same effects") {
  const auto play = [] {
    world w;
    test_worker worker(w);
    worker.connect();
    std::string trace;
    for (int i = 0; i < 5; ++i) {
      const run_id run = w.run(command_spec());
      const auto offer = worker.take_offer();
      worker.finish(offer, i % 2 == 0 ? result_status::success : result_status::failure);
      w.settle();
      trace += to_string(run) + to_string(w.stored(run).state);
    }
    for (const fact& f : w.disk.facts) trace += f.type + f.subject + f.data;
    return trace;
  };
  CHECK(play() == play());
}

TEST_CASE("run ids rise even when the wall clock steps back") {
  world w;
  const run_id first = w.run(command_spec());
  w.jump_wall(-1h);
  const run_id second = w.run(command_spec());
  const run_id third = w.run(command_spec());
  CHECK(first < second);
  CHECK(second < third);
}

TEST_CASE("after stopping nothing new is offered or taken, but results are") {
  world w;
  test_worker worker(w);
  worker.form.slots = 2;
  worker.connect();
  const run_id run = w.run(command_spec());
  const auto offer = worker.take_offer();
  w.give(stopping{});
  const request_id late = w.submit(command_spec());
  worker.finish(offer);
  w.settle();
  REQUIRE(w.answered<refusal>(late) != nullptr);
  CHECK(w.answered<refusal>(late)->code == errc::unavailable);
  CHECK(w.stored(run).state == run_state::succeeded);
}

TEST_CASE("that the disk is full is answered at once, also while a commit waits for that disk") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.run(command_spec());
  const auto offer = worker.take_offer();
  worker.finish(offer);  // its commit is not on disk
  w.give(space_changed{true});
  const request_id refused = w.submit(command_spec());
  REQUIRE(w.answered<refusal>(refused) != nullptr);
  CHECK(w.answered<refusal>(refused)->code == errc::no_space);
}

TEST_CASE("a full disk refuses new work while results and heartbeats go on") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = w.run(command_spec());
  const auto offer = worker.take_offer();
  w.give(space_changed{true});
  const request_id refused = w.submit(command_spec());
  worker.beat();
  worker.finish(offer);
  w.settle();
  CHECK(w.answered<refusal>(refused)->code == errc::no_space);
  CHECK(w.stored(run).state == run_state::succeeded);
  w.give(space_changed{false});
  CHECK(w.stored(w.run(command_spec())).state == run_state::active);
}
