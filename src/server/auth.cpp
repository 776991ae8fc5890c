// Tokens in files and the comparison of what a request brings with them; see auth.hpp.
#include "auth.hpp"

#include <cctype>

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/net/local_servers.hpp>
#include <orchestrator/server/server.hpp>

namespace orchestrator::server {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t secret_bytes = 32;

refusal file_refusal(const fs::path& file, const std::string& why) {
  return {errc::unavailable, fmt::format("cannot use the token file {}: {}", file.string(), why), "",
          "repair or remove the file; a missing one is made anew at the next start"};
}

std::string make_secret(const std::string& kind) {
  unsigned char bytes[secret_bytes];
  ORC_CHECK(RAND_bytes(bytes, sizeof bytes) == 1, "no random bytes for a token");
  std::string text = "orc_" + kind + "_";
  for (const unsigned char b : bytes) text += fmt::format("{:02x}", b);
  return text;
}

result<std::string> read_or_make(const fs::path& file, const std::string& kind) {
  struct stat info{};
  if (::lstat(file.c_str(), &info) != 0) {
    std::string secret = make_secret(kind);
    // Whole or not at all: half a token would lock everybody out.
    if (const auto error = net::write_line(file, secret)) return file_refusal(file, error.message());
    return secret;
  }
  if (!S_ISREG(info.st_mode)) return file_refusal(file, "it is not a regular file");
  if ((info.st_mode & 077) != 0)
    return file_refusal(file, "others than its owner can read it (wanted: mode 0600)");
  std::string secret = net::first_line(file);
  if (secret.size() < 32) return file_refusal(file, "its first line is shorter than 32 characters");
  return secret;
}

bool same_secret(std::string_view given, std::string_view wanted) {
  return given.size() == wanted.size() && CRYPTO_memcmp(given.data(), wanted.data(), wanted.size()) == 0;
}

std::string_view after_scheme(const std::string* header, std::string_view scheme) {
  if (header == nullptr || header->size() <= scheme.size()) return {};
  for (std::size_t i = 0; i < scheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>((*header)[i])) != scheme[i]) return {};
  }
  return (*header)[scheme.size()] == ' ' ? std::string_view(*header).substr(scheme.size() + 1)
                                         : std::string_view{};
}

}  // namespace

authenticator authenticator::off() { return {}; }

result<authenticator> authenticator::from_files(const fs::path& data_dir) {
  authenticator a;
  auto admin = read_or_make(data_dir / "admin.token", "admin");
  if (!admin) return admin.error();
  auto worker = read_or_make(data_dir / "worker.token", "worker");
  if (!worker) return worker.error();
  a.enabled_ = true;
  a.admin_ = *admin;
  a.worker_ = *worker;
  return a;
}

std::optional<refusal> authenticator::check_api(const net::http_request& head) const {
  if (!enabled_) return std::nullopt;
  const std::string_view token = after_scheme(head.header("authorization"), "bearer");
  if (same_secret(token, admin_)) return std::nullopt;
  if (same_secret(token, worker_)) {
    return refusal{errc::forbidden, "a worker's token cannot call the API", "",
                   "use the token in admin.token"};
  }
  return refusal{
      errc::unauthorised, "this request needs a valid token", "",
      "send `Authorization: Bearer TOKEN` with the content of admin.token in the server's data directory"};
}

std::optional<refusal> authenticator::check_worker(const net::http_request& head) const {
  if (!enabled_) return std::nullopt;
  const std::string* header = head.header("authorization");
  const std::string_view bearer = after_scheme(header, "bearer");
  if (same_secret(bearer, worker_)) return std::nullopt;
  if (same_secret(bearer, admin_)) {
    return refusal{errc::forbidden, "an admin token cannot register a worker", "",
                   "use the token in worker.token"};
  }
  const auto basic = base64_decode(after_scheme(header, "basic"));
  if (basic && same_secret(*basic, "worker:" + worker_)) return std::nullopt;
  return refusal{
      errc::unauthorised, "this worker has no valid token", "",
      "give the worker the content of worker.token in the server's data directory: ORCHESTRATOR_TOKEN_FILE, "
      "or ws://worker:TOKEN@host for a worker of the original protocol"};
}

fs::path default_data_dir() { return net::state_dir() / "server"; }

}  // namespace orchestrator::server
