// Frames and connections: what is refused, with which code, and what never waits.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;

TEST_CASE("a connection without a registration is closed after 10 s") {
  world w;
  const session_id s = w.new_session();
  w.give(session_opened{s, "peer"});
  w.advance(9s);
  CHECK(w.closed.empty());
  w.advance(2s);
  CHECK(w.closed.at(s).code == 4002);
}

TEST_CASE("ten bad frames in a row close the connection, each answered; a good one between starts anew") {
  world w;
  test_worker worker(w);
  worker.connect();
  worker.inbox().clear();
  const session_bad_frame bad{worker.session, refusal{errc::bad_json, "not JSON", "", ""}};
  for (int i = 0; i < 9; ++i) w.give(bad);
  worker.beat();
  for (int i = 0; i < 9; ++i) w.give(bad);
  CHECK(worker.received<protocol::error_message>().size() == 18);
  CHECK(worker.received<protocol::error_message>()[0].code == "bad_message");
  CHECK_FALSE(worker.closed(1008));
  w.give(bad);
  CHECK(worker.closed(1008));
}

TEST_CASE("a gap in seq closes with 1008") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.give(session_frame{worker.session, {{std::uint64_t{7}, protocol::heartbeat{}, 0}}});
  CHECK(worker.closed(1008));
}

TEST_CASE("a message that cannot be taken is answered with a final error and does not hold up the acks") {
  world w;
  test_worker worker(w);
  worker.connect();
  protocol::invalid_message bad;
  bad.type = "job_result";
  bad.why = refusal{errc::bad_field, "exit_code is out of range", "/exit_code", ""};
  const auto seq = worker.say(bad);
  const auto next = worker.say(protocol::unknown_message{"news", "w1"});
  w.settle();
  const auto errors = worker.received<protocol::error_message>();
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].code == "bad_field");
  CHECK(errors[0].seq == seq);
  CHECK(errors[0].final);
  CHECK(worker.acked() >= next);
}

TEST_CASE("a registration that cannot be taken is an error and a close with 4002") {
  world w;
  test_worker worker(w, "w1");
  worker.form.instance.reset();
  worker.connect();
  CHECK(worker.received<protocol::error_message>().size() == 1);
  CHECK(worker.closed(4002));
  test_worker named(w, "../../x", 2);
  named.connect();
  CHECK(named.closed(4002));
}

TEST_CASE("no common protocol closes with 4010 and both versions in the reason") {
  world w;
  test_worker worker(w);
  worker.form.protocol = 0;
  worker.connect();
  REQUIRE(worker.closed(4010));
  CHECK(w.closed.at(worker.session).reason.find("up to 0, this server 1") != std::string::npos);
}

TEST_CASE("a newer protocol is answered with the one we speak") {
  world w;
  test_worker worker(w);
  worker.form.protocol = 7;
  worker.connect();
  CHECK(worker.registration().protocol == 1);
  CHECK(worker.registration().features == std::vector<std::string>{"batch"});
  CHECK(worker.registration().lease_ttl_seconds == 60);
}

TEST_CASE("a second registration on one connection is refused and the session lives") {
  world w;
  test_worker worker(w);
  worker.connect();
  worker.say(worker.form);
  w.settle();
  CHECK(worker.received<protocol::error_message>()[0].code == "already_registered");
  worker.beat();
  CHECK_FALSE(w.closed.contains(worker.session));
}

