// The connection: log lines people grep for, backoff in virtual time, registration, clusters and terms.
#include <doctest/doctest.h>

#include "support/agent_world.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using lines = std::vector<std::string>;

/// The seconds said in "Retrying in 8.3s...".
double said_delay(const std::string& line) {
  const auto at = line.find("Retrying in ");
  REQUIRE(at != std::string::npos);
  return std::stod(line.substr(at + 12));
}

}  // namespace

TEST_CASE("a worker says that it starts, connects and registers with its first message") {
  agent_world w;
  w.start();
  CHECK(w.take_log() == lines{"[INFO] Worker worker-1 starting...", "connect"});
  w.link_up();
  CHECK(w.take_log() == lines{"[INFO] Connected to ws://localhost:8000/ws/heartbeat", "send #1 register"});
  const auto m = w.sent_of<protocol::worker_register>().at(0);
  CHECK(m.worker_id == "worker-1");
  CHECK(m.protocol == 1);
  CHECK(m.features == lines{"batch"});
  CHECK(m.slots == 2);
  CHECK(m.credit == 2);
  CHECK(m.opened == std::chrono::nanoseconds{1000s}.count());
  CHECK(!m.cluster);
}

TEST_CASE("a refused connection is tried again after 5 s, then at doubling times up to 60 s, with jitter") {
  agent_world w;
  w.start();
  w.take_log();
  w.dialling = false;
  w.give(agent::connect_failed{"Connection refused"});
  CHECK(w.take_log() == lines{"[WARNING] Connection failed: [Connection refused]. Retrying in 5s..."});
  double base = 5;
  for (int i = 0; i < 8; ++i) {
    CAPTURE(i);
    const boot_time before = w.now.boot;
    const boot_time due = *w.daemon->next_deadline();
    w.pass(due - before - 1ms);
    CHECK(!w.dialling);
    w.pass(1ms);
    CHECK(w.dialling);
    w.take_log();
    w.dialling = false;
    w.give(agent::connect_failed{"Connection refused"});
    base = std::min(base * 2, 60.0);
    const std::string line = w.take_log().back();
    const double said = said_delay(line);
    CHECK(said >= base / 2 - 0.1);
    CHECK(said <= base);
    const auto real = std::chrono::duration<double>(*w.daemon->next_deadline() - w.now.boot).count();
    CHECK(real == doctest::Approx(said));
  }
}

TEST_CASE("two workers do not come back at the same times") {
  agent_world a, b;
  b.settings.seed = 2;
  for (agent_world* w : {&a, &b}) {
    w->start();
    w->give(agent::connect_failed{"x"});
    w->pass(5s);
    w->give(agent::connect_failed{"x"});
  }
  CHECK(*a.daemon->next_deadline() != *b.daemon->next_deadline());
}

TEST_CASE("a connection that was registered for 5 s is replaced at once, a shorter one after a pause") {
  agent_world w;
  bring_up(w);
  w.pass(6s);
  w.take_log();
  w.link_down(1001, "going away");
  CHECK(w.take_log() ==
        lines{"[INFO] Connection closed by server (code: 1001, reason: going away)", "connect"});
  w.link_up();
  w.receive(greeting());
  w.take_log();
  w.pass(1s);
  w.link_down();
  CHECK(w.take_log() == lines{"[INFO] Connection closed by server (code: 1006, reason: none)",
                              "[INFO] Reconnecting in 5s..."});
  CHECK(*w.daemon->next_deadline() == w.now.boot + 5s);
}

