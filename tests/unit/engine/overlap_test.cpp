// The overlap rule: one run of a job at a time, whatever made it; who occupies the job and who does not; what
// each rule does with instants that come on time; and that a change of the rule leaves nobody behind.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

using codes = std::vector<std::string>;

job_definition job_with(overlap_policy rule, milliseconds interval = std::chrono::hours{1}) {
  job_definition d;
  d.name = "job";
  d.spec = command_spec();
  d.spec.timeout = std::chrono::hours{3};
  schedule s;
  s.kind = schedule_kind::interval;
  s.every = interval;
  s.overlap = rule;
  d.schedule = s;
  return d;
}

/// A world with a worker that has room for all, and a job.
struct bench {
  explicit bench(const job_definition& d, int slots = 10) : worker(w) {
    worker.form.slots = slots;
    worker.connect();
    w.apply(d);
  }
  explicit bench(overlap_policy rule) : bench(job_with(rule)) {}

  run_id make(const submit_run& like) {
    submit_run in = like;
    in.request = w.ask();
    if (!in.what.spec) in.what.job = "job";
    w.give(in);
    w.settle();
    REQUIRE(w.answered<run_answer>(in.request) != nullptr);
    return w.answered<run_answer>(in.request)->run.id;
  }
  run_id by_hand() { return make({}); }
  run_id held() {
    submit_run in;
    in.what.held = true;
    return make(in);
  }
  run_id at(milliseconds later) {
    submit_run in;
    in.what.not_before = w.wall() + later;
    return make(in);
  }
  run_id after(const run_id& other, after_condition on = after_condition::any) {
    submit_run in;
    in.after = {{other, on}};
    return make(in);
  }
  run_id retry(const run_id& old) {
    retry_run in;
    in.request = w.ask();
    in.run = old;
    w.give(in);
    w.settle();
    REQUIRE(w.answered<run_answer>(in.request) != nullptr);
    return w.answered<run_answer>(in.request)->run.id;
  }
  void hold(const run_id& run, bool held) {
    w.give(hold_run{w.ask(), run, held});
    w.settle();
  }
  void pause(bool paused) {
    w.give(pause_job{w.ask(), "job", false, paused});
    w.settle();
  }
  /// Takes what was offered; all of it is started.
  void take() {
    for (const auto& offer : worker.take_offers()) {
      worker.start(offer);
      offers.push_back(offer);
    }
    w.settle();
  }
  void finish(const run_id& run, result_status status = result_status::success) {
    take();
    const auto of_run = [&](const protocol::execute_job& o) { return o.run_id == to_string(run); };
    const auto found = std::find_if(offers.rbegin(), offers.rend(), of_run);
    REQUIRE(found != offers.rend());
    worker.finish(*found, status);
    w.settle();
    take();
  }
  /// Time passes, and the worker is heard.
  void live_on(milliseconds by) {
    for (milliseconds left = by; left > 0s; left -= 10s) {
      w.advance(std::min<milliseconds>(left, 10s));
      worker.beat();
      take();
    }
  }
  /// The worker does what it was told.
  void obey() {
    for (const auto& c : worker.received<protocol::cancel_job>()) {
      for (const auto& offer : offers) {
        if (offer.lease == c.lease && w.disk.attempts.at(c.lease).state == attempt_state::running)
          worker.finish(offer, result_status::cancelled);
      }
    }
    w.settle();
    take();
  }
  bool is_active(const run_id& run) const { return w.stored(run).state == run_state::active; }
  run_state state(const run_id& run) const { return w.stored(run).state; }
  std::vector<run_id> scheduled() const {
    std::vector<run_id> list;
    for (const auto& [id, r] : w.disk.runs) {
      if (r.instant) list.push_back(id);
    }
    return list;
  }
  std::size_t dropped() const {
    std::size_t count = 0;
    for (const auto& [key, row] : w.disk.instants)
      count += row.outcome == instant_outcome::skipped_overlap ? row.count : 0;
    return count;
  }
  std::size_t under_way() const {
    return static_cast<std::size_t>(
        std::count_if(w.disk.runs.begin(), w.disk.runs.end(),
                      [](const auto& row) { return row.second.state == run_state::active; }));
  }

