// Runs that wait for other runs: which ends let them go, which skip them, over restarts, in long chains and
// wide diamonds, and what a submission may not name.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

using codes = std::vector<std::string>;

submit_run submission_after(world& w, std::vector<dependency> after) {
  submit_run in;
  in.request = w.ask();
  in.what.name = "later";
  in.what.spec = command_spec();
  in.after = std::move(after);
  in.fingerprint = 1;
  return in;
}

request_id ask_after(world& w, std::vector<dependency> after, std::string key = "") {
  submit_run in = submission_after(w, std::move(after));
  in.idempotency_key = std::move(key);
  w.give(in);
  return in.request;
}

// One of many: it is not settled, and no invariant is checked.
run_id add_after(world& w, const run_id& first) {
  const effects e = w.give(submission_after(w, {{first, after_condition::ok}}));
  for (const mutation& m : e.commit.value().mutations) {
    if (const auto* row = std::get_if<put_run>(&m)) return row->run.id;
  }
  FAIL("no run was made");
  return {};
}

run_id run_after(world& w, std::vector<dependency> after) {
  const request_id asked = ask_after(w, std::move(after));
  w.settle();
  const auto* a = w.answered<run_answer>(asked);
  REQUIRE(a != nullptr);
  return a->run.id;
}

const refusal& refused(const world& w, request_id asked) {
  const auto* r = w.answered<refusal>(asked);
  REQUIRE(r != nullptr);
  return *r;
}

test_worker one_worker(world& w, int slots = 4) {
  test_worker worker(w);
  worker.form.slots = slots;
  worker.connect();
  return worker;
}

void end_all(world& w, test_worker& worker, result_status as) {
  for (const auto& offer : worker.take_offers()) {
    worker.start(offer);
    worker.finish(offer, as);
  }
  w.settle();
}

run_state state(const world& w, const run_id& id) { return w.stored(id).state; }

}  // namespace

TEST_CASE("each end lets go those that ask for it, and skips the others") {
  struct {
    result_status end;
    run_state first, ok, any, failed;
  } const rows[] = {
      {result_status::success, run_state::succeeded, run_state::active, run_state::active,
       run_state::skipped},
      {result_status::failure, run_state::failed, run_state::skipped, run_state::active, run_state::active},
      {result_status::timeout, run_state::failed, run_state::skipped, run_state::active, run_state::active},
  };
  for (const auto& row : rows) {
    world w;
    test_worker worker = one_worker(w);
    const run_id first = w.run(command_spec());
    const run_id ok = run_after(w, {{first, after_condition::ok}});
    const run_id any = run_after(w, {{first, after_condition::any}});
    const run_id failed = run_after(w, {{first, after_condition::failed}});
    for (const run_id& id : {ok, any, failed}) {
      CHECK(state(w, id) == run_state::queued);
      CHECK(w.why(id) == codes{"dependency"});
    }
    end_all(w, worker, row.end);
    CHECK(state(w, first) == row.first);
    CHECK(state(w, ok) == row.ok);
    CHECK(state(w, any) == row.any);
    CHECK(state(w, failed) == row.failed);
    for (const run_id& id : {ok, failed}) {
      if (state(w, id) == run_state::skipped) CHECK(w.stored(id).reason == "dependency");
    }
  }
}

TEST_CASE("a cancelled run counts as failed, and a skipped one only as ended") {
  world w;
  const run_id first = w.run(command_spec());
  const run_id ok = run_after(w, {{first, after_condition::ok}});
  const run_id failed = run_after(w, {{first, after_condition::failed}});
  const run_id after_skipped = run_after(w, {{ok, after_condition::any}});
  const run_id after_skipped_failed = run_after(w, {{ok, after_condition::failed}});
  w.cancel(first);
  w.settle();
  CHECK(state(w, first) == run_state::cancelled);
  CHECK(state(w, ok) == run_state::skipped);
  CHECK(state(w, failed) == run_state::queued);
  CHECK(w.why(failed) == codes{"no_worker"});
  CHECK(w.why(after_skipped) == codes{"no_worker"});
  CHECK(state(w, after_skipped_failed) == run_state::skipped);
}

