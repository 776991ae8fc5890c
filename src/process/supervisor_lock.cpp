// Files of the work dir that tell supervisors apart: see supervisor_lock.hpp.
#include "supervisor_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>

#include <fmt/format.h>

namespace orchestrator::process {

namespace {

constexpr const char* lock_name = "supervisor.lock";
constexpr const char* socket_name = "supervisor.sock";
constexpr int backlog = 16;

boost::system::error_code last_error() { return {errno, boost::system::system_category()}; }

/// sun_path holds 108 bytes and work dirs may be deeper: the descriptor's link in /proc stands for the
/// folder.
sockaddr_un address_in(int work_dir) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", work_dir, socket_name);
  return address;
}

boost::system::result<unique_fd> open_socket() {
  unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return last_error();
  return socket;
}

}  // namespace

boost::system::result<unique_fd> open_work_dir(const std::filesystem::path& work_dir) {
  std::error_code error;
  if (!work_dir.parent_path().empty()) std::filesystem::create_directories(work_dir.parent_path(), error);
  if (::mkdir(work_dir.c_str(), 0700) != 0 && errno != EEXIST) return last_error();
  unique_fd opened(::open(work_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return last_error();
  return opened;
}

boost::system::result<unique_fd> open_spool_dir(int work_dir) {
  if (::mkdirat(work_dir, "spool", 0700) != 0 && errno != EEXIST) return last_error();
  unique_fd opened(::openat(work_dir, "spool", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return last_error();
  return opened;
}

boost::system::result<unique_fd> try_lock(int work_dir) {
  unique_fd lock(::openat(work_dir, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return last_error();
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) return unique_fd();
  return last_error();
}

void write_lock_owner(int lock, const process_identity& owner) {
  const auto text = to_text(owner);
  // A full disk leaves the file short; readers then know no owner, and the lock still holds.
  if (::ftruncate(lock, 0) == 0) static_cast<void>(::pwrite(lock, text.data(), text.size(), 0));
}

std::optional<process_identity> read_lock_owner(int work_dir) {
  const auto text = read_small_file(fmt::format("/proc/self/fd/{}/{}", work_dir, lock_name), 4096);
  return text ? parse_identity(*text) : std::nullopt;
}

boost::system::result<unique_fd> listen_in(int work_dir) {
  auto opened = open_socket();
  if (!opened) return opened;
  // The mode of the socket before bind becomes that of its file: there is no moment in which others could
  // connect.
  if (::fchmod(opened->get(), 0600) != 0) return last_error();
  ::unlinkat(work_dir, socket_name, 0);
  const auto address = address_in(work_dir);
  if (::bind(opened->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return last_error();
  if (::listen(opened->get(), backlog) != 0) return last_error();
  return opened;
}

boost::system::result<unique_fd> connect_in(int work_dir) {
  auto opened = open_socket();
  if (!opened) return opened;
  const auto address = address_in(work_dir);
  if (::connect(opened->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return last_error();
  return opened;
}

}  // namespace orchestrator::process
