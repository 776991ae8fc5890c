// The seeded generator of the cores, and the kernel's randomness for the shells.
#include <bit>
#include <cerrno>

#include <sys/random.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/random.hpp>

namespace orchestrator {
namespace {

// SplitMix64: spreads a seed over the state, which must not be all zero. No seed leads there.
std::uint64_t split_mix(std::uint64_t& x) {
  x += 0x9e3779b97f4a7c15U;
  std::uint64_t z = x;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

}  // namespace

random_source::random_source(std::uint64_t seed) {
  for (auto& word : state_) word = split_mix(seed);
}

std::uint64_t random_source::next() {
  const std::uint64_t out = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return out;
}

std::uint64_t random_source::below(std::uint64_t bound) {
  ORC_CHECK(bound > 0, "there is no number below zero");
  // The lowest 2^64 mod bound values would make small results likelier, so they are drawn again. Fewer than
  // half of all draws are, whatever the bound.
  const std::uint64_t too_low = (0 - bound) % bound;
  for (;;) {
    const std::uint64_t drawn = next();
    if (drawn >= too_low) return drawn % bound;
  }
}

double random_source::unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

std::uint64_t system_random() {
  std::uint64_t value = 0;
  ssize_t got = 0;
  do {
    got = ::getrandom(&value, sizeof value, 0);
  } while (got < 0 && errno == EINTR);
  ORC_CHECK(got == static_cast<ssize_t>(sizeof value), "the kernel gives no random bytes");
  return value;
}

}  // namespace orchestrator
