// The output spool: what jobs print, on disk, from the pipe until the coordinator has it. The supervisor
// writes and trims, the daemon reads (spool_reader.cpp). Bounded per stream: the head stays, the tail rolls,
// the middle goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "unique_fd.hpp"

namespace orchestrator::process {

/// One file of the spool, by its name.
struct segment_name {
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t index = 0;
};
std::string to_text(std::uint64_t lease, std::string_view stream, std::uint64_t index);
std::optional<segment_name> parse_segment_name(std::string_view name);

/// The directory, for what concerns leases this supervisor did not write itself.
class spool_directory {
 public:
  /// Takes an open descriptor of work_dir/spool.
  explicit spool_directory(unique_fd directory) : directory_(std::move(directory)) {}

  int fd() const { return directory_.get(); }
  /// Leases of an earlier supervisor whose files are still there.
  std::set<std::uint64_t> leases() const;
  /// Deletes every segment of `lease` that lies wholly below `offset`; of all streams if `stream` is empty.
  void remove(std::uint64_t lease, std::string_view stream, std::uint64_t offset) const;

 private:
  unique_fd directory_;
};

/// One stream of one process. Never fails: what the disk does not take is counted and dropped, and the rest
/// of that segment with it, so that a segment file is always a gapless run of bytes from the segment's start.
class spool_writer {
 public:
  spool_writer(int directory, std::uint64_t lease, std::string stream, std::uint64_t limit);

  void write(std::string_view data);
  /// No more writes will come: gives the descriptor back.
  void close() { segment_.reset(); }
  /// Bytes written so far, dropped ones included.
  std::uint64_t end() const { return end_; }
  const std::string& stream() const { return stream_; }
  /// Deletes the segments that lie wholly below `offset`.
  void release(std::uint64_t offset);
  void remove_all();

 private:
  bool keeps_nothing_more() const { return tail_ == 0 && end_ >= head_; }
  void append(std::string_view data);
  bool open_segment(std::uint64_t index);
  void trim();
  void unlink(std::uint64_t index) const;

  int directory_;
  std::uint64_t lease_;
  std::string stream_;
  std::uint64_t head_;  ///< bytes kept from the start
  std::uint64_t tail_;  ///< bytes kept of the end
  std::uint64_t end_ = 0;
  unique_fd segment_;  ///< file of the segment that holds `end_`
  std::optional<std::uint64_t>
      failed_segment_;          ///< its rest is dropped because the disk refused a byte of it
  std::uint64_t released_ = 0;  ///< segments below were deleted by release()
  std::uint64_t trimmed_;       ///< segments from the head's end up to here were trimmed
};

}  // namespace orchestrator::process
