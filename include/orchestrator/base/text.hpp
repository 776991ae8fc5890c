// Small pure text and checksum helpers shared by all layers.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orchestrator {

/// Splits as a POSIX shell splits words: blanks, single and double quotes, backslash. No expansion of any
/// kind. Nothing if a quote is not closed or the text ends in a backslash.
std::optional<std::vector<std::string>> split_shell_words(std::string_view text);

/// The candidate nearest to `word` by edit distance, if it is near enough to be a typing error (distance
/// at most 2, or a third of the word).
std::optional<std::string> nearest(std::string_view word, std::span<const std::string_view> candidates);

/// True if `text` is well-formed UTF-8 (no overlong forms, no surrogates).
bool is_utf8(std::string_view text);
/// The length of the longest prefix of `text` that does not end inside a UTF-8 sequence.
std::size_t utf8_complete_prefix(std::string_view text);

std::string base64_encode(std::string_view bytes);
/// Nothing on characters outside the alphabet, wrong padding or wrong length.
std::optional<std::string> base64_decode(std::string_view text);

/// CRC32C (Castagnoli), as in iSCSI: crc32c("123456789") == 0xE3069283.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t crc = 0);

/// 64-bit FNV-1a, stable across processes and versions: used for jitter by name and key filters.
std::uint64_t hash64(std::string_view bytes);

/// True for `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`, the rule for job, queue and worker names; never `.` or `..`.
bool is_valid_name(std::string_view name);

/// Text safe to print on one log line: control characters and invalid UTF-8 become \xNN.
std::string printable(std::string_view text, std::size_t max_length = 256);

}  // namespace orchestrator