TEST_CASE(
    "row 31: a coordinator without a common protocol is tried again every minute, and what runs goes on") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  w.take_log();
  for (int i = 0; i < 3; ++i) {
    w.link_down(4010, "protocol_mismatch: the worker speaks up to 1, this server 2");
    const auto log = w.take_log();
    CHECK(log.at(0).find("the worker speaks up to 1, this server 2") != std::string::npos);
    CHECK(std::find(log.begin(), log.end(), "kill 1 10s") == log.end());
    CHECK(*w.daemon->next_deadline() == w.now.boot + 60s);
    w.pass(60s);
    CHECK(w.dialling);
    w.link_up();
    w.take_log();
  }
  w.receive(greeting({1}));
  w.end(1);
  CHECK(w.sent_of<protocol::job_result>().at(0).status == protocol::result_status::success);
}

TEST_CASE("the backoff starts anew only after a minute of connection") {
  agent_world w;
  w.start();
  w.give(agent::connect_failed{"x"});
  w.pass(5s);
  w.give(agent::connect_failed{"x"});
  w.pass(20s);
  w.link_up();
  w.receive(greeting());
  w.pass(10s);
  w.link_down();
  CHECK(w.dialling);
  w.take_log();
  w.give(agent::connect_failed{"x"});
  CHECK(said_delay(w.take_log().back()) >= 9.9);  // the third in a row

  w.pass(60s);
  w.link_up();
  w.receive(greeting());
  w.pass(59s);
  w.receive(ack_of(2));
  w.pass(2s);
  w.link_down();
  w.take_log();
  w.give(agent::connect_failed{"x"});
  CHECK(said_delay(w.take_log().back()) == 5);
}

TEST_CASE("a coordinator that never answers the registration is given up after 30 s") {
  agent_world w;
  w.start();
  w.link_up();
  w.take_log();
  w.pass(31s);
  const auto log = w.take_log();
  REQUIRE(!log.empty());
  CHECK(log.front() == "disconnect 1008 no answer to the registration");
}

TEST_CASE("a coordinator that acknowledges no heartbeat for days is sent a bounded number of them") {
  agent_world w;
  bring_up(w);
  w.sent.clear();
  for (int i = 0; i < 9'000; ++i) {
    w.give(agent::pong{w.now.boot});
    w.pass(60s);
    REQUIRE(w.daemon->check_invariants() == std::nullopt);
    w.log.clear();
  }
  CHECK(w.linked);
  CHECK(w.sent.size() == 2 * 4'096);
  w.receive(ack_of(w.sent.back().seq.value()));
  w.pass(60s);
  CHECK(w.sent.size() == 2 * 4'096 + 1);  // and goes on when it is heard
}

TEST_CASE("heartbeats go every 60 s and say what the worker does") {
  agent_world w;
  bring_up(w);
  w.give(agent::load_report{1.5, 4096});
  w.receive(numbered(1, job(5)));
  w.run(5);
  w.pass(59s);
  CHECK(w.sent_of<protocol::heartbeat>().empty());
  w.pass(1s);
  const auto beats = w.sent_of<protocol::heartbeat>();
  REQUIRE(beats.size() == 1);
  CHECK(beats[0].status == "busy");
  CHECK(beats[0].running == 1);
  CHECK(beats[0].load == 1.5);
  CHECK(beats[0].memory_bytes == 4096);
  CHECK(beats[0].uptime_seconds == doctest::Approx(60));
  CHECK(beats[0].timestamp.ends_with("+00:00"));
}

TEST_CASE("the first cluster is taken on in place, and jobs behind the registration wait for its outbox") {
  agent_world w;
  w.start();
  w.link_up();
  w.take_log();
  w.receive({greeting(), numbered(1, noop(1))});
  const std::string cluster = to_string(test_cluster);
  CHECK(w.take_log() == lines{"switch to " + cluster, "framing batch 1048576", "term 1", "ping every 20s",
                              "write 1 result", "send ack 1 cumulative", "send #2 result 1 SUCCESS"});
}

TEST_CASE("on another cluster's coordinator the daemon sets its outbox aside and starts again") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.link_down();
  w.pass(10s);
  w.link_up();
  w.take_log();
  const uuid other = *parse_uuid("bbbbbbbb-0000-4000-8000-000000000002");
  w.receive(greeting({}, {}, other));
  const auto log = w.take_log();
  REQUIRE(log.size() == 4);
  CHECK(log[0].starts_with("[WARNING] This coordinator serves cluster bbbbbbbb"));
  CHECK(log[1] == "disconnect 1001 switching cluster");
  CHECK(log[2] == "switch to " + to_string(other));
  CHECK(log[3] == "exit 0 restart");
  CHECK(w.records.empty());
}

TEST_CASE("a term is stored when it rises, and a lower one is reported") {
  agent_world w;
  bring_up(w);
  CHECK(w.term == 1);
  w.pass(6s);
  w.link_down();
  w.link_up();
  CHECK(w.sent_of<protocol::worker_register>().at(0).term == 1);
  CHECK(w.sent_of<protocol::worker_register>().at(0).cluster == test_cluster);
  w.receive(greeting({}, {}, test_cluster, 4));
  CHECK(w.term == 4);
  w.pass(6s);
  w.link_down();
  w.link_up();
  w.take_log();
  w.receive(greeting({}, {}, test_cluster, 3));
  CHECK(w.term == 4);
  CHECK(w.take_log()[1].starts_with("[WARNING] The coordinator's term 3 is below 4"));
}

TEST_CASE("pings are frequent enough for the smallest lease TTL") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.lease_ttl_seconds = 6;
  w.receive(numbered(1, e));
  const auto log = w.take_log();
  CHECK(std::find(log.begin(), log.end(), "ping every 2s") != log.end());
}

