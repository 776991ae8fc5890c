// The data directory; see data_dir.hpp.
#include "data_dir.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <algorithm>
#include <utility>

namespace orchestrator::store {
namespace {

void make_directory(const std::filesystem::path& dir) {
  if (::mkdir(dir.c_str(), 0700) != 0) {
    if (errno == EEXIST) return;
    refuse_errno("The data directory " + quoted(dir) + " cannot be made", errno);
  }
  sync_directory(dir);
  sync_directory(dir.has_parent_path() ? dir.parent_path() : ".");
}

}  // namespace

std::string quoted(const std::filesystem::path& p) { return "\"" + p.string() + "\""; }

bool is_there(const std::filesystem::path& file) {
  std::error_code ignored;
  return std::filesystem::exists(file, ignored);
}

std::uintmax_t size_of(const std::filesystem::path& file) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(file, error);
  return error ? 0 : size;
}

void refuse(int exit_code, std::string message) { throw open_error{{exit_code, std::move(message)}}; }

void refuse_errno(const std::string& what, int error) {
  const std::string why = std::strerror(error);
  switch (error) {
    case EROFS:
    case EACCES:
    case EPERM:
    case ENOENT:
    case ENOTDIR:
    case EEXIST:
    case ENOSPC: refuse(73, what + ": " + why + ". Name another place, one that this user can write to.");
    default: refuse(74, what + ": " + why + ". Check the disk.");
  }
}

owned_fd::owned_fd(owned_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
owned_fd& owned_fd::operator=(owned_fd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
owned_fd::~owned_fd() {
  if (fd_ >= 0) ::close(fd_);
}

void sync_directory(const std::filesystem::path& dir) {
  const owned_fd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) refuse_errno("The directory " + quoted(dir) + " cannot be opened", errno);
  // Some file systems cannot fsync a directory and say so with EINVAL; there is nothing more to do on them.
  if (::fsync(fd.get()) != 0 && errno != EINVAL)
    refuse_errno("The directory " + quoted(dir) + " cannot be synced", errno);
}

void prepare_data_dir(const std::filesystem::path& dir) {
  const std::filesystem::path absolute = std::filesystem::absolute(dir).lexically_normal();
  std::filesystem::path made;
  for (const auto& part : absolute) {
    made /= part;
    struct ::stat status{};
    if (!part.empty() && ::stat(made.c_str(), &status) != 0) make_directory(made);
  }
  struct ::stat status{};
  if (::stat(dir.c_str(), &status) != 0)
    refuse_errno("The data directory " + quoted(dir) + " cannot be read", errno);
  if (!S_ISDIR(status.st_mode))
    refuse(73, "The data directory " + quoted(dir) + " is not a directory. Name another.");
  if (status.st_uid != ::geteuid())
    refuse(77, "The data directory " + quoted(dir) + " belongs to user " + std::to_string(status.st_uid) +
                   ", this is user " + std::to_string(::geteuid()) +
                   ". Start as its owner, or name another one.");
}

owned_fd lock_data_dir(const std::filesystem::path& dir) {
  const std::filesystem::path file = dir / "lock";
  owned_fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd.get() < 0) refuse_errno("The lock file " + quoted(file) + " cannot be opened", errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) refuse_errno("The lock file " + quoted(file) + " cannot be locked", errno);
    char holder[32] = {};
    const ssize_t size = ::pread(fd.get(), holder, sizeof holder - 1, 0);
    std::string pid(holder, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    pid.erase(std::find(pid.begin(), pid.end(), '\n'), pid.end());
    refuse(75, "The data directory " + quoted(dir) + " is in use by process " +
                   (pid.empty() ? "(unknown)" : pid) + ". Stop that one, or name another directory.");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0)
    refuse_errno("The lock file " + quoted(file) + " cannot be written", errno);
  return fd;
}

owned_fd lock_if_free(const std::filesystem::path& dir) {
  if (!is_there(dir / "lock")) return owned_fd{};
  try {
    return lock_data_dir(dir);
  } catch (const open_error& e) {
    if (e.failure.exit_code == 75) return owned_fd{};
    throw;
  }
}

std::string compact_time(wall_time t) {
  std::string text = to_rfc3339(t).substr(0, 19);
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text + "Z";
}

void create_private_file(const std::filesystem::path& file) {
  const owned_fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (fd.get() < 0) refuse_errno("The file " + quoted(file) + " cannot be made", errno);
}

void sync_file(const std::filesystem::path& file) {
  const owned_fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) refuse_errno("The file " + quoted(file) + " cannot be opened", errno);
  if (::fsync(fd.get()) != 0) refuse_errno("The file " + quoted(file) + " cannot be synced", errno);
}

void move_new(const std::filesystem::path& from, const std::filesystem::path& to) {
  int failed = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
  // Not every file system knows the flag; there, looking first has to do.
  if (failed != 0 && errno == EINVAL && !is_there(to)) failed = ::rename(from.c_str(), to.c_str());
  if (failed != 0) refuse_errno(quoted(from) + " cannot be renamed to " + quoted(to), errno);
}

}  // namespace orchestrator::store
