// How attempts end, how long their results are kept, and what acks, dispositions and errors do to them.
#include <cerrno>

#include <doctest/doctest.h>

#include "support/agent_world.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using lines = std::vector<std::string>;
using protocol::result_status;

bool contains(const lines& log, const std::string& line) {
  return std::find(log.begin(), log.end(), line) != log.end();
}

protocol::job_result result_of(agent::process_end end) {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  end.lease = 1;
  w.give(agent::process_ended{end});
  const auto results = w.sent_of<protocol::job_result>();
  REQUIRE(results.size() == 1);
  return results[0];
}

agent::process_end failed_start(int error_number) {
  agent::process_end e;
  e.started = false;
  e.error_number = error_number;
  e.error = "cannot run 'x'";
  return e;
}

protocol::coordinator_message error_for(std::uint64_t seq, bool final) {
  protocol::error_message e;
  e.code = "too_large";
  e.seq = seq;
  e.final = final;
  return numbered(0, e);
}

protocol::coordinator_message disposed(std::uint64_t seq, disposition d) {
  protocol::ack a;
  a.seq = seq;
  a.disposition = d;
  return numbered(0, a);
}

}  // namespace

TEST_CASE("the end of a process decides the status of the result") {
  agent::process_end e;
  e.duration_seconds = 2;
  e.cpu_seconds = 0.5;
  e.max_rss_bytes = 1000;
  const auto good = result_of(e);
  CHECK(good.status == result_status::success);
  CHECK(good.exit_code == 0);
  CHECK(good.duration_seconds == 2);
  CHECK(good.cpu_seconds == 0.5);
  CHECK(good.max_rss_bytes == 1000);
  CHECK(good.run_time == "2023-11-14T22:13:20.000+00:00");
  e.exit_code = 3;
  CHECK(result_of(e).status == result_status::failure);
  CHECK(result_of(e).exit_code == 3);
  e.exit_code = 0;
  e.signal = 9;
  CHECK(result_of(e).status == result_status::failure);
  CHECK(result_of(e).signal == 9);
  e.timed_out = true;
  CHECK(result_of(e).status == result_status::timeout);
}

TEST_CASE("what could not be run is an ERROR with a shell's exit code") {
  CHECK(result_of(failed_start(ENOENT)).status == result_status::error);
  CHECK(result_of(failed_start(ENOENT)).log_output == "cannot run 'x'");
  CHECK(result_of(failed_start(ENOENT)).exit_code == 127);
  CHECK(result_of(failed_start(EACCES)).exit_code == 126);
  CHECK(!result_of(failed_start(EAGAIN)).exit_code);
}

TEST_CASE("a result is sent again on every connection until it is acknowledged, and dropped only then") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  w.end(1);
  for (int i = 0; i < 3; ++i) {
    w.pass(6s);
    w.link_down();
    w.link_up();
    const auto reg = w.sent_of<protocol::worker_register>().at(0);
    REQUIRE(reg.unacked.size() == 1);
    CHECK(reg.unacked[0].job_id == protocol::job_ref{"run-1"});
    CHECK(reg.running.empty());
    w.receive(greeting());
    CHECK(w.sent_of<protocol::job_result>().size() == 1);
    CHECK(!w.records.empty());
  }
  w.receive(disposed(w.seq_of<protocol::job_result>(), disposition::duplicate));
  CHECK(w.records.empty());
}

TEST_CASE("an ack of an earlier connection's number means nothing on this one") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, noop(1)));
  w.receive(numbered(2, noop(2)));
  const std::uint64_t old = w.seq_of<protocol::job_result>();
  w.pass(6s);
  w.link_down();
  w.link_up();
  w.receive(ack_of(old));  // before the registration ack: nothing is known of it
  CHECK(!w.records.empty());
  w.receive(greeting());
  w.receive(ack_of(2, false));
  CHECK(w.records.size() == 1);
  w.receive(ack_of(99, false));
  CHECK(w.records.size() == 1);
}

