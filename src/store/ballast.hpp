// A file that only takes up room. When a commit meets a full disk it is let go, so that what is in flight can
// still be stored. Made and let go on different threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>

namespace orchestrator::store {

class ballast {
 public:
  explicit ballast(const std::filesystem::path& dir) : file_(dir / "ballast") {}
  /// Makes sure that the file has this size. If that cannot be, there is none.
  void hold(std::uint64_t bytes);
  /// True if this gave room.
  bool release();

 private:
  std::filesystem::path file_;
  std::mutex mutex_;
};

}  // namespace orchestrator::store
