// The data directory; see data_dir.hpp.
#include "data_dir.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cerrno>
#include <cstring>

#include <algorithm>
#include <utility>

namespace orchestrator::store {
namespace {

std::string quoted(const std::filesystem::path& p) { return "\"" + p.string() + "\""; }

[[noreturn]] void refuse_errno(const std::string& what, int error) {
  const std::string why = std::strerror(error);
  switch (error) {
    case EROFS:
    case EACCES:
    case EPERM:
    case ENOENT:
    case ENOTDIR:
    case ENOSPC: refuse(73, what + ": " + why + ". Name a directory that this user can write to.");
    default: refuse(74, what + ": " + why + ". Check the disk.");
  }
}

void make_directory(const std::filesystem::path& dir) {
  if (::mkdir(dir.c_str(), 0700) != 0) {
    if (errno == EEXIST) return;
    refuse_errno("The data directory " + quoted(dir) + " cannot be made", errno);
  }
  sync_directory(dir);
  sync_directory(dir.has_parent_path() ? dir.parent_path() : ".");
}

}  // namespace

void refuse(int exit_code, std::string message) { throw open_error{{exit_code, std::move(message)}}; }

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

void create_private_file(const std::filesystem::path& file) {
  const owned_fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (fd.get() < 0) refuse_errno("The file " + quoted(file) + " cannot be made", errno);
}

}  // namespace orchestrator::store
