// The columns in which runs are shown.
#pragma once

#include <vector>

#include "output.hpp"

namespace orchestrator::cli {

/// One run, line by line.
std::vector<column> run_columns();
/// Many runs, a row each.
std::vector<column> run_list_columns();

}  // namespace orchestrator::cli
