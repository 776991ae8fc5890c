// For the fuzzers that run the cores in the worlds of the unit tests: an assertion of those worlds that fails
// outside a test ends the process. Included first, by one source of a program.
#pragma once

#include <cstdio>
#include <cstdlib>

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "fuzz/fuzz.hpp"

namespace orchestrator::fuzz {

inline void end_on_failed_assertion(const doctest::AssertData& failed) {
  std::fprintf(stderr, "fuzz: %s (%s:%d)\n", failed.m_expr, failed.m_file, failed.m_line);
  std::abort();
}

/// Once, before the first input.
inline void take_assertions_seriously() {
  static doctest::Context context;
  context.setAsDefaultForAssertsOutOfTestCases();
  context.setAssertHandler(end_on_failed_assertion);
}

/// `text` with one byte changed, inserted or taken out, or as it is.
inline std::string maybe_broken(source& in, std::string text) {
  const std::size_t how = in.below(16);
  if (how > 2 || text.empty()) return text;
  const std::size_t at = in.number(2) % text.size();
  if (how == 0) text[at] = static_cast<char>(in.byte());
  if (how == 1) text.insert(at, 1, static_cast<char>(in.byte()));
  if (how == 2) text.erase(at, 1 + in.below(8));
  return text;
}

}  // namespace orchestrator::fuzz
