// Every reason for which a run waits, from the closed list.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {
using codes = std::vector<std::string>;
}

TEST_CASE("without workers the reason is that there is none") {
  world w;
  CHECK(w.why(w.run(command_spec())) == codes{"no_worker"});
}

TEST_CASE("with all slots taken the reason is that") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id first = w.run(command_spec());
  const run_id second = w.run(command_spec());
  CHECK(w.why(first) == codes{"active"});
  CHECK(w.why(second) == codes{"no_free_slot"});
}

TEST_CASE("a draining worker is named as the reason") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.give(drain_worker{w.ask(), "w1", true});
  CHECK(w.why(w.run(command_spec())) == codes{"worker_draining"});
}

TEST_CASE("a backoff, a cancel and an attempt handed out ahead are told apart") {
  world w;
  test_worker worker(w);
  worker.form.credit = 1;
  worker.connect();
  run_spec s = noop_spec();
  s.retry.max_attempts = 2;
  const run_id first = w.run(s);
  const run_id ahead = w.run(s);
  CHECK(w.why(ahead) == codes{"waiting_on_worker"});
  w.cancel(first);
  CHECK(w.why(first) == codes{"cancel_requested"});
  worker.finish(worker.take_offers()[1], result_status::failure);
  w.settle();
  CHECK(w.why(ahead) == codes{"backoff"});
}

TEST_CASE("reasons that hold together are listed together") {
  world w;
  job_definition d;
  d.name = "a";
  d.spec = command_spec();
  w.apply(d);
  const run_id run = w.run_job("a");
  w.give(hold_run{w.ask(), run, true});
  w.give(pause_job{w.ask(), "a", false, true});
  w.settle();
  CHECK(w.why(run) == codes{"held", "job_paused"});
}

TEST_CASE("a run that ended has no reason to wait") {
  world w;
  const run_id run = w.run(command_spec());
  w.cancel(run);
  CHECK(w.why(run) == codes{"not in memory"});
}
