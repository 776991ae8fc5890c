// Output on its way from the spool to the coordinator: offsets, gaps, windows, acks, resends.
#include <doctest/doctest.h>

#include "support/agent_world.hpp"

using namespace orchestrator;
using namespace orchestrator::test;

namespace {

using lines = std::vector<std::string>;

bool contains(const lines& log, const std::string& line) {
  return std::find(log.begin(), log.end(), line) != log.end();
}

void begin(agent_world& w) {
  bring_up(w);
  w.receive(numbered(1, job(1)));
  w.run(1);
  w.take_log();
}

/// What arrived on this connection, put together by offset.
std::string arrived(const agent_world& w) {
  std::string all;
  for (const auto& o : w.sent_of<protocol::job_output>()) {
    if (all.size() < o.offset + o.data.size()) all.resize(o.offset + o.data.size());
    std::copy(o.data.begin(), o.data.end(), all.begin() + static_cast<std::ptrdiff_t>(o.offset));
  }
  return all;
}

void ack_everything(agent_world& w) {
  std::uint64_t last = 0;
  for (const auto& m : w.sent) last = std::max(last, m.seq.value_or(0));
  w.receive(ack_of(last));
}

}  // namespace

TEST_CASE("output is sent while the job runs, and before its result") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", "one\n");
  CHECK(w.take_log() == lines{"send #3 output 1 stdout 0+4"});
  w.print(1, "stderr", "two\n");
  CHECK(w.take_log() == lines{"send #4 output 1 stderr 0+4"});
  ack_everything(w);
  w.print(1, "stdout", "three\n");
  CHECK(w.take_log() == lines{"send #5 output 1 stdout 4+6"});
  w.end(1);
  CHECK(w.take_log() == lines{"write 1 result", "send #6 result 1 SUCCESS"});
  CHECK(w.sent_of<protocol::job_result>()[0].output_bytes ==
        std::map<std::string, std::uint64_t>{{"stdout", 10}, {"stderr", 4}});
}

TEST_CASE(
    "a chatty job's lines are gathered while a chunk is on the way, and its last lines go before the "
    "result") {
  agent_world w;
  begin(w);
  for (int i = 0; i < 100; ++i) w.print(1, "stdout", "line\n");
  CHECK(w.sent_of<protocol::job_output>().size() == 1);
  ack_everything(w);
  CHECK(w.sent_of<protocol::job_output>().size() == 2);
  w.print(1, "stdout", "last\n");
  w.end(1);
  CHECK(arrived(w).size() == 505);
  CHECK(std::holds_alternative<protocol::job_result>(w.sent.back().body));
}

TEST_CASE("a reconnect resends from the last acknowledged offset") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", "acknowledged ");
  ack_everything(w);
  w.print(1, "stdout", "not");
  w.pass(6s);
  w.link_down();
  w.print(1, "stdout", " yet");
  w.link_up();
  w.take_log();
  w.receive(greeting({1}));
  CHECK(contains(w.take_log(), "send #2 output 1 stdout 13+7"));
}

TEST_CASE("what the spool dropped is a gap that names where it begins") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", "head");
  ack_everything(w);
  w.holes[1] = 100;
  w.take_log();
  w.print(1, "stdout", std::string(100, 'x'));
  CHECK(w.take_log() == lines{"send #4 output 1 stdout 100+4 gap from 4"});
}

TEST_CASE("a gap up to the end is told by an empty chunk") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", "head");
  ack_everything(w);
  w.holes[1] = 1000;
  w.take_log();
  w.print(1, "stdout", std::string(100, 'x'));
  CHECK(w.take_log() == lines{"send #4 output 1 stdout 104+0 gap from 4"});
  w.end(1);
  CHECK(std::holds_alternative<protocol::job_result>(w.sent.back().body));
}

TEST_CASE("no more than a mebibyte of one job is on the way, and everything arrives in the end") {
  agent_world w;
  begin(w);
  const std::string big(5 * 1024 * 1024, 'a');
  w.print(1, "stdout", big);
  std::size_t bytes = 0;
  for (const auto& o : w.sent_of<protocol::job_output>()) bytes += o.data.size();
  CHECK(bytes >= 1024 * 1024);
  CHECK(bytes <= 1024 * 1024 + limits::output_chunk);
  w.end(1);
  CHECK(w.sent_of<protocol::job_result>().empty());
  for (int i = 0; i < 10; ++i) ack_everything(w);
  CHECK(arrived(w) == big);
  CHECK(w.records.empty());
  CHECK(!w.daemon->check_invariants());
}

TEST_CASE("acknowledged output is released a segment at a time, behind a record of how far") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", std::string(1536 * 1024, 'a'));
  ack_everything(w);
  const auto log = w.take_log();
  const auto at = std::find(log.begin(), log.end(), "write 1 acked");
  REQUIRE(at != log.end());
  CHECK((at + 1)->starts_with("release 1 stdout 1"));
  ack_everything(w);
  w.start();  // a restarted daemon goes on from there
  w.link_up();
  w.receive(greeting({1}));
  REQUIRE(!w.sent_of<protocol::job_output>().empty());
  CHECK(w.sent_of<protocol::job_output>()[0].offset >= 1024 * 1024);
  CHECK(!w.sent_of<protocol::job_output>()[0].gap_from);
}

TEST_CASE("control characters count as what they will take on the wire") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", std::string(4 * 1024 * 1024, '\x01'));
  std::size_t bytes = 0;
  for (const auto& o : w.sent_of<protocol::job_output>()) bytes += o.data.size();
  CHECK(bytes <= 256 * 1024);
}

TEST_CASE("a character that is half written waits for its other half, but not beyond the end") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", "x\xC3");
  CHECK(w.sent_of<protocol::job_output>().at(0).data == "x");
  ack_everything(w);
  w.print(1, "stdout", "\xA9");
  CHECK(w.sent_of<protocol::job_output>().at(1).data == "\xC3\xA9");
  ack_everything(w);
  w.print(1, "stdout", "\xE2\x82");
  CHECK(w.sent_of<protocol::job_output>().size() == 2);
  w.end(1);
  CHECK(w.sent_of<protocol::job_output>().at(2).data == "\xE2\x82");
  CHECK(w.sent_of<protocol::job_result>().size() == 1);
}

TEST_CASE("a chunk that will never be taken costs the output, not the result") {
  agent_world w;
  begin(w);
  w.print(1, "stdout", "poison");
  protocol::error_message e;
  e.code = "bad_field";
  e.seq = w.seq_of<protocol::job_output>();
  e.final = true;
  w.receive(numbered(0, e));
  w.print(1, "stdout", "more");
  CHECK(w.sent_of<protocol::job_output>().size() == 1);
  w.end(1);
  const auto r = w.sent_of<protocol::job_result>().at(0);
  CHECK(r.output_lost);
  CHECK(r.status == protocol::result_status::success);
}
