// Offers: each started once, in order, within the slots; refusals, cancels, drain, keep and abandon.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <orchestrator/base/limits.hpp>
#include <orchestrator/protocol/codec.hpp>

#include "support/agent_world.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using lines = std::vector<std::string>;
using protocol::result_status;

bool contains(const lines& log, const std::string& line) {
  return std::find(log.begin(), log.end(), line) != log.end();
}

}  // namespace

TEST_CASE(
    "an offer is written, acknowledged and only then started; its result is written before it is sent") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(7)));
  CHECK(w.take_log() == lines{"write 7 start", "send ack 1 cumulative", "start 7"});
  w.run(7);
  CHECK(w.take_log() == lines{"send #2 event job_started 7"});
  w.end(7);
  CHECK(w.take_log() == lines{"write 7 result", "send #3 result 7 SUCCESS"});
  w.receive(ack_of(3));
  CHECK(w.take_log() == lines{"forget 7", "drop 7"});
  CHECK(w.records.empty());
}

TEST_CASE("offers beyond the slots wait in order and start when one ends") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, job(2)), numbered(3, job(3)), numbered(4, job(4))});
  CHECK(w.take_log() == lines{"write 1 start", "write 2 start", "write 3 offer", "write 4 offer",
                              "send ack 4 cumulative", "start 1", "start 2"});
  w.end(2);
  CHECK(contains(w.take_log(), "start 3"));
  CHECK(!w.starts.contains(4));
  w.end(1);
  CHECK(contains(w.take_log(), "start 4"));
}

TEST_CASE("an offer beyond slots and credit is rejected") {
  agent_world w;
  bring_up(w);
  for (std::uint64_t i = 1; i <= 5; ++i) w.receive(numbered(i, job(i)));
  const auto results = w.sent_of<protocol::job_result>();
  REQUIRE(results.size() == 1);
  CHECK(results[0].status == result_status::rejected);
  CHECK(results[0].lease->value == 5);
  CHECK(results[0].log_output == "the worker already holds 4 attempts, all it has room for");
}

TEST_CASE("a full outbox refuses more without keeping it, so that its registration fits into one frame") {
  agent_world w;
  bring_up(w);
  w.pass(6s);
  for (std::uint64_t lease = 1; lease <= limits::inventory_leases + 10; ++lease)
    w.receive(numbered(lease, noop(lease)));
  w.link_down();
  w.link_up();
  auto registration = w.sent_of<protocol::worker_register>().at(0);
  CHECK(registration.unacked.size() > limits::inventory_leases - 10);
  CHECK(registration.unacked.size() <= limits::inventory_leases);
  for (auto& ref : registration.unacked) ref = {{std::string(36, 'f')}, lease_id{INT64_MAX}};
  for (std::size_t i = 0; i < limits::labels; ++i)
    registration.labels[fmt::format("{:0>{}}", i, limits::label_bytes)] =
        std::string(limits::label_bytes, 'v');
  std::string frame;
  protocol::encode({1, registration, 0}, frame);
  CHECK(frame.size() < limits::frame_before_registration);
}

TEST_CASE("noop is answered without a process, many in one frame with one ack") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, noop(1)), numbered(2, noop(2))});
  CHECK(w.take_log() == lines{"write 1 result", "write 2 result", "send ack 2 cumulative",
                              "send #2 result 1 SUCCESS", "send #3 result 2 SUCCESS"});
  CHECK(w.sent_of<protocol::job_result>().at(0).exit_code == 0);
  w.receive(ack_of(3));
  CHECK(w.take_log() == lines{"drop 1", "drop 2"});
}

TEST_CASE("a lease offered twice is acknowledged twice and started once") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(7)));
  w.take_log();
  w.receive(numbered(2, job(7)));
  CHECK(w.take_log() == lines{"send ack 2 cumulative"});
  CHECK(w.starts[7] == 1);
}

TEST_CASE("a lease not above the highest that is not in the outbox is refused") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, noop(7)));
  w.receive(ack_of(2));
  w.take_log();
  w.receive({numbered(2, job(7)), numbered(3, job(6))});
  const auto log = w.take_log();
  CHECK(contains(log, "send #3 result 7 REJECTED"));
  CHECK(contains(log, "send #4 result 6 REJECTED"));
  CHECK(w.starts.empty());
}