  world w;
  test_worker worker;
  std::vector<protocol::execute_job> offers;
};

constexpr overlap_policy waiting_rules[] = {overlap_policy::skip, overlap_policy::queue,
                                            overlap_policy::queue_all};

}  // namespace

TEST_CASE("one run of a job at a time is under way, whatever made it") {
  for (const overlap_policy rule : waiting_rules) {
    bench b(rule);
    const run_id old = b.by_hand();
    b.finish(old, result_status::failure);
    b.live_on(90min);
    REQUIRE(b.scheduled().size() == 1);
    const run_id first = b.scheduled().front();
    REQUIRE(b.is_active(first));

    const run_id by_hand = b.by_hand();
    const run_id again = b.retry(old);
    const run_id dependent = b.after(old);
    const run_id timed = b.at(1min);
    backfill_schedule in;
    in.request = b.w.ask();
    in.job = "job";
    in.from = b.w.wall() - 100min;
    in.to = b.w.wall();
    in.dry_run = false;
    b.w.give(in);
    b.w.settle();
    REQUIRE(b.w.answered<backfill_answer>(in.request) != nullptr);
    CHECK(b.w.answered<backfill_answer>(in.request)->had_runs == 1);
    b.live_on(2min);

    for (const run_id& run : {by_hand, again, dependent, timed}) {
      CHECK(b.w.why(run) == codes{"overlap"});
      CHECK(b.under_way() == 1);
    }
    run_id before = first;
    for (const run_id& run : {by_hand, again, dependent, timed}) {
      b.finish(before);
      CHECK(b.is_active(run));
      CHECK(b.under_way() == 1);
      before = run;
    }
    b.finish(before);
    CHECK(b.under_way() == 0);
  }
}

TEST_CASE("a backfilled run waits for the one under way, and each for the one before it") {
  job_definition d = job_with(overlap_policy::skip, 10min);
  d.schedule->catch_up = catch_up_policy::none;
  bench b(d);
  b.w.restart(35min);
  b.worker.connect();
  b.w.advance(1s);
  const run_id by_hand = b.by_hand();
  backfill_schedule in;
  in.request = b.w.ask();
  in.job = "job";
  in.from = b.w.wall() - 40min;
  in.to = b.w.wall();
  b.w.give(in);
  b.w.settle();
  const auto* made = b.w.answered<backfill_answer>(in.request);
  REQUIRE(made != nullptr);
  REQUIRE(made->items.size() == 3);
  run_id before = by_hand;
  for (const auto& item : made->items) {
    CHECK_FALSE(b.is_active(*item.run));
    b.finish(before);
    CHECK(b.is_active(*item.run));
    before = *item.run;
  }
}

TEST_CASE("catch-up with skip gives each late instant its run, one after the other") {
  job_definition d = job_with(overlap_policy::skip, 10min);
  d.schedule->catch_up = catch_up_policy::all;
  d.schedule->start_deadline = std::chrono::hours{2};
  bench b(d);
  b.w.restart(35min);
  b.worker.connect();
  b.w.advance(1s);
  const auto late = b.scheduled();
  REQUIRE(late.size() == 3);
  for (const auto& [key, row] : b.w.disk.instants) CHECK(row.outcome == instant_outcome::late);
  b.take();
  CHECK(b.is_active(late[0]));
  CHECK(b.w.why(late[1]) == codes{"overlap"});
  // What comes on time meanwhile is dropped: others occupy the job.
  b.live_on(6min);
  CHECK(b.dropped() == 1);
  b.finish(late[0]);
  CHECK(b.is_active(late[1]));
  b.finish(late[1]);
  CHECK(b.is_active(late[2]));
  CHECK(b.scheduled().size() == 3);
}