TEST_CASE("a run waits for all of several, however they end in time, and a retry does not end its run") {
  world w;
  test_worker worker = one_worker(w);
  run_spec twice = command_spec();
  twice.retry.max_attempts = 2;
  const run_id a = w.run(twice);
  const run_id b = w.run(command_spec());
  const run_id last = run_after(w, {{a, after_condition::ok}, {b, after_condition::any}});
  auto offers = worker.take_offers();
  REQUIRE(offers.size() == 2);
  for (const auto& offer : offers) worker.start(offer);
  worker.finish(offers[0], result_status::failure);
  worker.finish(offers[1], result_status::failure);
  w.settle();
  CHECK(state(w, a) == run_state::retry_wait);
  CHECK(w.why(last) == codes{"dependency"});
  w.advance(30s);
  end_all(w, worker, result_status::success);
  CHECK(state(w, a) == run_state::succeeded);
  CHECK(state(w, last) == run_state::active);
  CHECK(w.stored(last).after == std::vector<dependency>{{a, after_condition::ok}, {b, after_condition::any}});
}

TEST_CASE("what a run waits for outlives a restart, and so does that it waits no longer") {
  world w;
  test_worker worker = one_worker(w);
  const run_id a = w.run(command_spec());
  const run_id b = w.run(command_spec());
  const run_id last = run_after(w, {{a, after_condition::ok}, {b, after_condition::ok}});
  auto offers = worker.take_offers();
  for (const auto& offer : offers) worker.start(offer);
  worker.finish(offers[0], result_status::success);
  w.settle();
  w.restart();
  CHECK(w.why(last) == codes{"dependency", "no_worker"});
  worker.form.running = {test_worker::ref(offers[1])};
  worker.connect();
  worker.finish(offers[1], result_status::success);
  SUBCASE("the end was durable") {
    w.settle();
    CHECK(state(w, last) == run_state::active);
  }
  SUBCASE("the coordinator was killed before the end was durable: then nobody was let go either") {
    w.restart();
    CHECK(state(w, b) == run_state::active);
    CHECK(w.why(last) == codes{"dependency", "no_worker"});
    worker.form.running = {test_worker::ref(offers[1])};
    worker.connect();
    worker.finish(offers[1], result_status::success);
    w.settle();
    CHECK(state(w, last) == run_state::active);
  }
}

TEST_CASE("runs that ended long ago are looked up") {
  world w;
  test_worker worker = one_worker(w);
  const run_id good = w.run(command_spec());
  end_all(w, worker, result_status::success);
  const run_id bad = w.run(command_spec());
  end_all(w, worker, result_status::failure);
  w.restart(1s);
  CHECK(w.why(good) == codes{"not in memory"});
  worker.connect();
  CHECK(state(w, run_after(w, {{good, after_condition::ok}, {bad, after_condition::failed}})) ==
        run_state::active);
  CHECK(state(w, run_after(w, {{good, after_condition::ok}, {bad, after_condition::ok}})) ==
        run_state::skipped);
}

TEST_CASE(
    "a submission with a key that waits for a look-up makes one run, also when it is sent again meanwhile") {
  world w;
  test_worker worker = one_worker(w);
  const run_id good = w.run(command_spec());
  end_all(w, worker, result_status::success);
  w.restart(1s);
  const request_id first = ask_after(w, {{good, after_condition::ok}}, "key");
  const request_id second = ask_after(w, {{good, after_condition::ok}}, "key");
  w.settle();
  REQUIRE(w.answered<run_answer>(first) != nullptr);
  REQUIRE(w.answered<run_answer>(second) != nullptr);
  CHECK(w.answered<run_answer>(first)->run.id == w.answered<run_answer>(second)->run.id);
  CHECK(w.disk.runs.size() == 2);
}

