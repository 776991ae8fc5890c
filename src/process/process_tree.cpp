// /proc as a tree, and kill_lease_processes on top of it: see process_tree.hpp.
#include "process_tree.hpp"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <orchestrator/base/time.hpp>

#include "pidfd.hpp"
#include "process_limits.hpp"
#include "session_file.hpp"

namespace orchestrator::process {

namespace {

constexpr std::string_view lease_variable = "ORCHESTRATOR_LEASE=";
constexpr std::string_view output_variable = "ORCHESTRATOR_OUTPUT=";

std::optional<std::uint64_t> parse_lease(std::string_view text) {
  std::uint64_t lease = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), lease);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return lease;
}

}  // namespace

process_snapshot process_snapshot::take() {
  process_snapshot snapshot;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (!proc) return snapshot;
  while (const auto* entry = ::readdir(proc.get())) {
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) == 0) continue;
    const auto stat = read_process_stat(std::atoi(entry->d_name));
    if (!stat) continue;
    snapshot.processes_.emplace(stat->pid, *stat);
    snapshot.children_[stat->parent].push_back(stat->pid);
  }
  return snapshot;
}

std::set<int> process_snapshot::descendants(int root) const {
  std::set<int> found;
  std::vector<int> open{root};
  while (!open.empty()) {
    const auto children = children_.find(open.back());
    open.pop_back();
    if (children == children_.end()) continue;
    for (const int child : children->second) {
      if (found.insert(child).second) open.push_back(child);
    }
  }
  return found;
}

std::set<int> process_snapshot::ancestors(int pid) const {
  std::set<int> found;
  for (auto at = processes_.find(pid); at != processes_.end(); at = processes_.find(at->second.parent)) {
    if (!found.insert(at->first).second) break;
  }
  return found;
}

const process_snapshot::environment& process_snapshot::environment_of(int pid) {
  if (const auto known = environments_.find(pid); known != environments_.end()) return known->second;
  std::optional<std::uint64_t> lease;
  std::string output;
  const auto text = read_small_file(fmt::format("/proc/{}/environ", pid), limits::environ_bytes);
  environment found{std::nullopt, text.has_value()};
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const auto item = rest.substr(0, rest.find('\0'));
    if (item.starts_with(lease_variable)) lease = parse_lease(item.substr(lease_variable.size()));
    if (item.starts_with(output_variable)) output = item.substr(output_variable.size());
    const auto name = item.substr(0, item.find('='));
    if (name != "PWD" && name != "OLDPWD" && name != "SHLVL" && name != "_" && name != "PATH")
      found.emptied = false;
    rest.remove_prefix(std::min(item.size() + 1, rest.size()));
  }
  if (lease) found.mark = lease_mark{*lease, std::move(output)};
  return environments_.emplace(pid, std::move(found)).first->second;
}

void process_snapshot::build_index(int root) {
  index_ = index{root, {}, {}};
  excluded_ = ancestors(::getpid());
  std::set<int> candidates;
  if (root != 0) {
    candidates = descendants(root);
  } else {
    for (const auto& [pid, stat] : processes_) candidates.insert(pid);
  }
  for (const int pid : candidates) {
    if (excluded_.contains(pid)) continue;
    if (const auto& mark = environment_of(pid).mark) index_.by_mark[*mark].push_back(pid);
    index_.by_session[processes_.at(pid).session].push_back(pid);
  }
}

/// A session's number is not given out again while it has members, and a new session of that number has a new
/// leader. One whose leader is gone may be another's all the same; its members are then no older than ours.
std::vector<int> process_snapshot::members_of(const lease_session& session) const {
  const auto same = index_.by_session.find(session.number);
  if (session.number == 0 || same == index_.by_session.end()) return {};
  if (session.start_time == 0) return same->second;
  const auto leader = processes_.find(session.number);
  if (leader != processes_.end() && leader->second.start_time != session.start_time) return {};
  std::vector<int> members;
  for (const int pid : same->second) {
    if (processes_.at(pid).start_time >= session.start_time) members.push_back(pid);
  }
  return members;
}

/// While the leader lives the number is ours, and so is who cannot be read. Without it the number may have
/// been given out again, to a session that lost its leader, too: then only an emptied environment tells.
bool process_snapshot::is_unmarked_member(int pid, const lease_session& session) {
  if (environment_of(pid).mark) return false;  // somebody else's
  return session.start_time == 0 || processes_.contains(session.number) || environment_of(pid).emptied;
}

std::vector<process_stat> process_snapshot::tree(const lease_mark& mark, const lease_session& session,
                                                 int root) {
  if (index_.root != root) build_index(root);
  std::set<int> members;
  const auto add = [&](int pid) {
    if (members.insert(pid).second) members.merge(descendants(pid));
  };
  if (const auto named = index_.by_mark.find(mark); named != index_.by_mark.end()) {
    for (const int pid : named->second) add(pid);
  }
  for (const int pid : members_of(session)) {
    if (environment_of(pid).mark == mark || is_unmarked_member(pid, session)) add(pid);
  }
  std::vector<process_stat> living;
  for (const int pid : members) {
    const auto& stat = processes_.at(pid);
    if (!stat.is_dead() && !excluded_.contains(pid)) living.push_back(stat);
  }
  return living;
}

void send_signal(const process_stat& process, int signal) {
  const auto fd = open_pidfd(process.pid);
  if (!fd) return;
  // The descriptor holds the number; whose it is must be looked at after it was opened.
  const auto now = read_process_stat(process.pid);
  if (now && now->start_time == process.start_time) signal_pidfd(fd, signal);
}

lease_session session_led_by(int pid) {
  const auto stat = read_process_stat(pid);
  return stat && stat->session == pid ? lease_session{pid, stat->start_time} : lease_session{};
}

bool kill_lease_processes(const std::filesystem::path& work_dir, const lease_mark& mark,
                          const lease_session& known) {
  const auto recorded = read_session(work_dir, mark.lease);
  const auto& session = recorded.number != 0 ? recorded : known;
  const auto deadline = read_boot_clock() + limits::kill_patience;
  int rounds_without = 0;
  for (;;) {
    const auto living = process_snapshot::take().tree(mark, session, 0);
    for (const auto& process : living) send_signal(process, SIGKILL);
    // Two in a row: a process that forks while /proc is listed can be missed once.
    rounds_without = living.empty() ? rounds_without + 1 : 0;
    if (rounds_without == 2) return true;
    if (read_boot_clock() >= deadline) return false;
    if (living.empty()) continue;
    const auto pause = std::chrono::nanoseconds(limits::kill_sweep_pause).count();
    const timespec wait{0, static_cast<long>(pause)};
    ::nanosleep(&wait, nullptr);
  }
}

}  // namespace orchestrator::process
