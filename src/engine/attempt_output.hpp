// Output of an attempt on its way to the output database. Used by on_output and, for the whole log of a
// legacy worker's result, by on_result.
#pragma once

#include <string>
#include <string_view>

#include "state.hpp"

namespace orchestrator::engine {

/// Takes what is new of these bytes; a jump beyond the stored end is marked as a gap.
void store_output(core& c, attempt_entry& a, const std::string& stream, std::uint64_t offset,
                  std::string_view data);

}  // namespace orchestrator::engine
