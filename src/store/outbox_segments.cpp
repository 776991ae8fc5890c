// Segments of an outbox; see outbox_segments.hpp.
#include "outbox_segments.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <orchestrator/base/limits.hpp>

#include "outbox_files.hpp"

namespace orchestrator::store {

namespace format = outbox_format;
namespace files = outbox_files;

outbox_segments::~outbox_segments() {
  if (fd_ >= 0) ::close(fd_);
}

std::filesystem::path outbox_segments::file_of(number n) const {
  return dir_ / fmt::format("segment-{:010}", n);
}

outbox_segments::error_code outbox_segments::list(std::vector<number>& out) const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir_, error)) {
    const std::string name = entry.path().filename().string();
    const std::string digits = name.starts_with("segment-") ? name.substr(8) : std::string{};
    if (digits.size() == 10 && digits.find_first_not_of("0123456789") == std::string::npos)
      out.push_back(std::stoull(digits));
  }
  std::sort(out.begin(), out.end());
  return {error.value(), boost::system::system_category()};
}

outbox_segments::error_code outbox_segments::recover(const std::filesystem::path& dir,
                                                     const std::string& cluster, outbox_recovery& out) {
  dir_ = dir;
  cluster_ = cluster;
  if (const error_code error = files::make_directory(dir_)) return error;
  std::vector<number> found;
  if (const error_code error = list(found)) return error;
  for (const number n : found)
    if (const error_code error = recover_segment(n, out)) return error;
  drop_recovered(out.records);
  out.highest_lease = highest_lease_;
  if (const error_code error = segments_.empty() ? start_segment() : open_current()) return error;
  collect();
  return {};
}

/// Takes out what a later tombstone dropped.
void outbox_segments::drop_recovered(std::vector<outbox_record>& records) {
  std::vector<outbox_record> live;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto dropped = dropped_before_.find(records[i].lease);
    if (dropped == dropped_before_.end() || i >= dropped->second) live.push_back(std::move(records[i]));
  }
  records = std::move(live);
  dropped_before_.clear();
}

outbox_segments::error_code outbox_segments::recover_segment(number n, outbox_recovery& out) {
  std::string bytes;
  if (const error_code error = files::read_all(file_of(n), bytes)) return error;
  segment& here = segments_[n];
  const auto head = format::decode_header(bytes);
  if (head && head->version != format::version) return make_error_code(boost::system::errc::not_supported);
  std::size_t good = 0;
  format::record_state state =
      bytes.size() < format::header_fixed ? format::record_state::torn : format::record_state::damaged;
  if (head && head->cluster == cluster_) {
    highest_lease_ = std::max(highest_lease_, head->highest_lease);
    format::decoded_record next;
    for (good = head->size; good < bytes.size(); good += next.size) {
      state = format::decode_record(std::string_view{bytes}.substr(good), next);
      if (state != format::record_state::whole) break;
      highest_lease_ = std::max(highest_lease_, next.record.lease);
      if (next.type == format::record_type::tombstone) {
        note_tombstone(n, next.record.lease);
        dropped_before_[next.record.lease] = out.records.size();
        continue;
      }
      note_record(n, next.record.lease);
      out.records.push_back(std::move(next.record));
    }
  }
  here.size = good;
  bytes_ += good;
  if (good == bytes.size()) return {};
  if (state == format::record_state::torn &&
      !format::holds_whole_record(std::string_view{bytes}.substr(good + 1))) {
    out.torn_bytes += bytes.size() - good;
    return ::truncate(file_of(n).c_str(), static_cast<off_t>(good)) == 0 ? error_code{} : files::last_error();
  }
  out.quarantined_bytes += bytes.size() - good;
  return set_aside(n, bytes, good);
}

outbox_segments::error_code outbox_segments::set_aside(number n, std::string_view bytes, std::uint64_t keep) {
  const std::filesystem::path aside = fmt::format("{}.damaged", file_of(n).string());
  if (const error_code error = files::replace_file(aside, bytes.substr(keep))) return error;
  return ::truncate(file_of(n).c_str(), static_cast<off_t>(keep)) == 0 ? error_code{} : files::last_error();
}

// Without a whole header the segment holds nothing, and a new one follows it; on a full disk with the first
// record that finds room.
outbox_segments::error_code outbox_segments::open_current() {
  const auto& [n, last] = *segments_.rbegin();
  if (last.size == 0 || last.size >= limits::outbox_segment) {
    const error_code error = start_segment();
    const bool full = error == boost::system::errc::no_space_on_device || error.value() == EDQUOT;
    return full ? error_code{} : error;
  }
  fd_ = ::open(file_of(n).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  return fd_ >= 0 ? error_code{} : files::last_error();
}

// The header carries the highest lease on, so that it outlives the segments before.
outbox_segments::error_code outbox_segments::start_segment() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  const number n = segments_.empty() ? 1 : segments_.rbegin()->first + 1;
  const std::string header = format::encode_header(cluster_, highest_lease_);
  // Renamed into place: a segment has its header from the first moment.
  if (const error_code error = files::replace_file(file_of(n), header)) return error;
  fd_ = ::open(file_of(n).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0) return files::last_error();
  segments_[n].size = header.size();
  bytes_ += header.size();
  collect();
  return {};
}

