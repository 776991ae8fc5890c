// What is refused and what goes on while the disk is nearly full or full.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;

namespace {

constexpr std::uint64_t mib = 1024 * 1024;
constexpr std::uint64_t large_disk = 1024 * 1024 * mib;

space_measured left(std::uint64_t free, std::uint64_t total = large_disk) { return {free, total}; }

std::optional<errc> code_of(const world& w, request_id id) {
  const auto* r = w.answered<refusal>(id);
  return r == nullptr ? std::nullopt : std::optional(r->code);
}

}  // namespace

TEST_CASE("new work is refused below the reserve: 512 MiB of a large disk, a twentieth of a small one") {
  world w;
  const auto level = [&](std::uint64_t free, std::uint64_t total) {
    w.give(left(total, total));  // ample again
    w.give(left(free, total));
    return w.view().space();
  };
  CHECK(level(512 * mib, large_disk) == space_level::ample);
  CHECK(level(512 * mib - 1, large_disk) == space_level::low);
  CHECK(level(60 * mib, 1000 * mib) == space_level::ample);
  CHECK(level(49 * mib, 1000 * mib) == space_level::low);
  config settings;
  settings.disk_reserve = 10 * mib;
  world own(settings);
  own.give(left(11 * mib));
  CHECK(own.view().space() == space_level::ample);
  own.give(left(9 * mib));
  CHECK(own.view().space() == space_level::low);
  settings.disk_reserve = 0;
  world off(settings);
  off.give(left(0));
  CHECK(off.view().space() == space_level::ample);
}

TEST_CASE("while room is scarce new work gets 507, and results, cancels and heartbeats go on") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id first = w.run(command_spec());
  const auto offer = worker.take_offer();
  const run_id second = w.run(command_spec());
  w.give(left(100 * mib));
  CHECK(w.noted("nearly full (100 MiB left)"));
  CHECK_FALSE(w.answered<run_answer>(w.submit(command_spec())));
  const request_id refused = w.submit(command_spec());
  job_definition job;
  job.name = "job";
  job.spec = command_spec();
  const request_id applied = w.apply(job);
  worker.beat();
  worker.finish(offer);
  w.cancel(second);
  w.settle();
  CHECK(code_of(w, refused) == errc::no_space);
  CHECK(code_of(w, applied) == errc::no_space);
  CHECK(w.stored(first).state == run_state::succeeded);
  CHECK(w.stored(second).state == run_state::cancelled);
  const hold_run hold{w.ask(), second, true};
  w.give(hold);
  w.settle();
  CHECK(code_of(w, hold.request) != errc::no_space);
}

TEST_CASE("while room is scarce output is acknowledged and leaves a gap") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.run(command_spec());
  const auto offer = worker.take_offer();
  const auto print = [&](std::uint64_t offset, const char* data) {
    worker.output(offer, offset, data);
    w.settle();
  };
  print(0, "before");
  w.give(left(1 * mib));
  print(6, "DROPPED");
  w.give(left(large_disk));
  print(13, "after");
  CHECK(w.disk.output.at({*offer.lease, "stdout"}) == "before.......after");
  worker.finish(offer);
  w.settle();
}

TEST_CASE("the level changes back only some way above the reserve") {
  world w;
  w.give(left(500 * mib));
  w.give(left(520 * mib));
  CHECK(w.view().space() == space_level::low);
  w.give(left(577 * mib));
  CHECK(w.view().space() == space_level::ample);
  CHECK(w.noted("has room again"));
}

TEST_CASE("schedules wait while room is scarce and follow their catch-up rule after it") {
  world w;
  job_definition d;
  d.name = "job";
  d.spec = command_spec();
  schedule s;
  s.kind = schedule_kind::interval;
  s.every = 10min;
  d.schedule = s;
  w.apply(d);
  w.give(left(1));
  w.advance(31min);
  CHECK(w.disk.instants.empty());
  w.give(left(large_disk));
  w.advance(1s);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("a ballast within the reserve is asked for once, and again after a full disk took it") {
  world w;
  CHECK(w.give(left(large_disk)).ballast == 64 * mib);
  CHECK_FALSE(w.give(left(large_disk)).ballast.has_value());
  w.give(space_changed{true});
  CHECK(w.view().space() == space_level::full);
  w.give(left(300 * mib));
  w.give(space_changed{false});  // it came through on what was held back
  CHECK(w.view().space() == space_level::low);
  CHECK_FALSE(w.give(left(600 * mib)).ballast.has_value());  // ample, but not by a ballast more
  CHECK(w.view().space() == space_level::ample);
  CHECK(w.give(left(700 * mib)).ballast == 64 * mib);
  world small;
  CHECK(small.give(left(64 * mib, 64 * mib)).ballast == 64 * mib / 40);
}
