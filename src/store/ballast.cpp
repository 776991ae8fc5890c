// The file of ballast.hpp.
#include "ballast.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "data_dir.hpp"

namespace orchestrator::store {

void ballast::hold(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (size_of(file_) == bytes) return;
  ::unlink(file_.c_str());
  const owned_fd fd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (fd.get() < 0) return;
  // Where blocks cannot be reserved this writes them; a size alone would hold nothing.
  if (::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)) != 0) ::unlink(file_.c_str());
}

bool ballast::release() {
  const std::lock_guard lock(mutex_);
  return ::unlink(file_.c_str()) == 0;
}

}  // namespace orchestrator::store
