// The record of a lease's session: see session_file.hpp.
#include "session_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>

#include <fmt/format.h>
#include <orchestrator/process/supervisor.hpp>

#include "unique_fd.hpp"

namespace orchestrator::process {

namespace {

constexpr std::string_view ending = ".session";

std::string name_of(std::uint64_t lease) { return fmt::format("{}{}", lease, ending); }

}  // namespace

void write_session(int spool, std::uint64_t lease, const process_identity& leader) {
  constexpr int how = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
  const unique_fd file(::openat(spool, name_of(lease).c_str(), how, 0600));
  const auto text = to_text(leader);
  if (file) static_cast<void>(::pwrite(file.get(), text.data(), text.size(), 0));
}

void remove_session(int spool, std::uint64_t lease) { ::unlinkat(spool, name_of(lease).c_str(), 0); }

lease_session read_session(const std::filesystem::path& work_dir, std::uint64_t lease) {
  const auto text = read_small_file((work_dir / "spool" / name_of(lease)).string(), 4096);
  const auto leader = text ? parse_identity(*text) : std::nullopt;
  if (!leader || leader->start_time == 0 || !is_of_this_system(*leader)) return {};
  return {leader->pid, leader->start_time};
}

std::optional<std::uint64_t> parse_session_name(std::string_view name) {
  if (!name.ends_with(ending)) return std::nullopt;
  name.remove_suffix(ending.size());
  std::uint64_t lease = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), lease);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return lease;
}

}  // namespace orchestrator::process
