// Sequence numbers on one connection, and how far an ack may reach, against a naive model.
#include <set>

#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>
#include <orchestrator/protocol/ack_window.hpp>

using namespace orchestrator;
using namespace orchestrator::protocol;

TEST_CASE("a peer that counts 1, 2, 3 is right, and one that never counts is too") {
  sequence_check counting;
  for (std::uint64_t seq = 1; seq < 100; ++seq) CHECK(!counting.accept(seq));
  CHECK(counting.last() == 99);
  sequence_check silent;
  for (int i = 0; i < 100; ++i) CHECK(!silent.accept(std::nullopt));
  CHECK(silent.last() == 0);
}

TEST_CASE("a gap, a repeat, a step back, a late start and a stop are each refused by name (P24)") {
  const auto refused = [](std::initializer_list<std::optional<std::uint64_t>> sequence) {
    sequence_check check;
    std::optional<refusal> last;
    for (const auto& seq : sequence) {
      CHECK(!last);
      last = check.accept(seq);
    }
    REQUIRE(last);
    CHECK(last->code == errc::bad_field);
    CHECK(last->pointer == "/seq");
    return last->detail;
  };
  CHECK(refused({1, 2, 4}) == "seq 4 came where 3 was expected");
  CHECK(refused({1, 2, 2}) == "seq 2 came where 3 was expected");
  CHECK(refused({1, 2, 1}) == "seq 1 came where 3 was expected");
  CHECK(refused({2}) == "seq 2 came where 1 was expected");
  CHECK(refused({0}) == "seq 0 came where 1 was expected");
  CHECK(refused({1, 9223372036854775807}) == "seq 9223372036854775807 came where 2 was expected");
  CHECK(refused({std::nullopt, 1}) == "seq 1 came after 1 messages without seq");
  CHECK(refused({1, std::nullopt}) == "a message without seq came after seq 1");
}

TEST_CASE("the reach stops before the first message that waits for the disk") {
  ack_window window;
  CHECK(!window.take_reach());
  window.received(1, true);
  window.received(2, false);
  window.received(3, true);
  CHECK(window.take_reach() == 1);
  CHECK(!window.take_reach());
  window.settle(2);
  CHECK(window.take_reach() == 3);
  CHECK(!window.take_reach());
  window.settle(2);
  CHECK(!window.take_reach());
}

TEST_CASE("the reach is always that of a naive model") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    random_source random{seed};
    ack_window window;
    std::set<std::uint64_t> unsettled;
    std::uint64_t last = 0, reported = 0;
    for (int step = 0; step < 300; ++step) {
      if (random.below(2) == 0) {
        const bool settled = random.below(3) == 0;
        window.received(++last, settled);
        if (!settled) unsettled.insert(last);
      } else if (!unsettled.empty()) {
        auto which = unsettled.begin();
        std::advance(which, random.below(unsettled.size()));
        window.settle(*which);
        unsettled.erase(which);
      }
      if (random.below(4) != 0) continue;
      const std::uint64_t reach = unsettled.empty() ? last : *unsettled.begin() - 1;
      const auto got = window.take_reach();
      CHECK(got == (reach == reported ? std::optional<std::uint64_t>{} : reach));
      reported = reach;
    }
  }
}
