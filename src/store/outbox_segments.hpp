// The segments of one cluster's outbox: which exist, which records in them live, and when a file can go.
// outbox.cpp holds one of these for the cluster it serves.
//
// A segment can be deleted when no record in it lives and no tombstone in it is needed; a tombstone is needed
// while an earlier segment still holds records of its lease, because without it they would come back.
// Tombstones that alone keep a segment are written again at the end, or one long job would keep every segment
// after its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <boost/system/result.hpp>

#include <orchestrator/store/outbox.hpp>

#include "outbox_format.hpp"

namespace orchestrator::store {

class outbox_segments {
 public:
  using error_code = boost::system::error_code;

  outbox_segments() = default;
  outbox_segments(const outbox_segments&) = delete;
  outbox_segments& operator=(const outbox_segments&) = delete;
  ~outbox_segments();

  /// Opens `dir` (made if missing), cuts torn tails, sets damaged rests aside, and reports what lives.
  error_code recover(const std::filesystem::path& dir, const std::string& cluster, outbox_recovery& out);
  error_code append(const outbox_record& record);
  error_code drop(std::uint64_t lease);
  std::size_t bytes() const { return bytes_; }

 private:
  using number = std::uint64_t;
  struct record_count {
    std::uint64_t live = 0;
    std::uint64_t dead = 0;  // dropped by a later tombstone
  };
  struct segment {
    std::uint64_t size = 0;
    std::uint64_t live = 0;
    std::set<std::uint64_t> tombstones;                // leases whose tombstone here is needed
    std::map<std::uint64_t, record_count> records_of;  // by lease
  };
  struct lease_entry {
    std::vector<number> segments;  // that hold records of it, ascending
    number tombstone = 0;          // the segment with its newest tombstone, while that is needed
  };

  std::filesystem::path file_of(number n) const;
  error_code list(std::vector<number>& out) const;
  error_code recover_segment(number n, outbox_recovery& out);
  void drop_recovered(std::vector<outbox_record>& records);
  error_code set_aside(number n, std::string_view bytes, std::uint64_t keep);
  error_code open_current();
  error_code start_segment();
  error_code write(std::string_view bytes);
  void note_record(number n, std::uint64_t lease);
  void note_tombstone(number n, std::uint64_t lease);
  bool has_live(const lease_entry& entry, std::uint64_t lease) const;
  bool has_dead_elsewhere(const lease_entry& entry, std::uint64_t lease, number n) const;
  void release_tombstone(lease_entry& entry, std::uint64_t lease);
  void collect();
  void move_tombstones();
  bool removable(const segment& s) const { return s.live == 0 && s.tombstones.empty(); }
  void forget(number n);

  std::filesystem::path dir_;
  std::string cluster_;
  std::map<number, segment> segments_;  // the last one is written to
  std::map<std::uint64_t, lease_entry> leases_;
  std::map<std::uint64_t, std::size_t>
      dropped_before_;  // while recovering: lease -> records found before its tombstone
  std::uint64_t highest_lease_ = 0;
  std::size_t bytes_ = 0;
  int fd_ = -1;  // of the last segment; negative after a failure that left it torn
  std::string buffer_;
};

}  // namespace orchestrator::store
