// A small seeded generator (xoshiro256**, Blackman and Vigna). It lives inside a core's state and is seeded
// by input, so that a simulation replays byte for byte. Not for secrets.
#pragma once

#include <array>
#include <cstdint>

namespace orchestrator {

class random_source {
 public:
  explicit random_source(std::uint64_t seed = 1);
  std::uint64_t next();
  /// Uniform in [0, bound); bound must be > 0.
  std::uint64_t below(std::uint64_t bound);
  /// Uniform in [0, 1).
  double unit();

 private:
  std::array<std::uint64_t, 4> state_;
};

/// 64 bits from the kernel's generator, for seeds, tokens and ids made by shells. Aborts if there are none.
std::uint64_t system_random();

}  // namespace orchestrator
