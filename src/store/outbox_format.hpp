// The bytes of an outbox segment: a header, then records one after the other. outbox.cpp writes them; its
// tests damage them.
//
//   header  magic[8] version:u32 size:u32 highest_lease:u64 cluster[...] crc32c:u32
//   record  size:u32 crc32c:u32 lease:u64 type:u8 kind_size:u8 kind[...] body[...]
//
// Numbers are little-endian. `size` of a header is its whole length, of a record the length behind the
// checksum; a checksum covers everything of its unit but itself and, for a record, but the size. `type` is 1
// for a record and 2 for a tombstone, which drops all earlier records of its lease.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include <orchestrator/base/text.hpp>
#include <orchestrator/store/outbox.hpp>

namespace orchestrator::store::outbox_format {

inline constexpr std::string_view magic{"ORCHOUTB", 8};
inline constexpr std::uint32_t version = 1;
inline constexpr std::size_t header_fixed = 24;  // before the cluster
inline constexpr std::size_t record_head = 8;    // size and checksum
inline constexpr std::size_t payload_fixed = 10;
inline constexpr std::size_t payload_max = 64 * 1024 * 1024;  // a larger size is damage, not a record
inline constexpr std::size_t kind_max = 32;

enum class record_type : std::uint8_t { record = 1, tombstone = 2 };

template <class Number>
void put(std::string& out, Number value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

template <class Number>
Number get(std::string_view bytes, std::size_t at) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i)
    value |= static_cast<Number>(static_cast<Number>(static_cast<std::uint8_t>(bytes[at + i])) << (8 * i));
  return value;
}

inline std::string encode_header(std::string_view cluster, std::uint64_t highest_lease) {
  std::string out{magic};
  put(out, version);
  put(out, static_cast<std::uint32_t>(header_fixed + cluster.size() + 4));
  put(out, highest_lease);
  out.append(cluster);
  put(out, crc32c(out));
  return out;
}

/// Replaces `out` by the record's bytes.
inline void encode_record(std::string& out, record_type type, std::uint64_t lease, std::string_view kind,
                          std::string_view body) {
  out.clear();
  put(out, static_cast<std::uint32_t>(payload_fixed + kind.size() + body.size()));
  put(out, std::uint32_t{0});
  put(out, lease);
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(kind.size()));
  out.append(kind);
  out.append(body);
  const std::uint32_t crc = crc32c(std::string_view{out}.substr(record_head));
  for (std::size_t i = 0; i < 4; ++i) out[4 + i] = static_cast<char>(crc >> (8 * i) & 0xff);
}

struct header {
  std::uint32_t version = 0;
  std::size_t size = 0;
  std::uint64_t highest_lease = 0;
  std::string cluster;
};

/// Nothing if the bytes do not begin with a whole, undamaged header.
inline std::optional<header> decode_header(std::string_view bytes) {
  if (bytes.size() < header_fixed + 4 || bytes.substr(0, magic.size()) != magic) return std::nullopt;
  header h;
  h.version = get<std::uint32_t>(bytes, 8);
  h.size = get<std::uint32_t>(bytes, 12);
  if (h.size < header_fixed + 4 || h.size > bytes.size()) return std::nullopt;
  if (get<std::uint32_t>(bytes, h.size - 4) != crc32c(bytes.substr(0, h.size - 4))) return std::nullopt;
  h.highest_lease = get<std::uint64_t>(bytes, 16);
  h.cluster = std::string{bytes.substr(header_fixed, h.size - header_fixed - 4)};
  return h;
}

struct decoded_record {
  record_type type = record_type::record;
  outbox_record record;
  std::size_t size = 0;  ///< with its head
};

enum class record_state {
  whole,
  torn,     ///< reaches the end of the bytes and is not whole: a write that a crash cut short
  damaged,  ///< not whole although bytes follow it
};

inline record_state decode_record(std::string_view bytes, decoded_record& out) {
  if (bytes.size() < record_head + payload_fixed) return record_state::torn;
  const std::size_t size = get<std::uint32_t>(bytes, 0);
  if (size < payload_fixed || size > payload_max) return record_state::damaged;
  if (record_head + size > bytes.size()) return record_state::torn;
  const std::string_view payload = bytes.substr(record_head, size);
  const auto type = static_cast<std::uint8_t>(payload[8]);
  const std::size_t kind_size = static_cast<std::uint8_t>(payload[9]);
  const bool sound = (type == 1 || type == 2) && kind_size <= kind_max && payload_fixed + kind_size <= size &&
                     get<std::uint32_t>(bytes, 4) == crc32c(payload);
  if (!sound) return record_head + size == bytes.size() ? record_state::torn : record_state::damaged;
  out.type = static_cast<record_type>(type);
  out.record.lease = get<std::uint64_t>(payload, 0);
  out.record.kind = std::string{payload.substr(payload_fixed, kind_size)};
  out.record.body = std::string{payload.substr(payload_fixed + kind_size)};
  out.size = record_head + size;
  return record_state::whole;
}

/// Whether a whole record lies anywhere in `bytes`. Tells a damaged size in the middle of a segment, which
/// seems to reach the end, from a write that was cut short.
inline bool holds_whole_record(std::string_view bytes) {
  decoded_record ignored;
  for (std::size_t at = 0; at + record_head + payload_fixed <= bytes.size(); ++at)
    if (decode_record(bytes.substr(at), ignored) == record_state::whole) return true;
  return false;
}

}  // namespace orchestrator::store::outbox_format
