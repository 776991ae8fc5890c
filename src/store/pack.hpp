// A compact encoding for what the store keeps as bytes inside one column: pages of facts and small maps.
// Numbers are LEB128, texts carry their length. Used by rows.cpp and fact_pages.cpp only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace orchestrator::store {

inline void pack_number(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

inline void pack_text(std::string& out, std::string_view text) {
  pack_number(out, text.size());
  out.append(text);
}

/// Reads what the functions above wrote. Bytes that end too early yield zeros and empty texts, never a read
/// beyond them; `ok` tells.
class unpacker {
 public:
  explicit unpacker(std::string_view bytes) : rest_(bytes) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const auto byte = static_cast<std::uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    ok_ = false;
    return 0;
  }
  std::string text() {
    const std::uint64_t size = number();
    if (size > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    std::string result{rest_.substr(0, size)};
    rest_.remove_prefix(size);
    return result;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

inline std::string pack_map(const std::map<std::string, std::string>& values) {
  std::string out;
  for (const auto& [key, value] : values) {
    pack_text(out, key);
    pack_text(out, value);
  }
  return out;
}

inline std::string pack_map(const std::map<std::string, std::uint64_t>& values) {
  std::string out;
  for (const auto& [key, value] : values) {
    pack_text(out, key);
    pack_number(out, value);
  }
  return out;
}

inline std::map<std::string, std::string> unpack_texts(std::string_view bytes) {
  std::map<std::string, std::string> result;
  for (unpacker in(bytes); in.ok() && !in.at_end();) {
    std::string key = in.text();
    result[std::move(key)] = in.text();
  }
  return result;
}

inline std::map<std::string, std::uint64_t> unpack_numbers(std::string_view bytes) {
  std::map<std::string, std::uint64_t> result;
  for (unpacker in(bytes); in.ok() && !in.at_end();) {
    std::string key = in.text();
    result[std::move(key)] = in.number();
  }
  return result;
}

}  // namespace orchestrator::store
