// How much the disk still takes: what the shell measures and the store reports, and what is refused by it.
// New work goes first, then output of jobs, so that results and cancels always find room.
#pragma once

#include "state.hpp"

namespace orchestrator::engine {

void on(core& c, const space_changed& in);
void on(core& c, const space_measured& in);

space_level space_of(const core& c);
/// The refusal of what makes the database grow by more than a few rows, while room is scarce.
std::optional<refusal> refuse_growth(const core& c);

}  // namespace orchestrator::engine
