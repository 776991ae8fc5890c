// A restarted daemon: what each combination of outbox records and supervisor's inventory means, in the lists
// of the registration and in what is done. And promise 7: restarting the daemon neither kills nor forgets its
// jobs.
#include <doctest/doctest.h>

#include "support/agent_world.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using lines = std::vector<std::string>;
using protocol::result_status;

enum class found { nothing, running, ended };

struct row {
  const char* name;
  lines kinds;  ///< records of lease 5
  found process;
  const char* list;  ///< of the registration: running, unacked, lost or ""
  const char* then;  ///< what must be in the log by the time the coordinator kept it, "" for nothing
};

std::string body_of(const std::string& kind, bool first) {
  if (kind == "offer" || (kind == "start" && first)) return protocol::encode(job(5));
  if (kind == "result") {
    protocol::job_result r;
    r.job_id = {"run-5"};
    r.worker_id = "worker-1";
    r.lease = lease_id{5};
    r.run_time = "2026-01-01T00:00:00.000+00:00";
    return protocol::encode(r);
  }
  if (kind == "acked") return "stdout 3";
  return "";
}

std::string list_of(const protocol::worker_register& r) {
  std::string where;
  if (!r.running.empty()) where += "running";
  if (!r.unacked.empty()) where += "unacked";
  if (!r.lost.empty()) where += "lost";
  return where;
}

