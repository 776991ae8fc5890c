// Dispositions: what a result leads to, whenever, from wherever and however often it comes.
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
  explicit bench(run_spec spec = command_spec()) {
    worker.connect();
    run = w.run(std::move(spec));
    offer = worker.take_offer();
    w.settle();
  }
  attempt row() const { return w.disk.attempts.at(*offer.lease); }
};

run_spec retrying(int attempts) {
  run_spec s = command_spec();
  s.retry.max_attempts = attempts;
  return s;
}

}  // namespace

TEST_CASE("each status ends its attempt and run as the table says") {
  struct expected {
    result_status status;
    attempt_state attempt;
    run_state run;
    const char* reason;
  };
  const expected table[] = {
      {result_status::success, attempt_state::succeeded, run_state::succeeded, ""},
      {result_status::failure, attempt_state::failed, run_state::failed, "exit_code"},
      {result_status::error, attempt_state::failed, run_state::failed, "error"},
      {result_status::timeout, attempt_state::timed_out, run_state::failed, "timeout"},
      {result_status::rejected, attempt_state::rejected, run_state::retry_wait, "rejected"},
      {result_status::cancelled, attempt_state::cancelled, run_state::retry_wait, "killed"},
      {result_status::lost, attempt_state::lost, run_state::retry_wait, "worker_reported"},
  };
  for (const expected& e : table) {
    CAPTURE(to_string(e.status));
    bench b;
    const auto seq = b.worker.finish(b.offer, e.status);
    b.w.settle();
    CHECK(b.worker.verdict(seq) == disposition::accepted);
    CHECK(b.row().state == e.attempt);
    CHECK(b.w.stored(b.run).state == e.run);
    CHECK(b.w.stored(b.run).reason == e.reason);
  }
}

TEST_CASE("a result that was recorded once is a duplicate the second time") {
  bench b;
  b.worker.finish(b.offer);
  b.w.settle();
  const auto facts = b.w.disk.facts.size();
  const auto row = b.row();
  const auto again = b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.worker.verdict(again) == disposition::duplicate);
  CHECK(b.w.disk.facts.size() == facts);
  CHECK(b.row() == row);
}

TEST_CASE("a run whose end is not durable yet is judged from memory, not from the store's older rows") {
  bench b;
  b.w.submit(noop_spec());
  b.worker.finish(b.offer);
  b.w.sync(1);  // the submission is durable, the result is not
  const auto again = b.worker.finish(b.offer);
  b.w.answer_lookups();
  b.w.settle();
  CHECK(b.worker.verdict(again) == disposition::duplicate);
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
  CHECK(b.row().superseded_status.empty());
}

TEST_CASE("another result for a recorded lease is a conflict, and the first one stays") {
  bench b;
  b.worker.finish(b.offer, result_status::success, 1);
  b.w.settle();
  const auto other = b.worker.finish(b.offer, result_status::failure, 2);
  b.w.settle();
  CHECK(b.worker.verdict(other) == disposition::duplicate_conflict);
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
}

TEST_CASE("a lease that was never issued is unknown, and says so in the log") {
  bench b;
  auto r = b.worker.result_for(b.offer, result_status::success);
  r.lease = lease_id{999};
  const auto seq = b.worker.say(r, 1);
  b.w.settle();
  CHECK(b.worker.verdict(seq) == disposition::unknown_lease);
  CHECK(b.w.noted("never issued"));
  CHECK(b.w.stored(b.run).state == run_state::active);
}

TEST_CASE("a lease whose row retention has removed is superseded") {
  bench b;
  b.worker.finish(b.offer);
  b.w.settle();
  b.w.disk.purge_run(b.run);
  const auto seq = b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.worker.verdict(seq) == disposition::superseded);
}

