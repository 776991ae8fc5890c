// What every fuzzer needs: a way to say what must hold, and the input taken apart. Included by each
// tests/fuzz/<name>.cpp, which becomes the program fuzz_<name> of the asan tree.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace orchestrator::fuzz {

/// Ends the process unless `holds`, so that libFuzzer keeps the input as a crash.
inline void must(bool holds, const char* what, std::string_view detail = {}) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: it must hold that %s\n%.*s\n", what, static_cast<int>(detail.size()),
               detail.data());
  std::abort();
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Takes the input apart from its front; an input that is used up yields zeros.
class source {
 public:
  source(const std::uint8_t* data, std::size_t size) : rest_(as_text(data, size)) {}

  bool done() const { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto b = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return b;
  }
  /// Uniform enough in [0, bound).
  std::size_t below(std::size_t bound) { return bound <= 1 ? 0 : byte() % bound; }
  bool coin() { return (byte() & 1) != 0; }
  std::uint64_t number(int bytes = 8) {
    std::uint64_t n = 0;
    for (int i = 0; i < bytes; ++i) n = n << 8U | byte();
    return n;
  }
  std::string_view take(std::size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() { return take(rest_.size()); }

 private:
  std::string_view rest_;
};

}  // namespace orchestrator::fuzz
