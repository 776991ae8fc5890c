// Where the files that tests read (golden lines, databases of earlier schemas) lie.
#pragma once

#include <filesystem>

namespace orchestrator::testing {

/// The absolute path of tests/. From the build, not from __FILE__, which a compiler cache may make relative.
std::filesystem::path tests_dir();

}  // namespace orchestrator::testing
