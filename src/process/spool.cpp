// Writing, trimming and deleting spool segments. Called by the supervisor only; see spool.hpp.
#include "spool.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <memory>

#include <fmt/format.h>

#include "process_limits.hpp"

namespace orchestrator::process {

namespace {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Calls `visit` with the parsed name of every segment file in the directory.
template <class Visit>
void for_each_segment(int directory, Visit visit) {
  // A fresh description, because listing moves the position of the one we keep.
  const int fd = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(fd), ::closedir);
  if (!listing) {
    ::close(fd);
    return;
  }
  while (const auto* entry = ::readdir(listing.get())) {
    if (const auto name = parse_segment_name(entry->d_name)) visit(*name, entry->d_name);
  }
}

}  // namespace

std::string to_text(std::uint64_t lease, std::string_view stream, std::uint64_t index) {
  return fmt::format("{}.{}.{}", lease, stream, index);
}

std::optional<segment_name> parse_segment_name(std::string_view name) {
  const auto first = name.find('.');
  const auto last = name.rfind('.');
  if (first == std::string_view::npos || first == last) return std::nullopt;
  const auto lease = parse_number(name.substr(0, first));
  const auto index = parse_number(name.substr(last + 1));
  if (!lease || !index) return std::nullopt;
  return segment_name{*lease, std::string(name.substr(first + 1, last - first - 1)), *index};
}

std::set<std::uint64_t> spool_directory::leases() const {
  std::set<std::uint64_t> found;
  for_each_segment(directory_.get(),
                   [&](const segment_name& name, const char*) { found.insert(name.lease); });
  return found;
}

void spool_directory::remove(std::uint64_t lease, std::string_view stream, std::uint64_t offset) const {
  const auto whole_segments = offset / limits::segment_bytes;
  for_each_segment(directory_.get(), [&](const segment_name& name, const char* file) {
    if (name.lease != lease || (!stream.empty() && name.stream != stream)) return;
    if (name.index < whole_segments) ::unlinkat(directory_.get(), file, 0);
  });
}

spool_writer::spool_writer(int directory, std::uint64_t lease, std::string stream, std::uint64_t limit)
    : directory_(directory),
      lease_(lease),
      stream_(std::move(stream)),
      head_(std::min<std::uint64_t>(limit, orchestrator::limits::output_head)),
      tail_(limit - head_),
      trimmed_(head_ / limits::segment_bytes) {}

void spool_writer::write(std::string_view data) {
  while (!data.empty()) {
    if (keeps_nothing_more()) {
      end_ += data.size();
      return;
    }
    auto room = limits::segment_bytes - end_ % limits::segment_bytes;
    if (tail_ == 0) room = std::min(room, head_ - end_);
    const auto size = std::min<std::uint64_t>(room, data.size());
    append(data.substr(0, size));
    data.remove_prefix(size);
    end_ += size;
    if (end_ % limits::segment_bytes == 0) {
      segment_.reset();
      trim();
    }
  }
  if (keeps_nothing_more()) segment_.reset();
}

void spool_writer::append(std::string_view data) {
  const auto index = end_ / limits::segment_bytes;
  if (failed_segment_ == index) return;
  if (!segment_ && !open_segment(index)) {
    failed_segment_ = index;
    return;
  }
  auto position = static_cast<off_t>(end_ % limits::segment_bytes);
  while (!data.empty()) {
    const auto written = ::pwrite(segment_.get(), data.data(), data.size(), position);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      failed_segment_ = index;
      segment_.reset();
      return;
    }
    position += written;
    data.remove_prefix(static_cast<std::size_t>(written));
  }
}

bool spool_writer::open_segment(std::uint64_t index) {
  const auto name = to_text(lease_, stream_, index);
  constexpr int how = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
  segment_.reset(::openat(directory_, name.c_str(), how, 0600));
  return static_cast<bool>(segment_);
}

/// Deletes what is behind the head and before the tail. Only whole segments go, so that up to one segment
/// more than the limit is on disk.
void spool_writer::trim() {
  while (tail_ > 0 && end_ > tail_ && (trimmed_ + 1) * limits::segment_bytes <= end_ - tail_)
    unlink(trimmed_++);
}

void spool_writer::release(std::uint64_t offset) {
  const auto whole_segments = std::min(offset, end_) / limits::segment_bytes;
  const auto head_segments = head_ / limits::segment_bytes;
  while (released_ < whole_segments) {
    if (released_ >= head_segments && released_ < trimmed_) {
      released_ = std::min(trimmed_, whole_segments);
    } else {
      unlink(released_++);
    }
  }
}

void spool_writer::remove_all() {
  segment_.reset();
  if (end_ == 0) return;
  // A stream that keeps only its head has no file behind it, however much was printed.
  const auto kept_end = tail_ == 0 ? std::min(end_, head_) : end_;
  release(kept_end);
  if (kept_end % limits::segment_bytes != 0) unlink(kept_end / limits::segment_bytes);
}

void spool_writer::unlink(std::uint64_t index) const {
  ::unlinkat(directory_, to_text(lease_, stream_, index).c_str(), 0);
}

}  // namespace orchestrator::process