TEST_CASE("a run that cannot start by itself counts for nothing in the rule") {
  const auto kept_by = [](bench& b, int what, const run_id& other) {
    switch (what) {
      case 0: return b.held();
      case 1: return b.at(std::chrono::hours{5});
      default: return b.after(other);
    }
  };
  for (int what = 0; what < 3; ++what) {
    for (const overlap_policy rule : {overlap_policy::skip, overlap_policy::queue, overlap_policy::queue_all,
                                      overlap_policy::cancel_old}) {
      bench b(rule);
      submit_run held_elsewhere;
      held_elsewhere.what.spec = command_spec();
      held_elsewhere.what.held = true;
      const run_id other = b.make(held_elsewhere);
      const run_id kept = kept_by(b, what, other);
      b.live_on(61min);
      REQUIRE(b.scheduled().size() == 1);
      CHECK(b.is_active(b.scheduled().front()));
      CHECK(b.dropped() == 0);
      CHECK(b.state(kept) == run_state::queued);
      b.finish(b.scheduled().front());
      b.live_on(60min);
      CHECK(b.scheduled().size() == 2);
      CHECK(b.is_active(b.scheduled().back()));
    }
  }
}

TEST_CASE("a run that waits for its turn occupies the job") {
  bench b(job_with(overlap_policy::skip, 1min), 10);
  b.worker.drop();  // nobody takes it
  const run_id waits = b.by_hand();
  b.w.advance(61s);
  CHECK(b.scheduled().empty());
  CHECK(b.dropped() == 1);
  b.hold(waits, true);
  b.w.advance(60s);
  CHECK(b.scheduled().size() == 1);
}

TEST_CASE("with queue an instant is dropped if somebody waits behind another one, whoever that is") {
  bench b(job_with(overlap_policy::queue, 1min));
  const run_id first = b.by_hand();
  b.live_on(61s);
  CHECK(b.scheduled().size() == 1);  // it waits behind the first
  b.live_on(60s);
  CHECK(b.scheduled().size() == 1);
  CHECK(b.dropped() == 1);
  b.finish(first);
  CHECK(b.is_active(b.scheduled().front()));
  const run_id second = b.by_hand();
  b.live_on(60s);
  CHECK(b.scheduled().size() == 1);
  CHECK(b.dropped() == 2);
  CHECK(b.w.why(second) == codes{"overlap"});
}

TEST_CASE("a retry keeps its place: the run is tried again before any other starts") {
  job_definition d = job_with(overlap_policy::skip);
  d.spec.retry.max_attempts = 2;
  d.spec.retry.backoff = 30s;
  bench b(d);
  const run_id first = b.by_hand();
  const run_id second = b.by_hand();
  b.finish(first, result_status::failure);
  CHECK(b.state(first) == run_state::retry_wait);
  CHECK(b.w.why(second) == codes{"overlap"});
  CHECK(b.under_way() == 0);
  b.live_on(50s);
  CHECK(b.is_active(first));
  b.finish(first, result_status::failure);
  CHECK(b.is_active(second));
}

TEST_CASE("a run whose offer was refused keeps its place too") {
  bench b(overlap_policy::skip);
  const run_id first = b.by_hand();
  const run_id second = b.by_hand();
  b.worker.finish(b.worker.take_offer(), result_status::rejected);
  b.w.settle();
  CHECK(b.state(first) == run_state::retry_wait);
  CHECK_FALSE(b.is_active(second));
  b.live_on(10s);
  CHECK(b.is_active(first));
  CHECK_FALSE(b.is_active(second));
}

TEST_CASE("an unknown run holds the place until somebody settles it, and cancel_old does not") {
  for (const auto& [rule, settled] : {std::pair{overlap_policy::queue_all, run_state::failed},
                                      std::pair{overlap_policy::cancel_old, run_state::succeeded}}) {
    CAPTURE(static_cast<int>(rule));
    job_definition d = job_with(rule);
    d.spec.at_most_once = true;
    bench b(d);
    const run_id first = b.by_hand();
    b.take();
    b.worker.drop();
    b.w.advance(2min);
    REQUIRE(b.state(first) == run_state::unknown);
    test_worker other(b.w, "w2", 2);
    other.connect();
    const run_id second = b.by_hand();
    CHECK(b.state(first) == run_state::unknown);
    CHECK(b.w.why(second) == codes{"overlap"});
    b.w.give(resolve_run{b.w.ask(), first, settled});
    b.w.settle();
    CHECK(b.is_active(second));
  }
}

