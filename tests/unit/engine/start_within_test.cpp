// start_within: a run that no worker has started in time expires, which is final; and what counts as started.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

run_spec within(milliseconds limit) {
  run_spec s = command_spec();
  s.start_within = limit;
  return s;
}

}  // namespace

TEST_CASE("a run that nobody started in time expires, once and for all") {
  world w;
  const run_id run = w.run(within(10s));
  w.advance(9s);
  CHECK(w.stored(run).state == run_state::queued);
  CHECK(w.why(run) == std::vector<std::string>{"no_worker", "expires"});
  w.advance(2s);
  CHECK(w.stored(run).state == run_state::expired);
  CHECK(w.stored(run).reason == "start_within");
  CHECK(w.stored(run).finished_at.has_value());
  CHECK(w.facts("run.expired") == 1);
  test_worker late(w);
  late.connect();
  CHECK(late.take_offers().empty());
  w.advance(1min);
  CHECK(w.facts("run.expired") == 1);
}

TEST_CASE("a started run never expires, however often it is tried again") {
  world w;
  test_worker worker(w);
  worker.connect();
  run_spec spec = within(10s);
  spec.retry.max_attempts = 2;
  spec.retry.backoff = 30s;
  const run_id run = w.run(spec);
  worker.finish(worker.take_offer(), result_status::failure);
  w.settle();
  CHECK(w.stored(run).state == run_state::retry_wait);
  CHECK(w.why(run).back() != "expires");
  w.advance(40s);
  worker.finish(worker.take_offer());
  w.settle();
  CHECK(w.stored(run).state == run_state::succeeded);
}

TEST_CASE("an attempt that is lost was a start: the run waits on") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = w.run(within(10s));
  worker.take_offer();
  worker.drop();
  w.advance(10min);
  CHECK(w.attempts_of(run).front().state == attempt_state::lost);
  CHECK(w.stored(run).state == run_state::queued);
}

TEST_CASE("an offer that was refused was no start, also when the time passes while the worker has it") {
  for (const bool has_it : {false, true}) {
    CAPTURE(has_it);
    world w;
    test_worker worker(w);
    worker.connect();
    const run_id run = w.run(within(10s));
    const auto offer = worker.take_offer();
    if (has_it) w.advance(11s);
    CHECK(w.stored(run).state == run_state::active);
    worker.finish(offer, result_status::rejected);
    w.settle();
    if (!has_it) {
      CHECK(w.stored(run).state == run_state::retry_wait);
      worker.drop();
      w.advance(11s);
    }
    CHECK(w.stored(run).state == run_state::expired);
    CHECK(w.attempts_of(run).size() == 1);
  }
}

TEST_CASE("the time counts from --at, and goes on while the run is held") {
  world w;
  submit_run in;
  in.request = w.ask();
  in.what.name = "adhoc";
  in.what.spec = within(10s);
  in.what.not_before = w.wall() + 1min;
  w.give(in);
  w.settle();
  const run_id run = w.answered<run_answer>(in.request)->run.id;
  CHECK(w.why(run) == std::vector<std::string>{"not_before", "no_worker"});
  w.advance(1min + 5s);
  CHECK(w.stored(run).state == run_state::queued);
  hold_run hold;
  hold.request = w.ask();
  hold.run = run;
  hold.held = true;
  w.give(hold);
  w.settle();
  w.advance(6s);
  CHECK(w.stored(run).state == run_state::expired);
}

TEST_CASE("over a restart the rest of the time is what the wall clock left, and never more than anew") {
  world w;
  const run_id run = w.run(within(10s));
  w.advance(6s);
  w.restart(2s);
  w.settle();
  w.advance(1s);
  CHECK(w.stored(run).state == run_state::queued);
  w.advance(2s);
  CHECK(w.stored(run).state == run_state::expired);

  const run_id away = w.run(within(10s));
  w.restart(1h);
  w.advance(1ms);
  CHECK(w.stored(away).state == run_state::expired);

  const run_id set_back = w.run(within(10s));
  w.jump_wall(-std::chrono::hours{24});
  w.restart(1s);
  w.advance(9s);
  CHECK(w.stored(set_back).state == run_state::queued);
  w.advance(2s);
  CHECK(w.stored(set_back).state == run_state::expired);
}

TEST_CASE("over a restart a refused run counts from its first offer, since its --at is not kept") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = w.run(within(20s));
  worker.finish(worker.take_offer(), result_status::rejected);
  w.settle();
  w.restart(5s);
  w.advance(10s);
  CHECK(w.stored(run).state == run_state::queued);
  w.advance(6s);
  CHECK(w.stored(run).state == run_state::expired);
}

TEST_CASE("a wall clock that jumps changes nothing for a run that waits already") {
  world w;
  const run_id run = w.run(within(1h));
  w.jump_wall(std::chrono::hours{24 * 365});
  w.advance(59min);
  CHECK(w.stored(run).state == run_state::queued);
  w.advance(2min);
  CHECK(w.stored(run).state == run_state::expired);
}

TEST_CASE("a cancelled run does not expire, and a new one of `run retry` has its time anew") {
  world w;
  const run_id cancelled = w.run(within(10s));
  w.cancel(cancelled);
  const run_id expired = w.run(within(10s));
  w.advance(1min);
  CHECK(w.stored(cancelled).state == run_state::cancelled);
  CHECK(w.stored(expired).state == run_state::expired);
  const retry_run again{w.ask(), expired};
  w.give(again);
  w.settle();
  w.answer_lookups();
  w.settle();
  const run_id second = w.answered<run_answer>(again.request)->run.id;
  w.advance(5s);
  CHECK(w.stored(second).state == run_state::queued);
  w.advance(6s);
  CHECK(w.stored(second).state == run_state::expired);
}