TEST_CASE("a gap in the coordinator's numbers closes the connection with 1008") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(3, job(2))});
  const auto log = w.take_log();
  CHECK(std::any_of(log.begin(), log.end(), [](const auto& l) { return l.starts_with("disconnect 1008"); }));
  CHECK(!w.starts.contains(2));
}

TEST_CASE("ten frames in a row that are no messages close the connection") {
  agent_world w;
  bring_up(w);
  for (int i = 0; i < 9; ++i) w.give(agent::frame{{}, "bad_json"});
  CHECK(w.linked);
  w.receive(ack_of(1));
  for (int i = 0; i < 9; ++i) w.give(agent::frame{{}, "bad_json"});
  CHECK(w.linked);
  w.give(agent::frame{{}, "bad_json"});
  CHECK(!w.linked);
}

TEST_CASE("after a job that could not be read nothing is acknowledged cumulatively any more") {
  agent_world w;
  bring_up(w);
  protocol::invalid_message bad{"execute_job", "", {errc::bad_field, "script_path is missing", "", ""}};
  w.receive({numbered(1, bad), numbered(2, noop(2)), numbered(3, noop(3))});
  std::vector<std::uint64_t> acked;
  for (const auto& a : w.sent_of<protocol::worker_ack>()) {
    CHECK(!a.cumulative);
    acked.push_back(*a.seq);
  }
  CHECK(acked == std::vector<std::uint64_t>{2, 3});
}

TEST_CASE("a job that cannot be read but for its lease is answered as rejected, and acknowledged") {
  agent_world w;
  bring_up(w);
  protocol::invalid_message bad{"execute_job", "", {errc::bad_field, "env/A must be a string", "", ""}};
  bad.job_id = protocol::job_ref{std::string("run-7")};
  bad.lease = lease_id{7};
  w.receive({numbered(1, bad), numbered(2, noop(8))});
  const auto acks = w.sent_of<protocol::worker_ack>();
  REQUIRE(!acks.empty());
  CHECK(*acks.back().seq == 2);
  const auto results = w.sent_of<protocol::job_result>();
  REQUIRE(results.size() == 2);
  CHECK(results[0].lease == lease_id{7});
  CHECK(results[0].status == protocol::result_status::rejected);
  CHECK(results[0].log_output.find("env/A must be a string") != std::string::npos);
}