TEST_CASE("an offer of a lower term is refused without leaving a trace") {
  agent_world w;
  bring_up(w);
  auto stale = job(9);
  stale.term = 0;
  w.receive(numbered(1, stale));
  CHECK(w.take_log() == lines{"send ack 1 cumulative", "send #2 result 9 REJECTED"});
  CHECK(w.stored_highest == 0);
  w.receive(ack_of(2));
  w.receive(numbered(2, job(9)));
  CHECK(w.starts[9] == 1);
}

TEST_CASE(
    "cancel kills what runs with the grace it names, and the result says cancelled with the true status") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  w.take_log();
  w.receive(numbered(2, protocol::cancel_job{{"run-1"}, lease_id{1}, 3}));
  CHECK(w.take_log() == lines{"write 1 killed", "kill 1 3s", "send ack 2 cumulative"});
  w.end(1, 0, 15);
  const auto r = w.sent_of<protocol::job_result>().at(0);
  CHECK(r.status == result_status::cancelled);
  CHECK(r.signal == 15);
  CHECK(!r.exit_code);
}

TEST_CASE("a cancel that came too late for the process leaves its end as it was") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  w.receive(numbered(2, protocol::cancel_job{{"run-1"}, lease_id{1}, 3}));
  w.processes.at(1).killed = false;  // it had ended before the signal
  w.end(1, 3);
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::failure);
}

TEST_CASE("cancel withdraws what only waits") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, job(2)), numbered(3, job(3))});
  w.receive(numbered(4, protocol::cancel_job{{"run-3"}, lease_id{3}, 3}));
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::cancelled);
  w.end(1);
  w.end(2);
  CHECK(!w.starts.contains(3));
}

TEST_CASE("a job cancelled in the frame that offered it never starts") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, protocol::cancel_job{{"run-1"}, lease_id{1}, 3})});
  CHECK(w.starts.empty());
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::cancelled);
  CHECK(!w.daemon->check_invariants());
}

TEST_CASE("a cancel that overtakes its offer leaves a tombstone, and the offer never starts") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, protocol::cancel_job{{"run-8"}, lease_id{8}, 3}));
  CHECK(w.take_log() == lines{"write 8 tombstone", "send ack 1 cumulative"});
  SUBCASE("on the same connection") {
    w.receive(numbered(2, job(8)));
    CHECK(contains(w.take_log(), "send #2 result 8 CANCELLED"));
  }
  SUBCASE("after a restart of the daemon") {
    bring_up(w);
    w.receive(numbered(1, job(8)));
    CHECK(contains(w.take_log(), "send #2 result 8 REJECTED"));
  }
  CHECK(w.starts.empty());
}

TEST_CASE("draining takes no more work and says so, until it is switched off") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, protocol::drain{true}), numbered(3, job(2))});
  CHECK(w.sent_of<protocol::heartbeat>().at(0).status == "draining");
  CHECK(w.sent_of<protocol::job_result>().at(0).log_output == "the worker is draining");
  w.receive({numbered(4, protocol::drain{false}), numbered(5, job(3))});
  CHECK(w.starts == std::map<std::uint64_t, int>{{1, 1}, {3, 1}});
}

TEST_CASE("a drain that was lifted while the worker was away is over when it registers") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, protocol::drain{true}));
  w.pass(6s);  // a connection that held is dialled again at once
  w.link_down();
  w.link_up();
  w.receive(greeting({}, {}));
  w.receive(numbered(1, job(1)));
  CHECK(w.starts == std::map<std::uint64_t, int>{{1, 1}});
}

