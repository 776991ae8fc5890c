// That a new data directory is on disk before anything in it is acknowledged: every fsync of this program
// passes through here and is written down.
#include <cerrno>
#include <mutex>

#include <sys/syscall.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "support/store_support.hpp"

namespace {

struct synced {
  std::filesystem::path path;
  std::vector<std::string> names;  // what was in it, if it is a directory
};

std::mutex mutex;
std::vector<synced>* record = nullptr;

void write_down(int fd) {
  const std::lock_guard lock(mutex);
  if (record == nullptr) return;
  std::error_code error;
  synced one{std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error), {}};
  if (error) return;
  for (std::filesystem::directory_iterator it(one.path, error), end; !error && it != end; it.increment(error))
    one.names.push_back(it->path().filename().string());
  record->push_back(std::move(one));
}

}  // namespace

extern "C" int fsync(int fd) {
  write_down(fd);
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

using namespace orchestrator::store;
using namespace orchestrator::store::testing;

TEST_CASE("a new data directory, each new one above it, and the files in it are fsynced into their parents") {
  const temporary_directory base;
  const std::filesystem::path root = std::filesystem::canonical(base.path());
  std::vector<synced> seen;
  {
    const std::lock_guard lock(mutex);
    record = &seen;
  }
  auto opened = open_sqlite_store(root / "one" / "two" / "data", day_zero, {});
  {
    const std::lock_guard lock(mutex);
    record = nullptr;
  }
  REQUIRE(opened.has_value());
  const auto holds = [&](const std::filesystem::path& directory, const std::string& name) {
    return std::any_of(seen.begin(), seen.end(), [&](const synced& one) {
      return one.path == directory && std::find(one.names.begin(), one.names.end(), name) != one.names.end();
    });
  };
  CHECK(holds(root, "one"));
  CHECK(holds(root / "one", "two"));
  CHECK(holds(root / "one" / "two", "data"));
  CHECK(holds(root / "one" / "two" / "data", "orchestrator.db"));
  CHECK(holds(root / "one" / "two" / "data", "output.db"));
}
