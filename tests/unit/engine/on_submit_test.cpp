// Submissions, idempotency keys, retries, holds: each request is answered once, with what is durable.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

run_id end_one(world& w, test_worker& worker, const std::string& key = "") {
  const request_id id = w.submit(command_spec(), key);
  w.settle();
  worker.finish(worker.take_offer());
  w.settle();
  return w.answered<run_answer>(id)->run.id;
}

}  // namespace

TEST_CASE("the same key and request is the same run, whenever it is sent again") {
  world w;
  test_worker worker(w);
  worker.connect();
  const request_id first = w.submit(command_spec(), "k");
  const request_id at_once = w.submit(command_spec(), "k");  // before the first is durable
  w.settle();
  const request_id later = w.submit(command_spec(), "k");  // known to the store only
  w.settle();
  worker.finish(worker.take_offer());
  w.settle();
  const request_id after_the_end = w.submit(command_spec(), "k");
  w.settle();
  const run_id run = w.answered<run_answer>(first)->run.id;
  CHECK(w.answered<run_answer>(first)->created);
  for (const request_id id : {at_once, later, after_the_end}) {
    const auto* a = w.answered<run_answer>(id);
    REQUIRE(a != nullptr);
    CHECK(a->run.id == run);
    CHECK(a->replayed);
    CHECK_FALSE(a->created);
    CHECK(a->spec.has_value());
  }
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("a key whose run is not durable yet is known without asking the store") {
  world w;
  w.submit(command_spec(), "k");
  const request_id again = w.submit(command_spec(), "k");
  w.answer_lookups();  // the store would say that it does not know the key
  w.settle();
  CHECK(w.answered<run_answer>(again)->replayed);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("a key with another request is refused") {
  world w;
  w.submit(command_spec(), "k", 1);
  const request_id at_once = w.submit(noop_spec(), "k", 2);
  w.settle();
  const request_id later = w.submit(noop_spec(), "k", 2);
  w.settle();
  CHECK(w.answered<refusal>(at_once)->code == errc::key_reused);
  CHECK(w.answered<refusal>(later)->code == errc::key_reused);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("a replay for a run that retention removed answers its id") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = end_one(w, worker, "k");
  w.disk.purge_run(run);
  const request_id again = w.submit(command_spec(), "k");
  w.settle();
  REQUIRE(w.answered<purged_answer>(again) != nullptr);
  CHECK(w.answered<purged_answer>(again)->id == run);
}

TEST_CASE("keys survive a restart, and requests with one key in flight make one run") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = end_one(w, worker, "k");
  w.restart();
  const request_id a = w.submit(command_spec(), "k");
  const request_id b = w.submit(command_spec(), "k");
  CHECK(w.lookups.size() == 1);
  w.settle();
  CHECK(w.answered<run_answer>(a)->run.id == run);
  CHECK(w.answered<run_answer>(b)->run.id == run);
}

TEST_CASE("two requests that wait for a look-up of a key that is gone make one run") {
  world w;
  w.submit(command_spec(), "k");
  w.settle();
  w.disk.keys.clear();  // the filter still says maybe
  const request_id a = w.submit(command_spec(), "k");
  const request_id b = w.submit(command_spec(), "k");
  w.settle();
  CHECK(w.answered<run_answer>(a)->created);
  CHECK(w.answered<run_answer>(b)->replayed);
  CHECK(w.answered<run_answer>(a)->run.id == w.answered<run_answer>(b)->run.id);
}

TEST_CASE("a submission that names no job, or args without a script, is refused with its place") {
  world w;
  submit_run unknown;
  unknown.request = w.ask();
  unknown.what.job = "nowhere";
  w.give(unknown);
  submit_run args;
  args.request = w.ask();
  args.what.spec = command_spec();
  args.what.args = "--x";
  w.give(args);
  w.settle();
  CHECK(w.answered<refusal>(unknown.request)->code == errc::not_found);
  CHECK(w.answered<refusal>(args.request)->pointer == "/args");
}

TEST_CASE("the queue is bounded") {
  config settings;
  settings.max_queued_runs = 3;
  world w(settings);
  for (int i = 0; i < 3; ++i) w.run(command_spec());
  const request_id more = w.submit(command_spec());
  w.settle();
  CHECK(w.answered<refusal>(more)->code == errc::limit);
}

TEST_CASE("a specification is stored once for all runs that share it") {
  world w;
  for (int i = 0; i < 5; ++i) w.run(command_spec());
  w.run(script_spec());
  CHECK(w.disk.specs.size() == 2);
}

TEST_CASE("a retry is a new run with the old one's specification and arguments") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id old = w.run(command_spec());
  const retry_run early{w.ask(), old};
  w.give(early);
  w.settle();
  CHECK(w.answered<refusal>(early.request)->code == errc::conflict);
  worker.finish(worker.take_offer(), result_status::failure);
  w.settle();
  const retry_run in{w.ask(), old};
  w.give(in);
  w.settle();
  const auto* a = w.answered<run_answer>(in.request);
  REQUIRE(a != nullptr);
  CHECK(a->created);
  CHECK(a->run.retry_of == old);
  CHECK(a->run.job == "adhoc");
  CHECK(w.stored(old).state == run_state::failed);
  CHECK(worker.take_offer().command == std::vector<std::string>{"true"});
}

