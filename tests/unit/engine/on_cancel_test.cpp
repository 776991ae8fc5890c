// Cancels and what they race with. Rows 17, 18 and 19 of "what happens when".
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
  run_state answered(request_id id) {
    const auto* a = w.answered<run_answer>(id);
    REQUIRE(a != nullptr);
    return a->run.state;
  }
};

}  // namespace

TEST_CASE("row 17: a waiting run is cancelled at once and never offered") {
  world w;
  const run_id run = w.run(command_spec());
  const request_id id = w.cancel(run);
  w.settle();
  CHECK(w.answered<run_answer>(id)->run.state == run_state::cancelled);
  test_worker worker(w);
  worker.connect();
  CHECK(worker.take_offers().empty());
}

TEST_CASE("row 17: so is one that waits for its next try") {
  run_spec s = command_spec();
  s.retry.max_attempts = 5;
  bench b(s);
  b.worker.finish(b.offer, result_status::failure);
  b.w.settle();
  REQUIRE(b.w.stored(b.run).state == run_state::retry_wait);
  b.w.cancel(b.run);
  b.w.advance(10min);
  CHECK(b.w.stored(b.run).state == run_state::cancelled);
  CHECK(b.worker.take_offers().empty());
}

TEST_CASE("row 18: a cancel recorded first makes the run cancelled, whatever its attempt's end was") {
  for (const result_status status : {result_status::success, result_status::failure, result_status::cancelled,
                                     result_status::timeout, result_status::rejected, result_status::lost}) {
    CAPTURE(to_string(status));
    run_spec s = command_spec();
    s.retry.max_attempts = 5;
    bench b(s);
    const request_id id = b.w.cancel(b.run);
    b.w.settle();
    CHECK(b.answered(id) == run_state::active);
    CHECK(b.w.stored(b.run).cancel_requested);
    CHECK(b.worker.received<protocol::cancel_job>().size() == 1);
    const auto seq = b.worker.finish(b.offer, status);
    b.w.settle();
    CHECK(b.worker.verdict(seq) == disposition::accepted);
    CHECK(b.w.stored(b.run).state == run_state::cancelled);
  }
}

TEST_CASE("row 18: a result recorded first keeps its outcome") {
  bench b;
  b.worker.finish(b.offer);
  const request_id at_once = b.w.cancel(b.run);
  b.w.settle();
  const request_id later = b.w.cancel(b.run);
  b.w.settle();
  CHECK(b.answered(at_once) == run_state::succeeded);
  CHECK(b.answered(later) == run_state::succeeded);
  CHECK(b.w.stored(b.run).state == run_state::succeeded);
}

TEST_CASE("a cancel holds the slot until the attempt ends") {
  bench b;
  b.w.cancel(b.run);
  const run_id next = b.w.run(command_spec());
  CHECK(b.w.stored(next).state == run_state::queued);
  b.worker.finish(b.offer, result_status::cancelled);
  b.w.settle();
  CHECK(b.w.stored(next).state == run_state::active);
}

TEST_CASE("a run cancelled while its worker is away is cancelled at the latest when its lease is lost") {
  bench b;
  b.worker.drop();
  b.w.cancel(b.run);
  b.w.advance(60s);
  CHECK(b.w.stored(b.run).state == run_state::active);
  b.w.advance(11s);
  CHECK(b.w.stored(b.run).state == run_state::cancelled);
}

TEST_CASE("row 19: a cancel follows its execute_job on the wire, also when both left the gate together") {
  world w;
  test_worker worker(w);
  worker.connect();
  const request_id id = w.submit(command_spec());
  w.turn();
  w.sync(1);
  w.cancel(w.answered<run_answer>(id)->run.id);
  w.settle();
  std::vector<std::string> order;
  for (const auto& m : worker.inbox()) {
    if (std::holds_alternative<protocol::execute_job>(m.body)) order.emplace_back("execute");
    if (std::holds_alternative<protocol::cancel_job>(m.body)) order.emplace_back("cancel");
  }
  CHECK(order == std::vector<std::string>{"execute", "cancel"});
}

TEST_CASE("a cancel survives a restart and cannot be undone by a loss") {
  bench b;
  b.w.cancel(b.run);
  b.w.settle();
  b.w.restart();
  b.w.advance(90s);
  CHECK(b.w.stored(b.run).state == run_state::cancelled);
  CHECK(b.w.attempts_of(b.run).size() == 1);
}

TEST_CASE("an unknown run can be cancelled by a person") {
  run_spec s = command_spec();
  s.at_most_once = true;
  bench b(s);
  b.worker.drop();
  b.w.advance(80s);
  REQUIRE(b.w.stored(b.run).state == run_state::unknown);
  b.w.cancel(b.run);
  b.w.settle();
  CHECK(b.w.stored(b.run).state == run_state::cancelled);
}

TEST_CASE("cancelling twice sends one cancel_job") {
  bench b;
  b.w.cancel(b.run);
  b.w.cancel(b.run);
  b.w.settle();
  CHECK(b.worker.received<protocol::cancel_job>().size() == 1);
}
