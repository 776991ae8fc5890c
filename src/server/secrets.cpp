// Random bytes, hashes and token files; see secrets.hpp. The cryptography is OpenSSL's.
#include "secrets.hpp"

#include <sys/stat.h>

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/net/local_servers.hpp>

namespace orchestrator::server {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t secret_bytes = 32;
constexpr std::size_t id_bytes = 6;
constexpr std::size_t shortest_secret = 32;  // characters of a file that a person wrote

refusal file_refusal(const fs::path& file, const std::string& why) {
  return {errc::unavailable, fmt::format("cannot use the token file {}: {}", file.string(), why), "",
          "repair or remove the file; a missing one is made anew at the next start"};
}

std::string random_hex(std::size_t size) {
  unsigned char bytes[secret_bytes];
  ORC_CHECK(size <= sizeof bytes && RAND_bytes(bytes, static_cast<int>(size)) == 1, "no random bytes");
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

}  // namespace

std::string make_short_id() { return random_hex(id_bytes); }
std::string make_secret() { return random_hex(secret_bytes); }

store::secret_hash hash_of(std::string_view text) {
  store::secret_hash hash{};
  unsigned int size = 0;
  ORC_CHECK(EVP_Digest(text.data(), text.size(), hash.data(), &size, EVP_sha256(), nullptr) == 1 &&
                size == hash.size(),
            "SHA-256 failed");
  return hash;
}

bool same_hash(const store::secret_hash& a, const store::secret_hash& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string hex_of(const store::secret_hash& hash, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += fmt::format("{:02x}", hash[i]);
  return text;
}

result<std::string> read_token_file(const fs::path& file) {
  struct stat info{};
  if (::lstat(file.c_str(), &info) != 0) return file_refusal(file, "it is not there");
  if (!S_ISREG(info.st_mode)) return file_refusal(file, "it is not a regular file");
  if ((info.st_mode & 077) != 0)
    return file_refusal(file, "others than its owner can read it (wanted: mode 0600)");
  std::string secret = net::first_line(file);
  if (secret.size() < shortest_secret)
    return file_refusal(file, fmt::format("its first line is shorter than {} characters", shortest_secret));
  return secret;
}

result<std::string> renew_token_file(const fs::path& file, const std::string& kind) {
  std::string secret = "orc_" + kind + "_" + make_secret();
  // Whole or not at all: half a token would lock everybody out.
  if (const auto error = net::write_line(file, secret)) return file_refusal(file, error.message());
  return secret;
}

result<std::string> read_or_make_token_file(const fs::path& file, const std::string& kind) {
  struct stat info{};
  return ::lstat(file.c_str(), &info) != 0 ? renew_token_file(file, kind) : read_token_file(file);
}

std::string look_of(const fs::path& file) {
  struct stat info{};
  if (::lstat(file.c_str(), &info) != 0) return "";
  return fmt::format("{}:{}:{}:{}.{}:{}.{}", info.st_ino, info.st_size, info.st_mode, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

}  // namespace orchestrator::server
