// The limits beside the workers: queues, max_running, rates, locks, resources; and that they hold over
// restarts and losses.
#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

using codes = std::vector<std::string>;

run_spec in_queue(std::string name) {
  run_spec s = command_spec();
  s.queue = std::move(name);
  return s;
}

run_spec with_lock(std::string name, bool shared = false) {
  run_spec s = command_spec();
  s.locks = {{std::move(name), shared}};
  return s;
}

set_queue change(world& w, std::string name) {
  set_queue in;
  in.request = w.ask();
  in.name = std::move(name);
  return in;
}

void limit(world& w, const std::string& name, int most) {
  set_queue in = change(w, name);
  in.max_running = most;
  w.give(in);
  w.settle();
}

void slow_down(world& w, const std::string& name, std::optional<rate_limit> rate) {
  set_queue in = change(w, name);
  in.rate = rate;
  w.give(in);
  w.settle();
}

void pause(world& w, const std::string& name, bool paused) {
  set_queue in = change(w, name);
  in.paused = paused;
  w.give(in);
  w.settle();
}

test_worker wide_worker(world& w, int slots = 10, std::uint8_t instance = 1) {
  test_worker worker(w, "w" + std::to_string(instance), instance);
  worker.form.slots = slots;
  worker.connect();
  return worker;
}

// Time passes, and the worker goes on living: it takes what it is offered and is heard.
void live_on(world& w, test_worker& worker, seconds by) {
  for (seconds left = by; left > 0s; left -= 10s) {
    worker.take_offers();
    worker.beat();
    w.advance(std::min(left, seconds{10}));
  }
  worker.take_offers();
}

bool is_active(const world& w, const run_id& id) { return w.stored(id).state == run_state::active; }

job_definition job_with(std::string name, run_spec spec) {
  job_definition d;
  d.name = std::move(name);
  d.spec = std::move(spec);
  return d;
}

}  // namespace

TEST_CASE("a queue runs as many as it may, and others are not held up") {
  world w;
  limit(w, "etl", 2);
  auto worker = wide_worker(w);
  std::vector<run_id> runs;
  for (int i = 0; i < 4; ++i) runs.push_back(w.run(in_queue("etl")));
  const run_id other = w.run(command_spec());
  CHECK(is_active(w, runs[0]));
  CHECK(is_active(w, runs[1]));
  CHECK_FALSE(is_active(w, runs[2]));
  CHECK(is_active(w, other));
  CHECK(w.why(runs[3]) == codes{"queue_full"});
  worker.finish(worker.take_offers()[0]);
  w.settle();
  CHECK(is_active(w, runs[2]));
  CHECK_FALSE(is_active(w, runs[3]));
  limit(w, "etl", 0);
  CHECK(is_active(w, runs[3]));
}

TEST_CASE("a paused queue starts nothing until it is resumed, over a restart too") {
  world w;
  pause(w, "etl", true);
  auto worker = wide_worker(w);
  const run_id run = w.run(in_queue("etl"));
  CHECK(w.why(run) == codes{"queue_paused"});
  w.restart();
  worker.connect();
  CHECK_FALSE(is_active(w, run));
  pause(w, "etl", false);
  CHECK(is_active(w, run));
  CHECK(w.disk.queues.empty());  // nothing is set any more, so nothing is kept
}

TEST_CASE("what ran before a restart counts for its queue, its job and its locks") {
  world w;
  limit(w, "etl", 1);
  run_spec both = in_queue("etl");
  both.max_running = 1;
  both.locks = {{"db", false}};
  w.apply(job_with("load", both));
  auto worker = wide_worker(w);
  const run_id first = w.run_job("load");
  const auto offer = worker.take_offer();
  w.settle();
  w.restart();
  const run_id second = w.run_job("load");
  worker.form.running = {test_worker::ref(offer)};
  worker.connect();
  CHECK(is_active(w, first));
  CHECK(w.why(second) == codes{"queue_full", "job_full", "lock_held"});
  worker.finish(offer);
  w.settle();
  CHECK(is_active(w, second));
}

TEST_CASE("max_running holds for the runs of one name, and two jobs of the same text do not share it") {
  world w;
  run_spec s = command_spec();
  s.max_running = 1;
  w.apply(job_with("a", s));
  w.apply(job_with("b", s));
  auto worker = wide_worker(w);
  const run_id a1 = w.run_job("a");
  const run_id a2 = w.run_job("a");
  const run_id b1 = w.run_job("b");
  CHECK(is_active(w, a1));
  CHECK(w.why(a2) == codes{"job_full"});
  CHECK(is_active(w, b1));
}

