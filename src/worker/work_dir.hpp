// The worker's directory: who it is across restarts, and a lock so that two daemons never share it. An
// identity belongs to one directory: a copy is another worker.
#pragma once

#include <filesystem>
#include <string>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/base/result.hpp>

namespace orchestrator::worker_shell {

struct work_dir_failure {
  int exit_code = 73;
  std::string message;
};
[[noreturn]] void throw_exception_from_error(const work_dir_failure& f, const boost::source_location& where);

/// Holds the lock as long as it lives.
class work_dir {
 public:
  /// Opens `given`, or the first unlocked of the default ones when it is empty.
  static boost::system::result<work_dir, work_dir_failure> open(const std::filesystem::path& given);
  ~work_dir();
  work_dir(work_dir&& other) noexcept;
  work_dir& operator=(work_dir&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const uuid& instance() const { return instance_; }
  const std::string& worker_id() const { return worker_id_; }  ///< the made one; --worker-id overrides it
  const std::string& warning() const { return warning_; }  ///< for the log, which starts later; "" if none

  /// Leases and terms of one cluster mean nothing to another, so each has its own supervisor, spool and term:
  /// the first cluster in the work dir itself, later ones in `clusters/<cluster>`. Reads what is known of
  /// `cluster`.
  boost::system::error_code enter_cluster(const std::string& cluster);
  /// The first cluster this work dir ever meets; its directory is the one already in use.
  boost::system::error_code adopt_cluster(const std::string& cluster);
  const std::filesystem::path& cluster_path() const { return cluster_path_; }
  std::uint64_t term() const { return term_; }  ///< highest coordinator term seen in this cluster
  boost::system::error_code store_term(std::uint64_t term);

 private:
  work_dir() = default;
  static boost::system::result<work_dir, work_dir_failure> lock(const std::filesystem::path& dir);
  boost::system::result<void, work_dir_failure> read_identity();
  boost::system::result<void, work_dir_failure> leave_identity(const std::string& place);
  boost::system::error_code write_instance(const std::string& place) const;

  std::filesystem::path path_, cluster_path_;
  int lock_fd_ = -1;
  uuid instance_;
  std::string worker_id_, warning_;
  std::uint64_t term_ = 0;
};

}  // namespace orchestrator::worker_shell