outbox_segments::error_code outbox_segments::write(std::string_view bytes) {
  if (fd_ < 0 || segments_.rbegin()->second.size >= limits::outbox_segment)
    if (const error_code error = start_segment()) return error;
  segment& current = segments_.rbegin()->second;
  const error_code error = files::write_all(fd_, bytes);
  if (!error) {
    current.size += bytes.size();
    bytes_ += bytes.size();
    return {};
  }
  if (::ftruncate(fd_, static_cast<off_t>(current.size)) != 0) {
    // What was written stays at the end of this segment, so the next record begins a new one.
    ::close(fd_);
    fd_ = -1;
  }
  return error;
}

outbox_segments::error_code outbox_segments::append(const outbox_record& record) {
  namespace errc = boost::system::errc;
  if (record.kind.size() > format::kind_max ||
      record.body.size() > format::payload_max - format::payload_fixed - format::kind_max)
    return errc::make_error_code(errc::invalid_argument);
  if (bytes_ + record.body.size() > limits::outbox_bytes)
    return errc::make_error_code(errc::no_space_on_device);
  format::encode_record(buffer_, format::record_type::record, record.lease, record.kind, record.body);
  if (const error_code error = write(buffer_)) return error;
  highest_lease_ = std::max(highest_lease_, record.lease);
  note_record(segments_.rbegin()->first, record.lease);
  return {};
}

outbox_segments::error_code outbox_segments::drop(std::uint64_t lease) {
  const auto known = leases_.find(lease);
  if (known == leases_.end() || !has_live(known->second, lease)) return {};
  format::encode_record(buffer_, format::record_type::tombstone, lease, {}, {});
  if (const error_code error = write(buffer_)) return error;
  note_tombstone(segments_.rbegin()->first, lease);
  collect();
  move_tombstones();
  return {};
}

void outbox_segments::note_record(number n, std::uint64_t lease) {
  segment& here = segments_[n];
  ++here.live;
  ++here.records_of[lease].live;
  lease_entry& entry = leases_[lease];
  if (entry.segments.empty() || entry.segments.back() != n) entry.segments.push_back(n);
}

void outbox_segments::note_tombstone(number n, std::uint64_t lease) {
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return;  // it outlived the segments it was for
  lease_entry& entry = found->second;
  for (const number s : entry.segments) {
    record_count& count = segments_[s].records_of[lease];
    segments_[s].live -= count.live;
    count.dead += std::exchange(count.live, 0);
  }
  release_tombstone(entry, lease);  // the new one covers all that the old one did
  if (has_dead_elsewhere(entry, lease, n)) {
    entry.tombstone = n;
    segments_[n].tombstones.insert(lease);
  }
}

bool outbox_segments::has_live(const lease_entry& entry, std::uint64_t lease) const {
  return std::any_of(entry.segments.begin(), entry.segments.end(),
                     [&](number s) { return segments_.at(s).records_of.at(lease).live > 0; });
}

bool outbox_segments::has_dead_elsewhere(const lease_entry& entry, std::uint64_t lease, number n) const {
  return std::any_of(entry.segments.begin(), entry.segments.end(),
                     [&](number s) { return s != n && segments_.at(s).records_of.at(lease).dead > 0; });
}

void outbox_segments::release_tombstone(lease_entry& entry, std::uint64_t lease) {
  const auto holder = segments_.find(std::exchange(entry.tombstone, 0));
  if (holder != segments_.end()) holder->second.tombstones.erase(lease);
}

/// Deletes what can go. The last segment stays: it carries the highest lease and is written to.
void outbox_segments::collect() {
  for (bool again = true; again;) {
    again = false;
    for (auto at = segments_.begin(); at != std::prev(segments_.end());) {
      const number n = at->first;
      const bool gone = removable(at->second) && (::unlink(file_of(n).c_str()) == 0 || errno == ENOENT);
      ++at;
      if (!gone) continue;
      forget(n);
      again = true;  // a tombstone in another segment may have lost its purpose
    }
  }
}

/// What fails here is tried again at the next drop. A lease that was used again since keeps its tombstone
/// where it is: at the end it would drop the records that came after it, too.
void outbox_segments::move_tombstones() {
  std::vector<std::uint64_t> moving;
  for (auto at = segments_.begin(); at != std::prev(segments_.end()); ++at) {
    if (at->second.live > 0) continue;
    for (const std::uint64_t lease : at->second.tombstones)
      if (!has_live(leases_.at(lease), lease)) moving.push_back(lease);
  }
  for (const std::uint64_t lease : moving) {
    format::encode_record(buffer_, format::record_type::tombstone, lease, {}, {});
    if (write(buffer_)) return;
    note_tombstone(segments_.rbegin()->first, lease);
  }
  if (!moving.empty()) collect();
}

void outbox_segments::forget(number n) {
  const segment gone = std::move(segments_[n]);
  segments_.erase(n);
  bytes_ -= gone.size;
  for (const auto& [lease, count] : gone.records_of) {
    const auto found = leases_.find(lease);
    if (found == leases_.end()) continue;
    lease_entry& entry = found->second;
    std::erase(entry.segments, n);
    if (!has_dead_elsewhere(entry, lease, entry.tombstone)) release_tombstone(entry, lease);
    if (entry.segments.empty()) leases_.erase(found);
  }
}

}  // namespace orchestrator::store