TEST_CASE("a rate lets a full bucket go at once and then one for each token") {
  world w;
  slow_down(w, "mail", rate_limit{3, 60s});
  auto worker = wide_worker(w);
  std::vector<run_id> runs;
  for (int i = 0; i < 5; ++i) runs.push_back(w.run(in_queue("mail")));
  CHECK(is_active(w, runs[2]));
  CHECK(w.why(runs[3]) == codes{"queue_rate"});
  live_on(w, worker, 19s);
  CHECK_FALSE(is_active(w, runs[3]));
  live_on(w, worker, 1s);
  CHECK(is_active(w, runs[3]));
  CHECK_FALSE(is_active(w, runs[4]));
  live_on(w, worker, 20s);
  CHECK(is_active(w, runs[4]));
}

TEST_CASE("a restart does not fill the bucket of a rate, nor does a wall clock that was set back") {
  world w;
  slow_down(w, "mail", rate_limit{2, 60s});
  run_spec s = command_spec();
  s.rate = rate_limit{1, 60s};
  w.apply(job_with("hourly", s));
  auto worker = wide_worker(w);
  w.run(in_queue("mail"));
  w.run(in_queue("mail"));
  w.run_job("hourly");
  for (const auto& offer : worker.take_offers()) worker.finish(offer);
  w.settle();
  w.restart(10s);
  worker.connect();
  const run_id next = w.run(in_queue("mail"));
  const run_id again = w.run_job("hourly");
  CHECK_FALSE(is_active(w, next));
  CHECK(w.why(again) == codes{"job_rate"});
  live_on(w, worker, 20s);
  CHECK(is_active(w, next));  // a token each 30 s, and 10 s passed while the server was away
  CHECK_FALSE(is_active(w, again));
  w.jump_wall(-std::chrono::hours{24});
  w.restart();
  worker.connect();
  live_on(w, worker, 59s);
  CHECK(w.stored(again).attempts == 0);
  live_on(w, worker, 1s);
  CHECK(w.stored(again).attempts == 1);
}

TEST_CASE("a stall does not hand out tokens that time did not bring") {
  world w;
  slow_down(w, "mail", rate_limit{1, 60s});
  auto worker = wide_worker(w);
  w.run(in_queue("mail"));
  const run_id next = w.run(in_queue("mail"));
  w.skip_mono(59s);
  w.give(stalled{59s});
  live_on(w, worker, 2s);
  CHECK_FALSE(is_active(w, next));
  live_on(w, worker, 58s);
  CHECK(is_active(w, next));
}

TEST_CASE("one run has a lock alone, readers share it, and who wants it alone is not passed by readers") {
  world w;
  auto worker = wide_worker(w);
  const run_id reader = w.run(with_lock("db", true));
  const run_id second_reader = w.run(with_lock("db", true));
  const run_id writer = w.run(with_lock("db"));
  const run_id late_reader = w.run(with_lock("db", true));
  CHECK(is_active(w, reader));
  CHECK(is_active(w, second_reader));
  CHECK(w.why(writer) == codes{"lock_held"});
  CHECK(w.why(late_reader) == codes{"lock_wanted"});
  auto offers = worker.take_offers();
  worker.finish(offers[0]);
  w.settle();
  CHECK_FALSE(is_active(w, writer));
  worker.finish(offers[1]);
  w.settle();
  CHECK(is_active(w, writer));
  CHECK(w.why(late_reader) == codes{"lock_held"});
  worker.finish(worker.take_offer());
  w.settle();
  CHECK(is_active(w, late_reader));
}

TEST_CASE(
    "locks are freed at TTL, kill grace and 10 s of silence, not before, and the worker is told to kill") {
  world w;
  auto worker = wide_worker(w);
  run_spec s = with_lock("db");
  s.kill_grace = 7s;
  const run_id first = w.run(s);
  const auto offer = worker.take_offer();
  CHECK(offer.on_lease_lost == "kill");
  worker.drop();
  const run_id second = w.run(s);
  auto other = wide_worker(w, 10, 2);
  live_on(w, other, 76s);
  CHECK_FALSE(is_active(w, second));  // 60 + 7 + 10 s
  w.advance(1s);
  CHECK(w.stored(first).losses == 1);
  CHECK(is_active(w, second));
}

