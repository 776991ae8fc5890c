// Every reason for which a run waits, from the closed list; and that the change it suggests lets the run go.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

using codes = std::vector<std::string>;

blocking_reason only_reason(const world& w, const run_id& id) {
  const auto list = w.view().why(id, {w.mono(), w.wall()});
  REQUIRE(list.has_value());
  REQUIRE(list->size() == 1);
  return list->front();
}

bool starts(const run_id& id, const world& w) { return w.stored(id).state == run_state::active; }

using ids = std::vector<run_id>;

submit_run of_command() {
  submit_run in;
  in.what.name = "a";
  in.what.spec = command_spec();
  return in;
}

run_id submit(world& w, submit_run in) {
  in.request = w.ask();
  w.give(in);
  w.settle();
  return w.answered<run_answer>(in.request)->run.id;
}

// Does what the remedy says, and returns which runs it named.
ids cancel_named(world& w, const std::string& remedy) {
  const std::string command = "orchestrator run cancel ";
  REQUIRE(remedy.starts_with(command));
  ids named;
  const auto words = split_shell_words(remedy.substr(command.size()));
  REQUIRE(words.has_value());
  for (const std::string& word : *words) {
    const auto id = parse_uuid(word);
    REQUIRE(id.has_value());
    named.push_back(*id);
    w.cancel(*id);
  }
  w.settle();
  return named;
}

std::string holder(const run_id& id) { return "run/" + to_string(id); }

void set(world& w, set_queue in) {
  in.request = w.ask();
  in.name = "q";
  w.give(in);
  w.settle();
}

run_spec in_queue() {
  run_spec s = command_spec();
  s.queue = "q";
  return s;
}

// A worker whose offers are started, and cancelled when it is told so.
struct running_worker : test_worker {
  explicit running_worker(world& w, int slots = 8) : test_worker(w), of(w) {
    form.slots = slots;
    connect();
  }
  void start_all() {
    for (const auto& offer : take_offers()) {
      start(offer);
      held.push_back(offer);
    }
    of.settle();
  }
  // Time passes while it takes what it is offered and is heard.
  void live_on(seconds by) {
    for (seconds left = by; left > 0s; left -= 10s) {
      start_all();
      beat();
      of.advance(std::min(left, seconds{10}));
    }
  }
  void obey() {
    for (const auto& c : received<protocol::cancel_job>()) {
      for (const auto& offer : held) {
        if (offer.lease == c.lease) finish(offer, result_status::cancelled);
      }
    }
    of.settle();
  }
  world& of;
  std::vector<protocol::execute_job> held;
};

}  // namespace