TEST_CASE("a run that is not there, a run named twice, and too many that wait are refused with their place") {
  world w;
  const run_id first = w.run(command_spec());
  request_id asked = ask_after(w, {{first, after_condition::ok}, {run_id{{9}}, after_condition::ok}});
  w.settle();
  CHECK(refused(w, asked).code == errc::not_found);
  CHECK(refused(w, asked).pointer == "/after/1/run");
  asked = ask_after(w, {{first, after_condition::ok}, {first, after_condition::any}});
  w.settle();
  CHECK(refused(w, asked).code == errc::bad_field);
  CHECK(refused(w, asked).pointer == "/after/1/run");
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("no more than 10,000 runs wait for one") {
  world w;
  const run_id first = w.run(command_spec());
  w.checks_each_step = false;
  const run_id one = add_after(w, first);
  for (std::size_t i = 1; i < limits::dependents; ++i) add_after(w, first);
  w.check();
  const request_id asked = ask_after(w, {{first, after_condition::ok}});
  w.settle();
  CHECK(refused(w, asked).code == errc::limit);
  CHECK(refused(w, asked).pointer == "/after/0/run");
  w.cancel(one);  // who waits no longer does not count
  CHECK(state(w, run_after(w, {{first, after_condition::ok}})) == run_state::queued);
}

TEST_CASE("a repetition whose names mean nothing any more gets the run of its key") {
  world w;
  const run_id first = w.run(command_spec());
  const request_id asked = ask_after(w, {{first, after_condition::ok}}, "key");
  w.settle();
  const run_id made = w.answered<run_answer>(asked)->run.id;
  for (const bool restarted : {false, true}) {
    if (restarted) w.restart(1s);
    submit_run again = submission_after(w, {});
    again.idempotency_key = "key";
    again.replay_only = true;
    w.give(again);
    w.settle();
    REQUIRE(w.answered<run_answer>(again.request) != nullptr);
    CHECK(w.answered<run_answer>(again.request)->run.id == made);
    again.request = w.ask();
    again.idempotency_key = "another";
    w.give(again);
    w.settle();
    CHECK(refused(w, again.request).code == errc::not_found);
  }
  CHECK(w.disk.runs.size() == 2);
}

TEST_CASE("a chain of 10,000 runs is skipped when its head fails, a thousand in a step") {
  world w;
  test_worker worker = one_worker(w);
  const run_id head = w.run(command_spec());
  w.checks_each_step = false;
  run_id tail = head;
  for (int i = 0; i < 10'000; ++i) tail = add_after(w, tail);
  w.settle();
  CHECK(state(w, tail) == run_state::queued);
  const auto offer = worker.take_offer();
  worker.start(offer);
  worker.finish(offer, result_status::failure);
  w.sync();
  CHECK(w.facts("run.skipped") == limits::dependents_a_step);
  SUBCASE("step by step") {}
  SUBCASE("and over a kill between two steps") {
    w.restart(1s);
    CHECK(w.disk.runs.at(tail).state == run_state::queued);
  }
  w.advance(1s);
  CHECK(state(w, tail) == run_state::skipped);
  CHECK(w.facts("run.skipped") == 10'000);
  w.check();
}

TEST_CASE("a diamond of 1,000 runs starts its end when the last of them ended") {
  world w;
  test_worker worker = one_worker(w, 1'000);
  const run_id head = w.run(command_spec());
  w.checks_each_step = false;
  std::vector<dependency> sides;
  for (std::size_t i = 0; i < limits::dependencies; ++i)
    sides.push_back({add_after(w, head), after_condition::ok});
  w.settle();
  const run_id end = run_after(w, sides);
  end_all(w, worker, result_status::success);
  auto offers = worker.take_offers();
  REQUIRE(offers.size() == limits::dependencies);
  for (const auto& offer : offers) {
    CHECK(w.disk.attempts.at(*offer.lease).run != end);
    worker.start(offer);
    worker.finish(offer, result_status::success);
  }
  w.settle();
  CHECK(state(w, end) == run_state::active);
  w.check();
}

TEST_CASE("cancelling, holding and releasing a run that waits") {
  world w;
  test_worker worker = one_worker(w);
  const run_id first = w.run(command_spec());
  SUBCASE("cancelled, it stays so when the other ends") {
    const run_id last = run_after(w, {{first, after_condition::ok}});
    w.cancel(last);
    end_all(w, worker, result_status::success);
    CHECK(state(w, last) == run_state::cancelled);
  }
  SUBCASE("held, it goes when both gates are open") {
    const run_id last = run_after(w, {{first, after_condition::ok}});
    w.give(hold_run{w.ask(), last, true});
    end_all(w, worker, result_status::success);
    CHECK(w.why(last) == codes{"held"});
    w.give(hold_run{w.ask(), last, false});
    w.settle();
    CHECK(state(w, last) == run_state::active);
  }
  SUBCASE("released from what it waits for, it goes at once, and no end of the other touches it") {
    const run_id last = run_after(w, {{first, after_condition::ok}});
    w.give(hold_run{w.ask(), last, false});
    w.settle();
    CHECK(w.why(last) == codes{"dependency"});
    w.give(hold_run{w.ask(), last, false, true});
    w.settle();
    CHECK(state(w, last) == run_state::active);
    CHECK(w.stored(last).after.empty());
    w.cancel(first);
    w.settle();
    CHECK(state(w, last) == run_state::active);
  }
}

TEST_CASE("a retry of a skipped run waits for nobody") {
  world w;
  test_worker worker = one_worker(w);
  const run_id first = w.run(command_spec());
  const run_id last = run_after(w, {{first, after_condition::ok}});
  end_all(w, worker, result_status::failure);
  REQUIRE(state(w, last) == run_state::skipped);
  const retry_run in{w.ask(), last};
  w.give(in);
  w.settle();
  REQUIRE(w.answered<run_answer>(in.request) != nullptr);
  CHECK(state(w, w.answered<run_answer>(in.request)->run.id) == run_state::active);
}

TEST_CASE("of runs retried together each waits for the new runs of those it waited for, and for no other") {
  world w;
  auto worker = one_worker(w);
  const run_id apart = w.run(command_spec());
  end_all(w, worker, result_status::failure);
  const run_id head = w.run(command_spec());
  const run_id middle = run_after(w, {{head, after_condition::ok}});
  const run_id tail = run_after(w, {{middle, after_condition::any}, {apart, after_condition::failed}});
  const run_id skipped = run_after(w, {{apart, after_condition::ok}});
  end_all(w, worker, result_status::failure);
  end_all(w, worker, result_status::failure);
  REQUIRE(w.stored(middle).state == run_state::skipped);
  REQUIRE(w.stored(tail).state == run_state::failed);

  retry_runs in;
  in.request = w.ask();
  for (const run_id& old : {skipped, tail, middle, head})  // the newest first, as the list has them
    in.runs.push_back({w.stored(old), protocol::encode_spec(command_spec())});
  w.give(in);
  w.settle();
  const auto* made = w.answered<retried_answer>(in.request);
  REQUIRE(made != nullptr);
  REQUIRE(made->runs.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(w.stored(made->runs[i]).retry_of == in.runs[i].run.id);
  const auto& [skipped_again, tail_again, middle_again, head_again] =
      std::tie(made->runs[0], made->runs[1], made->runs[2], made->runs[3]);
  CHECK(w.stored(skipped_again).state == run_state::active);
  CHECK(w.stored(head_again).state == run_state::active);
  CHECK(w.why(middle_again) == codes{"dependency"});
  CHECK(w.why(tail_again) == codes{"dependency"});
  CHECK(w.stored(tail_again).after == std::vector<dependency>{{middle_again, after_condition::any}});
  end_all(w, worker, result_status::success);
  CHECK(w.stored(middle_again).state == run_state::active);
  end_all(w, worker, result_status::success);
  CHECK(w.stored(tail_again).state == run_state::active);
}