TEST_CASE("a retry with a key makes one run, also after a restart and when its old run left memory") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id old = w.run(command_spec());
  worker.finish(worker.take_offer(), result_status::failure);
  w.settle();
  const auto retry = [&](std::uint64_t fingerprint) {
    retry_run in{w.ask(), old};
    in.idempotency_key = "again";
    in.fingerprint = fingerprint;
    w.give(in);
    return in.request;
  };
  // Two at once: the second finds the first one under way, which waits for the old run's rows.
  const request_id first = retry(7);
  const request_id second = retry(7);
  w.settle();
  const auto* a = w.answered<run_answer>(first);
  const auto* b = w.answered<run_answer>(second);
  REQUIRE(a != nullptr);
  REQUIRE(b != nullptr);
  CHECK(a->created);
  CHECK(a->run.retry_of == old);
  CHECK_FALSE(b->created);
  CHECK(b->replayed);
  CHECK(b->run.id == a->run.id);
  const run_id made = a->run.id;
  w.restart();
  const request_id third = retry(7);
  const request_id other = retry(8);
  w.settle();
  REQUIRE(w.answered<run_answer>(third) != nullptr);
  CHECK(w.answered<run_answer>(third)->replayed);
  CHECK(w.answered<run_answer>(third)->run.id == made);
  REQUIRE(w.answered<refusal>(other) != nullptr);
  CHECK(w.answered<refusal>(other)->code == errc::key_reused);
}

TEST_CASE("a retry that is refused lets go of its key") {
  world w;
  retry_run nobody{w.ask(), make_uuid_v7(w.wall(), 1, 2)};
  nobody.idempotency_key = "again";
  w.give(nobody);
  const request_id behind = w.submit(command_spec(), "again");
  w.settle();
  CHECK(w.answered<refusal>(nobody.request)->code == errc::not_found);
  REQUIRE(w.answered<run_answer>(behind) != nullptr);
  CHECK(w.answered<run_answer>(behind)->created);
}

TEST_CASE("a request about a run that does not exist is not found") {
  world w;
  const run_id nobody = make_uuid_v7(w.wall(), 1, 2);
  const cancel_run a{w.ask(), nobody};
  const retry_run b{w.ask(), nobody};
  const hold_run c{w.ask(), nobody, true};
  const resolve_run d{w.ask(), nobody, run_state::failed};
  w.give(a);
  w.give(b);
  w.give(c);
  w.give(d);
  w.settle();
  for (const request_id id : {a.request, b.request, c.request, d.request}) {
    REQUIRE(w.answered<refusal>(id) != nullptr);
    CHECK(w.answered<refusal>(id)->code == errc::not_found);
  }
}

TEST_CASE("a held run waits for its release") {
  world w;
  test_worker worker(w);
  worker.connect();
  submit_run in;
  in.request = w.ask();
  in.what.spec = command_spec();
  in.what.held = true;
  w.give(in);
  w.settle();
  const run_id run = w.answered<run_answer>(in.request)->run.id;
  CHECK(w.answered<run_answer>(in.request)->run.job == "true");  // named after its command
  CHECK(worker.take_offers().empty());
  CHECK(w.why(run) == std::vector<std::string>{"held"});
  w.restart();
  worker.connect();
  CHECK(worker.take_offers().empty());
  w.give(hold_run{w.ask(), run, false});
  w.settle();
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("a run with a start time waits for the wall clock, also through a restart") {
  world w;
  test_worker worker(w);
  worker.connect();
  submit_run in;
  in.request = w.ask();
  in.what.spec = command_spec();
  in.what.not_before = w.wall() + 1h;
  w.give(in);
  w.settle();
  const run_id run = w.answered<run_answer>(in.request)->run.id;
  CHECK(w.why(run) == std::vector<std::string>{"not_before"});
  w.restart();
  worker.connect();
  w.advance(59min);
  CHECK(worker.take_offers().empty());
  w.advance(61s);
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("a start time comes soon after the wall clock jumps past it") {
  world w;
  test_worker worker(w);
  worker.connect();
  submit_run in;
  in.request = w.ask();
  in.what.spec = command_spec();
  in.what.not_before = w.wall() + 24h;
  w.give(in);
  w.settle();
  w.jump_wall(25h);
  w.advance(10s);
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("what would not fit into one frame to a worker is refused with its size, at submit and at apply") {
  world w;
  run_spec s = command_spec();
  s.stdin_text = std::string(200'000, '\x01');  // six bytes each in JSON
  const request_id id = w.submit(s);
  w.settle();
  const auto* wrong = w.answered<refusal>(id);
  REQUIRE(wrong != nullptr);
  CHECK(wrong->code == errc::too_large);
  job_definition job;
  job.name = "big";
  job.spec = s;
  const request_id applied = w.apply(job);
  REQUIRE(w.answered<refusal>(applied) != nullptr);
  CHECK(w.answered<refusal>(applied)->code == errc::too_large);
  s.stdin_text = std::string(limits::stdin_bytes, 'x');
  const request_id fits = w.submit(s);
  w.settle();
  CHECK(w.answered<run_answer>(fits) != nullptr);
}