TEST_CASE(
    "while a result waits for rows, later messages of its session wait behind it but heartbeats do not") {
  bench b;
  b.worker.finish(b.offer);
  b.w.settle();
  const auto duplicate = b.worker.finish(b.offer);
  REQUIRE(b.w.lookups.size() == 1);
  protocol::event e;
  e.name = "note";
  e.text = "{}";
  const auto event = b.worker.say(e);
  b.worker.beat();
  b.w.sync();
  CHECK(b.worker.acked() < duplicate);
  CHECK(b.worker.received<protocol::ack>().back().seq == event + 1);
  b.w.settle();
  CHECK(b.worker.acked() >= event);
  CHECK(b.w.facts("event.note") == 1);
}

TEST_CASE("a result for another worker's lease changes nothing, and its worker keeps it") {
  bench b;
  test_worker thief(b.w, "thief", 9);
  thief.connect();
  const auto seq = thief.finish(b.offer);
  b.w.settle();
  CHECK(thief.verdict(seq) == disposition::unknown_lease);
  CHECK(b.w.stored(b.run).state == run_state::active);
}

// Row 36 without `server restore`: the files of an older database were put back by hand, and another worker
// was first to get the lease again.
TEST_CASE(
    "a result from before a roll-back, whose lease is another's now, stays with its worker and is shown") {
  world w;
  test_worker a(w, "a", 1);
  a.connect();
  const fake_disk saved = w.disk;
  const run_id lost = w.run(command_spec());
  const auto offer = a.take_offer();
  w.settle();
  w.disk = saved;
  w.restart(1s);
  test_worker b(w, "b", 2);
  b.connect();
  const run_id run = w.run(command_spec());
  const auto again = b.take_offer();
  REQUIRE(*again.lease == *offer.lease);
  REQUIRE_FALSE(run == lost);
  w.settle();
  const auto stays = [&](disposition of_b) {
    a.form.unacked = {test_worker::ref(offer)};
    a.connect();
    const auto late = a.finish(offer);
    w.settle();
    CHECK(a.verdict(late) == disposition::unknown_lease);
    CHECK(w.facts("worker.unknown_result") == 1);
    CHECK(w.disk.facts.back().subject == "worker/a");
    CHECK(w.disk.facts.back().data.find(to_string(lost)) != std::string::npos);
    const auto own = b.finish(again);
    w.settle();
    CHECK(b.verdict(own) == of_b);
    CHECK(w.stored(run).state == run_state::succeeded);
    CHECK(w.attempts_of(run).front().superseded_status.empty());
    a.drop();
    a.connect();  // what it keeps it offers again, and is told once
    const auto once_more = a.finish(offer);
    w.settle();
    CHECK(a.verdict(once_more) == disposition::unknown_lease);
    CHECK(w.facts("worker.unknown_result") == 1);
  };
  SUBCASE("while its other run lives") { stays(disposition::accepted); }
  SUBCASE("after that has ended and left memory") {
    b.finish(again);
    w.settle();
    stays(disposition::duplicate);
  }
}

TEST_CASE("a result of another run than the lease's stays with its worker, also after that run left memory") {
  bench b;
  auto r = b.worker.result_for(b.offer, result_status::success);
  r.job_id.id = to_string(run_id{{7}});
  const auto early = b.worker.say(r, 1);
  b.w.settle();
  CHECK(b.worker.verdict(early) == disposition::unknown_lease);
  b.worker.finish(b.offer);
  b.w.settle();
  const auto late = b.worker.say(r, 1);
  b.w.settle();
  CHECK(b.worker.verdict(late) == disposition::unknown_lease);
  CHECK(b.w.facts("worker.unknown_result") == 1);
}

TEST_CASE("a late result is adopted while nothing newer was offered") {
  bench b;
  b.worker.drop();
  b.w.advance(71s);
  CHECK(b.row().state == attempt_state::lost);
  CHECK(b.w.stored(b.run).state == run_state::retry_wait);
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  CHECK(b.worker.registration().keep.size() == 1);
  CHECK(b.w.stored(b.run).state ==
        run_state::active);  // kept, and not dispatched again before its result came
  const auto seq = b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.worker.verdict(seq) == disposition::accepted);
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
  CHECK(b.w.stored(b.run).losses == 0);
}