TEST_CASE("the line goes by age, whatever the priority") {
  job_definition d = job_with(overlap_policy::skip);
  bench b(d);
  const run_id first = b.by_hand();
  const run_id second = b.held();
  const run_id third = b.by_hand();
  d.spec.priority = 9;
  b.w.apply(d);
  const run_id fourth = b.by_hand();
  b.hold(second, false);
  b.finish(first);
  CHECK(b.is_active(second));
  b.finish(second);
  CHECK(b.is_active(third));
  b.finish(third);
  CHECK(b.is_active(fourth));
}

TEST_CASE("who is able to start but finds no worker keeps those behind it waiting, and may be held instead") {
  job_definition d = job_with(overlap_policy::skip);
  d.spec.required_labels = {{"gpu", "yes"}};
  bench b(d);
  const run_id first = b.by_hand();
  d.spec.required_labels.clear();
  b.w.apply(d);
  const run_id second = b.by_hand();
  CHECK(b.w.why(first) == codes{"no_matching_labels"});
  CHECK(b.w.why(second) == codes{"overlap"});
  b.hold(first, true);
  CHECK(b.is_active(second));
  b.hold(first, false);
  CHECK(b.w.why(first) == codes{"overlap", "no_matching_labels"});
}

TEST_CASE("cancel_old: who becomes able to start ends the others, and waits for their end") {
  bench b(overlap_policy::cancel_old);
  const run_id first = b.by_hand();
  b.take();
  SUBCASE("by hand") {
    const run_id second = b.by_hand();
    CHECK(b.w.stored(first).cancel_requested);
    CHECK(b.w.why(second) == codes{"overlap"});
    const run_id third = b.by_hand();  // the second waits only, and ends at once
    CHECK(b.state(second) == run_state::cancelled);
    CHECK(b.w.stored(second).reason == "overlap");
    b.obey();
    CHECK(b.state(first) == run_state::cancelled);
    CHECK(b.is_active(third));
  }
  SUBCASE("a retry") {
    b.finish(first, result_status::failure);
    const run_id second = b.by_hand();
    b.take();
    const run_id third = b.retry(first);
    CHECK(b.w.stored(second).cancel_requested);
    b.obey();
    CHECK(b.is_active(third));
  }
  SUBCASE("held: not before it is released") {
    const run_id second = b.held();
    CHECK_FALSE(b.w.stored(first).cancel_requested);
    b.hold(second, false);
    CHECK(b.w.stored(first).cancel_requested);
    b.obey();
    CHECK(b.is_active(second));
  }
  SUBCASE("an older one that is released ends a newer one") {
    const run_id older = b.held();
    const run_id newer = b.by_hand();
    b.obey();
    REQUIRE(b.is_active(newer));
    b.hold(older, false);
    CHECK(b.w.stored(newer).cancel_requested);
    b.obey();
    CHECK(b.is_active(older));
  }
  SUBCASE("at its time") {
    const run_id second = b.at(1min);
    b.live_on(50s);
    CHECK_FALSE(b.w.stored(first).cancel_requested);
    b.live_on(20s);
    CHECK(b.w.stored(first).cancel_requested);
    b.obey();
    CHECK(b.is_active(second));
  }
  SUBCASE("at its time, which comes while the coordinator is away") {
    const run_id second = b.at(1min);
    b.worker.drop();
    b.w.restart(2min);
    b.w.advance(1ms);
    CHECK(b.w.stored(first).cancel_requested);
    CHECK(b.w.why(second) == codes{"overlap", "no_worker"});
  }
  SUBCASE("when the runs it waits for have ended") {
    submit_run in;
    in.what.spec = command_spec();
    const run_id other = b.make(in);
    const run_id second = b.after(other);
    CHECK_FALSE(b.w.stored(first).cancel_requested);
    b.finish(other);
    CHECK(b.w.stored(first).cancel_requested);
    b.obey();
    CHECK(b.is_active(second));
  }
  SUBCASE("not one that waits in vain") {
    submit_run in;
    in.what.spec = command_spec();
    const run_id other = b.make(in);
    b.finish(other);
    const run_id second = b.after(other, after_condition::failed);
    CHECK(b.state(second) == run_state::skipped);
    CHECK_FALSE(b.w.stored(first).cancel_requested);
  }
}

