#include "support/tests_dir.hpp"

std::filesystem::path orchestrator::testing::tests_dir() { return ORCHESTRATOR_TESTS_DIR; }
