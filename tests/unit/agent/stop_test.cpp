// Ending the daemon: leave, drain, kill.
#include <doctest/doctest.h>

#include "support/agent_world.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using lines = std::vector<std::string>;

bool contains(const lines& log, const std::string& line) {
  return std::find(log.begin(), log.end(), line) != log.end();
}

void two_running_one_waiting(agent_world& w) {
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, job(2)), numbered(3, job(3))});
  w.run(1);
  w.run(2);
  w.take_log();
}

}  // namespace

TEST_CASE("leave closes with 1001 and ends; the jobs are not touched") {
  agent_world w;
  two_running_one_waiting(w);
  w.give(agent::stop{agent::stop_mode::leave});
  const auto log = w.take_log();
  CHECK(contains(log, "disconnect 1001 going away"));
  CHECK(contains(log, "exit 0"));
  CHECK(!contains(log, "kill 1 10s"));
}

TEST_CASE("leave without a connection ends at once") {
  agent_world w;
  w.start();
  w.give(agent::stop{agent::stop_mode::leave});
  REQUIRE(w.exited);
  CHECK(w.exited->code == 0);
  CHECK(!w.exited->restart);
}

TEST_CASE("drain gives back what waits, ends when everything has ended and was acknowledged") {
  agent_world w;
  two_running_one_waiting(w);
  w.give(agent::stop{agent::stop_mode::drain});
  CHECK(w.sent_of<protocol::job_result>().at(0).status == protocol::result_status::rejected);
  CHECK(w.sent_of<protocol::heartbeat>().back().status == "draining");
  w.end(1);
  w.end(2);
  CHECK(!w.exited);
  std::uint64_t last = 0;
  for (const auto& m : w.sent) last = std::max(last, m.seq.value_or(0));
  w.receive(ack_of(last));
  CHECK(w.exited);
  CHECK(w.records.empty());
}

TEST_CASE("drain does not wait for a coordinator that is away: the outbox keeps the results") {
  agent_world w;
  two_running_one_waiting(w);
  w.link_down();
  w.give(agent::stop{agent::stop_mode::drain});
  w.dialling = false;
  w.give(agent::connect_failed{"Connection refused"});
  w.end(1);
  CHECK(!w.exited);
  w.end(2);
  CHECK(w.exited);
  CHECK(!w.records.empty());
}

TEST_CASE("kill ends every process with its grace, reports a failure, and gives up after a while") {
  agent_world w;
  two_running_one_waiting(w);
  w.give(agent::stop{agent::stop_mode::kill});
  const auto log = w.take_log();
  CHECK(contains(log, "kill 1 10s"));
  CHECK(contains(log, "kill 2 10s"));
  w.end(1, 0, 15);
  CHECK(w.sent_of<protocol::job_result>().back().status == protocol::result_status::failure);
  CHECK(!w.exited);
  w.pass(30s);
  CHECK(w.exited);
}
