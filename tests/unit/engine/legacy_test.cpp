// Workers of the original protocol: they see nothing they do not know, and their silence is no evidence.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

TEST_CASE("a legacy worker gets the original's messages and nothing else") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  auto& inbox = w.inbox[worker.session];
  REQUIRE(inbox.size() == 1);
  protocol::ack registered;
  registered.registered = true;
  CHECK(std::get<protocol::ack>(inbox[0].body) == registered);
  run_spec s = script_spec("jobs/a.py");
  s.args = "--day yesterday";
  const run_id run = w.run(s);
  REQUIRE(worker.offer().has_value());
  protocol::execute_job expected;
  expected.job_id.id = std::int64_t{1};
  expected.script_path = "jobs/a.py";
  expected.script_args = "--day yesterday";
  CHECK(*worker.offer() == expected);
  CHECK_FALSE(inbox.back().seq.has_value());
  worker.finish(*worker.offer(), result_status::success, "hello\n");
  w.settle();
  CHECK(w.stored(run).state == run_state::succeeded);
  CHECK(w.disk.output.at({lease_id{1}, "stdout"}) == "hello\n");
  CHECK(std::get<protocol::ack>(inbox.back().body) == protocol::ack{});
}

TEST_CASE("a first message of another type registers a legacy worker, without a registration ack") {
  world w;
  legacy_worker worker(w);
  worker.connect(false);
  worker.beat();
  w.settle();
  CHECK(w.view().workers(w.mono()).size() == 1);
  CHECK(w.view().workers(w.mono())[0].worker.legacy);
  REQUIRE(w.inbox[worker.session].size() == 1);
  CHECK(std::get<protocol::ack>(w.inbox[worker.session][0].body) == protocol::ack{});
  w.run(script_spec());
  CHECK(worker.offer().has_value());
}

TEST_CASE("a legacy worker is asked only for what the original protocol could say") {
  world w;
  legacy_worker worker(w);
  worker.form.python_version.reset();
  worker.connect();
  std::vector<run_spec> refused(7, script_spec());
  refused[0] = command_spec();
  refused[1].env = {{"A", "b"}};
  refused[2].cwd = "/tmp";
  refused[3].stdin_text = "x";
  refused[4].at_most_once = true;
  refused[5].args = "--x";  // the older of the two ignores arguments
  refused[6].required_labels = {{"os", "linux"}};
  for (const run_spec& s : refused) {
    const run_id run = w.run(s);
    CHECK_FALSE(worker.offer().has_value());
    const auto codes = w.why(run);
    REQUIRE(codes.size() == 1);
    CHECK((codes[0] == "needs_newer_worker" || codes[0] == "no_matching_labels"));
  }
  w.run(script_spec());
  CHECK(worker.offer().has_value());
}

TEST_CASE("a legacy worker has one slot, and its slot stays taken through a reconnect") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  const run_id first = w.run(script_spec());
  w.run(script_spec());
  const auto offer = *worker.offer();
  worker.drop();
  w.advance(10min);
  CHECK(w.stored(first).state == run_state::active);  // its silence is no evidence
  worker.connect();
  CHECK_FALSE(worker.offer().has_value());
  worker.finish(offer);
  w.settle();
  CHECK(w.stored(first).state == run_state::succeeded);
  CHECK(worker.offer().has_value());
}

TEST_CASE("a legacy attempt without a result is lost at timeout, grace, TTL and 60 s after its offer") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  run_spec s = script_spec();
  s.timeout = 100s;
  s.kill_grace = 10s;
  const run_id run = w.run(s);
  w.advance(229s);
  CHECK(w.stored(run).state == run_state::active);
  w.advance(2s);
  CHECK(w.stored(run).state == run_state::retry_wait);
  CHECK(w.closed.at(worker.session).code == 4011);
}

TEST_CASE("that deadline goes on through a restart") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  run_spec s = script_spec();
  s.timeout = 1000s;
  const run_id run = w.run(s);
  w.advance(600s);
  w.restart(100s);
  w.advance(420s);
  CHECK(w.stored(run).state == run_state::active);
  w.advance(20s);
  CHECK(w.stored(run).state == run_state::retry_wait);
}

TEST_CASE("at most 16 acks are written to a busy legacy worker, the rest when its result came") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  w.run(script_spec());
  const auto offer = *worker.offer();
  for (int i = 0; i < 40; ++i) worker.beat();
  w.settle();
  CHECK(worker.acks() == 16);
  worker.finish(offer);
  w.settle();
  CHECK(worker.acks() == 41);
}

TEST_CASE("a long legacy log keeps its first 2 and last 8 MiB, and the result waits for it") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  const run_id run = w.run(script_spec());
  const auto offer = *worker.offer();
  const std::size_t mib = 1024 * 1024;
  std::string log(12 * mib, 'a');
  log.back() = 'z';
  const auto effects_of = [&] {
    worker.finish(offer, result_status::success, log);
    return w.disk.queued_output();
  };
  CHECK(effects_of() == 1);
  w.sync();
  CHECK(w.stored(run).state == run_state::active);
  w.settle();
  CHECK(w.stored(run).state == run_state::succeeded);
  const std::string& kept = w.disk.output.at({lease_id{1}, "stdout"});
  CHECK(kept.size() == 12 * mib);
  CHECK(kept[2 * mib - 1] == 'a');
  CHECK(kept[2 * mib] == '.');  // the gap, as this disk shows it
  CHECK(kept[4 * mib] == 'a');
  CHECK(kept.back() == 'z');
}

TEST_CASE("a legacy worker that connects again replaces its old connection") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  const session_id old = worker.session;
  worker.connect();
  CHECK(w.closed.at(old).code == 4001);
  w.run(script_spec());
  CHECK(worker.offer().has_value());
}

TEST_CASE("a job_started of a legacy worker marks the attempt as running") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  const run_id run = w.run(script_spec());
  protocol::event e;
  e.name = "job_started";
  e.worker_id = "old1";
  e.job_id = worker.offer()->job_id;
  e.text = "{}";
  worker.say(e);
  w.settle();
  CHECK(w.attempts_of(run)[0].state == attempt_state::running);
  e.name = "custom";
  e.job_id.reset();
  worker.say(e);
  w.settle();
  CHECK(w.facts("event.custom") == 1);
}

TEST_CASE(
    "each registration of a legacy worker gets the original's answer, and no error that it cannot know") {
  world w;
  legacy_worker worker(w);
  worker.connect();
  worker.form.hostname = "renamed";
  worker.say(worker.form);
  w.settle();
  const auto& inbox = w.inbox[worker.session];
  REQUIRE(inbox.size() == 2);
  protocol::ack registered;
  registered.registered = true;
  for (const auto& m : inbox) CHECK(std::get<protocol::ack>(m.body) == registered);
  CHECK(w.view().workers(w.mono()).at(0).worker.hostname == "renamed");
  CHECK_FALSE(w.closed.contains(worker.session));
}