TEST_CASE("a worker that comes back with a process whose lock is another's by now is told to end it") {
  world w;
  auto worker = wide_worker(w);
  run_spec s = with_lock("db");
  s.retry.backoff = 10min;
  const run_id first = w.run(s);
  const auto offer = worker.take_offer();
  worker.start(offer);
  worker.drop();
  w.advance(90s);
  CHECK(w.stored(first).losses == 1);
  auto other = wide_worker(w, 10, 2);
  const run_id second = w.run(s);
  CHECK(is_active(w, second));
  worker.form.running = {test_worker::ref(offer)};
  worker.connect();
  CHECK(worker.registration().keep.empty());
  CHECK(worker.registration().abandon == std::vector{test_worker::ref(offer)});
}

TEST_CASE("what is limited is not handed out ahead of a free slot") {
  world w;
  auto worker = test_worker(w);
  worker.form.slots = 1;
  worker.form.credit = 10;
  worker.connect();
  run_spec locked = noop_spec();
  locked.locks = {{"a", true}};
  w.run(noop_spec());
  const run_id ahead = w.run(noop_spec());
  const run_id waits = w.run(locked);
  CHECK(is_active(w, ahead));
  CHECK_FALSE(is_active(w, waits));
}

TEST_CASE("resources are never promised twice, and a run goes where they are free") {
  world w;
  test_worker small(w, "w1", 1), large(w, "w2", 2);
  small.form.slots = large.form.slots = 8;
  small.form.resources = {{"gpu", 1'000}};
  large.form.resources = {{"gpu", 2'500}, {"memory", 8'000}};
  small.connect();
  large.connect();
  run_spec s = command_spec();
  s.required_resources = {{"gpu", 1'000}};
  std::vector<run_id> runs;
  for (int i = 0; i < 4; ++i) runs.push_back(w.run(s));
  CHECK(small.take_offers().size() == 1);
  auto offers = large.take_offers();
  CHECK(offers.size() == 2);
  CHECK(w.why(runs[3]) == codes{"resources_taken"});
  run_spec half = s;
  half.required_resources = {{"gpu", 500}};
  CHECK(is_active(w, w.run(half)));  // half a gpu is left
  large.finish(offers[0]);
  w.settle();
  CHECK(is_active(w, runs[3]));
  run_spec greedy = s;
  greedy.required_resources = {{"gpu", 1'000}, {"memory", 9'000}};
  CHECK(w.why(w.run(greedy)) == codes{"not_enough_resources"});
}

TEST_CASE("the priority of a queue is added to that of its runs, also to those that wait already") {
  world w;
  const run_id plain = w.run(command_spec());
  const run_id urgent = w.run(in_queue("urgent"));
  set_queue in = change(w, "urgent");
  in.priority = 5;
  w.give(in);
  w.settle();
  test_worker worker(w);
  worker.connect();
  CHECK(is_active(w, urgent));
  CHECK_FALSE(is_active(w, plain));
}

TEST_CASE("with a list of exit codes only these are tried again") {
  world w;
  auto worker = wide_worker(w);
  run_spec s = command_spec();
  s.retry.max_attempts = 3;
  s.retry.on_exit = {3, 75};
  const run_id again = w.run(s);  // the script's worker fails with 3
  worker.finish(worker.take_offer(), result_status::failure);
  w.settle();
  CHECK(w.stored(again).state == run_state::retry_wait);
  s.retry.on_exit = {4};
  const run_id final_failure = w.run(s);
  worker.finish(worker.take_offer(), result_status::failure);
  w.settle();
  CHECK(w.stored(final_failure).state == run_state::failed);
  const run_id timed_out = w.run(s);
  worker.finish(worker.take_offer(), result_status::timeout);
  w.settle();
  CHECK(w.stored(timed_out).state == run_state::failed);
}

TEST_CASE("who wants a lock alone and could not have it now keeps no reader from it") {
  world w;
  auto worker = wide_worker(w);
  const run_id reader = w.run(with_lock("db", true));
  REQUIRE(is_active(w, reader));
  run_spec writer = with_lock("db");
  SUBCASE("its queue was paused while it waited") {
    writer.queue = "etl";
    const run_id wants = w.run(writer);
    const run_id late = w.run(with_lock("db", true));
    REQUIRE(w.why(late) == codes{"lock_wanted"});
    pause(w, "etl", true);
    CHECK(is_active(w, late));
    CHECK(w.why(wants) == codes{"queue_paused", "lock_held"});
    pause(w, "etl", false);
    const run_id later = w.run(with_lock("db", true));
    CHECK(w.why(later) == codes{"lock_wanted"});
  }
  SUBCASE("it is held") {
    const run_id wants = w.run(writer);
    const run_id late = w.run(with_lock("db", true));
    REQUIRE(w.why(late) == codes{"lock_wanted"});
    w.give(hold_run{w.ask(), wants, true});
    w.settle();
    CHECK(is_active(w, late));
  }
  SUBCASE("no worker has its labels, until one comes") {
    writer.required_labels = {{"gpu", "yes"}};
    const run_id wants = w.run(writer);
    const run_id late = w.run(with_lock("db", true));
    CHECK(is_active(w, late));
    CHECK(w.why(wants) == codes{"lock_held", "no_matching_labels"});
    test_worker other(w, "w2", 2);
    other.form.labels = {{"gpu", "yes"}};
    other.connect();
    const run_id later = w.run(with_lock("db", true));
    CHECK(w.why(later) == codes{"lock_wanted"});
    for (const auto& offer : worker.take_offers()) worker.finish(offer);
    w.settle();
    CHECK(is_active(w, wants));
  }
}

TEST_CASE("dead runs are made anew together, or not at all") {
  world w;
  auto worker = wide_worker(w);
  retry_runs in;
  for (int i = 0; i < 3; ++i) {
    const run_id run = w.run(command_spec());
    worker.finish(worker.take_offer(), result_status::failure);
    w.settle();
    in.runs.push_back({w.stored(run), protocol::encode_spec(command_spec())});
  }
  in.request = w.ask();
  w.give(in);
  w.settle();
  const auto* made = w.answered<retried_answer>(in.request);
  REQUIRE(made != nullptr);
  REQUIRE(made->runs.size() == 3);
  CHECK(w.stored(made->runs[1]).retry_of == in.runs[1].run.id);
  in.runs.push_back({w.stored(made->runs[0]), protocol::encode_spec(command_spec())});
  in.request = w.ask();
  const std::size_t before = w.disk.runs.size();
  w.give(in);
  w.settle();
  CHECK(w.answered<refusal>(in.request) != nullptr);
  CHECK(w.disk.runs.size() == before);
}

TEST_CASE("whatever comes and goes, no limit is passed and nothing that may go waits") {
  // The invariants of the core run after each step: counts, one holder of a lock, and that no class waits at
  // an open limit. Here is that the rest is offered in the end.
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    random_source dice(seed);
    world w({}, seed);
    limit(w, "q0", 2);
    slow_down(w, "q1", rate_limit{2, 10s});
    std::vector<test_worker> workers;
    for (std::uint8_t i = 1; i <= 2; ++i) {
      workers.emplace_back(w, "w" + std::to_string(i), i);
      workers.back().form.slots = 4;
      workers.back().form.resources = {{"gpu", 2'000}};
      workers.back().connect();
    }
    std::vector<std::pair<std::size_t, protocol::execute_job>> held;
    std::vector<run_id> runs;
    for (int step = 0; step < 150; ++step) {
      const auto what = dice.below(10);
      if (what < 5) {
        run_spec s = command_spec();
        s.queue = "q" + std::to_string(dice.below(3));
        s.priority = static_cast<int>(dice.below(3));
        if (dice.below(3) == 0) s.locks.push_back({"a", dice.below(2) == 0});
        if (dice.below(3) == 0) s.locks.push_back({"b", dice.below(2) == 0});
        if (dice.below(4) == 0) s.max_running = 1 + static_cast<int>(dice.below(2));
        if (dice.below(4) == 0) s.required_resources = {{"gpu", 500 * (1 + static_cast<int>(dice.below(3)))}};
        runs.push_back(w.run(s));
      } else if (what < 8 && !held.empty()) {
        const std::size_t i = dice.below(held.size());
        workers[held[i].first].finish(held[i].second);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
        w.settle();
      } else if (what == 8) {
        w.advance(seconds{static_cast<std::int64_t>(dice.below(5))});
        for (auto& worker : workers) worker.beat();
      } else if (!runs.empty()) {
        w.cancel(runs[dice.below(runs.size())]);
        w.settle();
      }
      for (std::size_t i = 0; i < workers.size(); ++i) {
        for (const auto& offer : workers[i].take_offers()) held.emplace_back(i, offer);
      }
    }
    for (int round = 0; round < 400; ++round) {
      for (const auto& [i, offer] : held) workers[i].finish(offer);
      held.clear();
      w.advance(5s);
      for (std::size_t i = 0; i < workers.size(); ++i) {
        workers[i].beat();
        for (const auto& offer : workers[i].take_offers()) held.emplace_back(i, offer);
      }
    }
    for (const run_id& id : runs) CHECK(is_final(w.stored(id).state));
  }
}
