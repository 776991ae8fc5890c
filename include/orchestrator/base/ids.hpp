// Identifiers as distinct types, so that a lease can never be passed where a session is meant.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <orchestrator/base/time.hpp>

namespace orchestrator {

/// A number that is only comparable with its own kind.
template <class Tag>
struct strong_number {
  std::uint64_t value = 0;
  constexpr auto operator<=>(const strong_number&) const = default;
  constexpr explicit operator bool() const { return value != 0; }
};

/// The fence of one attempt: larger than every earlier one in the database. 0 means none.
using lease_id = strong_number<struct lease_tag>;
/// One accepted worker connection of this server process. Never reused while it runs.
using session_id = strong_number<struct session_tag>;
/// One HTTP request (or other caller) that waits for an answer of the engine.
using request_id = strong_number<struct request_tag>;
/// One parked look-up of something that is no longer in the engine's memory.
using fetch_id = strong_number<struct fetch_tag>;
/// A stored run specification, shared by all runs of one job version or one array.
using spec_id = strong_number<struct spec_tag>;

/// 128 bits; as text 8-4-4-4-12 lower-case hex digits.
struct uuid {
  std::array<std::uint8_t, 16> bytes{};
  auto operator<=>(const uuid&) const = default;
  bool is_nil() const { return *this == uuid{}; }
};
std::string to_string(const uuid& id);
/// Nothing unless `text` is exactly 36 characters of a UUID.
std::optional<uuid> parse_uuid(std::string_view text);
/// RFC 9562 version 7: sorts by `now`, then by the 74 random bits given.
uuid make_uuid_v7(wall_time now, std::uint64_t random_high, std::uint64_t random_low);
/// RFC 9562 version 4 from 128 random bits.
uuid make_uuid_v4(std::uint64_t random_high, std::uint64_t random_low);

/// What users call a run by: a UUIDv7.
using run_id = uuid;

}  // namespace orchestrator

template <class Tag>
struct std::hash<orchestrator::strong_number<Tag>> {
  std::size_t operator()(orchestrator::strong_number<Tag> n) const noexcept {
    return std::hash<std::uint64_t>{}(n.value);
  }
};
template <>
struct std::hash<orchestrator::uuid> {
  std::size_t operator()(const orchestrator::uuid& id) const noexcept {
    std::uint64_t tail = 0;  // the random half of a UUIDv7 is well mixed already
    for (int i = 8; i < 16; ++i) tail = tail << 8 | id.bytes[i];
    return static_cast<std::size_t>(tail);
  }
};
