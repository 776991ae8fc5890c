// The life of one supervised process: see supervised_process.hpp.
#include "supervised_process.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "process_limits.hpp"

namespace orchestrator::process {

namespace {

double seconds_of(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
}

lease_mark mark_of(const launch& what) {
  const auto output = what.env.find("ORCHESTRATOR_OUTPUT");
  return {what.lease, output == what.env.end() ? std::string() : output->second};
}

/// Looks for survivors are made again at once when they found nobody, since one look can miss a process that
/// forks.
constexpr int sweeps_to_believe = 2;

}  // namespace

supervised_process::supervised_process(const launch& what, spawned child, int spool_directory, wall_time wall,
                                       boot_time now)
    : pid_(child.pid),
      session_(child.pid),
      mark_(mark_of(what)),
      started_at_(wall),
      started_boot_(now),
      kill_grace_(what.kill_grace),
      streams_{
          stream{std::move(child.stdout_pipe), {spool_directory, what.lease, "stdout", what.output_limit}},
          stream{std::move(child.stderr_pipe), {spool_directory, what.lease, "stderr", what.output_limit}}} {
  end_.lease = what.lease;
  unsent.started = pid_ != 0;
  if (pid_ == 0) {
    end_.started = false;
    end_.error_number = child.error_number;
    end_.lease_lost = child.error_number == ETIME;
    end_.error = std::move(child.error);
    set_end();
  } else {
    if (what.timeout > milliseconds{0}) timeout_at_ = now + what.timeout;
    lease_until_ = what.lease_until;
  }
}

void supervised_process::signal_group(int signal) const {
  // Safe by number only while the main process was not reaped: until then nobody else can have it.
  if (!main_exited_) ::kill(-pid_, signal);
}

void supervised_process::stop(stop_reason reason, milliseconds grace, boot_time now) {
  if (main_exited_ || ended_) return;
  if (phase_ != phase::running) {
    if (kill_at_) kill_at_ = std::min<boot_time>(*kill_at_, now + grace);
    return;
  }
  phase_ = phase::terminating;
  end_.timed_out = reason == stop_reason::timeout;
  end_.killed = reason == stop_reason::request;
  end_.lease_lost = reason == stop_reason::lease_lost;
  timeout_at_.reset();
  lease_until_.reset();
  kill_at_ = now + grace;
  signal_group(SIGTERM);
  signal_group(SIGCONT);  // a stopped process would sleep through its grace
  term_outside_group_ = true;
  sweep_at_ = now;
}

void supervised_process::renew(boot_time until) {
  if (lease_until_) lease_until_ = std::max(*lease_until_, until);
}

void supervised_process::on_exit(int wait_status, const rusage& usage, boot_time now,
                                 std::span<char> buffer) {
  main_exited_ = true;
  timeout_at_.reset();
  lease_until_.reset();
  if (WIFSIGNALED(wait_status)) {
    end_.signal = WTERMSIG(wait_status);
  } else {
    end_.exit_code = WEXITSTATUS(wait_status);
  }
  end_.max_rss_bytes = usage.ru_maxrss * 1024;
  end_.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  end_.duration_seconds = std::chrono::duration<double>(now - started_boot_).count();
  drain_until_ = now + limits::drain_patience;
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    if (pump(i, buffer, limits::drain_reads)) unsent.output[i] = true;
  }
  if (phase_ != phase::running) sweep_at_ = now;
}

bool supervised_process::pump(std::size_t index, std::span<char> buffer, std::size_t reads) {
  auto& [pipe, spool] = streams_[index];
  bool any = false;
  while (pipe && reads-- > 0) {
    const auto got = ::read(pipe.get(), buffer.data(), buffer.size());
    if (got > 0) {
      spool.write({buffer.data(), static_cast<std::size_t>(got)});
      any = true;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      pipe.reset();
      spool.close();
    } else if (errno == EAGAIN) {
      break;
    }
  }
  return any;
}