TEST_CASE("a worker that says it drains gets nothing new") {
  world w;
  test_worker worker(w);
  worker.connect();
  worker.beat("draining");
  const run_id run = w.run(command_spec());
  CHECK(worker.take_offers().empty());
  CHECK(w.why(run) == std::vector<std::string>{"worker_draining"});
  worker.beat("idle");
  w.settle();
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("heartbeats are shown with the registration, and presence goes by silence") {
  world w;
  test_worker worker(w);
  worker.connect();
  protocol::heartbeat h;
  h.worker_id = "w1";
  h.status = "busy";
  h.jobs_processed = 12;
  worker.say(h);
  auto seen = w.view().workers(w.mono()).at(0);
  CHECK(seen.worker.status == "busy");
  CHECK(seen.worker.jobs_processed == 12);
  CHECK(seen.state == protocol::presence::online);
  CHECK(w.view().workers(w.mono() + 91s).at(0).state == protocol::presence::stale);
  CHECK(w.view().workers(w.mono() + 181s).at(0).state == protocol::presence::offline);
  worker.drop();
  seen = w.view().workers(w.mono()).at(0);
  CHECK(seen.state == protocol::presence::stale);
  CHECK_FALSE(seen.connected);
}

TEST_CASE("what an earlier daemon's heartbeat said is not shown for the next one") {
  world w;
  test_worker worker(w);
  worker.connect();
  protocol::heartbeat h;
  h.worker_id = "w1";
  h.status = "busy";
  h.jobs_processed = 12;
  h.uptime_seconds = 600;
  worker.say(h);
  worker.drop();
  worker.connect();  // the same daemon
  CHECK(w.view().workers(w.mono()).at(0).worker.jobs_processed == 12);
  worker.drop();
  worker.form.process = "process-2";
  worker.connect();
  const auto seen = w.view().workers(w.mono()).at(0);
  CHECK(seen.worker.status.empty());
  CHECK(seen.worker.jobs_processed == 0);
  CHECK(seen.worker.uptime_seconds == 0);
}

TEST_CASE("an expected disconnect is one line, and not an error") {
  world w;
  test_worker worker(w);
  worker.connect();
  const auto before = w.notes.size();
  worker.drop(1001);
  w.settle();
  REQUIRE(w.notes.size() == before + 1);
  CHECK(w.notes.back().level == note_level::info);
}

TEST_CASE("a short lost_after makes pings more frequent while its attempt lives") {
  world w;
  test_worker worker(w);
  worker.connect();
  run_spec s = command_spec();
  s.lost_after = 6s;
  w.run(s);
  CHECK(w.ping_intervals.at(worker.session) == 2s);
  worker.finish(worker.take_offer());
  w.settle();
  CHECK(w.ping_intervals.at(worker.session) == 20s);
}

TEST_CASE("a worker can be forgotten when it is gone and holds nothing") {
  world w;
  test_worker worker(w);
  worker.connect();
  const remove_worker early{w.ask(), "w1"};
  w.give(early);
  w.settle();
  CHECK(w.answered<refusal>(early.request)->code == errc::conflict);
  w.run(command_spec());
  worker.finish(worker.take_offer());
  w.settle();
  worker.drop();
  const remove_worker later{w.ask(), "w1"};
  w.give(later);
  w.settle();
  CHECK(w.answered<done_answer>(later.request) != nullptr);
  CHECK(w.disk.workers.empty());
  CHECK(w.view().workers(w.mono()).empty());
}

TEST_CASE("a registration that lists a lease twice is refused, in one list or in two, and decides nothing") {
  const auto list_of = [](protocol::worker_register& r, int which) -> auto& {
    return which == 0 ? r.running : which == 1 ? r.unacked : r.lost;
  };
  for (int first = 0; first < 3; ++first) {
    for (int second = first; second < 3; ++second) {
      CAPTURE(first);
      CAPTURE(second);
      world w;
      test_worker worker(w);
      worker.connect();
      const run_id run = w.run(command_spec());
      const auto offer = worker.take_offer();
      worker.drop();
      list_of(worker.form, first).push_back(test_worker::ref(offer));
      list_of(worker.form, second).push_back(test_worker::ref(offer));
      worker.connect();
      REQUIRE(worker.received<protocol::error_message>().size() == 1);
      CHECK(worker.received<protocol::error_message>()[0].detail.find("Lease 1 is listed twice") == 0);
      CHECK(worker.closed(4002));
      CHECK(w.attempts_of(run).front().state == attempt_state::accepted);
    }
  }
}

TEST_CASE("after a restart a worker is shown by when it was last heard, and at best as stale") {
  world w;
  test_worker away(w, "away", 1), near(w, "near", 2), there(w, "there", 3), gone(w, "gone", 4);
  for (test_worker* worker : {&away, &near, &there, &gone}) worker->connect();
  w.advance(10s);
  gone.beat();
  gone.drop();
  w.advance(100s);
  for (test_worker* worker : {&away, &near, &there}) worker->beat();
  away.drop();
  w.advance(60s);
  near.beat();
  near.drop();
  there.beat();
  w.settle();
  w.restart(30s);
  w.settle();
  const auto state = [&](const char* name) {
    for (const auto& s : w.view().workers(w.mono())) {
      if (s.worker.worker_id == name) return s.state;
    }
    FAIL("no such worker");
    return protocol::presence::online;
  };
  using protocol::presence;
  CHECK(state("gone") == presence::offline);  // 190 s ago
  CHECK(state("away") == presence::stale);    // 90 s ago
  CHECK(state("near") == presence::stale);    // 30 s ago
  CHECK(state("there") == presence::stale);   // its connection ended with us
  w.advance(100s);
  CHECK(state("away") == presence::offline);
  CHECK(state("near") == presence::stale);
  w.advance(60s);
  CHECK(state("near") == presence::offline);
  CHECK(state("there") == presence::stale);
  w.advance(21s);
  CHECK(state("there") == presence::offline);
  near.connect();
  CHECK(state("near") == presence::online);
}
