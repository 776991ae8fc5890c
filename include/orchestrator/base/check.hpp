// Always-on checks for bugs. A failed check prints the expression and ends the process: wrong state must not
// reach the disk. Refusals of input and I/O errors are not bugs and never come through here.
#pragma once

namespace orchestrator {

/// Prints `expression (file:line): why` on stderr and aborts.
[[noreturn]] void check_failed(const char* expression, const char* file, int line, const char* why);

}  // namespace orchestrator

/// Aborts with `why` unless `expression` holds. On in every build.
#define ORC_CHECK(expression, why) \
  ((expression) ? static_cast<void>(0) : ::orchestrator::check_failed(#expression, __FILE__, __LINE__, why))