TEST_CASE("cancel_old: many that wait are ended over several steps, and none of them starts meanwhile") {
  bench b(overlap_policy::cancel_old);
  b.w.checks_each_step = false;
  b.pause(true);
  std::vector<run_id> runs;
  for (int i = 0; i < 1'200; ++i) {
    submit_run in;
    in.request = b.w.ask();
    in.what.job = "job";
    b.w.give(in);
    if (i % 100 == 99) b.w.settle();
  }
  for (const auto& [id, r] : b.w.disk.runs) runs.push_back(id);
  b.w.give(pause_job{b.w.ask(), "job", false, false});
  CHECK(b.w.view().count().queued == 700);
  SUBCASE("without a kill") {
    b.w.turn();
    CHECK(b.w.view().count().queued == 200);
    CHECK(b.w.view().count().active == 0);
    b.w.check();
  }
  SUBCASE("with a kill in between") {
    b.w.sync();
    b.w.restart();
    CHECK(b.w.view().count().queued == 200);
    b.worker.open();
  }
  b.w.settle();
  b.w.check();
  CHECK(b.worker.take_offers().size() == 1);
  CHECK(b.is_active(runs.back()));
  runs.pop_back();
  for (const run_id& run : runs) CHECK(b.state(run) == run_state::cancelled);
}