bool contains(const lines& log, const std::string& part) {
  return std::any_of(log.begin(), log.end(),
                     [&](const auto& l) { return l.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("every combination of records and process is one case of recovery") {
  const std::vector<row> table{
      {"an offer that waited", {"offer"}, found::nothing, "running", "start 5"},
      {"started at once and still running", {"start"}, found::running, "running", "event job_started 5"},
      {"waited, then started", {"offer", "start"}, found::running, "running", "event job_started 5"},
      {"ended while nobody listened", {"start"}, found::ended, "unacked", "result 5 FAILURE"},
      {"started, and nobody knows it", {"start"}, found::nothing, "lost", "result 5 LOST"},
      {"waited, started, and nobody knows it", {"offer", "start"}, found::nothing, "lost", "result 5 LOST"},
      {"result written, process still listed",
       {"start", "result"},
       found::ended,
       "unacked",
       "result 5 SUCCESS"},
      {"result written, process forgotten",
       {"start", "result"},
       found::nothing,
       "unacked",
       "result 5 SUCCESS"},
      {"a result alone", {"result"}, found::nothing, "unacked", "result 5 SUCCESS"},
      {"cancelled before it came", {"tombstone"}, found::nothing, "", "drop 5"},
      {"tombstone, then its offer was answered",
       {"tombstone", "result"},
       found::nothing,
       "unacked",
       "result 5 SUCCESS"},
      {"no record, ended", {}, found::ended, "", "forget 5"},
      {"no record, running", {}, found::running, "", "kill 5"},
  };
  for (const row& r : table) {
    CAPTURE(r.name);
    agent_world w;
    w.cluster = to_string(test_cluster);
    bool first = true;
    for (const std::string& kind : r.kinds) {
      w.records.push_back({5, kind, body_of(kind, first)});
      w.stored_highest = 5;
      first = false;
    }
    if (r.process != found::nothing) {
      w.processes[5] = {};
      w.launched = 5;
      w.starts[5] = 1;
    }
    if (r.process == found::ended) {
      w.processes[5].end = agent::process_end{};
      w.processes[5].end->lease = 5;
      w.processes[5].end->exit_code = 1;
    }
    w.start();
    w.link_up();
    CHECK(list_of(w.sent_of<protocol::worker_register>().at(0)) == r.list);
    w.receive(greeting({5}));
    CHECK(contains(w.log, r.then));
    const auto fault = w.daemon->check_invariants();
    CHECK_MESSAGE(!fault, fault.value_or(""));
    CHECK(w.starts[5] <= 1);
  }
}

TEST_CASE("output on the disk that no record and no process claims is deleted at the start") {
  // Its result was acknowledged, and the supervisor died before it heard that it may forget it.
  agent_world w;
  w.cluster = to_string(test_cluster);
  w.records = {{5, "start", protocol::encode(job(5))}, {5, "result", body_of("result", false)}};
  w.stored_highest = 9;
  w.processes[6].end = agent::process_end{};
  w.processes[6].end->lease = 6;
  w.files = {5, 6, 7, 9};
  w.start();
  CHECK(contains(w.log, "forget 7"));
  CHECK(contains(w.log, "forget 9"));
  CHECK(!contains(w.log, "forget 5"));
  CHECK(std::count(w.log.begin(), w.log.end(), "forget 6") == 1);  // for its end that nobody waits for
}

TEST_CASE("what a process was killed for is known to the next daemon") {
  for (const bool by_cancel : {true, false}) {
    for (const bool had_ended : {true, false}) {
      CAPTURE(by_cancel);
      CAPTURE(had_ended);
      agent_world w;
      bring_up(w);
      auto e = job(1);
      e.on_lease_lost = "kill";
      e.lease_ttl_seconds = 30;
      w.receive(numbered(1, e));
      w.run(1);
      if (by_cancel) {
        w.receive(numbered(2, protocol::cancel_job{{"run-1"}, lease_id{1}, 5}));
      } else {
        w.link_down();
        w.pass(31s);
      }
      REQUIRE(contains(w.log, "kill 1"));
      if (had_ended) {
        w.processes[1].end = agent::process_end{};
        w.processes[1].end->lease = 1;
        w.processes[1].end->signal = 15;
        w.processes[1].end->killed = true;
      }
      w.start();
      // The last one may have died just before it said so.
      CHECK(contains(w.log, "kill 1 10s") == !had_ended);
      if (!had_ended) w.end(1, 0, 15);
      w.link_up();
      w.receive(greeting({1}));
      CHECK(w.sent_of<protocol::job_result>().at(0).status ==
            (by_cancel ? result_status::cancelled : result_status::lost));
    }
  }
}

TEST_CASE("the number of the highest lease survives in the registration") {
  agent_world w;
  w.cluster = to_string(test_cluster);
  w.stored_highest = 44;
  w.start();
  w.link_up();
  CHECK(w.sent_of<protocol::worker_register>().at(0).highest_lease == lease_id{44});
}

TEST_CASE("a restarted daemon goes on with running jobs: their output, their end, no second start") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, job(2)), numbered(3, job(3))});
  w.run(1);
  w.run(2);
  w.print(1, "stdout", "before ");
  w.spools[1]["stdout"] += "while away ";
  bring_up(w, {1, 2, 3});
  w.print(1, "stdout", "after");
  w.end(1);
  std::string text;
  for (const auto& o : w.sent_of<protocol::job_output>()) text += o.data;
  CHECK(text == "before while away after");
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::success);
  CHECK(w.starts == std::map<std::uint64_t, int>{{1, 1}, {2, 1}, {3, 1}});
}

TEST_CASE("processes that do not die are tried again, and not reported lost before") {
  agent_world w;
  w.cluster = to_string(test_cluster);
  w.records.push_back({5, "start", body_of("start", true)});
  w.stored_highest = 5;
  auto daemon = agent::agent(w.settings);
  agent::started in;
  in.records = w.records;
  in.highest_lease = 5;
  in.cluster = w.cluster;
  auto effects = daemon.step(w.now, in);
  const auto asks = [](const agent::effects& list) {
    return std::any_of(list.begin(), list.end(),
                       [](const auto& e) { return std::holds_alternative<agent::kill_leftovers>(e); });
  };
  const auto writes = [](const agent::effects& list) {
    return std::any_of(list.begin(), list.end(),
                       [](const auto& e) { return std::holds_alternative<agent::write_outbox>(e); });
  };
  CHECK(asks(effects));
  effects = daemon.step(w.now, agent::leftovers_killed{5, false, {}});
  CHECK(!writes(effects));
  w.now.boot += 10s;
  CHECK(asks(daemon.step(w.now, agent::tick{})));
  CHECK(writes(daemon.step(w.now, agent::leftovers_killed{5, true, {}})));
}

