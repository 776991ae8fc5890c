// Writes to the outbox that fail, one kind at a time: what is said, what is undone, what is tried again.
#include <doctest/doctest.h>

#include "support/agent_world.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using lines = std::vector<std::string>;
using protocol::result_status;

}  // namespace

TEST_CASE("an offer that cannot be recorded is rejected with the reason, and leaves no trace") {
  agent_world w;
  bring_up(w);
  w.disk_full = true;
  w.receive(numbered(1, job(7)));
  CHECK(w.starts.empty());
  const auto r = w.sent_of<protocol::job_result>().at(0);
  CHECK(r.status == result_status::rejected);
  CHECK(r.log_output == "the worker cannot write its outbox: No space left on device");
  CHECK(w.linked);
  // The connection goes before the coordinator saw that: the registration must not say that lease 7 was ever
  // here.
  w.link_down();
  w.pass(10s);
  w.link_up();
  const auto reg = w.sent_of<protocol::worker_register>().at(0);
  CHECK(*reg.highest_lease < lease_id{7});
  CHECK(reg.running.empty());
  CHECK(reg.unacked.empty());
  w.disk_full = false;
  w.receive(greeting());
  w.receive(numbered(1, job(7)));
  CHECK(w.starts.at(7) == 1);
}

TEST_CASE("in a frame of offers only those that cannot be recorded are rejected") {
  agent_world w;
  bring_up(w);
  w.writes_until_failure = 1;
  w.receive({numbered(1, job(1)), numbered(2, job(2)), numbered(3, job(3))});
  CHECK(w.starts == std::map<std::uint64_t, int>{{1, 1}});
  REQUIRE(w.sent_of<protocol::job_result>().size() == 1);
  CHECK(w.sent_of<protocol::job_result>()[0].lease->value == 2);
  CHECK(w.sent_of<protocol::worker_ack>().at(0).seq == 3);
  CHECK(!w.daemon->check_invariants());
  w.pass(2s);  // 3 waited for the slot that 2 was to have
  CHECK(w.starts == std::map<std::uint64_t, int>{{1, 1}, {3, 1}});
}

TEST_CASE("a waiting attempt whose start cannot be recorded goes on waiting") {
  agent_world w;
  w.settings.slots = 1;
  bring_up(w);
  w.receive({numbered(1, job(1)), numbered(2, job(2))});
  w.writes_until_failure = 1;  // the result of 1 is written, the start of 2 is not
  w.end(1);
  CHECK(!w.starts.contains(2));
  CHECK(!w.daemon->check_invariants());
  w.pass(2s);
  CHECK(w.starts.at(2) == 1);
}

TEST_CASE("a result that cannot be recorded is not sent before it can, and the connection starts anew") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  w.disk_full = true;
  w.take_log();
  w.end(1);
  CHECK(w.logged("cannot write 1 result"));
  CHECK(w.logged("disconnect 1011"));
  CHECK(!w.logged("send"));
  w.pass(10s);
  w.link_up();
  CHECK(w.sent_of<protocol::worker_register>().at(0).running.size() == 1);
  w.receive(greeting({1}));
  CHECK(w.sent_of<protocol::job_result>().empty());
  w.disk_full = false;
  w.pass(2s);
  CHECK(w.sent_of<protocol::job_result>().at(0).status == result_status::success);
  CHECK(!w.daemon->check_invariants());
}

TEST_CASE("a noop that cannot be recorded never happened") {
  agent_world w;
  bring_up(w);
  w.disk_full = true;
  w.receive(numbered(1, noop(3)));
  CHECK(!w.linked);
  w.disk_full = false;
  w.pass(10s);
  w.link_up();
  CHECK(*w.sent_of<protocol::worker_register>().at(0).highest_lease < lease_id{3});
  CHECK(w.sent_of<protocol::worker_register>().at(0).unacked.empty());
}

TEST_CASE("a lease is never rolled back below what other records say") {
  agent_world w;
  bring_up(w);
  w.receive(numbered(1, job(5)));
  w.writes_until_failure = 0;
  w.receive({numbered(2, job(6)), numbered(3, job(8))});
  w.link_down();
  w.pass(10s);
  w.link_up();
  CHECK(w.sent_of<protocol::worker_register>().at(0).highest_lease == lease_id{8});
}

TEST_CASE(
    "an outbox that cannot be switched closes the connection, or ends the daemon that was to leave a "
    "cluster") {
  agent_world w;
  w.start();
  agent::agent& a = *w.daemon;
  SUBCASE("the first cluster") {
    a.step(w.now, agent::connected{});
    auto list = a.step(w.now, agent::frame{{greeting()}, ""});
    REQUIRE(std::holds_alternative<agent::switch_outbox>(list.front()));
    list = a.step(w.now, agent::outbox_failed{"Input/output error", list});
    CHECK(std::any_of(list.begin(), list.end(),
                      [](const auto& e) { return std::holds_alternative<agent::disconnect>(e); }));
  }
  SUBCASE("another cluster") {
    w.cluster = "cccccccc-0000-4000-8000-000000000003";
    w.start();
    agent::agent& b = *w.daemon;
    b.step(w.now, agent::connected{});
    auto list = b.step(w.now, agent::frame{{greeting()}, ""});
    const auto at = std::find_if(list.begin(), list.end(), [](const auto& e) {
      return std::holds_alternative<agent::switch_outbox>(e);
    });
    REQUIRE(at != list.end());
    list = b.step(w.now, agent::outbox_failed{"Input/output error", {at, list.end()}});
    const auto* over = std::get_if<agent::exit_now>(&list.back());
    REQUIRE(over != nullptr);
    CHECK(over->code == 74);
    CHECK(!over->restart);
  }
}