TEST_CASE(
    "cancel_old: what one job's runs take of a step starts none that is to be replaced of another job") {
  bench b(overlap_policy::cancel_old);
  b.w.checks_each_step = false;
  job_definition last = job_with(overlap_policy::cancel_old);
  last.name = "zzz";
  b.w.apply(last);
  b.pause(true);
  b.w.give(pause_job{b.w.ask(), "zzz", false, true});
  for (int i = 0; i < 1'800; ++i)
    b.w.give([&] {
      submit_run in;
      in.request = b.w.ask();
      in.what.job = "job";
      return in;
    }());
  std::vector<run_id> of_last;
  for (int i = 0; i < 4; ++i) of_last.push_back(b.w.run_job("zzz"));
  b.w.give(pause_job{b.w.ask(), "job", false, false});
  b.w.give(pause_job{b.w.ask(), "zzz", false, false});
  b.w.turn();
  CHECK(b.w.view().count().active == 0);
  b.w.settle();
  b.w.check();
  of_last.pop_back();
  for (const run_id& run : of_last) {
    CHECK(b.state(run) == run_state::cancelled);
    CHECK(b.w.stored(run).attempts == 0);
  }
}

TEST_CASE("no rule: a job without a schedule, and one by hand only that names none") {
  job_definition d = job_with(overlap_policy::skip);
  SUBCASE("no schedule") { d.schedule.reset(); }
  SUBCASE("manual") {
    const auto read = protocol::parse_json(R"({"name":"job","command":["true"],"schedule":{"manual":true}})");
    d = protocol::decode_job(*read).value();
    REQUIRE(d.schedule->kind == schedule_kind::manual);
  }
  bench b(d);
  const run_id first = b.by_hand();
  const run_id second = b.by_hand();
  CHECK(b.is_active(first));
  CHECK(b.is_active(second));
}

TEST_CASE("a job by hand only follows the rule that it names") {
  const auto read = protocol::parse_json(
      R"({"name":"job","command":["true"],"schedule":{"manual":true,"overlap":"queue_all"}})");
  bench b(protocol::decode_job(*read).value());
  const run_id first = b.by_hand();
  const run_id second = b.by_hand();
  CHECK(b.is_active(first));
  CHECK(b.w.why(second) == codes{"overlap"});
  b.finish(first);
  CHECK(b.is_active(second));
}

TEST_CASE("a change of the rule takes effect at once for those that wait, and wakes them") {
  bench b(overlap_policy::skip);
  const run_id first = b.by_hand();
  const run_id second = b.by_hand();
  const run_id third = b.by_hand();
  b.take();
  SUBCASE("to allow: all start") {
    b.w.apply(job_with(overlap_policy::allow));
    CHECK(b.is_active(second));
    CHECK(b.is_active(third));
  }
  SUBCASE("to no schedule at all") {
    job_definition d = job_with(overlap_policy::skip);
    d.schedule.reset();
    b.w.apply(d);
    CHECK(b.is_active(third));
  }
  SUBCASE("to allow and back: what is under way goes on, the next wait for all of it") {
    b.w.apply(job_with(overlap_policy::allow));
    b.w.apply(job_with(overlap_policy::queue_all));
    const run_id fourth = b.by_hand();
    for (const run_id& run : {second, first, third}) {
      CHECK(b.is_active(run));
      CHECK(b.w.why(fourth) == codes{"overlap"});
      b.finish(run);
    }
    CHECK(b.is_active(fourth));
  }
  SUBCASE("to cancel_old: the last of those that wait ends the others") {
    b.w.apply(job_with(overlap_policy::cancel_old));
    CHECK(b.w.stored(first).cancel_requested);
    CHECK(b.state(second) == run_state::cancelled);
    b.obey();
    CHECK(b.is_active(third));
  }
  SUBCASE("the job is deleted: its runs are cancelled, and a new job of that name begins anew") {
    b.w.give(deletion{b.w.ask(), "job", true});
    b.w.settle();
    b.w.apply(job_with(overlap_policy::skip));
    const run_id fourth = b.by_hand();
    CHECK(b.w.why(fourth) == codes{"overlap"});  // the first is not ended yet
    b.obey();
    CHECK(b.is_active(fourth));
  }
}

TEST_CASE("a change to cancel_old ends nothing if nobody waits") {
  bench b(overlap_policy::allow);
  const run_id first = b.by_hand();
  const run_id second = b.by_hand();
  b.w.apply(job_with(overlap_policy::cancel_old));
  CHECK_FALSE(b.w.stored(first).cancel_requested);
  CHECK_FALSE(b.w.stored(second).cancel_requested);
}

TEST_CASE("the line is the same after a restart") {
  job_definition d = job_with(overlap_policy::queue_all);
  d.spec.retry.max_attempts = 2;
  d.spec.retry.backoff = 30s;
  bench b(d);
  const run_id first = b.by_hand();
  const run_id second = b.by_hand();
  const run_id held = b.held();
  const run_id third = b.by_hand();
  b.finish(first, result_status::failure);
  b.w.restart(1s);
  b.worker.connect();
  CHECK(b.under_way() == 0);
  b.live_on(50s);
  CHECK(b.is_active(first));
  b.w.restart(1s);
  b.worker.form.running = {test_worker::ref(b.offers.back())};
  b.worker.connect();
  CHECK(b.w.why(second) == codes{"overlap"});
  b.hold(held, false);
  b.finish(first);
  CHECK(b.is_active(second));
  b.finish(second);
  CHECK(b.is_active(held));
  b.finish(held);
  CHECK(b.is_active(third));
}

TEST_CASE("a lost attempt does not live again beside another run of its job") {
  job_definition d = job_with(overlap_policy::allow);
  d.spec.retry.backoff = std::chrono::minutes{5};
  bench b(d);
  const run_id first = b.by_hand();
  b.take();
  const auto offer = b.offers.back();
  b.worker.drop();
  b.w.advance(75s);
  REQUIRE(b.state(first) == run_state::retry_wait);
  test_worker other(b.w, "w2", 2);
  other.connect();
  const run_id second = b.by_hand();
  REQUIRE(b.is_active(second));
  SUBCASE("with a rule") {
    b.w.apply(job_with(overlap_policy::skip));
    b.worker.form.running = {test_worker::ref(offer)};
    b.worker.connect();
    CHECK(b.worker.registration().abandon.size() == 1);
    CHECK(b.state(first) == run_state::retry_wait);
  }
  SUBCASE("without one it does") {
    b.worker.form.running = {test_worker::ref(offer)};
    b.worker.connect();
    CHECK(b.worker.registration().keep.size() == 1);
    CHECK(b.is_active(first));
  }
}
