// File operations of the outbox, each a boost error_code instead of an exception.
#pragma once

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/system/error_code.hpp>

namespace orchestrator::store::outbox_files {

using boost::system::error_code;

inline error_code last_error() { return {errno, boost::system::system_category()}; }

/// Writes all of `bytes`, in one write(2) unless the kernel takes less.
inline error_code write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return last_error();
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

inline error_code read_all(const std::filesystem::path& file, std::string& out) {
  out.clear();
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return last_error();
  struct ::stat status{};
  error_code result = ::fstat(fd, &status) == 0 ? error_code{} : last_error();
  if (!result) out.resize(static_cast<std::size_t>(status.st_size));
  std::size_t at = 0;
  while (!result && at < out.size()) {
    const ssize_t got = ::pread(fd, out.data() + at, out.size() - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) result = last_error();
    if (got <= 0) break;
    at += static_cast<std::size_t>(got);
  }
  out.resize(at);
  ::close(fd);
  return result;
}

/// The whole file or the old one, never a part: written beside it and renamed.
inline error_code replace_file(const std::filesystem::path& file, std::string_view bytes) {
  const std::filesystem::path draft = file.string() + ".new";
  const int fd = ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return last_error();
  error_code result = write_all(fd, bytes);
  ::close(fd);
  if (!result && ::rename(draft.c_str(), file.c_str()) != 0) result = last_error();
  return result;
}

inline error_code make_directory(const std::filesystem::path& dir) {
  if (::mkdir(dir.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return last_error();
}

}  // namespace orchestrator::store::outbox_files
