// Placement: priority, then age; labels; never beyond slots and credit; and a cost that follows the work.
#include <doctest/doctest.h>

#include <chrono>

#include <orchestrator/base/random.hpp>

#include "runs.hpp"
#include "state.hpp"
#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

run_spec with_priority(int priority) {
  run_spec s = command_spec();
  s.priority = priority;
  return s;
}

run_spec needing(std::string key, std::string value) {
  run_spec s = command_spec();
  s.required_labels = {{std::move(key), std::move(value)}};
  return s;
}

}  // namespace

TEST_CASE("larger priority goes first, then the older run") {
  world w;
  std::vector<run_id> expected(4);
  expected[2] = w.run(with_priority(0));
  expected[0] = w.run(with_priority(10));
  expected[3] = w.run(with_priority(0));
  expected[1] = w.run(with_priority(10));
  test_worker worker(w);
  worker.connect();
  for (const run_id& run : expected) {
    const auto offer = worker.take_offer();
    CHECK(offer.run_id == to_string(run));
    worker.finish(offer);
    w.settle();
  }
}

TEST_CASE("a run goes only to a worker that has its labels, and others are not held up") {
  world w;
  test_worker linux_worker(w, "w1", 1);
  linux_worker.form.labels = {{"os", "linux"}, {"gpu", "yes"}};
  linux_worker.form.slots = 1;
  linux_worker.connect();
  const run_id mac = w.run(needing("os", "mac"));
  const run_id gpu = w.run(needing("gpu", "yes"));
  CHECK(w.stored(mac).state == run_state::queued);
  CHECK(w.stored(gpu).state == run_state::active);
  CHECK(w.why(mac) == std::vector<std::string>{"no_matching_labels"});
  test_worker mac_worker(w, "w2", 2);
  mac_worker.form.labels = {{"os", "mac"}};
  mac_worker.connect();
  CHECK(w.stored(mac).state == run_state::active);
}

TEST_CASE("a worker that registers with other labels is judged anew") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id run = w.run(needing("os", "linux"));
  CHECK(w.stored(run).state == run_state::queued);
  worker.drop();
  worker.form.labels = {{"os", "linux"}};
  worker.connect();
  CHECK(w.stored(run).state == run_state::active);
}

TEST_CASE("free slots are filled before anything is handed out ahead, and the least loaded worker first") {
  world w;
  test_worker a(w, "a", 1), b(w, "b", 2);
  for (test_worker* worker : {&a, &b}) {
    worker->form.slots = 2;
    worker->form.credit = 4;
    worker->connect();
  }
  for (int i = 0; i < 4; ++i) w.submit(noop_spec());
  w.settle();
  CHECK(a.take_offers().size() == 2);
  CHECK(b.take_offers().size() == 2);
  for (int i = 0; i < 100; ++i) w.submit(noop_spec());
  w.settle();
  CHECK(a.take_offers().size() == 4);
  CHECK(b.take_offers().size() == 4);
  CHECK(w.view().workers(w.mono())[0].waiting == 4);
}

TEST_CASE("only runs known to be short are handed out ahead, and never at_most_once ones") {
  world w;
  test_worker worker(w);
  worker.form.credit = 8;
  worker.connect();
  for (int i = 0; i < 3; ++i) w.submit(command_spec());
  w.settle();
  auto offers = worker.take_offers();
  REQUIRE(offers.size() == 1);  // nobody knows yet how long it takes
  auto quick = worker.result_for(offers[0], result_status::success);
  quick.duration_seconds = 0.001;
  worker.say(quick, 1);
  w.settle();
  CHECK(worker.take_offers().size() == 2);
  run_spec once = noop_spec();
  once.at_most_once = true;
  const run_id run = w.run(once);
  CHECK(worker.take_offers().empty());
  CHECK(w.why(run) == std::vector<std::string>{"no_free_slot"});
}

TEST_CASE("nothing is handed out ahead behind long runs, and only its share behind some") {
  world w;
  test_worker worker(w);
  worker.form.slots = 2;
  worker.form.credit = 8;
  worker.connect();
  const run_id long_one = w.run(command_spec());
  for (int i = 0; i < 12; ++i) w.submit(noop_spec());
  w.settle();
  // One slot has a run that may take long, so half of the credit is open.
  auto offers = worker.take_offers();
  REQUIRE(offers.size() == 6);
  for (std::uint32_t i = 1; i < offers.size(); ++i) {
    auto quick = worker.result_for(offers[i], result_status::success);
    quick.duration_seconds = 0.001;
    worker.say(quick, i);
  }
  w.settle();
  CHECK(worker.take_offers().size() == 5);

  world v;
  test_worker busy(v, "w1", 1), idle(v, "w2", 2);
  busy.form.credit = 8;
  busy.connect();
  v.run(command_spec());
  const run_id quick = v.run(noop_spec());
  CHECK(busy.take_offers().size() == 1);
  CHECK(v.why(quick) == std::vector<std::string>{"no_free_slot"});
  idle.connect();
  v.settle();
  CHECK(idle.take_offers().size() == 1);
  CHECK(v.stored(quick).state == run_state::active);
  CHECK(w.stored(long_one).state == run_state::active);
}

