// The generator is the published one, is fair, and replays from its seed.
#include <array>
#include <set>

#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>

using namespace orchestrator;

TEST_CASE("the sequence is that of xoshiro256** seeded by SplitMix64") {
  // From the authors' C code, seeded with SplitMix64 from 0.
  random_source zero{0};
  CHECK(zero.next() == 0x99ec5f36cb75f2b4U);
  CHECK(zero.next() == 0xbf6e1f784956452aU);
  CHECK(zero.next() == 0x1a5f849d4933e6e0U);
}

TEST_CASE("equal seeds give equal sequences, and different seeds different ones") {
  random_source a{42}, b{42}, c{43};
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const auto drawn = a.next();
    CHECK(drawn == b.next());
    differs = differs || drawn != c.next();
  }
  CHECK(differs);
}

TEST_CASE("below stays below its bound and reaches every value about equally often") {
  random_source random{5};
  std::array<int, 10> seen{};
  for (int i = 0; i < 100'000; ++i) ++seen[random.below(10)];
  for (const int n : seen) {
    CHECK(n > 9'500);
    CHECK(n < 10'500);
  }
  for (int i = 0; i < 100; ++i) CHECK(random.below(1) == 0);
  // A bound just above half the range is where a plain modulo is most unfair.
  const std::uint64_t bound = (std::uint64_t{1} << 63) + 1;
  int low_half = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t drawn = random.below(bound);
    REQUIRE(drawn < bound);
    low_half += drawn < bound / 2 ? 1 : 0;
  }
  CHECK(low_half > 9'500);
  CHECK(low_half < 10'500);
}

TEST_CASE("unit lies in [0, 1) and has the mean of one half") {
  random_source random{9};
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double drawn = random.unit();
    REQUIRE(drawn >= 0);
    REQUIRE(drawn < 1);
    sum += drawn;
  }
  CHECK(sum / 100'000 == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE("the kernel's numbers do not repeat") {
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(system_random());
  CHECK(seen.size() == 1000);
}
