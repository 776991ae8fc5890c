// Reads identities from /proc. Called by the supervisor, the kill paths and connect_supervisor.
#include "identity.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include <fmt/format.h>
#include <orchestrator/process/supervisor.hpp>

#include "unique_fd.hpp"

namespace orchestrator::process {

std::optional<std::string> read_small_file(const std::string& path, std::size_t limit) {
  const unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 4096> block;
  while (text.size() < limit) {
    const auto got = ::read(file.get(), block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    text.append(block.data(), static_cast<std::size_t>(got));
  }
  if (text.size() > limit) text.resize(limit);
  return text;
}

std::string read_boot_id() {
  auto text = read_small_file("/proc/sys/kernel/random/boot_id", 64).value_or("");
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::uint64_t read_pid_namespace() {
  struct stat info{};
  return ::stat("/proc/self/ns/pid", &info) == 0 ? static_cast<std::uint64_t>(info.st_ino) : 0;
}

std::optional<process_stat> read_process_stat(int pid) {
  const auto text = read_small_file(fmt::format("/proc/{}/stat", pid), 4096);
  if (!text) return std::nullopt;
  // The second field is the program's name in brackets and may itself hold blanks and brackets: count from
  // the last.
  const auto bracket = text->rfind(')');
  if (bracket == std::string::npos || bracket + 2 >= text->size()) return std::nullopt;
  process_stat stat;
  stat.pid = pid;
  const char* at = text->c_str() + bracket + 2;
  stat.state = *at++;
  char* next = nullptr;
  stat.parent = static_cast<int>(std::strtol(at, &next, 10));
  stat.group = static_cast<int>(std::strtol(next, &next, 10));
  stat.session = static_cast<int>(std::strtol(next, &next, 10));
  constexpr int fields_up_to_start_time = 15;
  for (int i = 0; i < fields_up_to_start_time; ++i) std::strtoll(next, &next, 10);
  stat.start_time = std::strtoull(next, &next, 10);
  return stat;
}

process_identity this_process() {
  const int pid = ::getpid();
  const auto stat = read_process_stat(pid);
  return {read_boot_id(), read_pid_namespace(), pid, stat ? stat->start_time : 0};
}

std::string to_text(const process_identity& who) {
  return fmt::format("boot_id {}\npid_namespace {}\npid {}\nstart_time {}\n", who.boot_id, who.pid_namespace,
                     who.pid, who.start_time);
}

std::optional<process_identity> parse_identity(const std::string& text) {
  process_identity who;
  std::size_t at = 0;
  while (at < text.size()) {
    const auto end = std::min(text.find('\n', at), text.size());
    const auto line = text.substr(at, end - at);
    const auto blank = line.find(' ');
    at = end + 1;
    if (blank == std::string::npos) continue;
    const auto name = line.substr(0, blank);
    const auto value = line.substr(blank + 1);
    if (name == "boot_id") who.boot_id = value;
    if (name == "pid_namespace") who.pid_namespace = std::strtoull(value.c_str(), nullptr, 10);
    if (name == "pid") who.pid = static_cast<int>(std::strtol(value.c_str(), nullptr, 10));
    if (name == "start_time") who.start_time = std::strtoull(value.c_str(), nullptr, 10);
  }
  if (who.boot_id.empty() || who.pid <= 0) return std::nullopt;
  return who;
}

bool is_of_this_system(const process_identity& who) {
  return who.boot_id == read_boot_id() && who.pid_namespace == read_pid_namespace();
}

bool is_alive(const process_identity& who) {
  if (!is_of_this_system(who)) return false;
  const auto stat = read_process_stat(who.pid);
  return stat && stat->start_time == who.start_time && !stat->is_dead();
}

}  // namespace orchestrator::process