TEST_CASE("a late result of a lease that was not listed is adopted too") {
  bench b;
  b.worker.drop();
  b.w.advance(71s);
  b.worker.connect();  // lists nothing, and then finds the result after all
  const auto seq = b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.worker.verdict(seq) == disposition::adopted);
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
  CHECK(b.row().late);
}

TEST_CASE("after a newer lease was offered a late result is stored as superseded and changes nothing") {
  bench b;
  b.worker.drop();
  b.w.advance(71s);
  test_worker second(b.w, "w2", 2);
  second.connect();
  b.w.advance(15s);
  const auto newer = second.take_offer();
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  CHECK(b.worker.registration().abandon.size() == 1);
  const auto late = b.worker.finish(b.offer, result_status::failure, 1);
  b.w.settle();
  CHECK(b.worker.verdict(late) == disposition::superseded);
  CHECK(b.row().superseded_status == "FAILURE");
  CHECK(b.w.stored(b.run).state == run_state::active);
  second.finish(newer);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
  CHECK(b.w.stored(b.run).deciding_lease == *newer.lease);
}

TEST_CASE("a late result of a run that has ended and left memory is stored as superseded") {
  bench b;
  b.worker.drop();
  b.w.advance(71s);
  test_worker second(b.w, "w2", 2);
  second.connect();
  b.w.advance(15s);
  second.finish(second.take_offer());
  b.w.settle();
  REQUIRE(b.w.stored(b.run).state == run_state::succeeded);
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  const auto late = b.worker.finish(b.offer, result_status::failure, 1);
  b.w.settle();
  CHECK(b.worker.verdict(late) == disposition::superseded);
  CHECK(b.row().superseded_status == "FAILURE");
  const auto again = b.worker.finish(b.offer, result_status::failure, 1);
  b.w.settle();
  CHECK(b.worker.verdict(again) == disposition::superseded);
}