TEST_CASE(
    "after a reconnect only what is in keep goes on; the rest is killed or withdrawn and still reported") {
  agent_world w;
  bring_up(w);
  for (std::uint64_t i = 1; i <= 4; ++i) w.receive(numbered(i, job(i)));
  w.run(1);
  w.run(2);
  w.pass(6s);
  w.link_down();
  w.link_up();
  const auto reg = w.sent_of<protocol::worker_register>().at(0);
  CHECK(reg.running.size() == 4);
  CHECK(reg.highest_lease == lease_id{4});
  w.take_log();
  w.receive(greeting({1, 3}, {2}));  // 4 is in neither list
  const auto log = w.take_log();
  CHECK(contains(log, "kill 2 10s"));
  CHECK(!contains(log, "kill 1 10s"));
  CHECK(contains(log, "write 4 result"));
  w.end(2, 0, 15);
  w.end(1);
  CHECK(w.starts == std::map<std::uint64_t, int>{{1, 1}, {2, 1}, {3, 1}});
  std::map<std::uint64_t, result_status> got;
  for (const auto& r : w.sent_of<protocol::job_result>()) got[r.lease->value] = r.status;
  CHECK(got == std::map<std::uint64_t, result_status>{{1, result_status::success},
                                                      {2, result_status::cancelled},
                                                      {4, result_status::cancelled}});
}

TEST_CASE("nothing that waits is started while there is no connection") {
  agent_world w;
  bring_up(w);
  for (std::uint64_t i = 1; i <= 3; ++i) w.receive(numbered(i, job(i)));
  w.link_down();
  w.end(1);
  w.end(2);
  CHECK(!w.starts.contains(3));
}

TEST_CASE("a job that cannot be understood ends as ERROR with the reason") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.command.clear();
  e.script_path = "a.sh";
  e.script_args = "it's";
  w.receive(numbered(1, e));
  const auto r = w.sent_of<protocol::job_result>().at(0);
  CHECK(r.status == result_status::error);
  CHECK(r.log_output.starts_with("the arguments cannot be split"));
  CHECK(w.starts.empty());
}

TEST_CASE(
    "a script runs by its ending, relative to the start directory, with its arguments split as a shell "
    "does") {
  agent_world w;
  bring_up(w);
  auto e = job(1);
  e.command.clear();
  e.script_path = "jobs/report.py";
  e.script_args = "--day 'last monday'";
  e.env = {{"COLOR", "no"}, {"ORCHESTRATOR_LEASE", "forged"}};
  e.run_id = "R";
  e.job = "nightly";
  e.scheduled_at = "2026-01-01T00:00:00Z";
  e.traceparent = "00-1";
  e.stdin_text = "in";
  w.receive(numbered(1, e));
  REQUIRE(w.last_start);
  CHECK(w.last_start->argv == lines{"python3", "/srv/jobs/report.py", "--day", "last monday"});
  CHECK(w.last_start->script == "/srv/jobs/report.py");
  CHECK(w.last_start->cwd == "/srv");
  CHECK(w.last_start->stdin_text == "in");
  CHECK(w.last_start->timeout == 60s);
  CHECK(w.last_start->kill_grace == 10s);
  CHECK(w.last_start->env ==
        std::map<std::string, std::string>{{"PATH", "/usr/bin:/bin"},
                                           {"COLOR", "no"},
                                           {"ORCHESTRATOR_LEASE", "1"},
                                           {"ORCHESTRATOR_ATTEMPT", "1"},
                                           {"ORCHESTRATOR_RUN_ID", "R"},
                                           {"ORCHESTRATOR_JOB", "nightly"},
                                           {"ORCHESTRATOR_SCHEDULED_AT", "2026-01-01T00:00:00Z"},
                                           {"TRACEPARENT", "00-1"}});
  e.lease = lease_id{2};
  e.script_path = "/opt/run.sh";
  e.script_args = "";
  e.cwd = "sub";
  w.receive(numbered(2, e));
  CHECK(w.last_start->argv == lines{"bash", "/opt/run.sh"});
  CHECK(w.last_start->cwd == "/srv/sub");
  w.end(1);
  e.lease = lease_id{3};
  e.script_path = "bin/tool";
  w.receive(numbered(3, e));
  CHECK(w.last_start->argv == lines{"/srv/bin/tool"});
  CHECK(w.last_start->script.empty());  // its own exec finds out
}

TEST_CASE("a job without lease is ignored, one with an unknown builtin is an ERROR") {
  agent_world w;
  bring_up(w);
  auto none = job(1);
  none.lease.reset();
  auto odd = noop(2);
  odd.builtin = "teleport";
  w.receive({numbered(1, none), numbered(2, odd)});
  CHECK(w.starts.empty());
  REQUIRE(w.sent_of<protocol::job_result>().size() == 1);
  CHECK(w.sent_of<protocol::job_result>()[0].status == result_status::error);
}