TEST_CASE("credit is at most 64 a slot") {
  world w;
  test_worker worker(w);
  worker.form.credit = 1'000'000;
  worker.connect();
  for (int i = 0; i < 100; ++i) w.submit(noop_spec());
  w.settle();
  CHECK(worker.take_offers().size() == 65);
}

TEST_CASE("a worker with zero slots gets nothing") {
  world w;
  test_worker worker(w);
  worker.form.slots = 0;
  worker.connect();
  w.run(noop_spec());
  CHECK(worker.take_offers().empty());
}

TEST_CASE("random loads never go over slots and credit, and always take the best run that fits") {
  random_source random(42);
  for (int round = 0; round < 30; ++round) {
    world w;
    std::vector<std::unique_ptr<test_worker>> workers;
    const auto count = 1 + random.below(4);
    for (std::uint64_t i = 0; i < count; ++i) {
      auto one = std::make_unique<test_worker>(w, "w" + std::to_string(i), static_cast<std::uint8_t>(i + 1));
      one->form.slots = static_cast<int>(random.below(4));
      one->form.credit = static_cast<int>(random.below(5));
      if (random.below(2) == 0) one->form.labels = {{"os", "linux"}};
      one->connect();
      workers.push_back(std::move(one));
    }
    std::map<run_id, run_spec> specs;
    for (int i = 0; i < 20; ++i) {
      run_spec s = random.below(2) == 0 ? noop_spec() : command_spec();
      s.priority = static_cast<int>(random.below(3));
      if (random.below(2) == 0) s.required_labels = {{"os", "linux"}};
      const request_id id = w.submit(s);
      w.sync();
      specs[w.answered<run_answer>(id)->run.id] = s;
    }
    w.settle();
    std::map<run_id, run_state> states;
    for (auto& one : workers) {
      const auto offers = one->take_offers();
      const bool short_ones =
          std::any_of(offers.begin(), offers.end(), [](const auto& o) { return o.builtin == "noop"; });
      const auto most = static_cast<std::size_t>(one->form.slots.value() + one->form.credit.value());
      CHECK(offers.size() <= most);
      if (!short_ones) CHECK(offers.size() <= static_cast<std::size_t>(one->form.slots.value()));
    }
    // Nobody waits while a better-or-equal place went to a worse run of the same kind.
    for (const auto& [waiting, a] : specs) {
      if (w.stored(waiting).state != run_state::queued) continue;
      for (const auto& [placed, b] : specs) {
        if (w.stored(placed).state != run_state::active) continue;
        const bool same_needs = a.required_labels == b.required_labels && a.builtin == b.builtin;
        if (same_needs) CHECK(std::pair(-b.priority, placed) < std::pair(-a.priority, waiting));
      }
    }
  }
}

TEST_CASE("the cost of a turn does not grow with the queue or the number of full workers") {
  dispatcher places;
  std::vector<std::unique_ptr<worker_entry>> workers;
  for (int i = 0; i < 5'000; ++i) {
    auto w = std::make_unique<worker_entry>();
    w->order = static_cast<std::uint64_t>(i + 1);
    places.describe(*w, {});
    w->capacity.accepting = true;
    w->capacity.used = 1;
    places.update(*w);
    workers.push_back(std::move(w));
  }
  spec_entry spec;
  spec.spec = command_spec();
  requirement_class* c = places.hold({{}, legacy_fit::never});
  std::vector<run_entry> runs(200'000);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].id = make_uuid_v7(wall_time{milliseconds{1'000'000 + static_cast<std::int64_t>(i)}}, 0, i);
    runs[i].spec = &spec;
    places.enqueue(*c, runs[i]);
  }
  CHECK(places.plan(1'000).empty());
  // 20,000 turns in which one slot becomes free: with a walk over the queue or the workers this would take
  // minutes.
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t turn = 0; turn < 20'000; ++turn) {
    worker_entry& w = *workers[turn % workers.size()];
    w.capacity.used = 0;
    places.update(w);
    const auto plan = places.plan(1'000);
    REQUIRE(plan.size() == 1);
    CHECK(plan[0].run == &runs[turn]);
    CHECK(plan[0].worker == &w);
  }
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds{20});
  CHECK_FALSE(places.check().has_value());
  for (run_entry& r : runs) {
    if (r.ready) places.remove(*c, r);
  }
  places.release(c);
}
