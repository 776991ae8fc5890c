// The place of the test files, as the build knows it. See tests_dir.hpp.
#include "support/tests_dir.hpp"

std::filesystem::path orchestrator::testing::tests_dir() { return ORCHESTRATOR_TESTS_DIR; }