TEST_CASE("a lost job's output is delivered from the spool before its lease is forgotten") {
  for (const bool with_daemon : {false, true}) {
    CAPTURE(with_daemon);  // whether one was there when the supervisor died
    agent_world w;
    w.cluster = to_string(test_cluster);
    w.records = {{5, "start", body_of("start", true)}, {5, "acked", "stdout 3"}};
    w.stored_highest = 5;
    w.spools[5] = {{"stdout", "one\ntwo\n"}, {"stderr", "err\n"}};
    if (with_daemon) {
      w.processes[5] = {};
      w.start();
      w.spools[5]["stdout"] += "not told yet\n";
      w.processes.clear();
      w.give(agent::supervisor_lost{});
      REQUIRE(w.exited);
    }
    w.start();
    w.link_up();
    w.receive(greeting({}));
    std::map<std::string, std::uint64_t> ends;
    for (const auto& o : w.sent_of<protocol::job_output>()) ends[o.stream] = o.offset + o.data.size();
    const std::map<std::string, std::uint64_t> whole{{"stdout", with_daemon ? 21 : 8}, {"stderr", 4}};
    CHECK(ends == whole);
    REQUIRE(w.sent_of<protocol::job_result>().size() == 1);
    const auto result = w.sent_of<protocol::job_result>().at(0);
    CHECK(result.status == result_status::lost);
    CHECK(result.output_bytes == whole);
    CHECK(!contains(w.log, "forget 5"));
    CHECK(!w.daemon->check_invariants());
  }
}

TEST_CASE("records that cannot be understood are reported and left alone") {
  agent_world w;
  w.cluster = to_string(test_cluster);
  w.records.push_back({5, "start", "not json"});
  w.records.push_back({6, "acked", "stdout 3"});
  w.stored_highest = 6;
  w.start();
  CHECK(contains(w.log, "start record of lease 5 cannot be understood"));
  CHECK(contains(w.log, "acked record of lease 6 cannot be understood"));
  w.link_up();
  w.receive(greeting());
  CHECK(w.records.size() == 2);
  w.receive(numbered(1, job(5)));
  CHECK(w.starts.empty());
}

TEST_CASE("a job that must die with its lease is killed when that runs out, and counts as lost") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.on_lease_lost = "kill";
  e.lease_ttl_seconds = 30;
  w.receive({numbered(1, e), numbered(2, job(2))});
  w.run(1);
  w.receive(ack_of(w.seq_of<protocol::heartbeat>()));
  w.pass(9s);
  w.take_log();
  w.pass(2s);
  CHECK(w.take_log() == lines{"send #4 heartbeat busy"});  // more often than every 60 s
  w.link_down();
  w.pass(18s);
  CHECK(!contains(w.take_log(), "kill 1"));
  w.pass(2s);
  const auto log = w.take_log();
  CHECK(contains(log, "Killing lease 1: it could not be renewed for 30s"));
  CHECK(contains(log, "kill 1 10s"));
  CHECK(!contains(log, "kill 2"));
  w.end(1, 0, 15);
  w.link_up();
  w.receive(greeting({2}));
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::lost);
}

TEST_CASE(
    "row 6: a worker whose messages are not answered gives up such a job, although its connection stands") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.on_lease_lost = "kill";
  e.lease_ttl_seconds = 30;
  w.receive(numbered(1, e));
  w.run(1);
  w.take_log();
  w.pass(29s);
  CHECK(!w.sent_of<protocol::heartbeat>().empty());
  CHECK(!contains(w.take_log(), "kill 1"));
  w.pass(2s);
  CHECK(w.linked);
  CHECK(contains(w.take_log(), "kill 1 10s"));
}

