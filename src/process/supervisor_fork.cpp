// From a fork of the daemon to a clean supervisor: see supervisor_fork.hpp.
#include "supervisor_fork.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <exception>

#include "process_limits.hpp"
#include "supervisor_lock.hpp"

namespace orchestrator::process {

namespace {

constexpr int exit_crashed = 70;

/// Handlers point into the daemon's objects, and signals it ignores or blocks are not ours to ignore or
/// block.
void reset_signals() {
  for (int signal = 1; signal <= SIGRTMAX; ++signal) ::signal(signal, SIG_DFL);
  // A write error is an error code here (also one beyond ulimit -f), and what a terminal sends is meant for
  // the daemon.
  for (const int signal : {SIGPIPE, SIGXFSZ, SIGHUP, SIGINT, SIGQUIT}) ::signal(signal, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// 0 and 1 become /dev/null, 2 the log. A kept terminal or pipe would make whoever reads the daemon's output
/// wait for the supervisor as well.
void redirect_standard_files(int work_dir) {
  const unique_fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  unique_fd log(
      ::openat(work_dir, "supervisor.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat info{};
  if (log && ::fstat(log.get(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) > limits::log_bytes) {
    static_cast<void>(::ftruncate(log.get(), 0));
  }
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(null.get(), STDOUT_FILENO);
  ::dup2(log ? log.get() : null.get(), STDERR_FILENO);
}

void close_all_but(const supervisor_files& files) {
  std::array<int, 4> kept{files.work_dir.get(), files.lock.get(), files.listener.get(), files.spool.get()};
  std::sort(kept.begin(), kept.end());
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : kept) {
    const auto next = static_cast<unsigned>(fd);
    if (next > first) ::close_range(first, next - 1, 0);
    first = next + 1;
  }
  ::close_range(first, UINT_MAX, 0);
}

[[noreturn]] void become_supervisor(supervisor_files& files) {
  int code = 0;
  try {
    ::prctl(PR_SET_NAME, "orch-superv");
    // Orphans of jobs come to us, so that they can be found, signalled and reaped.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::prctl(PR_SET_PDEATHSIG, 0);
    redirect_standard_files(files.work_dir.get());
    close_all_but(files);
    reset_signals();
    write_lock_owner(files.lock.get(), this_process());
    supervisor(std::move(files)).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "supervisor %d crashed: %s\n", ::getpid(), error.what());
    code = exit_crashed;
  }
  // Not exit: the daemon's static objects and unwritten stdio buffers exist here too.
  ::_exit(code);
}

}  // namespace

boost::system::error_code fork_supervisor(supervisor_files& files) {
  const pid_t middle = ::fork();
  if (middle < 0) return {errno, boost::system::system_category()};
  if (middle == 0) {
    ::setsid();
    const pid_t child = ::fork();
    if (child == 0) become_supervisor(files);
    ::_exit(child < 0 ? errno : 0);
  }
  int status = 0;
  pid_t waited = 0;
  do {
    waited = ::waitpid(middle, &status, 0);
  } while (waited < 0 && errno == EINTR);
  // Nothing to learn if the caller has SIGCHLD ignored; the hello that follows tells whether it worked.
  if (waited == middle && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    return {WEXITSTATUS(status), boost::system::system_category()};
  }
  return {};
}

}  // namespace orchestrator::process
