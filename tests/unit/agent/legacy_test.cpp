// The original Python coordinator, in its two forms: one acknowledges everything, the published one only
// registrations and heartbeats.
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

protocol::coordinator_message plain_ack() { return numbered(0, protocol::ack{}); }

protocol::coordinator_message registered_ack() {
  protocol::ack a;
  a.registered = true;
  return numbered(0, a);
}

protocol::coordinator_message legacy_job(std::int64_t id, const std::string& path = "job.sh") {
  protocol::execute_job e;
  e.job_id.id = id;
  e.script_path = path;
  return numbered(0, e);
}

void bring_up_legacy(agent_world& w) {
  w.start();
  w.link_up();
  w.receive(registered_ack());
  w.take_log();
}

}  // namespace

TEST_CASE("a registration ack without session is a legacy coordinator: its own outbox, no arrays") {
  agent_world w;
  w.start();
  w.link_up();
  w.take_log();
  w.receive(registered_ack());
  CHECK(w.take_log() == lines{"switch to legacy", "framing single 16777216"});
}

TEST_CASE("a job runs, its event and its whole output arrive one message at a time, without our fields") {
  agent_world w;
  bring_up_legacy(w);
  w.receive(legacy_job(41));
  CHECK(w.take_log() == lines{"write 1 start", "start 1"});  // no ack: it would not understand one
  w.run(1);
  CHECK(w.take_log() == lines{"send event job_started -"});
  w.print(1, "stdout", "out\n");
  w.print(1, "stderr", "err\n");
  w.end(1, 2);
  CHECK(w.take_log() == lines{"write 1 result"});  // waits for the event's ack
  w.receive(plain_ack());
  CHECK(w.take_log() == lines{"send result - FAILURE"});
  const auto r = w.sent_of<protocol::job_result>().at(0);
  CHECK(r.job_id == protocol::job_ref{std::int64_t{41}});
  CHECK(r.log_output == "out\nerr\n");
  CHECK(!r.lease);
  w.receive(plain_ack());
  CHECK(w.take_log() == lines{"forget 1", "drop 1"});
}

TEST_CASE("without an ack in 5 s a heartbeat asks, and its ack proves the message before it") {
  agent_world w;
  bring_up_legacy(w);
  w.receive(legacy_job(1));
  w.end(1);
  w.take_log();
  CHECK(w.sent_of<protocol::job_result>().size() == 1);
  w.pass(4s);
  CHECK(w.take_log().empty());
  w.pass(2s);
  CHECK(w.take_log() == lines{"send heartbeat idle"});
  w.receive(plain_ack());
  CHECK(w.take_log() == lines{"forget 1", "drop 1"});
  SUBCASE("the published server: from then on the heartbeat follows at once") {
    w.pass(6s);
    w.take_log();
    w.receive(legacy_job(2));
    w.end(2);
    const auto log = w.take_log();
    REQUIRE(log.size() >= 2);
    CHECK(log[log.size() - 2] == "send result - SUCCESS");
    CHECK(log.back() == "send heartbeat idle");
    w.receive(plain_ack());
    CHECK(contains(w.take_log(), "drop 2"));
  }
  SUBCASE("a slow server that acks all: its second ack is not taken for the next message's") {
    w.receive(legacy_job(2));
    w.end(2);
    w.take_log();
    w.receive(plain_ack());  // the heartbeat's
    CHECK(!contains(w.log, "drop 2"));
    CHECK(w.sent_of<protocol::job_result>().size() == 2);
    w.take_log();
    w.receive(plain_ack());
    CHECK(contains(w.take_log(), "drop 2"));
  }
}

TEST_CASE("the same job id twice is two attempts") {
  agent_world w;
  bring_up_legacy(w);
  w.receive({legacy_job(1), legacy_job(1)});
  CHECK(w.starts == std::map<std::uint64_t, int>{{1, 1}, {2, 1}});
}

TEST_CASE("up to a thousand jobs wait in order, the next one is an ERROR") {
  agent_world w;
  bring_up_legacy(w);
  for (int i = 0; i < 1002; ++i) w.receive(legacy_job(i));
  CHECK(w.sent_of<protocol::job_result>().empty());
  w.receive(legacy_job(5000));
  const auto r = w.sent_of<protocol::job_result>();
  REQUIRE(r.size() == 1);
  CHECK(r[0].status == result_status::error);
  w.end(1);
  CHECK(w.starts.contains(3));
  CHECK(!w.starts.contains(4));
}

TEST_CASE("long output is trimmed to a mebibyte with the gap marked, and made readable") {
  agent_world w;
  bring_up_legacy(w);
  w.receive(legacy_job(1));
  w.spools[1]["stdout"] = "head\xFF" + std::string(3 * 1024 * 1024, 'o') + "tail\n";
  w.spools[1]["stderr"] = std::string("small\0error\n", 12);
  w.end(1);
  const auto r = w.sent_of<protocol::job_result>().at(0);
  CHECK(r.log_output.size() < 1024 * 1024 + 200);
  CHECK(r.log_output.size() > 1000 * 1024);
  CHECK(r.log_output.starts_with("head\xEF\xBF\xBDo"));
  CHECK(r.log_output.find(" bytes left out ...]\n") != std::string::npos);
  CHECK(r.log_output.find("tail\nsmall\xEF\xBF\xBD"
                          "error\n") != std::string::npos);
  CHECK(!w.daemon->check_invariants());
}

TEST_CASE("results and waiting jobs survive a reconnect and a restart of the daemon") {
  agent_world w;
  w.settings.slots = 1;
  bring_up_legacy(w);
  w.receive({legacy_job(1), legacy_job(2)});
  w.pass(6s);
  w.link_down();
  w.spools[1]["stdout"] = "text";
  w.end(1);
  w.start();
  w.link_up();
  CHECK(w.sent_of<protocol::worker_register>().at(0).unacked.empty());  // our leases are none of its business
  w.receive(registered_ack());
  CHECK(w.sent_of<protocol::job_result>().at(0).log_output == "text");
  CHECK(w.starts.at(2) == 1);
  CHECK(w.starts.at(1) == 1);
}

TEST_CASE("a job that comes before the registration ack is taken") {
  agent_world w;
  w.start();
  w.link_up();
  w.receive({legacy_job(1), registered_ack()});
  CHECK(w.starts.at(1) == 1);
  w.run(1);
  w.receive(plain_ack());
  w.end(1);
  CHECK(w.sent_of<protocol::job_result>().size() == 1);
}

TEST_CASE("statuses the original does not know become ERROR") {
  agent_world w;
  bring_up_legacy(w);
  w.receive(legacy_job(1));
  agent::process_end e;
  e.lease = 1;
  e.timed_out = true;
  e.signal = 15;
  w.give(agent::process_ended{e});
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::error);
}
