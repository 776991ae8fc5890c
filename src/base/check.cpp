// The end of the process on a bug. Reached only through ORC_CHECK; it must work in any state of the program,
// so it allocates nothing and takes no lock of ours.
#include <cstdio>
#include <cstdlib>

#include <orchestrator/base/check.hpp>

namespace orchestrator {

void check_failed(const char* expression, const char* file, int line, const char* why) {
  std::fprintf(stderr, "[ERROR] check failed: %s (%s:%d): %s\n", expression, file, line, why);
  std::abort();
}

}  // namespace orchestrator
