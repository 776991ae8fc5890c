// read_spool: the daemon's way to output, past the supervisor. Segments may be trimmed or grow while we read,
// so every "not there" is looked at once more before it is called a gap.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include <orchestrator/process/supervisor.hpp>

#include "process_limits.hpp"
#include "session_file.hpp"
#include "spool.hpp"
#include "unique_fd.hpp"

namespace orchestrator::process {

namespace {

/// Appends to `data` what segment `index` holds from `position` on, until it has `limit` bytes. The count of
/// bytes.
std::size_t append_segment(const std::filesystem::path& folder, const segment_name& name,
                           std::uint64_t position, std::size_t limit, std::string& data) {
  const auto path = folder / to_text(name.lease, name.stream, name.index);
  const unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return 0;
  const auto before = data.size();
  const auto wanted = std::min<std::uint64_t>(limit - before, limits::segment_bytes - position);
  data.resize(before + wanted);
  std::size_t have = 0;
  while (have < wanted) {
    const auto got =
        ::pread(file.get(), data.data() + before + have, wanted - have, static_cast<off_t>(position + have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  data.resize(before + have);
  return have;
}

/// The lowest segment above `name` that exists. Near ones are asked for by name, since listing the folder
/// costs more.
std::optional<std::uint64_t> next_segment(const std::filesystem::path& folder, const segment_name& name) {
  for (auto index = name.index + 1; index <= name.index + limits::probed_segments; ++index) {
    const auto path = folder / to_text(name.lease, name.stream, index);
    if (::access(path.c_str(), F_OK) == 0) return index;
  }
  std::optional<std::uint64_t> lowest;
  std::error_code ignored;
  for (std::filesystem::directory_iterator it(folder, ignored), end; it != end; it.increment(ignored)) {
    const auto found = parse_segment_name(it->path().filename().native());
    if (!found || found->lease != name.lease || found->stream != name.stream) continue;
    if (found->index > name.index && (!lowest || found->index < *lowest)) lowest = found->index;
  }
  return lowest;
}

}  // namespace

spool_read read_spool(const std::filesystem::path& work_dir, std::uint64_t lease, const std::string& stream,
                      std::uint64_t offset, std::size_t limit) {
  const auto folder = work_dir / "spool";
  segment_name name{lease, stream, offset / limits::segment_bytes};
  spool_read read{offset, {}};
  auto position = offset % limits::segment_bytes;
  while (read.data.size() < limit) {
    auto got = append_segment(folder, name, position, limit, read.data);
    if (got == 0 && read.data.empty()) {
      const auto next = next_segment(folder, name);
      if (!next) return read;
      // The segment may have been completed between our look and the birth of its successor.
      got = append_segment(folder, name, position, limit, read.data);
      if (got == 0) {
        name.index = *next;
        position = 0;
        read.offset = name.index * limits::segment_bytes;
        continue;
      }
    }
    position += got;
    if (position < limits::segment_bytes) return read;
    ++name.index;
    position = 0;
  }
  return read;
}

std::map<std::string, std::uint64_t> spooled_output(const std::filesystem::path& work_dir,
                                                    std::uint64_t lease) {
  std::map<std::string, std::uint64_t> ends;
  std::error_code ignored;
  for (std::filesystem::directory_iterator it(work_dir / "spool", ignored), end; it != end;
       it.increment(ignored)) {
    const auto name = parse_segment_name(it->path().filename().native());
    if (!name || name->lease != lease) continue;
    const auto size = std::filesystem::file_size(it->path(), ignored);
    if (ignored) continue;
    auto& known = ends[name->stream];
    known = std::max(known, name->index * limits::segment_bytes + size);
  }
  return ends;
}

std::set<std::uint64_t> spooled_leases(const std::filesystem::path& work_dir) {
  std::set<std::uint64_t> leases;
  std::error_code ignored;
  for (std::filesystem::directory_iterator it(work_dir / "spool", ignored), end; it != end;
       it.increment(ignored)) {
    const std::string file = it->path().filename().native();
    if (const auto name = parse_segment_name(file)) leases.insert(name->lease);
    if (const auto lease = parse_session_name(file)) leases.insert(*lease);
  }
  return leases;
}

}  // namespace orchestrator::process
