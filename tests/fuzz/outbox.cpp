// The worker's outbox on files: records written by the product, and damage, cuts and foreign bytes between
// its lives. Whatever is recovered must be recovered again, and with it what was written since; nothing that
// was dropped may come back, and nothing that lives may go, unless the files were damaged.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include <orchestrator/store/outbox.hpp>

#include "fuzz/fuzz.hpp"
#include "outbox_format.hpp"

using namespace orchestrator;
using namespace orchestrator::store;
using fuzz::must;
namespace fs = std::filesystem;

namespace {

constexpr int operations_max = 64;

const fs::path& home() {
  static const fs::path made = [] {
    std::string name = (fs::exists("/dev/shm") ? "/dev/shm" : "/tmp") + std::string("/fuzz-outbox-XXXXXX");
    must(::mkdtemp(name.data()) != nullptr, "a directory can be made");
    std::atexit([] {
      std::error_code ignored;
      fs::remove_all(home(), ignored);
    });
    return fs::path(name);
  }();
  return made;
}

class life {
 public:
  explicit life(fuzz::source in) : in_(in) {
    fs::remove_all(home() / "outbox");
    open();
  }

  void go() {
    for (int i = 0; i < operations_max && !in_.done() && box_; ++i) one_operation();
    if (box_) reopen();
    if (box_) append();
    if (box_) reopen();
  }

 private:
  void one_operation() {
    switch (in_.below(10)) {
      case 0:
      case 1:
      case 2: return append();
      case 3: return drop();
      case 4: return reopen();
      case 5: return change_cluster();
      case 6: return damage([this](std::string& bytes) { flip(bytes); });
      case 7: return damage([this](std::string& bytes) { bytes.resize(in_.number(2) % (bytes.size() + 1)); });
      case 8: return damage([this](std::string& bytes) { bytes += in_.take(in_.below(64)); });
      default: return add_segment();
    }
  }

  std::uint64_t some_lease() { return in_.below(8); }

  void append() {
    const outbox_record r{some_lease(), std::string(in_.take(in_.below(40))),
                          std::string(in_.take(in_.below(200)))};
    const bool fits = r.kind.size() <= outbox_format::kind_max;
    const bool written = !box_->append(r);
    must(written == fits, "a record whose kind fits is written, and no other");
    if (!written) return;
    records_.push_back(r);
    highest_ = std::max(highest_, r.lease);
  }

  void drop() {
    const std::uint64_t lease = some_lease();
    must(!box_->drop(lease), "a lease can be dropped");
    std::erase_if(records_, [&](const outbox_record& r) { return r.lease == lease; });
  }

  /// The first look after damage tells what is left; the second must tell the same.
  void reopen() {
    if (damaged_) open();
    if (!box_) return;
    const auto records = records_;
    const auto highest = highest_;
    const auto cluster = cluster_;
    const auto recovery = open();
    must(box_ != nullptr, "what was opened opens again");
    must(recovery.torn_bytes == 0 && recovery.quarantined_bytes == 0, "damage is reported once");
    must(records_ == records, "the same records live after a restart",
         fmt::format("{} before, {} after", records.size(), records_.size()));
    must(highest_ == highest && cluster_ == cluster, "highest lease and cluster survive a restart",
         fmt::format("{} {}, then {} {}", highest, cluster, highest_, cluster_));
  }

  outbox_recovery open() {
    box_.reset();
    damaged_ = false;
    std::string cluster;
    auto opened = open_outbox(home(), cluster);
    if (!opened) {  // of another version of the product: nothing is touched
      must(opened.error() == boost::system::errc::not_supported || opened.error().value() == ENAMETOOLONG,
           "only another version cannot be opened", opened.error().message());
      return {};
    }
    box_ = std::move(opened->first);
    take(opened->second, cluster);
    return opened->second;
  }

  void take(const outbox_recovery& recovery, const std::string& cluster) {
    records_ = recovery.records;
    highest_ = recovery.highest_lease;
    cluster_ = cluster;
    for (const outbox_record& r : records_)
      must(r.lease <= highest_, "the highest lease is not below one that lives");
  }

  void change_cluster() {
    const std::string cluster(1, static_cast<char>('a' + in_.below(3)));
    auto switched = box_->switch_cluster(cluster);
    if (switched) {
      take(*switched, cluster);
    } else {
      must(switched.error() == boost::system::errc::not_supported, "only another version stays shut");
    }
  }

  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(home() / "outbox"))
      if (entry.is_regular_file()) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }

  /// The daemon is gone, its file is changed, and a new daemon comes.
  template <class Change>
  void damage(Change change) {
    box_.reset();
    const auto all = files();
    const fs::path& file = all[in_.below(all.size())];
    std::string bytes = read(file);
    change(bytes);
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    damaged_ = true;
    reopen();
  }

  static std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  void flip(std::string& bytes) {
    if (bytes.empty()) return;
    char& at = bytes[in_.number(2) % bytes.size()];
    at = static_cast<char>(at ^ static_cast<char>(in_.byte()));
  }

  /// Records with a right checksum and anything in them, or no record at all.
  std::string foreign_bytes() {
    std::string out;
    for (std::size_t n = 1 + in_.below(3); n > 0; --n) {
      if (in_.coin()) {
        std::string record;
        const auto type = static_cast<outbox_format::record_type>(1 + in_.below(3));
        const std::string_view kind = in_.take(in_.below(40));
        outbox_format::encode_record(record, type, in_.coin() ? in_.number() : some_lease(), kind,
                                     in_.take(in_.below(64)));
        out += record;
      } else {
        out += in_.take(in_.below(64));
      }
    }
    return out;
  }

  /// A later segment, as a daemon that wrote more left it: its header carries the highest lease on.
  void add_segment() {
    const fs::path folder = home() / "outbox" / (cluster_.empty() ? "no-cluster" : "cluster-" + cluster_);
    if (!fs::is_directory(folder)) return;  // a damaged name, written in hex digits
    const std::string cluster = in_.below(4) == 0 ? "b" : cluster_;
    const std::uint64_t more = in_.below(4);
    const std::uint64_t highest = highest_ > UINT64_MAX - more ? UINT64_MAX : highest_ + more;
    std::string bytes = outbox_format::encode_header(cluster, highest);
    if (in_.below(8) == 0) bytes[8] = 2;  // another version; then the checksum is wrong, too
    bytes += foreign_bytes();
    box_.reset();
    const std::size_t number = last_segment_in(folder) + 1 + in_.below(2);
    std::ofstream(folder / fmt::format("segment-{:010}", number), std::ios::binary) << bytes;
    damaged_ = true;
    reopen();
  }

  static std::size_t last_segment_in(const fs::path& folder) {
    std::size_t last = 0;
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("segment-")) last = std::max(last, std::stoul(name.substr(8)));
    }
    return last;
  }

  fuzz::source in_;
  std::unique_ptr<outbox> box_;
  std::vector<outbox_record> records_;
  std::uint64_t highest_ = 0;
  std::string cluster_;
  bool damaged_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  life(fuzz::source(data, size)).go();
  return 0;
}
