// The data directory: made with the right owner and modes, fsynced, and locked for one process. open.cpp uses
// it before it touches a database.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <orchestrator/store/sqlite_store.hpp>

namespace orchestrator::store {

/// Thrown while a store is opened, and turned into a result by open_sqlite_store.
struct open_error {
  open_failure failure;
};
[[noreturn]] void refuse(int exit_code, std::string message);
/// For a system call that failed: 73 or 74, by what `error` says about whose fault it is.
[[noreturn]] void refuse_errno(const std::string& what, int error);

std::string quoted(const std::filesystem::path& p);
bool is_there(const std::filesystem::path& file);
/// 0 if there is no such file.
std::uintmax_t size_of(const std::filesystem::path& file);

/// A file descriptor that is closed at the end.
class owned_fd {
 public:
  explicit owned_fd(int fd = -1) : fd_(fd) {}
  owned_fd(owned_fd&& other) noexcept;
  owned_fd& operator=(owned_fd&& other) noexcept;
  ~owned_fd();
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Makes `dir` (0700) and what is missing above it, each new name fsynced into its parent; checks its owner.
void prepare_data_dir(const std::filesystem::path& dir);
/// Locks `dir`/lock and writes our pid into it. The lock goes with the descriptor.
owned_fd lock_data_dir(const std::filesystem::path& dir);
/// The same lock if nobody has it; a descriptor of -1 says that a process serves the directory, or that none
/// ever did.
owned_fd lock_if_free(const std::filesystem::path& dir);
/// 20261125T210659Z, for names of files.
std::string compact_time(wall_time t);
/// Makes an empty file with mode 0600 unless there is one.
void create_private_file(const std::filesystem::path& file);
void sync_directory(const std::filesystem::path& dir);
void sync_file(const std::filesystem::path& file);
/// Renames within one file system; never over something that is there.
void move_new(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace orchestrator::store
