// The worker's directory. See work_dir.hpp.
#include "work_dir.hpp"

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/net/local_servers.hpp>
#include <orchestrator/process/supervisor.hpp>

namespace orchestrator::worker_shell {
namespace fs = std::filesystem;
namespace {

constexpr int exit_cannot_create = 73;
constexpr int exit_in_use = 75;
constexpr int most_default_dirs = 1000;

fs::path workers_dir() { return net::state_dir() / "workers"; }

work_dir_failure cannot(const std::string& what, const fs::path& path, const std::error_code& why) {
  return {exit_cannot_create, fmt::format("cannot {} {}: {}; choose another with --work-dir", what,
                                          path.string(), why.message())};
}

std::error_code last_error() { return {errno, std::system_category()}; }

bool is_full(const std::error_code& ec) {
  return ec == std::errc::no_space_on_device || ec.value() == EDQUOT;
}

/// What a copy cannot have and a rename does not change: when the directory was made. Not its device or
/// inode, which in a container's or a network's file system are others after each mount. Empty where no time
/// of birth is kept: then nothing can be said.
std::string place_of(const fs::path& dir) {
  struct statx info{};
  if (::statx(AT_FDCWD, dir.c_str(), 0, STATX_BTIME, &info) != 0 || (info.stx_mask & STATX_BTIME) == 0)
    return {};
  return fmt::format("born {}.{:09}", info.stx_btime.tv_sec, info.stx_btime.tv_nsec);
}

int supervisor_of_any_cluster(const fs::path& dir) {
  if (const int pid = process::living_supervisor(dir); pid != 0) return pid;
  std::error_code ignored;
  for (fs::directory_iterator it(dir / "clusters", ignored), end; it != end; it.increment(ignored)) {
    if (const int pid = process::living_supervisor(it->path()); pid != 0) return pid;
  }
  return 0;
}

}  // namespace

void throw_exception_from_error(const work_dir_failure&, const boost::source_location&) {
  check_failed("work_dir result", __FILE__, __LINE__, "value() of a failure");
}

work_dir::work_dir(work_dir&& other) noexcept
    : path_(std::move(other.path_)),
      cluster_path_(std::move(other.cluster_path_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      instance_(other.instance_),
      worker_id_(std::move(other.worker_id_)),
      warning_(std::move(other.warning_)),
      term_(other.term_) {}

work_dir::~work_dir() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

boost::system::result<work_dir, work_dir_failure> work_dir::open(const fs::path& given) {
  if (!given.empty()) return lock(given);
  for (int n = 1; n <= most_default_dirs; ++n) {
    auto opened = lock(workers_dir() / std::to_string(n));
    if (opened || opened.error().exit_code != exit_in_use) return opened;
  }
  return work_dir_failure{exit_in_use, fmt::format("all {} work dirs below {} are in use", most_default_dirs,
                                                   workers_dir().string())};
}

boost::system::result<work_dir, work_dir_failure> work_dir::lock(const fs::path& dir) {
  std::error_code ec;
  const bool made = fs::create_directories(dir, ec);
  if (ec) return cannot("create", dir, ec);
  if (made) ::chmod(dir.c_str(), 0700);  // one that was there keeps the mode that somebody gave it
  work_dir w;
  // Without links: jobs carry this path, and are found by it after a restart that named it another way.
  w.path_ = fs::canonical(dir, ec);
  if (ec) return cannot("find", dir, ec);
  w.lock_fd_ = ::open((dir / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (w.lock_fd_ < 0) return cannot("open", dir / "lock", last_error());
  if (::flock(w.lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return work_dir_failure{exit_in_use,
                            fmt::format("the work dir {} is in use by the worker with pid {}; give this one "
                                        "another with --work-dir",
                                        dir.string(), net::first_line(dir / "lock"))};
  }
  // For people, so a full disk is no reason not to start.
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::pwrite(w.lock_fd_, pid.data(), pid.size(), 0) < 0 && !is_full(last_error()))
    return cannot("write", dir / "lock", last_error());
  static_cast<void>(::ftruncate(w.lock_fd_, static_cast<off_t>(pid.size())));
  if (auto identity = w.read_identity(); !identity) return identity.error();
  return w;
}

/// `instance` holds the id and, in its second line, the directory it was made for.
boost::system::result<void, work_dir_failure> work_dir::read_identity() {
  std::ifstream in(path_ / "instance");
  std::string id, made_for;
  std::getline(in, id);
  std::getline(in, made_for);
  const std::string place = place_of(path_);
  if (const auto known = parse_uuid(id)) {
    instance_ = *known;
    if (made_for.empty()) {
      // Of an older version. On a full disk the next start does it.
      if (const auto ec = write_instance(place); ec && !is_full(ec))
        return cannot("write", path_ / "instance", ec);
    } else if (!place.empty() && made_for != place) {
      if (const auto left = leave_identity(place); !left) return left;
    }
  } else {
    instance_ = make_uuid_v4(system_random(), system_random());
    if (const auto ec = write_instance(place)) return cannot("write", path_ / "instance", ec);
  }
  worker_id_ = net::first_line(path_ / "worker_id");
  if (worker_id_.empty()) {
    worker_id_ = fmt::format("worker-{:08x}", static_cast<std::uint32_t>(system_random()));
    if (const auto ec = net::write_line(path_ / "worker_id", worker_id_))
      return cannot("write", path_ / "worker_id", ec);
  }
  return {};
}

boost::system::error_code work_dir::write_instance(const std::string& place) const {
  return net::write_line(path_ / "instance", to_string(instance_) + "\n" + place);
}

/// A copy, or a backup that was restored: the leases in it are its original's to answer for, and so are both
/// names. The instance is written last, so that one that is killed here begins again.
boost::system::result<void, work_dir_failure> work_dir::leave_identity(const std::string& place) {
  if (const int pid = supervisor_of_any_cluster(path_); pid != 0) {
    return work_dir_failure{
        exit_in_use, fmt::format("the work dir {} is a copy of one whose supervisor, pid {}, lives: start "
                                 "the worker in that one, or give this one another with --work-dir",
                                 path_.string(), pid)};
  }
  const fs::path aside = path_ / "aside" / to_string(instance_);
  std::error_code ec;
  fs::create_directories(aside, ec);
  if (ec) return cannot("create", aside, ec);
  for (const char* name : {"outbox", "spool", "outputs", "clusters", "first_cluster", "term", "worker_id"}) {
    fs::rename(path_ / name, aside / name, ec);
    if (ec && ec != std::errc::no_such_file_or_directory) return cannot("move", path_ / name, ec);
  }
  warning_ = fmt::format(
      "The work dir {} was copied, restored or moved to another disk: this is a new worker with an identity "
      "of its "
      "own. What the copy holds of the old one's jobs, results and output is not sent; it is in {}",
      path_.string(), aside.string());
  instance_ = make_uuid_v4(system_random(), system_random());
  if (const auto failed = write_instance(place)) return cannot("write", path_ / "instance", failed);
  return {};
}

boost::system::error_code work_dir::enter_cluster(const std::string& cluster) {
  const std::string first = net::first_line(path_ / "first_cluster");
  cluster_path_ = cluster.empty() || first.empty() || first == cluster ? path_ : path_ / "clusters" / cluster;
  std::error_code ec;
  fs::create_directories(cluster_path_, ec);
  if (ec) return {ec.value(), boost::system::system_category()};
  ::chmod(cluster_path_.c_str(), 0700);
  term_ = std::strtoull(net::first_line(cluster_path_ / "term").c_str(), nullptr, 10);
  return {};
}

boost::system::error_code work_dir::adopt_cluster(const std::string& cluster) {
  return net::write_line(path_ / "first_cluster", cluster);
}

boost::system::error_code work_dir::store_term(std::uint64_t term) {
  term_ = term;
  return net::write_line(cluster_path_ / "term", std::to_string(term));
}

}  // namespace orchestrator::worker_shell
