// Secrets: made from the kernel's random bytes, known by their SHA-256 only, compared in constant time; and
// the two token files of a data directory. Used by `auth`.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <orchestrator/base/result.hpp>
#include <orchestrator/store/access_records.hpp>

namespace orchestrator::server {

/// Twelve hex digits, for what is looked up by them.
std::string make_short_id();
/// 256 random bits as hex digits.
std::string make_secret();
store::secret_hash hash_of(std::string_view text);
bool same_hash(const store::secret_hash& a, const store::secret_hash& b);
std::string hex_of(const store::secret_hash& hash, std::size_t bytes = 32);

/// The content of a token file, for which `kind` is a word in a secret that has to be made. A refusal names
/// the file.
result<std::string> read_token_file(const std::filesystem::path& file);
result<std::string> read_or_make_token_file(const std::filesystem::path& file, const std::string& kind);
/// Puts a new secret into the file, whole and on disk.
result<std::string> renew_token_file(const std::filesystem::path& file, const std::string& kind);
/// Differs when the file was replaced or written to; empty when it is not there.
std::string look_of(const std::filesystem::path& file);

}  // namespace orchestrator::server
