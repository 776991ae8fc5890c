// What the store keeps of one output stream: its head and its tail, in whole pieces. The same few rules serve
// the SQLite and the memory store. The limit of an attempt is applied to each of its streams by itself, so
// an attempt with two streams can keep up to twice as much.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

#include <orchestrator/base/limits.hpp>

namespace orchestrator::store {

/// Longer data is stored as several pieces, so that dropping from the middle is fine-grained.
inline constexpr std::size_t output_piece = limits::output_chunk;

struct new_bytes {
  std::uint64_t offset = 0;
  std::string_view data;
};

/// The part of a chunk that lies beyond `end`, the end of what is known; nothing if all of it is known. A
/// chunk without data still moves the end: it reports that the worker dropped bytes.
inline std::optional<new_bytes> beyond(std::uint64_t end, std::uint64_t offset, std::string_view data) {
  if (offset + data.size() <= end) return std::nullopt;
  if (offset < end) {
    data.remove_prefix(end - offset);
    offset = end;
  }
  return new_bytes{offset, data};
}

/// Pieces that start below this offset are never dropped.
inline std::uint64_t head_end(std::uint64_t limit) {
  return std::min<std::uint64_t>(limit, limits::output_head);
}

/// Whether the oldest piece behind the head can go: without it the stream still holds `limit` bytes. So at
/// most `limit` plus one piece is stored.
inline bool may_drop(std::uint64_t stored, std::uint64_t oldest_piece, std::uint64_t limit) {
  return stored - oldest_piece >= limit;
}

}  // namespace orchestrator::store
