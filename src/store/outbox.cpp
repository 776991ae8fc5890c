// The worker's outbox: one folder of segments per cluster, and a small file that names the present one. The
// worker's shell calls it on its one thread; what the records mean is the agent's business.
#include <orchestrator/store/outbox.hpp>

#include <utility>

#include "outbox_files.hpp"
#include "outbox_segments.hpp"

namespace orchestrator::store {
namespace {

namespace fs = std::filesystem;
namespace files = outbox_files;
using boost::system::error_code;

/// A cluster's name comes from another machine, so it becomes a file name only as hex digits where it is not
/// plain.
std::string folder_of(const std::string& cluster) {
  if (cluster.empty()) return "no-cluster";
  std::string name = "cluster-";
  for (const char c : cluster) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-';
    if (plain) {
      name.push_back(c);
      continue;
    }
    static constexpr char digits[] = "0123456789ABCDEF";
    name.push_back('_');
    name.push_back(digits[static_cast<unsigned char>(c) >> 4]);
    name.push_back(digits[static_cast<unsigned char>(c) & 0xf]);
  }
  return name;
}

class file_outbox final : public outbox {
 public:
  explicit file_outbox(fs::path dir) : dir_(std::move(dir)) {}

  boost::system::result<outbox_recovery> serve(const std::string& cluster) {
    outbox_recovery recovery;
    auto opened = std::make_unique<outbox_segments>();
    if (const error_code error = opened->recover(dir_ / folder_of(cluster), cluster, recovery)) return error;
    // Last, so that a failure before leaves the old outbox in place. Not without need: a worker must be able
    // to start on a full disk.
    std::string named;
    files::read_all(dir_ / "current", named);  // of one that cannot be read nothing is named
    if (named != cluster) {
      if (const error_code error = files::replace_file(dir_ / "current", cluster)) return error;
    }
    segments_ = std::move(opened);
    return recovery;
  }

  error_code append(const outbox_record& record) override { return segments_->append(record); }
  error_code drop(std::uint64_t lease) override { return segments_->drop(lease); }
  std::size_t bytes() const override { return segments_->bytes(); }
  boost::system::result<outbox_recovery> switch_cluster(const std::string& cluster) override {
    return serve(cluster);
  }

 private:
  fs::path dir_;
  std::unique_ptr<outbox_segments> segments_;
};

}  // namespace

boost::system::result<std::pair<std::unique_ptr<outbox>, outbox_recovery>> open_outbox(
    const fs::path& dir, std::string& cluster_out) {
  const fs::path home = dir / "outbox";
  if (const error_code error = files::make_directory(home)) return error;
  std::string cluster;
  const error_code unread = files::read_all(home / "current", cluster);
  if (unread && unread != boost::system::errc::no_such_file_or_directory) return unread;
  auto opened = std::make_unique<file_outbox>(home);
  auto recovery = opened->serve(cluster);
  if (!recovery) return recovery.error();
  cluster_out = cluster;
  return std::pair<std::unique_ptr<outbox>, outbox_recovery>(std::move(opened), std::move(*recovery));
}

}  // namespace orchestrator::store
