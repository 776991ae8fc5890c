// The gate by itself, and the rule it serves: an output leaves when everything issued before it is on disk.
#include <doctest/doctest.h>

#include <orchestrator/engine/commit_gate.hpp>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;

namespace {

output drain_for(std::uint64_t session) {
  return send{session_id{session}, {std::nullopt, protocol::drain{}}};
}
std::uint64_t session_of(const output& o) { return std::get<send>(o).session.value; }

}  // namespace

TEST_CASE("an output leaves when its number is durable and not before") {
  commit_gate gate;
  gate.hold(drain_for(1), 2, 0);
  std::vector<output> out;
  gate.persisted(1, out);
  CHECK(out.empty());
  gate.persisted(2, out);
  CHECK(out.size() == 1);
  CHECK(gate.held() == 0);
}

TEST_CASE("an output that waits for job output holds back only its own session") {
  commit_gate gate;
  gate.hold(drain_for(1), 0, 1);
  gate.hold(drain_for(1), 0, 0);
  gate.hold(drain_for(2), 0, 0);
  std::vector<output> out;
  gate.release(out);
  REQUIRE(out.size() == 1);
  CHECK(session_of(out[0]) == 2);
  out.clear();
  gate.output_persisted(1, out);
  REQUIRE(out.size() == 2);
  CHECK(session_of(out[0]) == 1);
}

TEST_CASE("a forgotten session gets nothing any more") {
  commit_gate gate;
  gate.hold(drain_for(1), 1, 0);
  gate.hold(drain_for(1), 1, 1);
  gate.hold(drain_for(2), 1, 0);
  gate.forget(session_id{1});
  std::vector<output> out;
  gate.output_persisted(1, out);
  gate.persisted(1, out);
  REQUIRE(out.size() == 1);
  CHECK(session_of(out[0]) == 2);
}

TEST_CASE("a submission is answered when it is durable and not before") {
  world w;
  const request_id id = w.submit(command_spec());
  CHECK(w.answer_to(id) == nullptr);
  w.sync();
  REQUIRE(w.answered<run_answer>(id) != nullptr);
  CHECK(w.answered<run_answer>(id)->created);
}

TEST_CASE("an answer that changed nothing waits for what was issued before it") {
  world w;
  const run_id run = w.run(command_spec());
  const request_id cancel = w.cancel(run);
  const request_id again = w.cancel(run);  // idempotent: changes nothing, but shows the first one's effect
  CHECK(w.answer_to(again) == nullptr);
  w.sync();
  REQUIRE(w.answered<run_answer>(cancel) != nullptr);
  REQUIRE(w.answered<run_answer>(again) != nullptr);
  CHECK(w.answered<run_answer>(again)->run.state == run_state::cancelled);
}

TEST_CASE("execute_job leaves only when its attempt is durable") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.submit(command_spec());
  w.turn();
  CHECK(worker.received<protocol::execute_job>().empty());
  w.sync(1);  // the submission is there, the attempt is not
  CHECK(worker.received<protocol::execute_job>().empty());
  w.sync();
  CHECK(worker.received<protocol::execute_job>().size() == 1);
}

TEST_CASE("a duplicate result is answered only after the earlier uncommitted batch") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.run(command_spec());
  const auto offer = worker.take_offer();
  w.settle();
  const auto first = worker.finish(offer);
  const auto second = worker.finish(offer);
  CHECK(worker.acked() < first);
  w.sync();
  CHECK(worker.verdict(first) == disposition::accepted);
  CHECK(worker.verdict(second) == disposition::duplicate);
}

TEST_CASE("the ack of a heartbeat waits for nothing and overtakes durable acks") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.run(command_spec());
  const auto offer = worker.take_offer();
  w.settle();
  const auto result = worker.finish(offer);
  worker.beat();
  const auto acks = worker.received<protocol::ack>();
  REQUIRE_FALSE(acks.empty());
  CHECK_FALSE(acks.back().cumulative);
  CHECK(acks.back().seq == result + 1);
  CHECK(worker.acked() < result);
  w.sync();
  CHECK(worker.acked() >= result);
}

TEST_CASE("nothing overtakes the registration ack, not even a heartbeat's") {
  world w;
  w.run(command_spec());
  test_worker worker(w);
  worker.open();
  worker.beat();
  w.turn();
  CHECK(worker.inbox().empty());
  w.sync();
  REQUIRE(worker.inbox().size() >= 3);
  CHECK(std::holds_alternative<protocol::registration>(worker.inbox()[0].body));
  CHECK(worker.received<protocol::execute_job>().size() == 1);
}

TEST_CASE("one cumulative ack covers what became durable together") {
  world w;
  test_worker worker(w);
  worker.form.slots = 4;
  worker.connect();
  for (int i = 0; i < 4; ++i) w.submit(command_spec());
  w.settle();
  const auto offers = worker.take_offers();
  REQUIRE(offers.size() == 4);
  w.settle();
  const auto before = worker.received<protocol::ack>().size();
  std::uint64_t last = 0;
  for (const auto& offer : offers) last = worker.finish(offer);
  w.sync();
  const auto acks = worker.received<protocol::ack>();
  REQUIRE(acks.size() == before + 1);
  CHECK(acks.back().cumulative);
  CHECK(acks.back().seq == last);
  CHECK(acks.back().dispositions.empty());
}

TEST_CASE("a peer without the feature batch gets one ack per message, each with its seq and disposition") {
  world w;
  test_worker worker(w);
  worker.form.features.clear();
  worker.connect();
  w.run(command_spec());
  const auto offer = worker.take_offer();
  w.settle();
  const auto seq = worker.finish(offer);
  w.sync();
  const auto acks = worker.received<protocol::ack>();
  REQUIRE(acks.size() == 1);
  CHECK_FALSE(acks[0].cumulative);
  CHECK(acks[0].seq == seq);
  CHECK(acks[0].disposition == disposition::accepted);
}

TEST_CASE("messages of ours count from 1 in the order in which they leave") {
  world w;
  test_worker worker(w);
  worker.form.slots = 3;
  worker.connect();
  for (int i = 0; i < 3; ++i) w.submit(command_spec());
  w.settle();
  w.give(drain_worker{w.ask(), "w1", true});
  w.settle();
  std::uint64_t expected = 0;
  for (const auto& m : worker.inbox()) {
    const bool counted = std::holds_alternative<protocol::execute_job>(m.body) ||
                         std::holds_alternative<protocol::drain>(m.body);
    if (counted) CHECK(m.seq == ++expected);
    if (!counted) CHECK_FALSE(m.seq.has_value());
  }
  CHECK(expected == 4);
}

TEST_CASE("an offer that never left the gate is not started, and costs no try") {
  world w;
  test_worker worker(w);
  worker.connect();
  const request_id id = w.submit(command_spec());
  w.turn();
  worker.drop();
  w.settle();
  const auto run = w.answered<run_answer>(id)->run.id;
  CHECK(w.attempts_of(run).front().state == attempt_state::not_started);
  CHECK(w.stored(run).state == run_state::retry_wait);
  CHECK(w.stored(run).failures == 0);
}
