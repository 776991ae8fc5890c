// Which time retention goes by when the wall clock and what has surely passed disagree.
#include <doctest/doctest.h>

#include <orchestrator/store/retention_clock.hpp>

using namespace orchestrator;
using namespace orchestrator::store;
using namespace std::chrono_literals;

namespace {

constexpr wall_time noon{std::chrono::sys_days{std::chrono::year{2026} / 3 / 2}.time_since_epoch() + 12h};

/// A machine whose wall clock can be set.
struct machine {
  engine_time now{mono_time{1h}, noon};
  void pass(milliseconds by) {
    now.mono += by;
    now.wall += by;
  }
  void step(milliseconds by) { now.wall += by; }
};

}  // namespace

TEST_CASE("a clock that goes as time does is believed, and so is a night's pause before a start") {
  for (const milliseconds away : {0ms, std::chrono::duration_cast<milliseconds>(24h)}) {
    machine m;
    retention_clock clock(noon - away, m.now);
    for (int i = 0; i < 1'000; ++i) {
      m.pass(10min);
      const auto r = clock.read(m.now);
      CHECK(r.now == m.now.wall);
      CHECK_FALSE(r.ahead);
    }
  }
}

TEST_CASE("a clock that stepped far ahead moves what retention goes by no faster than time passes") {
  machine m;
  retention_clock clock(noon, m.now);
  m.step(24h * 3650);
  const auto first = clock.read(m.now);
  CHECK(first.now == noon);
  CHECK(first.ahead == milliseconds{24h * 3650});
  for (int i = 1; i <= 35; ++i) {
    m.pass(10min);
    const auto r = clock.read(m.now);
    CHECK(r.now == noon + i * 10min);
    CHECK_FALSE(r.ahead);  // said once
  }
  m.step(-24h * 3650);  // somebody set it right
  CHECK(clock.read(m.now).now == m.now.wall);
  m.step(24h * 40);  // another mistake is said again
  CHECK(clock.read(m.now).ahead == milliseconds{24h * 40});
}

TEST_CASE("a start whose clock is ahead of the last known time believes it when it has run for six hours") {
  machine m;
  retention_clock clock(noon - 24h * 3, m.now);
  CHECK(clock.read(m.now).ahead == milliseconds{24h * 3});
  for (milliseconds passed = 1h; passed < 6h; passed += 1h) {
    m.pass(1h);
    CHECK(clock.read(m.now).now == noon - 24h * 3 + passed);
  }
  m.pass(1h);
  CHECK(clock.read(m.now).now == m.now.wall);
  m.pass(10min);
  CHECK(clock.read(m.now).now == m.now.wall);
}

TEST_CASE("a clock that is stepped on while it is doubted is doubted anew") {
  machine m;
  retention_clock clock(noon, m.now);
  m.step(24h * 3);
  CHECK(clock.read(m.now).ahead);
  m.pass(4h);
  CHECK_FALSE(clock.read(m.now).ahead);
  m.step(24h * 30);
  CHECK(clock.read(m.now).ahead == milliseconds{24h * 33});
  m.pass(4h);
  CHECK(clock.read(m.now).now == noon + 8h);
}

TEST_CASE("a server that runs ten hours a day and not at weekends goes on deleting") {
  machine m;
  wall_time last = noon;
  for (int day = 0; day < 70; ++day) {
    if (day % 7 < 5) {
      retention_clock clock(last, m.now);
      for (int i = 0; i < 60; ++i) {
        m.pass(10min);
        last = std::max(last, clock.read(m.now).now);
      }
      CHECK(m.now.wall - last <= milliseconds{0});
      m.pass(14h);
    } else {
      m.pass(24h);
    }
  }
}

TEST_CASE("a clock that went back deletes nothing too early, and its way back is no step ahead") {
  machine m;
  retention_clock clock(noon, m.now);
  m.step(-24h * 3650);
  m.pass(1h);
  CHECK(clock.read(m.now).now == m.now.wall);
  m.step(24h * 3650);
  const auto r = clock.read(m.now);
  CHECK(r.now == noon + 1h);
  CHECK_FALSE(r.ahead);
}

TEST_CASE("parts of a millisecond are not lost, however often the clock is read") {
  machine m;
  retention_clock clock(noon, m.now);
  m.step(24h * 100);
  for (int i = 0; i < 10'000; ++i) {
    m.now.mono += 300us;
    clock.read(m.now);
  }
  CHECK(clock.read(m.now).now == noon + 3s);
}

TEST_CASE("without a known time the clock is believed") {
  machine m;
  retention_clock clock(std::nullopt, m.now);
  CHECK(clock.read(m.now).now == m.now.wall);
}
