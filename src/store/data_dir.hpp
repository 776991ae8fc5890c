// The data directory: made with the right owner and modes, fsynced, and locked for one process. open.cpp uses
// it before it touches a database.
#pragma once

#include <filesystem>
#include <string>

#include <orchestrator/store/sqlite_store.hpp>

namespace orchestrator::store {

/// Thrown while a store is opened, and turned into a result by open_sqlite_store.
struct open_error {
  open_failure failure;
};
[[noreturn]] void refuse(int exit_code, std::string message);

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
/// Makes an empty file with mode 0600 unless there is one.
void create_private_file(const std::filesystem::path& file);
void sync_directory(const std::filesystem::path& dir);

}  // namespace orchestrator::store
