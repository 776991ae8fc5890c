// Leases that kill: the supervisor ends such a process when nobody renews it, whatever became of the daemon.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/process_fixture.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using namespace orchestrator::process::testing;

namespace {

launch leased(std::uint64_t lease, milliseconds time) {
  auto what = command(lease, {"sleep", "300"});
  what.lease_until = read_boot_clock() + time;
  what.kill_grace = 100ms;
  return what;
}

}  // namespace

TEST_CASE("a process whose lease runs out is killed although its daemon is gone") {
  work_dir dir;
  int leased_process = 0;
  int other_process = 0;
  {
    test_daemon old(dir);
    old.client().start(leased(1, 400ms));
    old.client().start(command(2, {"sleep", "300"}));
    leased_process = old.wait_for_start(1);
    other_process = old.wait_for_start(2);
  }
  CHECK(eventually([&] { return !is_alive(leased_process); }));
  CHECK(is_alive(other_process));
  test_daemon young(dir);
  const auto& items = young.client().inventory();
  const auto found =
      std::find_if(items.begin(), items.end(), [](const supervised& s) { return s.lease == 1; });
  REQUIRE(found != items.end());
  const auto end = found->end ? *found->end : young.wait_for_end(1);
  CHECK(end.lease_lost);
  CHECK_FALSE(end.killed);
  CHECK(end.signal == SIGTERM);
  young.client().kill(2, 0ms);
  CHECK_FALSE(young.wait_for_end(2).lease_lost);
}

TEST_CASE("a lease that is renewed lets its process live, and one that ends by itself lost nothing") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto first = leased(1, 700ms);
  daemon.client().start(first);
  const int pid = daemon.wait_for_start(1);
  daemon.client().renew(1, read_boot_clock() + 60s);
  daemon.client().renew(1, *first.lease_until);  // never back
  daemon.client().renew(7, read_boot_clock());   // unknown: ignored
  auto quick = command(2, {"true"});
  quick.lease_until = *first.lease_until;
  CHECK_FALSE(daemon.run(quick).lease_lost);
  // The only way to see that something does not happen is to look until it would have.
  REQUIRE(eventually([&] { return read_boot_clock() > *first.lease_until + 300ms; }));
  CHECK(is_alive(pid));
  daemon.client().kill(1, 0ms);
  const auto end = daemon.wait_for_end(1);
  CHECK(end.killed);
  CHECK_FALSE(end.lease_lost);
}

TEST_CASE("a launch whose lease is over before it comes is not started") {
  work_dir dir;
  test_daemon daemon(dir);
  const auto end = daemon.run(leased(1, -1ms));
  CHECK_FALSE(end.started);
  CHECK(end.lease_lost);
  CHECK(end.error.find("ran out") != std::string::npos);
}