void supervised_process::on_time(boot_time now, std::span<char> buffer) {
  if (timeout_at_ && *timeout_at_ <= now) stop(stop_reason::timeout, kill_grace_, now);
  if (lease_until_ && *lease_until_ <= now) stop(stop_reason::lease_lost, kill_grace_, now);
  if (kill_at_ && *kill_at_ <= now) {
    kill_at_.reset();
    phase_ = phase::killing;
    give_up_at_ = now + limits::kill_patience;
    signal_group(SIGKILL);
    sweep_at_ = now;
  }
  if (waits_for_drain() && *drain_until_ <= now) {
    end_.output_detached = true;
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      // What the main process wrote before it ended is in the pipe, even if we came late to look.
      pump(i, buffer, limits::drain_reads);
      streams_[i].pipe.reset();
      streams_[i].spool.close();
    }
  }
}

void supervised_process::sweep(process_snapshot& snapshot, boot_time now) {
  sweep_at_.reset();
  const auto members = snapshot.tree(mark_, {session_}, ::getpid());
  empty_sweeps_ = members.empty() ? empty_sweeps_ + 1 : 0;
  if (phase_ == phase::terminating) sweep_terminating(members, now);
  if (phase_ == phase::killing) sweep_killing(members, now);
}

void supervised_process::sweep_terminating(const std::vector<process_stat>& members, boot_time now) {
  if (term_outside_group_) {
    term_outside_group_ = false;
    for (const auto& member : members) {
      if (member.group == pid_)
        continue;  // it has had its TERM; some programs take a second one as "at once"
      send_signal(member, SIGTERM);
      send_signal(member, SIGCONT);
    }
  }
  if (!main_exited_) return;  // its exit, or the end of the grace, brings us back
  if (empty_sweeps_ >= sweeps_to_believe) return leave_tree(0);
  sweep_at_ = members.empty() ? now : now + limits::sweep_pause;
}

void supervised_process::sweep_killing(const std::vector<process_stat>& members, boot_time now) {
  signal_group(SIGKILL);
  for (const auto& member : members) send_signal(member, SIGKILL);
  if (main_exited_ && empty_sweeps_ >= sweeps_to_believe) return leave_tree(0);
  if (now < give_up_at_) {
    sweep_at_ = members.empty() && main_exited_ ? now : now + limits::kill_sweep_pause;
  } else if (main_exited_) {
    leave_tree(members.size());
  } else {
    sweep_at_ = now + limits::stuck_pause;
  }
}

void supervised_process::leave_tree(std::size_t leaked) {
  tree_gone_ = true;
  kill_at_.reset();
  end_.leaked_processes = static_cast<int>(leaked);
}

std::optional<boot_time> supervised_process::next_due() const {
  std::optional<boot_time> due;
  const auto consider = [&due](const std::optional<boot_time>& t) {
    if (t && (!due || *t < *due)) due = t;
  };
  if (ended_) return due;
  consider(timeout_at_);
  consider(lease_until_);
  consider(kill_at_);
  consider(sweep_at_);
  if (waits_for_drain()) consider(drain_until_);
  return due;
}

bool supervised_process::finish_if_complete() {
  if (ended_ || !main_exited_ || pipes_open()) return false;
  if (phase_ != phase::running && !tree_gone_) return false;
  set_end();
  return true;
}

void supervised_process::set_end() {
  ended_ = true;
  unsent.ended = true;
  for (const auto& [pipe, spool] : streams_) end_.output_bytes[spool.stream()] = spool.end();
}

void supervised_process::release_output(std::string_view name, std::uint64_t offset) {
  for (auto& [pipe, spool] : streams_) {
    if (spool.stream() == name) spool.release(offset);
  }
}

void supervised_process::remove_output() {
  for (auto& [pipe, spool] : streams_) spool.remove_all();
}

supervised supervised_process::describe() const {
  supervised s;
  s.lease = lease();
  s.pid = pid_;
  s.started_at = started_at_;
  for (const auto& [pipe, spool] : streams_) s.output_end[spool.stream()] = spool.end();
  if (ended_) s.end = end_;
  return s;
}

}  // namespace orchestrator::process
