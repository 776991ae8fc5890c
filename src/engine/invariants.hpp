// Cross-checks of the core's state, for tests and the simulator after every step.
#pragma once

#include <optional>
#include <string>

#include "state.hpp"

namespace orchestrator::engine {

/// The first broken invariant as a sentence, or nothing.
std::optional<std::string> engine_invariants(const core& c);

}  // namespace orchestrator::engine
