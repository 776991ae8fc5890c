// What the simulator relies on in the memory store: the split between synced and unsynced.
#include <doctest/doctest.h>

#include "support/store_support.hpp"

using namespace orchestrator;
using namespace orchestrator::store;
using namespace orchestrator::store::testing;

namespace {

std::uint64_t runs_seen(memory_store& st) {
  std::uint64_t count = 0;
  st.read([&](reader& q) { count = q.count_runs().by_state[0]; });
  return count;
}

}  // namespace

TEST_CASE("what is not synced is seen by nobody and lost in a crash") {
  std::vector<std::uint64_t> reported;
  store_events events;
  events.persisted = [&](std::uint64_t n) { reported.push_back(n); };
  memory_store st(std::move(events));
  CHECK(st.reopen(day_zero).term == 1);
  for (std::uint64_t n = 1; n <= 5; ++n) st.commit({n, {put_run{sample_run(n)}}});
  CHECK(st.queued_bytes() > 0);
  CHECK(runs_seen(st) == 0);
  CHECK(st.sync(2) == 2);
  CHECK(reported == std::vector<std::uint64_t>{2});
  CHECK(runs_seen(st) == 2);
  st.crash();
  CHECK(st.queued_bytes() == 0);
  CHECK(st.sync() == 0);
  const snapshot s = st.reopen(day_zero);
  CHECK(s.last_number == 2);
  CHECK(s.term == 2);
  CHECK(s.runs.size() == 2);
  st.commit({3, {put_run{sample_run(30)}}});
  CHECK(st.sync() == 1);
  CHECK(reported == std::vector<std::uint64_t>{2, 3});
}

TEST_CASE("output has a queue and a sync of its own") {
  std::vector<std::uint64_t> reported;
  store_events events;
  events.output_persisted = [&](std::uint64_t n) { reported.push_back(n); };
  memory_store st(std::move(events));
  st.commit_output({1, {{lease_id{1}, "stdout", 0, "one"}}});
  st.commit_output({2, {{lease_id{1}, "stdout", 3, "two"}}});
  CHECK(st.sync() == 0);
  CHECK(st.sync_output(1) == 1);
  st.crash();
  st.commit_output({1, {{lease_id{1}, "stdout", 3, "TWO"}}});
  CHECK(st.sync_output() == 1);
  CHECK(reported == std::vector<std::uint64_t>{1, 1});
  st.read([&](reader& q) { CHECK(q.read_output(lease_id{1}, "stdout", 0, 100).data == "oneTWO"); });
}

TEST_CASE("a callback may commit the next batch") {
  memory_store* self = nullptr;
  std::uint64_t last = 0;
  store_events events;
  events.persisted = [&](std::uint64_t n) {
    last = n;
    if (n < 3) self->commit({n + 1, {put_run{sample_run(n + 1)}}});
  };
  memory_store st(std::move(events));
  self = &st;
  st.commit({1, {put_run{sample_run(1)}}});
  while (st.sync() > 0) {
  }
  CHECK(last == 3);
  CHECK(runs_seen(st) == 3);
}
