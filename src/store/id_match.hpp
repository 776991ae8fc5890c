// What people type for a run: the start of its id or its last characters. Both stores match by this.
#pragma once

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <orchestrator/base/ids.hpp>

namespace orchestrator::store {

/// Shorter ends match nothing: they would match too much.
inline constexpr std::size_t id_end_min = 4;
/// What no index serves is looked for among this many runs, the newest ones: a full queue and as many again.
inline constexpr std::size_t scan_limit = 2'000'000;

/// `text` in lower case without its dashes; nothing if it can be no part of an id.
inline std::optional<std::string> hex_digits(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (c == '-') continue;
    if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    digits.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  if (digits.empty() || digits.size() > 32) return std::nullopt;
  return digits;
}

/// An id from up to 32 digits, the rest filled with `fill`.
inline uuid id_from_digits(std::string digits, char fill) {
  digits.resize(32, fill);
  uuid id;
  const auto value = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i < id.bytes.size(); ++i)
    id.bytes[i] = static_cast<std::uint8_t>(value(digits[2 * i]) << 4 | value(digits[2 * i + 1]));
  return id;
}

/// The smallest and the largest id that starts with `digits`.
inline std::pair<uuid, uuid> ids_starting_with(const std::string& digits) {
  return {id_from_digits(digits, '0'), id_from_digits(digits, 'f')};
}

class id_end {
 public:
  explicit id_end(const std::string& digits) : count_(digits.size()) {
    wanted_ = id_from_digits(std::string(32 - digits.size(), '0') + digits, '0');
  }
  bool matches(const uuid& id) const {
    for (std::size_t i = 0; i < count_; ++i) {
      const std::size_t byte = 15 - i / 2;
      const int shift = i % 2 == 0 ? 0 : 4;
      if ((id.bytes[byte] >> shift & 0xf) != (wanted_.bytes[byte] >> shift & 0xf)) return false;
    }
    return true;
  }

 private:
  std::size_t count_;
  uuid wanted_;
};

}  // namespace orchestrator::store