TEST_CASE("held: releasing it lets it go") {
  world w;
  running_worker worker(w);
  submit_run in = of_command();
  in.what.held = true;
  const run_id run = submit(w, in);
  const auto why = only_reason(w, run);
  CHECK(why.code == blocking_code::held);
  CHECK(why.remedy == "orchestrator run release " + to_string(run));
  w.give(hold_run{w.ask(), run, false});
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE("job_paused: resuming the job lets it go") {
  world w;
  running_worker worker(w);
  job_definition d;
  d.name = "a";
  d.spec = command_spec();
  w.apply(d);
  w.give(pause_job{w.ask(), "a", false, true});
  const run_id run = w.run_job("a");
  CHECK(only_reason(w, run).code == blocking_code::job_paused);
  CHECK(only_reason(w, run).remedy == "orchestrator job resume a");
  w.give(pause_job{w.ask(), "a", false, false});
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE("not_before: it goes at the time that is forecast") {
  world w;
  running_worker worker(w);
  submit_run in = of_command();
  in.what.not_before = w.wall() + 5min;
  const run_id run = submit(w, in);
  const auto why = only_reason(w, run);
  CHECK(why.code == blocking_code::not_before);
  CHECK(why.forecast == forecast_kind::at);
  CHECK(why.until == w.wall() + 5min);
  for (int i = 0; i < 5; ++i) {
    CHECK_FALSE(starts(run, w));
    w.advance(1min);
    worker.beat();
  }
  w.advance(1s);
  CHECK(starts(run, w));
}

TEST_CASE("not_before, backoff: releasing it now lets it go, and start_within counts from there") {
  world w;
  running_worker worker(w);
  submit_run in = of_command();
  in.what.spec->start_within = 1min;
  in.what.spec->retry.max_attempts = 2;
  in.what.spec->retry.backoff = 1h;
  in.what.not_before = w.wall() + 1h;
  const run_id run = submit(w, in);
  worker.live_on(10min);
  const std::string release = "orchestrator run release --now " + to_string(run);
  CHECK(only_reason(w, run).remedy == release);
  w.give(hold_run{w.ask(), run, false, false, true});
  w.settle();
  CHECK(starts(run, w));
  worker.start_all();
  worker.finish(worker.held[0], result_status::failure);
  w.settle();
  CHECK(only_reason(w, run).code == blocking_code::backoff);
  CHECK(only_reason(w, run).remedy == release);
  w.give(hold_run{w.ask(), run, false, false, true});
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE(
    "releasing a run now opens no other gate, and takes nothing from one that has no time to wait for") {
  world w;
  running_worker worker(w);
  const run_id first = w.run(command_spec());
  submit_run in = of_command();
  in.what.not_before = w.wall() + 1h;
  in.after = {{first, after_condition::ok}};
  const run_id run = submit(w, in);
  CHECK(w.why(run) == codes{"not_before", "dependency"});
  for (const run_id& each : {first, run}) w.give(hold_run{w.ask(), each, false, false, true});
  w.settle();
  CHECK(w.why(run) == codes{"dependency"});
  worker.start_all();
  worker.finish(worker.held[0], result_status::success);
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE("backoff: it goes at the time that is forecast") {
  world w;
  running_worker worker(w);
  run_spec s = command_spec();
  s.retry.max_attempts = 2;
  const run_id run = w.run(s);
  worker.start_all();
  worker.finish(worker.held[0], result_status::failure);
  w.settle();
  const auto why = only_reason(w, run);
  CHECK(why.code == blocking_code::backoff);
  CHECK(why.forecast == forecast_kind::at);
  CHECK_FALSE(starts(run, w));
  w.advance(*why.until - w.wall());
  CHECK(starts(run, w));
}

TEST_CASE("overlap: cancelling the earlier run lets it go") {
  world w;
  running_worker worker(w);
  job_definition d;
  d.name = "a";
  d.spec = command_spec();
  d.schedule = schedule{};
  d.schedule->kind = schedule_kind::interval;
  d.schedule->every = 1min;
  d.schedule->overlap = overlap_policy::queue;
  w.apply(d);
  w.advance(1min);
  worker.start_all();
  w.advance(1min);
  REQUIRE(w.disk.runs.size() == 2);
  const run_id first = w.disk.runs.begin()->first;
  const run_id second = w.disk.runs.rbegin()->first;
  const auto why = only_reason(w, second);
  CHECK(why.code == blocking_code::overlap);
  CHECK(why.detail == "Of the job's runs one goes at a time: " + to_string(first) +
                          " is active, and this one is number 1 in the line behind it.");
  CHECK(why.holders == codes{holder(first)});
  CHECK(why.forecast == forecast_kind::at_most);
  const attempt live = w.attempts_of(first).front();
  CHECK(why.until == *live.started_at + d.spec.timeout + d.spec.kill_grace + 60s);
  cancel_named(w, why.remedy);
  CHECK(only_reason(w, second).remedy == "Wait for the end of the run that is being cancelled.");
  worker.obey();
  CHECK(starts(second, w));
}

TEST_CASE("overlap: behind several runs it names all that are to end, behind many another rule") {
  world w;
  running_worker worker(w);
  job_definition d;
  d.name = "a";
  d.spec = command_spec();
  d.spec.retry.max_attempts = 2;
  d.schedule = schedule{};
  d.schedule->kind = schedule_kind::manual;
  d.schedule->overlap = overlap_policy::queue_all;
  w.apply(d);
  const run_id first = w.run_job("a");
  worker.start_all();
  const run_id second = w.run_job("a");
  const run_id third = w.run_job("a");
  CHECK(only_reason(w, second).forecast == forecast_kind::unknown);  // the first may be tried again
  const auto why = only_reason(w, third);
  CHECK(why.detail.ends_with("this one is number 2 in the line behind it."));
  CHECK(why.holders == codes{holder(first), holder(second)});
  CHECK(why.forecast == forecast_kind::unknown);
  CHECK(why.remedy == "orchestrator run cancel " + to_string(first) + " " + to_string(second));
  run_id last = third;
  for (int i = 0; i < 9; ++i) last = w.run_job("a");
  CHECK(only_reason(w, last).remedy ==
        "Give the schedule of a overlap = \"allow\" with orchestrator job apply; all go then.");
  worker.finish(worker.held[0], result_status::failure);
  w.settle();
  CHECK(only_reason(w, second).detail.find("is to be tried again") != std::string::npos);
  d.schedule->overlap = overlap_policy::allow;
  w.apply(d);
  CHECK(starts(third, w));
}

TEST_CASE("dependency: it names the runs it waits for, and releasing it from them lets it go") {
  world w;
  running_worker worker(w);
  const run_id first = w.run(command_spec());
  const run_id second = w.run(command_spec());
  submit_run in = of_command();
  in.after = {{first, after_condition::ok}, {second, after_condition::any}};
  const run_id run = submit(w, in);
  const auto why = only_reason(w, run);
  CHECK(why.code == blocking_code::dependency);
  CHECK(why.detail == "It waits for 2 runs, first for run " + to_string(first) + " to succeed.");
  CHECK(why.holders == codes{holder(first), holder(second)});
  CHECK(why.remedy == "orchestrator run release --after " + to_string(run));
  w.give(hold_run{w.ask(), run, false, true});
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE("queue_paused: resuming the queue lets it go") {
  world w;
  running_worker worker(w);
  set_queue in;
  in.paused = true;
  set(w, in);
  const run_id run = w.run(in_queue());
  CHECK(only_reason(w, run).code == blocking_code::queue_paused);
  CHECK(only_reason(w, run).remedy == "orchestrator queue resume q");
  in.paused = false;
  set(w, in);
  CHECK(starts(run, w));
}

TEST_CASE("queue_full: it names who runs, by when one has ended, and one more place lets it go") {
  world w;
  running_worker worker(w);
  set_queue in;
  in.max_running = 1;
  set(w, in);
  run_spec s = in_queue();
  s.timeout = 10min;
  s.kill_grace = 10s;
  const run_id first = w.run(s);
  worker.start_all();
  const run_id second = w.run(s);
  const run_id third = w.run(s);
  const auto why = only_reason(w, second);
  CHECK(why.code == blocking_code::queue_full);
  CHECK(why.holders == codes{holder(first)});
  CHECK(why.forecast == forecast_kind::at_most);
  CHECK(why.until == w.wall() + 10min + 10s + 60s);
  CHECK(only_reason(w, third).forecast == forecast_kind::unknown);  // another goes first
  CHECK(why.remedy == "orchestrator queue set q --concurrency 2");
  CHECK(only_reason(w, third).remedy == "orchestrator queue set q --concurrency 3");
  in.max_running = 2;
  set(w, in);
  CHECK(starts(second, w));
  CHECK_FALSE(starts(third, w));
  in.max_running = 3;
  set(w, in);
  CHECK(starts(third, w));
}

TEST_CASE("job_full: the remedy names as many as must end, and those that go before it") {
  world w;
  running_worker worker(w);
  run_spec s = command_spec();
  s.max_running = 3;
  ids held;
  for (int i = 0; i < 3; ++i) held.push_back(w.run(s));
  worker.start_all();
  s.max_running = 2;  // the job was changed while three ran
  const run_id second = w.run(s);
  const run_id third = w.run(s);
  CHECK(only_reason(w, third).code == blocking_code::job_full);
  CHECK(cancel_named(w, only_reason(w, third).remedy) == ids{second, held[2], held[1]});
  worker.obey();
  CHECK(starts(third, w));
  ids more;
  for (int i = 0; i < 11; ++i) more.push_back(w.run(s));
  worker.start_all();
  CHECK(only_reason(w, more.back()).remedy.starts_with("Wait: "));
}

TEST_CASE("lock_held: all readers must end, and those who want it alone before it") {
  world w;
  running_worker worker(w);
  run_spec reader = command_spec();
  reader.locks = {{"db", true}};
  run_spec writer = command_spec();
  writer.locks = {{"db", false}};
  const run_id one = w.run(reader);
  const run_id two = w.run(reader);
  worker.start_all();
  const run_id first = w.run(writer);
  const run_id second = w.run(writer);
  const run_id late = w.run(reader);
  CHECK(only_reason(w, late).code == blocking_code::lock_wanted);
  CHECK(cancel_named(w, only_reason(w, second).remedy) == ids{first, two, one});
  worker.obey();
  CHECK(starts(second, w));
  const run_id third = w.run(writer);
  const run_id last = w.run(reader);
  worker.start_all();
  const auto held = w.view().why(last, {w.mono(), w.wall()}).value();
  REQUIRE(held.size() == 2);
  CHECK(held[0].code == blocking_code::lock_held);
  CHECK(held[1].code == blocking_code::lock_wanted);
  CHECK(held[0].remedy == fmt::format("orchestrator run cancel {} {}", to_string(third), to_string(second)));
  cancel_named(w, held[0].remedy);
  worker.obey();
  CHECK(starts(last, w));
}

TEST_CASE("queue_rate: it goes with the next token, or when the rate is taken away") {
  world w;
  running_worker worker(w);
  set_queue in;
  in.rate = rate_limit{1, 60s};
  set(w, in);
  w.run(in_queue());
  const run_id second = w.run(in_queue());
  const auto why = only_reason(w, second);
  CHECK(why.code == blocking_code::queue_rate);
  CHECK(why.until == w.wall() + 60s);
  worker.live_on(59s);
  CHECK_FALSE(starts(second, w));
  worker.live_on(1s);
  CHECK(starts(second, w));
  const run_id third = w.run(in_queue());
  CHECK(only_reason(w, third).remedy == "orchestrator queue set q --rate none");
  in.rate = std::optional<rate_limit>{};
  set(w, in);
  CHECK(starts(third, w));
}

TEST_CASE("job_full and lock_held: cancelling who holds it lets it go") {
  world w;
  running_worker worker(w);
  run_spec limited = command_spec();
  limited.max_running = 1;
  run_spec locked = command_spec();
  locked.locks = {{"db", false}};
  for (const auto& [spec, code] :
       {std::pair{limited, blocking_code::job_full}, std::pair{locked, blocking_code::lock_held}}) {
    const run_id first = w.run(spec);
    worker.start_all();
    const run_id second = w.run(spec);
    const auto why = only_reason(w, second);
    CHECK(why.code == code);
    CHECK(why.holders == codes{holder(first)});
    CHECK(why.forecast == forecast_kind::at_most);
    CHECK(cancel_named(w, why.remedy) == ids{first});
    worker.obey();
    CHECK(starts(second, w));
  }
}

TEST_CASE("job_rate: it goes with the next token; one like it without a rate goes at once") {
  world w;
  running_worker worker(w);
  run_spec s = command_spec();
  s.rate = rate_limit{1, 30s};
  w.run(s);
  const run_id second = w.run(s);
  const auto why = only_reason(w, second);
  CHECK(why.code == blocking_code::job_rate);
  CHECK(why.remedy.ends_with("Submit it again without one or with another, then: orchestrator run cancel " +
                             to_string(second)));
  run_spec unlimited = s;
  unlimited.rate.reset();
  CHECK(starts(w.run(unlimited), w));
  CHECK(why.forecast == forecast_kind::at);
  CHECK(why.until == w.wall() + 30s);
  worker.live_on(29s);
  CHECK_FALSE(starts(second, w));
  worker.live_on(1s);
  CHECK(starts(second, w));
}

TEST_CASE("lock_wanted: cancelling who waits to have the lock alone lets a reader go") {
  world w;
  running_worker worker(w);
  run_spec reader = command_spec();
  reader.locks = {{"db", true}};
  run_spec writer = command_spec();
  writer.locks = {{"db", false}};
  w.run(reader);
  worker.start_all();
  const run_id alone = w.run(writer);
  const run_id late = w.run(reader);
  const auto why = only_reason(w, late);
  CHECK(why.code == blocking_code::lock_wanted);
  CHECK(why.holders == codes{holder(alone)});
  cancel_named(w, why.remedy);
  CHECK(starts(late, w));
}

TEST_CASE(
    "no_worker, no_matching_labels, needs_newer_worker, not_enough_resources: such a worker lets it go") {
  world w;
  run_spec s = command_spec();
  s.required_labels = {{"os", "my linux"}};
  s.required_resources = {{"gpu", 2'000}};
  const run_id run = w.run(s);
  const run_id plain = w.run(command_spec());
  const std::string remedy = "Start one: orchestrator --role=worker --label 'os=my linux' --resource gpu=2";
  CHECK(only_reason(w, run).code == blocking_code::no_worker);
  CHECK(only_reason(w, run).remedy == remedy);
  CHECK(only_reason(w, plain).remedy == "Start one: orchestrator --role=worker");
  legacy_worker old(w);
  old.connect();
  CHECK(only_reason(w, plain).code == blocking_code::needs_newer_worker);
  CHECK(w.why(run) == codes{"no_matching_labels", "needs_newer_worker", "not_enough_resources"});
  const auto together = w.view().why(run, {w.mono(), w.wall()}).value();
  for (const auto& why : together) CHECK(why.remedy == remedy);
  test_worker labelled(w, "w1", 1);
  labelled.form.labels = {{"os", "my linux"}};
  labelled.form.resources = {{"gpu", 1'000}};
  labelled.connect();
  CHECK(starts(plain, w));
  const auto amount = only_reason(w, run);
  CHECK(amount.code == blocking_code::not_enough_resources);
  CHECK(amount.remedy == remedy);
  test_worker able(w, "w2", 2);
  able.form.labels = {{"os", "my linux"}};
  able.form.resources = {{"gpu", 2'000}};
  able.connect();
  CHECK(starts(run, w));
}

TEST_CASE("worker_draining: resuming the worker lets it go") {
  world w;
  running_worker worker(w);
  w.give(drain_worker{w.ask(), "w1", true});
  const run_id run = w.run(command_spec());
  const auto why = only_reason(w, run);
  CHECK(why.code == blocking_code::worker_draining);
  CHECK(why.remedy == "orchestrator worker resume w1");
  CHECK(why.holders == codes{"worker/w1"});
  w.give(drain_worker{w.ask(), "w1", false});
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE("no_free_slot and resources_taken: the end of a run that is named lets it go") {
  world w;
  test_worker small(w, "w1", 1);
  run_spec s = command_spec();
  s.required_resources = {{"gpu", 1'000}};
  running_worker worker(w, 2);
  worker.drop();
  worker.form.resources = {{"gpu", 1'000}};
  worker.connect();
  const run_id first = w.run(s);
  worker.start_all();
  const run_id second = w.run(s);
  const auto taken = only_reason(w, second);
  CHECK(taken.code == blocking_code::resources_taken);
  CHECK(taken.holders == codes{holder(first)});
  const run_id filler = w.run(command_spec());
  worker.start_all();
  const run_id third = w.run(command_spec());
  const auto full = only_reason(w, third);
  CHECK(full.code == blocking_code::no_free_slot);
  CHECK(full.holders == codes{holder(first), holder(filler)});
  cancel_named(w, taken.remedy);
  worker.obey();
  CHECK(starts(second, w));
  worker.start_all();
  CHECK(cancel_named(w, only_reason(w, third).remedy) == ids{second});  // the newest
  worker.obey();
  CHECK(starts(third, w));
}

TEST_CASE("resources_taken: it names who uses what is missing, and as many as must end on one worker") {
  world w;
  running_worker worker(w, 8);
  worker.drop();
  worker.form.resources = {{"gpu", 4'000}};
  worker.connect();
  const auto with_gpus = [](std::int64_t amount) {
    run_spec s = command_spec();
    if (amount > 0) s.required_resources = {{"gpu", amount}};
    return s;
  };
  const run_id one = w.run(with_gpus(1'000));
  const run_id two = w.run(with_gpus(2'000));
  w.run(with_gpus(0));
  worker.start_all();
  const run_id third = w.run(with_gpus(4'000));
  const auto why = only_reason(w, third);
  CHECK(why.code == blocking_code::resources_taken);
  CHECK(why.holders == codes{holder(one), holder(two)});
  const run_id fourth = w.run(with_gpus(3'000));
  CHECK(
      only_reason(w, fourth).remedy ==
      "Start another worker: orchestrator --role=worker --resource gpu=3");  // the third would not fit there
  CHECK(cancel_named(w, why.remedy) == ids{one, two});
  worker.obey();
  CHECK(starts(third, w));
}

TEST_CASE("no_free_slot: one that is not the first in line is told how large a worker lets it go") {
  world w;
  running_worker worker(w, 1);
  w.run(command_spec());
  worker.start_all();
  w.run(command_spec());
  const run_id third = w.run(command_spec());
  CHECK(only_reason(w, third).remedy == "Start another worker: orchestrator --role=worker --slots 2");
  test_worker another(w, "w2", 2);
  another.form.slots = 2;
  another.connect();
  CHECK(starts(third, w));
}

TEST_CASE("worker_draining: of several the one with a free slot is to be resumed") {
  world w;
  running_worker worker(w, 1);
  test_worker free(w, "w2", 2);
  w.run(command_spec());
  worker.start_all();
  free.connect();
  for (const char* id : {"w1", "w2"}) w.give(drain_worker{w.ask(), id, true});
  const run_id run = w.run(command_spec());
  CHECK(only_reason(w, run).remedy == "orchestrator worker resume w2");
  w.give(drain_worker{w.ask(), "w2", false});
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE("dispatching: nothing keeps it, and the next turn offers it") {
  world w;
  running_worker worker(w);
  const request_id asked = w.submit(command_spec());
  w.sync();
  const run_id run = w.answered<run_answer>(asked)->run.id;
  CHECK(only_reason(w, run).code == blocking_code::dispatching);
  w.settle();
  CHECK(starts(run, w));
}

TEST_CASE("active, waiting_on_worker, cancel_requested and backoff are told apart") {
  world w;
  test_worker worker(w);
  worker.form.credit = 1;
  worker.connect();
  run_spec s = noop_spec();
  s.retry.max_attempts = 2;
  const run_id first = w.run(s);
  const run_id ahead = w.run(s);
  CHECK(only_reason(w, first).code == blocking_code::active);
  CHECK(only_reason(w, first).holders == codes{"worker/w1"});
  CHECK(w.why(ahead) == codes{"waiting_on_worker"});
  const auto waits = only_reason(w, ahead);
  CHECK(waits.holders == codes{holder(first)});
  CHECK(waits.remedy == "orchestrator run cancel " + to_string(first));
  cancel_named(w, waits.remedy);
  CHECK(only_reason(w, ahead).remedy == "Wait for the end of the runs that are being cancelled.");
  CHECK(w.why(first) == codes{"cancel_requested"});
  worker.finish(worker.take_offers()[1], result_status::failure);
  w.settle();
  CHECK(w.why(ahead) == codes{"backoff", "no_free_slot"});
}

TEST_CASE("unknown: a person settles it") {
  world w;
  running_worker worker(w);
  run_spec s = command_spec();
  s.at_most_once = true;
  const run_id run = w.run(s);
  worker.start_all();
  worker.drop();
  w.advance(80s);
  const auto why = only_reason(w, run);
  CHECK(why.code == blocking_code::unknown);
  CHECK(why.remedy == "orchestrator run resolve " + to_string(run) + " --as failed");
  w.give(resolve_run{w.ask(), run, run_state::failed});
  w.settle();
  CHECK(w.stored(run).state == run_state::failed);
}

TEST_CASE("reasons that hold together are listed together, of the run, its limits and its workers") {
  world w;
  job_definition d;
  d.name = "a";
  d.spec = in_queue();
  w.apply(d);
  const run_id run = w.run_job("a");
  w.give(hold_run{w.ask(), run, true});
  w.give(pause_job{w.ask(), "a", false, true});
  set_queue in;
  in.paused = true;
  set(w, in);
  CHECK(w.why(run) == codes{"held", "job_paused", "queue_paused", "no_worker"});
}

TEST_CASE("every code has a name of its own") {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(blocking_code::unknown); ++i)
    names.insert(to_string(static_cast<blocking_code>(i)));
  CHECK(names.size() == static_cast<std::size_t>(blocking_code::unknown) + 1);
  CHECK_FALSE(names.contains("invalid"));
}

TEST_CASE("a run that ended has no reason to wait") {
  world w;
  const run_id run = w.run(command_spec());
  w.cancel(run);
  CHECK(w.why(run) == codes{"not in memory"});
}
