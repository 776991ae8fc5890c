// The first start after `server restore` (rule 10): what the lost database did since the backup is not known,
// and nothing of it may happen a second time.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

constexpr std::uint64_t jump = std::uint64_t{1} << 32;

run_spec once() {
  run_spec s = command_spec();
  s.at_most_once = true;
  return s;
}

/// The backup becomes the data, `away` after now.
void put_back(world& w, const fake_disk& backup, nanoseconds away = 1min) {
  w.disk = fake_disk(backup);
  w.disk.crash();
  w.disk.term += jump;
  w.disk.restored(w.wall() + std::chrono::duration_cast<milliseconds>(away));
  w.restart(away);
  w.settle();
}

}  // namespace

TEST_CASE(
    "row 36: after a restore no lease is issued twice, and results the backup cannot know stay unknown") {
  world w;
  test_worker worker(w);
  worker.form.slots = 2;
  worker.connect();
  w.run(command_spec());
  const auto known = worker.take_offer();
  w.settle();
  const fake_disk backup = w.disk;
  w.run(command_spec());
  const auto lost = worker.take_offer();
  w.settle();
  put_back(w, backup);
  CHECK(w.noted("restored from a backup"));
  test_worker other(w, "w2", 2);  // it has seen no lease, so its registration tells nothing about the counter
  other.connect();
  w.run(command_spec());
  const auto next = other.take_offer();
  CHECK(next.lease->value == known.lease->value + jump + 1);
  worker.form.running = {test_worker::ref(known)};
  worker.form.unacked = {test_worker::ref(lost)};
  worker.form.highest_lease = lost.lease;
  worker.connect();
  CHECK(worker.registration().keep == std::vector{test_worker::ref(known)});
  const auto foreign = worker.finish(lost);
  const auto own = worker.finish(known);
  w.settle();
  CHECK(worker.verdict(foreign) == disposition::unknown_lease);
  CHECK(worker.verdict(own) == disposition::accepted);
  const lease_id counter = w.disk.lease_counter;
  w.restart();
  w.settle();
  CHECK(w.disk.lease_counter == counter);  // once is enough
}

TEST_CASE("a restore makes every at_most_once run that has not ended unknown, and starts none of them") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id started = w.run(once());
  const auto offer = worker.take_offer();
  const run_id waiting = w.run(once());
  const run_id refused_once = w.run(once());
  const run_id ordinary = w.run(command_spec());
  w.settle();
  put_back(w, w.disk);
  for (const run_id& id : {started, waiting, refused_once}) {
    CHECK(w.stored(id).state == run_state::unknown);
    CHECK(w.why(id) == std::vector<std::string>{"unknown"});
  }
  CHECK(w.stored(ordinary).state == run_state::queued);
  CHECK(w.facts("run.unknown") == 3);
  test_worker second(w, "w2", 2);
  second.form.slots = 8;
  second.connect();
  REQUIRE(second.take_offers().size() == 1);
  CHECK(w.stored(ordinary).state == run_state::active);
  w.advance(10min);
  CHECK(w.attempts_of(waiting).empty());
  worker.form.unacked = {test_worker::ref(offer)};
  worker.connect();
  worker.finish(offer);
  const resolve_run verdict{w.ask(), waiting, run_state::failed};
  w.give(verdict);
  w.settle();
  CHECK(w.stored(started).state == run_state::succeeded);  // a late result settles it
  CHECK(w.stored(waiting).state == run_state::failed);     // or a person
}

TEST_CASE("instants between a backup and its restore are missed, and not caught up") {
  world w;
  job_definition d;
  d.name = "job";
  d.spec = command_spec();
  d.schedule = schedule{};
  d.schedule->kind = schedule_kind::interval;
  d.schedule->every = 60s;
  d.schedule->overlap = overlap_policy::allow;
  d.schedule->catch_up = catch_up_policy::all;
  w.apply(d);
  w.advance(61s);
  REQUIRE(w.disk.runs.size() == 1);
  put_back(w, w.disk, 10min);
  w.advance(1s);
  CHECK(w.disk.runs.size() == 1);
  REQUIRE(w.disk.instants.size() == 2);
  CHECK(w.disk.instants.rbegin()->second.outcome == instant_outcome::missed);
  CHECK(w.disk.instants.rbegin()->second.rule == "restored");
  w.advance(60s);
  CHECK(w.disk.runs.size() == 2);  // from then on they fire again
}