TEST_CASE("failures are tried again after a doubling backoff with jitter, up to max_attempts") {
  bench b(retrying(3));
  std::vector<std::int64_t> waits;
  for (int n = 1; n <= 3; ++n) {
    const wall_time before = b.w.wall();
    b.worker.finish(b.offer, result_status::failure);
    b.w.settle();
    if (n == 3) break;
    REQUIRE(b.w.stored(b.run).state == run_state::retry_wait);
    waits.push_back((*b.w.stored(b.run).not_before - before).count());
    b.w.advance(30s);
    b.offer = b.worker.take_offer();
    CHECK(b.offer.attempt == n + 1);
  }
  CHECK(waits[0] >= 9'000);
  CHECK(waits[0] <= 11'000);
  CHECK(waits[1] >= 18'000);
  CHECK(waits[1] <= 22'000);
  CHECK(b.w.stored(b.run).state == run_state::failed);
  CHECK(b.w.stored(b.run).failures == 3);
}

TEST_CASE("a backoff goes on after a restart and is never longer than it was") {
  bench b(retrying(2));
  b.worker.finish(b.offer, result_status::failure);
  b.w.settle();
  b.w.jump_wall(-1h);  // by the wall clock there would be an hour to wait
  b.w.restart();
  b.worker.connect();
  b.w.advance(std::chrono::hours{1} + 7min);
  CHECK(b.worker.take_offers().size() == 1);
}

TEST_CASE("a retry waits by the monotonic clock, whatever the wall clock does") {
  bench b(retrying(2));
  b.worker.finish(b.offer, result_status::failure);
  b.w.settle();
  b.w.jump_wall(24h);
  b.w.advance(5s);
  CHECK(b.worker.take_offers().empty());
  b.w.advance(7s);
  CHECK(b.worker.take_offers().size() == 1);
}

TEST_CASE("a refused run prefers another worker and goes back if there is none") {
  world w;
  test_worker first(w, "w1", 1);
  first.connect();
  const run_id run = w.run(command_spec());
  first.finish(first.take_offer(), result_status::rejected);
  w.settle();
  CHECK(w.stored(run).state == run_state::retry_wait);
  w.advance(2s);
  CHECK(first.take_offers().size() == 1);  // nobody else is there

  world v;
  test_worker one(v, "w1", 1);
  test_worker two(v, "w2", 2);
  one.connect();
  two.connect();
  v.run(command_spec());
  one.finish(one.take_offer(), result_status::rejected);
  v.advance(2s);
  CHECK(one.take_offers().empty());
  CHECK(two.take_offers().size() == 1);
}

TEST_CASE("the tenth refusal fails the run") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = w.run(command_spec());
  for (int n = 1; n <= 10; ++n) {
    CHECK(w.stored(run).state == run_state::active);
    worker.finish(worker.take_offer(), result_status::rejected);
    w.settle();
    for (int second = 0; second < 70 && w.stored(run).state == run_state::retry_wait; ++second) w.advance(1s);
  }
  CHECK(w.stored(run).state == run_state::failed);
  CHECK(w.stored(run).reason == "rejected");
  CHECK(w.stored(run).failures == 0);
}

TEST_CASE("the third loss fails the run with worker_lost") {
  world w;
  const run_id run = w.run(command_spec());
  for (int n = 0; n < 3; ++n) {
    test_worker worker(w, "w" + std::to_string(n), static_cast<std::uint8_t>(n + 1));
    worker.connect();
    w.advance(60s);
    worker.beat();
    if (w.stored(run).state == run_state::active) worker.take_offers();
    worker.drop();
    w.advance(100s);
  }
  CHECK(w.stored(run).state == run_state::failed);
  CHECK(w.stored(run).reason == "worker_lost");
  CHECK(w.stored(run).losses == 3);
}

TEST_CASE("an at_most_once run becomes unknown when its attempt is lost, and is never offered again") {
  run_spec s = command_spec();
  s.at_most_once = true;
  bench b(s);
  b.worker.drop();
  b.w.advance(71s);
  CHECK(b.w.stored(b.run).state == run_state::unknown);
  test_worker second(b.w, "w2", 2);
  second.connect();
  b.w.advance(10min);
  CHECK(second.take_offers().empty());
  SUBCASE("a late result settles it") {
    b.worker.form.unacked = {test_worker::ref(b.offer)};
    b.worker.connect();
    b.worker.finish(b.offer);
    b.w.settle();
    CHECK(b.w.stored(b.run).state == run_state::succeeded);
  }
  SUBCASE("a person settles it") {
    const resolve_run in{b.w.ask(), b.run, run_state::failed};
    b.w.give(in);
    b.w.settle();
    CHECK(b.w.answered<run_answer>(in.request)->run.state == run_state::failed);
    CHECK(b.w.stored(b.run).reason == "resolved");
  }
  SUBCASE("it survives a restart as unknown and its process may be found alive") {
    b.w.restart();
    b.worker.form.running = {test_worker::ref(b.offer)};
    b.worker.connect();
    CHECK(b.worker.registration().keep.size() == 1);
    CHECK(b.w.stored(b.run).state == run_state::unknown);
    b.worker.finish(b.offer, result_status::failure);
    b.w.settle();
    CHECK(b.w.stored(b.run).state == run_state::failed);
  }
}

TEST_CASE("a result is processed only when the output before it is durable") {
  bench b;
  b.worker.output(b.offer, 0, "hello");
  const auto seq = b.worker.finish(b.offer);
  b.w.sync();
  CHECK(b.worker.acked() < seq);
  CHECK(b.w.stored(b.run).state == run_state::active);
  b.w.sync_output();
  b.w.sync();
  CHECK(b.worker.verdict(seq) == disposition::accepted);
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
  CHECK(b.w.disk.output.at({*b.offer.lease, "stdout"}) == "hello");
}

TEST_CASE("output is taken once by its position, and a jump is a gap") {
  bench b;
  b.worker.output(b.offer, 0, "hello");
  b.worker.output(b.offer, 0, "hello");
  b.worker.output(b.offer, 3, "lo you");
  b.worker.output(b.offer, 20, "end", 9);
  b.w.settle();
  CHECK(b.w.disk.output.at({*b.offer.lease, "stdout"}) == "hello you...........end");
  b.w.restart();
  b.worker.form.running = {test_worker::ref(b.offer)};
  b.worker.connect();
  b.worker.output(b.offer, 0, "hello you");
  b.worker.output(b.offer, 23, "!");
  b.w.settle();
  CHECK(b.w.disk.output.at({*b.offer.lease, "stdout"}) == "hello you...........end!");
  // A restarted worker goes on from its last record, so what it says is missing may begin below what we have.
  b.worker.output(b.offer, 30, "", 9);
  b.worker.output(b.offer, 30, "x", 9);
  b.w.settle();
  CHECK(b.w.disk.output.at({*b.offer.lease, "stdout"}) == "hello you...........end!......x");
}

TEST_CASE("an ack of output waits for the output database only") {
  bench b;
  b.worker.output(b.offer, 0, "x");
  const auto seq = b.worker.say(protocol::unknown_message{"later", "w1"});
  b.w.sync();
  CHECK(b.worker.acked() < seq - 1);
  b.w.sync_output();
  CHECK(b.worker.acked() >= seq);
}

TEST_CASE("events with a number are stored once") {
  bench b;
  protocol::event e;
  e.name = "progress";
  e.job_id = b.offer.job_id;
  e.lease = b.offer.lease;
  e.n = 1;
  e.text = R"({"percent":50})";
  b.worker.say(e);
  b.worker.say(e);
  e.n = 2;
  b.worker.say(e);
  b.w.settle();
  CHECK(b.w.facts("event.progress") == 2);
  CHECK(b.w.disk.attempts.at(*b.offer.lease).last_event == 2);
  b.worker.finish(b.offer);
  b.w.settle();
  b.worker.say(e);  // its run has left memory: the row tells
  e.n = 3;
  b.worker.say(e);
  b.w.settle();
  CHECK(b.w.facts("event.progress") == 3);
}

TEST_CASE("a gap at the end of the output comes without data, and the result behind it is taken") {
  bench b;
  b.worker.output(b.offer, 0, "head");
  b.worker.output(b.offer, 5000, "", 4);
  b.worker.finish(b.offer);
  b.w.settle();
  CHECK(b.w.disk.output.at({*b.offer.lease, "stdout"}).size() == 5000);
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
}

TEST_CASE("a gap of an attempt that left memory is stored, too") {
  bench b;
  b.worker.finish(b.offer);
  b.w.settle();
  b.worker.output(b.offer, 70, "", 0);
  const auto last = b.worker.say(protocol::unknown_message{"later", "w1"});
  b.w.settle();
  CHECK(b.w.disk.output.at({*b.offer.lease, "stdout"}).size() == 70);
  CHECK(b.worker.acked() >= last);
}

TEST_CASE("two late messages of one attempt build on each other while the first is on its way to the disk") {
  bench b;
  b.worker.finish(b.offer);
  b.w.settle();
  protocol::event e;
  e.name = "progress";
  e.job_id = b.offer.job_id;
  e.lease = b.offer.lease;
  e.n = 5;
  e.text = "{}";
  b.worker.say(e);
  b.w.answer_lookups();
  b.worker.say(e);  // the look-up finds the row as it was before the first one
  b.w.answer_lookups();
  b.w.settle();
  CHECK(b.w.facts("event.progress") == 1);
}

TEST_CASE("a superseded result on its way to the disk is not forgotten when its run leaves memory") {
  bench b;
  b.worker.drop();
  b.w.advance(71s);
  test_worker second(b.w, "w2", 2);
  second.connect();
  b.w.advance(15s);
  const auto newer = second.take_offer();
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  second.finish(newer);
  b.worker.finish(b.offer, result_status::failure, 1);
  b.w.sync(1);  // the run's end is durable, the superseded result is not
  const auto again = b.worker.finish(b.offer, result_status::failure, 2);
  b.w.answer_lookups();
  b.w.settle();
  CHECK(b.worker.verdict(again) == disposition::duplicate_conflict);
  CHECK(b.row().result_crc == 1);
}

TEST_CASE("a result whose output was lost says so in the history") {
  bench b;
  auto r = b.worker.result_for(b.offer, result_status::success);
  r.output_lost = true;
  b.worker.say(r, 1);
  b.w.settle();
  CHECK(b.w.facts("attempt.output_lost") == 1);
}

TEST_CASE("a result that waited an hour shows when its process ended, not when it arrived") {
  bench b;
  b.w.advance(1s);
  b.worker.start(b.offer);
  b.w.settle();
  const wall_time started = b.w.wall();
  b.worker.drop();
  b.w.restart(1h);
  b.worker.form.unacked = {test_worker::ref(b.offer)};
  b.worker.connect();
  const auto seq = b.worker.finish(b.offer);  // says that it took 2 s
  b.w.settle();
  CHECK(b.worker.verdict(seq) == disposition::accepted);
  CHECK(b.row().started_at == started);
  CHECK(b.row().finished_at == started + 2s);
  CHECK(b.w.stored(b.run).started_at == started);
  CHECK(b.w.stored(b.run).finished_at == b.w.wall());  // when it was decided
}

TEST_CASE("an end lies between its start and its arrival, whatever a worker says of its duration") {
  struct expected {
    double says;
    nanoseconds start,
        end;  // both before the arrival, 10 s after a start that was told and 11 s after the offer
    bool told;
  };
  const expected table[] = {
      {2, 10s, 8s, true},         // the usual case
      {0, 10s, 0s, true},         // not said
      {-5, 10s, 0s, true},        // nonsense
      {10.5, 10500ms, 0s, true},  // its start was told late
      {1e300, 11s, 0s, true},     // longer than it was known
      {2, 2s, 0s, false},         // its start was never told
      {60, 11s, 0s, false},
  };
  for (const expected& e : table) {
    CAPTURE(e.says);
    CAPTURE(e.told);
    bench b;
    b.w.advance(1s);
    if (e.told) b.worker.start(b.offer);
    b.w.advance(10s);
    auto result = b.worker.result_for(b.offer, result_status::success);
    result.duration_seconds = e.says;
    b.worker.say(result, 0xabc);
    b.w.settle();
    const auto before = [&](nanoseconds by) {
      return b.w.wall() - std::chrono::duration_cast<milliseconds>(by);
    };
    CHECK(b.row().started_at == before(e.start));
    CHECK(b.row().finished_at == before(e.end));
    CHECK(b.w.stored(b.run).started_at == before(e.start));
    CHECK(b.w.stored(b.run).finished_at == b.w.wall());
  }
}

TEST_CASE("a run that was tried again began with its first attempt and ends with its last") {
  bench b(retrying(2));
  b.w.advance(1s);
  b.worker.start(b.offer);
  const wall_time began = b.w.wall();
  b.w.advance(5s);
  b.worker.finish(b.offer, result_status::failure);
  b.w.advance(12s);
  const auto second = b.worker.take_offer();
  b.worker.start(second);
  const wall_time again = b.w.wall();
  b.w.advance(20s);
  b.worker.finish(second);
  b.w.settle();
  CHECK(b.w.stored(b.run).started_at == began);
  CHECK(b.w.attempts_of(b.run).back().finished_at == again + 2s);
  CHECK(b.w.stored(b.run).finished_at == b.w.wall());
}