TEST_CASE("row 30: after a freeze beyond its lease such a job is killed before anything is sent") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.on_lease_lost = "kill";
  e.lease_ttl_seconds = 30;
  w.receive({numbered(1, e), numbered(2, job(2))});
  w.run(1);
  w.take_log();
  w.now.boot += 300s;  // SIGSTOP, or the machine slept
  w.give(agent::tick{});
  const auto log = w.take_log();
  const auto killed = std::find(log.begin(), log.end(), "kill 1 10s");
  REQUIRE(killed != log.end());
  const auto is_send = [](const std::string& line) { return line.starts_with("send"); };
  CHECK(std::none_of(log.begin(), killed, is_send));
  CHECK(std::any_of(killed, log.end(), is_send));  // the heartbeat that is due
  CHECK(!contains(log, "kill 2 10s"));
}

TEST_CASE("answers renew the lease, and a restarted daemon knows how long it runs") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.on_lease_lost = "kill";
  e.lease_ttl_seconds = 30;
  w.receive(numbered(1, e));
  w.run(1);
  for (int i = 0; i < 30; ++i) {
    w.pass(5s);
    if (const auto seq = w.seq_of<protocol::heartbeat>(); seq != 0) w.receive(ack_of(seq));
  }
  CHECK(!contains(w.take_log(), "kill 1"));
  w.now.boot += 10s;
  SUBCASE("a short absence keeps it") {
    w.start();
    w.link_up();
    w.receive(greeting({1}));
    w.pass(5s);
    CHECK(!contains(w.take_log(), "kill 1"));
  }
  SUBCASE("a long one kills it at once") {
    w.now.boot += 30s;
    w.start();
    CHECK(contains(w.take_log(), "kill 1"));
  }
}

TEST_CASE(
    "the supervisor is told how long a lease that kills runs, and what it ended for that counts as lost") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.on_lease_lost = "kill";
  e.lease_ttl_seconds = 32;
  w.receive({numbered(1, e), numbered(2, job(2))});
  REQUIRE(w.last_start->lease == 2);
  CHECK_FALSE(w.last_start->lease_until.has_value());
  w.run(1);
  const boot_time asked = w.now.boot;
  w.pass(1s);
  w.receive(ack_of(w.seq_of<protocol::heartbeat>()));
  CHECK(w.renewed.empty());  // it counts from when that was sent, which is when the process started
  w.pass(11s);
  const auto before = w.now.boot;
  w.receive(ack_of(w.seq_of<protocol::heartbeat>()));
  REQUIRE(w.renewed.contains(1));
  CHECK(w.renewed.at(1) > asked + 32s);
  CHECK(w.renewed.at(1) <= before + 32s);
  CHECK(!w.renewed.contains(2));
  agent::process_end end;
  end.lease = 1;
  end.signal = 15;
  end.lease_lost = true;
  w.give(agent::process_ended{end});
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::lost);
}

TEST_CASE("a job that must die with its lease is not started on one that has all but run out") {
  agent_world w;
  bring_up(w);
  w.pass(25s);  // nothing of ours was answered since the registration
  auto e = job(1);
  e.on_lease_lost = "kill";
  e.lease_ttl_seconds = 30;
  w.receive({numbered(1, e), numbered(2, job(2))});
  CHECK(w.starts.empty());
  const auto seq = w.seq_of<protocol::heartbeat>();
  REQUIRE(seq != 0);
  w.receive(ack_of(seq));
  CHECK(w.starts.size() == 2);
}

TEST_CASE("results that nobody asked for are dropped one by one, each after its week") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, job(2))});
  w.run(1);
  w.run(2);
  const auto park = [&](std::uint64_t lease) {
    w.end(lease, 0);
    auto answer = ack_of(w.seq_of<protocol::job_result>());
    std::get<protocol::ack>(answer.body).disposition = disposition::unknown_lease;
    w.receive(answer);
  };
  park(2);
  w.pass(24h);
  park(1);
  w.pass(24h * 6 + 1h);
  CHECK(contains(w.log, "The result of lease 2, which no coordinator asked for, is dropped"));
  CHECK(!contains(w.log, "The result of lease 1, which"));
}
