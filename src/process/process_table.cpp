// Bookkeeping of the supervised processes: see process_table.hpp.
#include "process_table.hpp"

#include <sys/epoll.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include <fmt/format.h>

#include "session_file.hpp"
#include "wire.hpp"

namespace orchestrator::process {

namespace {

constexpr int reaps_per_turn = 1024;

spawned refusal(int error_number, std::string error) {
  spawned result;
  result.error_number = error_number;
  result.error = std::move(error);
  return result;
}

}  // namespace

process_table::process_table(unique_fd spool, int epoll)
    : spool_(std::move(spool)), epoll_(epoll), leftovers_(spool_.leases()) {}

supervised_process* process_table::find(std::uint64_t lease) {
  const auto found = processes_.find(lease);
  return found == processes_.end() ? nullptr : found->second.get();
}

std::optional<spawned> process_table::refuse(const launch& what) const {
  if (what.lease <= highest_) {
    return refusal(EALREADY,
                   fmt::format("lease {} is not started: this supervisor has seen lease {}, and starts "
                               "none at or below it (again); ask for a new attempt",
                               what.lease, highest_));
  }
  if (stopping_)
    return refusal(ESHUTDOWN, "nothing is started: the supervisor received SIGTERM and is stopping");
  if (what.lease_until && *what.lease_until <= read_boot_clock())
    return refusal(ETIME, fmt::format("lease {} is not started: it ran out before it could be", what.lease));
  return std::nullopt;
}

std::optional<process_end> process_table::start(const launch& what) {
  if (auto* known = find(what.lease)) {
    // A daemon that restarted may not know that it has asked before; the news say so.
    known->unsent.started = known->pid() != 0;
    known->unsent.ended = known->ended();
    settle(*known);
    return std::nullopt;
  }
  if (processes_.size() >= limits::table_entries) {
    process_end full;
    full.lease = what.lease;
    full.started = false;
    full.error_number = ENOBUFS;
    full.error =
        fmt::format("lease {} is not started: the supervisor holds {} processes and unread ends already",
                    what.lease, processes_.size());
    return full;
  }
  const auto wall = read_wall_clock();
  const auto now = read_boot_clock();
  auto child = refuse(what);
  if (!child) {
    highest_ = what.lease;
    if (leftovers_.erase(what.lease) > 0) remove_files(what.lease);
    child = spawner_.spawn(what);
    // Before anybody hears of it: from then on it must be found, whoever dies. Until then it runs already,
    // and is found by its environment only.
    if (child->pid != 0) record_session(what.lease, child->pid);
  }
  add(std::make_unique<supervised_process>(what, std::move(*child), spool_.fd(), wall, now));
  return std::nullopt;
}

void process_table::record_session(std::uint64_t lease, int leader) {
  const auto stat = read_process_stat(leader);
  if (!stat) return;
  process_identity who = self_;
  who.pid = leader;
  who.start_time = stat->start_time;
  write_session(spool_.fd(), lease, who);
}

void process_table::remove_files(std::uint64_t lease) {
  spool_.remove(lease, "", std::numeric_limits<std::uint64_t>::max());
  remove_session(spool_.fd(), lease);
}

void process_table::add(std::unique_ptr<supervised_process> process) {
  auto& added = *process;
  processes_.emplace(added.lease(), std::move(process));
  if (added.pid() != 0) {
    if (const auto old = by_session_.find(added.pid()); old != by_session_.end()) {
      if (auto* owner = find(old->second)) owner->session_was_reused();
    }
    by_session_[added.pid()] = added.lease();
    by_pid_[added.pid()] = added.lease();
    for (std::size_t i = 0; i < stream_names.size(); ++i) watch_pipe(added, i);
  }
  settle(added);
}

void process_table::watch_pipe(const supervised_process& process, std::size_t stream) {
  const int fd = process.pipe(stream);
  if (static_cast<std::size_t>(fd) >= pipes_.size()) pipes_.resize(static_cast<std::size_t>(fd) + 1);
  pipes_[static_cast<std::size_t>(fd)] = {process.lease(), stream};
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = pipe_tag | static_cast<std::uint32_t>(fd);
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
}

void process_table::kill(std::uint64_t lease, milliseconds grace) {
  // One that has ended by itself must not look killed, so the kernel is asked first.
  while (reap()) {
  }
  if (auto* process = find(lease)) {
    process->stop(supervised_process::stop_reason::request, grace, read_boot_clock());
    settle(*process);
  }
}

void process_table::renew(std::uint64_t lease, boot_time until) {
  if (auto* process = find(lease)) {
    process->renew(until);
    settle(*process);
  }
}

void process_table::stop_all() {
  stopping_ = true;
  while (reap()) {
  }
  const auto now = read_boot_clock();
  for (auto& [lease, process] : processes_) {
    process->stop(supervised_process::stop_reason::request, process->kill_grace(), now);
    settle(*process);
  }
}

void process_table::forget(std::uint64_t lease) {
  const auto found = processes_.find(lease);
  if (found == processes_.end()) {
    leftovers_.erase(lease);
    remove_files(lease);
    return;
  }
  auto& process = *found->second;
  if (!process.ended()) return;  // nobody can have acknowledged an end that was not reported
  process.remove_output();
  remove_session(spool_.fd(), lease);
  if (const auto session = by_session_.find(process.pid()); session != by_session_.end()) {
    if (session->second == lease) by_session_.erase(session);
  }
  if (process.scheduled) timetable_.erase({*process.scheduled, lease});
  processes_.erase(found);
}

void process_table::release_output(std::uint64_t lease, std::string_view stream, std::uint64_t offset) {
  if (auto* process = find(lease)) {
    process->release_output(stream, offset);
  } else if (!stream.empty()) {
    spool_.remove(lease, stream, offset);
  }
}

bool process_table::reap() {
  for (int i = 0; i < reaps_per_turn; ++i) {
    int status = 0;
    rusage usage{};
    const auto pid = ::wait4(-1, &status, WNOHANG, &usage);
    if (pid <= 0) return false;
    const auto found = by_pid_.find(pid);
    if (found == by_pid_.end()) continue;  // an orphan of some job, which we adopted as subreaper
    auto* process = find(found->second);
    by_pid_.erase(found);
    ++draining_;
    process->on_exit(status, usage, read_boot_clock(), buffer_);
    settle(*process);
  }
  return true;
}

void process_table::on_pipe(int fd) {
  if (static_cast<std::size_t>(fd) >= pipes_.size()) return;
  const auto owner = pipes_[static_cast<std::size_t>(fd)];
  auto* process = find(owner.lease);
  // The pipe may have been closed since the event was fetched, and its number be somebody else's.
  if (process == nullptr || process->pipe(owner.stream) != fd) return;
  if (process->pump(owner.stream, buffer_, 1)) process->unsent.output[owner.stream] = true;
  settle(*process);
}

void process_table::settle(supervised_process& process) {
  if (process.finish_if_complete()) --draining_;
  schedule(process);
  auto& unsent = process.unsent;
  if ((unsent.started || unsent.ended) && !unsent.queued) {
    unsent.queued = true;
    news_.push_back(process.lease());
  }
  if ((unsent.output[0] || unsent.output[1]) && !unsent.output_queued) {
    unsent.output_queued = true;
    output_news_.push_back(process.lease());
  }
}

void process_table::schedule(supervised_process& process) {
  auto due = process.next_due();
  if (due && *due < next_sweep_ && process.wants_sweep(next_sweep_)) due = next_sweep_;
  if (due == process.scheduled) return;
  if (process.scheduled) timetable_.erase({*process.scheduled, process.lease()});
  if (due) timetable_.insert({*due, process.lease()});
  process.scheduled = due;
}

std::optional<boot_time> process_table::next_due() const {
  if (timetable_.empty()) return std::nullopt;
  return timetable_.begin()->first;
}

void process_table::on_time() {
  const auto now = read_boot_clock();
  std::vector<std::uint64_t> due;
  for (auto it = timetable_.begin(); it != timetable_.end() && it->first <= now; ++it)
    due.push_back(it->second);
  if (due.empty()) return;
  while (reap()) {  // one that ended before its timeout must not look timed out because we were late
  }
  std::vector<std::uint64_t> sweeps;
  for (const auto lease : due) {
    auto* process = find(lease);
    process->on_time(now, buffer_);
    if (process->wants_sweep(now)) sweeps.push_back(lease);
  }
  if (!sweeps.empty() && now >= next_sweep_) sweep(sweeps);
  for (const auto lease : due) settle(*find(lease));
}

void process_table::sweep(const std::vector<std::uint64_t>& leases) {
  const auto begin = read_boot_clock();
  auto snapshot = process_snapshot::take();
  for (const auto lease : leases) find(lease)->sweep(snapshot, begin);
  const auto end = read_boot_clock();
  next_sweep_ = end + (end - begin) * limits::sweep_share;
}

void process_table::write_inventory(frame_socket& socket) {
  news_.clear();
  output_news_.clear();
  for (auto& [lease, process] : processes_) {
    process->unsent = {};
    socket.queue(encode_supervised(process->describe()));
  }
  socket.queue(encode_lease(message_kind::inventory_end, processes_.size()));
}

void process_table::write_news(frame_socket& socket, bool with_output) {
  const auto has_room = [&] { return socket.queued_bytes() < limits::link_queue_bytes; };
  for (; !news_.empty() && has_room(); news_.pop_front()) {
    auto* process = find(news_.front());
    if (process == nullptr) continue;
    auto& unsent = process->unsent;
    if (unsent.started)
      socket.queue(encode_started({process->lease(), process->pid(), process->started_at()}));
    if (unsent.ended) {
      socket.queue(encode_end(process->end()));
      unsent.output = {};  // the end names the lengths
    }
    unsent.started = unsent.ended = unsent.queued = false;
  }
  for (; with_output && !output_news_.empty() && has_room(); output_news_.pop_front()) {
    auto* process = find(output_news_.front());
    if (process == nullptr) continue;
    for (std::size_t i = 0; i < stream_names.size(); ++i) {
      if (!process->unsent.output[i]) continue;
      socket.queue(encode_output({process->lease(), stream_names[i], process->output_end(i)}));
    }
    process->unsent.output = {};
    process->unsent.output_queued = false;
  }
}

}  // namespace orchestrator::process
