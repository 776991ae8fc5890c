// UUIDs: making them from given bits, writing and reading them. Called wherever a run gets its id, and by
// every codec.
#include <algorithm>

#include <orchestrator/base/ids.hpp>

namespace orchestrator {
namespace {

constexpr std::int64_t largest_48_bits = (std::int64_t{1} << 48) - 1;

bool is_dash_position(std::size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void put_big_endian(uuid& id, std::size_t first, std::uint64_t value) {
  for (std::size_t i = 8; i-- > 0; value >>= 8) id.bytes[first + i] = static_cast<std::uint8_t>(value & 0xff);
}

// RFC 9562: the version is the high half of byte 6, the variant the two high bits of byte 8.
void mark(uuid& id, unsigned version) {
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0fU) | version << 4);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3fU) | 0x80U);
}

}  // namespace

std::string to_string(const uuid& id) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(36);
  for (const std::uint8_t byte : id.bytes) {
    if (is_dash_position(text.size())) text += '-';
    text += digits[byte >> 4];
    text += digits[byte & 0xf];
  }
  return text;
}

std::optional<uuid> parse_uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  uuid id;
  std::size_t nibble = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_dash_position(i)) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    const int digit = hex_digit(text[i]);
    if (digit < 0) return std::nullopt;
    auto& byte = id.bytes[nibble / 2];
    byte = static_cast<std::uint8_t>(byte << 4 | digit);
    ++nibble;
  }
  return id;
}

uuid make_uuid_v7(wall_time now, std::uint64_t random_high, std::uint64_t random_low) {
  // A wall clock before 1970 must still give a valid id: the time only orders ids, it is never read back.
  const std::int64_t ms = std::clamp(to_unix_ms(now), std::int64_t{0}, largest_48_bits);
  uuid id;
  put_big_endian(id, 0, static_cast<std::uint64_t>(ms) << 16 | (random_high & 0xfff));
  put_big_endian(id, 8, random_low);
  mark(id, 7);
  return id;
}

uuid make_uuid_v4(std::uint64_t random_high, std::uint64_t random_low) {
  uuid id;
  put_big_endian(id, 0, random_high);
  put_big_endian(id, 8, random_low);
  mark(id, 4);
  return id;
}

}  // namespace orchestrator
