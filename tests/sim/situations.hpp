// What must have occurred in a large run, so that a silent simulator is not taken for a sound product.
#pragma once

#include <cstdint>

namespace orchestrator::sim {

inline constexpr std::uint64_t situations_need_seeds = 2'000;

inline constexpr const char* needed_situations[] = {
    "run succeeded",
};

}  // namespace orchestrator::sim