TEST_CASE("a cumulative ack settles all up to its number, with the dispositions it lists") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, noop(1)), numbered(2, noop(2)), numbered(3, noop(3))});
  protocol::ack a;
  a.seq = 3;
  a.cumulative = true;
  a.dispositions = {{3, disposition::unknown_lease}};
  w.take_log();
  w.receive(numbered(0, a));
  const auto log = w.take_log();
  CHECK(contains(log, "drop 1"));
  CHECK(!contains(log, "drop 2"));
  CHECK(contains(log, "write 2 parked"));
  w.receive(ack_of(4));
  CHECK(w.records.size() == 2);  // the parked one
}

TEST_CASE("a result of an unknown lease is kept seven days and sent again meanwhile") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, noop(1)));
  w.receive(disposed(2, disposition::unknown_lease));
  w.pass(std::chrono::hours{24 * 6});
  CHECK(!w.records.empty());
  w.link_down();
  w.link_up();
  w.receive(greeting());
  CHECK(w.sent_of<protocol::job_result>().size() == 1);
  w.receive(disposed(2, disposition::unknown_lease));
  w.start();  // also over a restart of the daemon
  w.link_up();
  w.receive(greeting());
  CHECK(w.sent_of<protocol::worker_register>().at(0).unacked.size() == 1);
  w.pass(std::chrono::hours{24} + 1min);
  CHECK(w.records.empty());
}

TEST_CASE("a final error replaces a result by a minimal one, and a second time ends it") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  w.print(1, "stdout", "hello");
  w.end(1, 4);
  w.receive(error_for(w.seq_of<protocol::job_result>(), true));
  auto results = w.sent_of<protocol::job_result>();
  REQUIRE(results.size() == 2);
  CHECK(results[1].output_lost);
  CHECK(results[1].exit_code == 4);
  CHECK(results[1].status == result_status::failure);
  CHECK(results[1].output_bytes.empty());
  CHECK(!w.records.empty());
  w.receive(error_for(w.seq_of<protocol::job_result>(), true));
  CHECK(w.records.empty());
  CHECK(w.processes.empty());
}

TEST_CASE("an error that is not final is tried again after a while") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, noop(1)));
  w.receive(error_for(2, false));
  CHECK(w.sent_of<protocol::job_result>().size() == 1);
  w.pass(6s);
  CHECK(w.sent_of<protocol::job_result>().size() == 2);
  CHECK(!w.daemon->check_invariants());
}

TEST_CASE("the end of an unknown process is forgotten") {
  agent_world w;
  bring_up(w);
  agent::process_end e;
  e.lease = 77;
  w.give(agent::process_ended{e});
  CHECK(contains(w.take_log(), "forget 77"));
}

TEST_CASE("when the supervisor dies its processes are killed, reported lost, and the daemon starts again") {
  agent_world w;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, job(2)), numbered(3, job(3))});
  w.run(1);
  w.take_log();
  w.give(agent::supervisor_lost{});
  const auto log = w.take_log();
  CHECK(contains(log, "kill leftovers of 1"));
  CHECK(contains(log, "kill leftovers of 2"));
  CHECK(contains(log, "write 1 result"));
  CHECK(contains(log, "write 2 result"));
  CHECK(contains(log, "exit 70 restart"));
  w.processes.clear();
  w.launched = 0;
  w.start();
  w.link_up();
  const auto reg = w.sent_of<protocol::worker_register>().at(0);
  CHECK(reg.lost.size() == 2);
  CHECK(reg.running.size() == 1);  // 3 still waits
  w.receive(greeting({3}));
  CHECK(w.starts.at(3) == 1);
  for (const auto& r : w.sent_of<protocol::job_result>()) CHECK(r.status == result_status::lost);
  CHECK(w.sent_of<protocol::job_result>().size() == 2);
}

TEST_CASE("many results wait for the window instead of flooding the connection") {
  agent_world w;
  w.settings.slots = 10000;
  w.settings.credit = 10000;
  bring_up(w);
  std::vector<protocol::coordinator_message> offers;
  for (std::uint64_t i = 1; i <= 6000; ++i) offers.push_back(numbered(i, noop(i)));
  w.receive(offers);
  CHECK(w.sent_of<protocol::job_result>().size() == 4096);
  CHECK(!w.daemon->check_invariants());
  w.receive(ack_of(4097));
  CHECK(w.sent_of<protocol::job_result>().size() == 6000);
  w.receive(ack_of(6001));
  CHECK(w.records.empty());
}
