// The tables of who may do what, by themselves.
#include "access_table.hpp"

#include <set>

#include <doctest/doctest.h>

using namespace orchestrator;
using namespace orchestrator::server;

TEST_CASE("each role of people has what the one before it has; a worker is only a worker") {
  constexpr role people[] = {role::read, role::operate, role::admin};
  constexpr need wanted[] = {need::read, need::operate, need::admin};
  for (int has = 0; has < 3; ++has) {
    for (int want = 0; want < 3; ++want) CHECK(suffices(people[has], wanted[want]) == (has >= want));
    CHECK_FALSE(suffices(people[has], need::worker));
    CHECK_FALSE(suffices(role::worker, wanted[has]));
    CHECK(suffices(people[has], need::nobody));
    CHECK(parse_role_word(to_string(people[has])) == people[has]);
  }
  CHECK(suffices(role::worker, need::worker));
  CHECK_FALSE(parse_role_word("root").has_value());
}

TEST_CASE(
    "no route is in the table twice, what reads changes nothing, and what changes is for operators at "
    "least") {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const rule& line : rules()) {
    CAPTURE(line.pattern);
    CHECK(seen.emplace(line.method, line.pattern).second);
    if (line.method == "GET") CHECK_FALSE(line.changes);
    const bool own_session = line.pattern == "/api/v1/session";
    if (line.changes && !own_session) CHECK((line.least == need::operate || line.least == need::admin));
    if (line.least == need::nobody) CHECK(line.pattern.ends_with('z'));  // healthz and readyz alone
  }
  net::route unknown;
  unknown.method = "POST";
  unknown.pattern = "/api/v1/everything";
  CHECK(find_rule(unknown) == nullptr);
  unknown.pattern = "/api/v1/runs";
  REQUIRE(find_rule(unknown) != nullptr);
  CHECK(find_rule(unknown)->least == need::operate);
}

TEST_CASE("every message of the worker link takes a worker's token, and says whom it comes from") {
  protocol::worker_message m;
  m.body = protocol::worker_register{};
  std::get<protocol::worker_register>(m.body).worker_id = "w-7";
  CHECK(rule_of(m).type == "worker_register");
  CHECK(sender_of(m) == "w-7");
  m.body = protocol::job_result{};
  CHECK(rule_of(m).type == "job_result");
  m.body = protocol::worker_ack{};
  CHECK(sender_of(m).empty());
  CHECK(rule_of(m).least == need::worker);
  m.body = protocol::invalid_message{};
  CHECK(rule_of(m).type == "(invalid)");
}

TEST_CASE("a refusal names the role that is needed and the one that is there") {
  identity who;
  who.name = "ci";
  who.role = role::read;
  const refusal no = lacks_role(who, need::operate);
  CHECK(no.code == errc::forbidden);
  CHECK(no.detail == "this takes a token with the role operator, and `ci` has the role read");
}
