// The worker's directory. See work_dir.hpp.
#include "work_dir.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/net/local_servers.hpp>

namespace orchestrator::worker_shell {
namespace fs = std::filesystem;
namespace {

constexpr int exit_cannot_create = 73;
constexpr int exit_io = 74;
constexpr int exit_in_use = 75;
constexpr int most_default_dirs = 1000;

fs::path workers_dir() { return net::state_dir() / "workers"; }

work_dir_failure cannot(const std::string& what, const fs::path& path, int code) {
  return {code, fmt::format("cannot {} {}: {}; choose another with --work-dir", what, path.string(),
                            std::strerror(errno))};
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
  if (ec)
    return work_dir_failure{
        exit_cannot_create,
        fmt::format("cannot create {}: {}; choose another with --work-dir", dir.string(), ec.message())};
  if (made) ::chmod(dir.c_str(), 0700);  // one that was there keeps the mode that somebody gave it
  work_dir w;
  // Without links: jobs carry this path, and are found by it after a restart that named it another way.
  w.path_ = fs::canonical(dir, ec);
  if (ec) return cannot("find", dir, exit_cannot_create);
  w.lock_fd_ = ::open((dir / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (w.lock_fd_ < 0) return cannot("open", dir / "lock", exit_cannot_create);
  if (::flock(w.lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return work_dir_failure{exit_in_use,
                            fmt::format("the work dir {} is in use by the worker with pid {}; give this one "
                                        "another with --work-dir",
                                        dir.string(), net::first_line(dir / "lock"))};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(w.lock_fd_, 0) != 0 || ::pwrite(w.lock_fd_, pid.data(), pid.size(), 0) < 0) {
    return cannot("write", dir / "lock", exit_io);
  }
  if (auto identity = w.read_identity(); !identity) return identity.error();
  return w;
}

boost::system::result<void, work_dir_failure> work_dir::read_identity() {
  if (const auto known = parse_uuid(net::first_line(path_ / "instance"))) {
    instance_ = *known;
  } else {
    instance_ = make_uuid_v4(system_random(), system_random());
    if (net::write_line(path_ / "instance", to_string(instance_)))
      return cannot("write", path_ / "instance", exit_cannot_create);
  }
  worker_id_ = net::first_line(path_ / "worker_id");
  if (worker_id_.empty()) {
    worker_id_ = fmt::format("worker-{:08x}", static_cast<std::uint32_t>(system_random()));
    if (net::write_line(path_ / "worker_id", worker_id_))
      return cannot("write", path_ / "worker_id", exit_cannot_create);
  }
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
