// Child processes of `dev`. See children.hpp.
#include "children.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_client.hpp"
#include "output.hpp"

namespace orchestrator::cli {
namespace {

/// A worker kills its jobs with their grace, 10 s by default, and reports them.
constexpr auto patience = std::chrono::seconds{15};
constexpr auto leftover_patience = std::chrono::seconds{5};
constexpr auto poll_interval = std::chrono::milliseconds{20};

/// After fork: only calls that are safe between fork and exec. The child goes when its parent does.
[[noreturn]] void become(int log_fd, char* const* argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::dup2(log_fd, STDERR_FILENO);
  ::dup2(log_fd, STDOUT_FILENO);
  // What the terminal sends to the whole process group is for the parent to pass on, as one TERM: a second
  // signal would end a daemon before its jobs. Jobs start with nothing blocked.
  sigset_t ours;
  ::sigemptyset(&ours);
  ::sigaddset(&ours, SIGINT);
  ::sigaddset(&ours, SIGHUP);
  ::sigprocmask(SIG_SETMASK, &ours, nullptr);
  ::execv("/proc/self/exe", argv);
  ::_exit(127);
}

void copy_lines(const std::string& name, int fd, const std::function<void(const std::string&)>& line) {
  FILE* in = ::fdopen(fd, "r");
  if (in == nullptr) {
    ::close(fd);
    return;
  }
  char* text = nullptr;
  std::size_t capacity = 0;
  for (ssize_t n = ::getline(&text, &capacity, in); n > 0; n = ::getline(&text, &capacity, in)) {
    std::string one(text, static_cast<std::size_t>(n));
    while (!one.empty() && one.back() == '\n') one.pop_back();
    if (line) line(one);
    tell(fmt::format("{:9}| {}", name, one));
  }
  std::free(text);
  std::fclose(in);
}

/// Ctrl-C again, or a second TERM. They are blocked in all threads, so they wait until somebody takes them.
bool is_hurried() {
  sigset_t waiting;
  ::sigpending(&waiting);
  return ::sigismember(&waiting, SIGINT) == 1 || ::sigismember(&waiting, SIGTERM) == 1;
}

/// All processes whose parent is this one.
std::vector<int> find_children() {
  std::vector<int> found;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ec)) {
    const int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    std::ifstream in(entry.path() / "stat");
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    int parent = 0;
    const std::size_t name_end = text.rfind(')');  // "7 (a name) S 1 …": the name may hold anything
    if (name_end != std::string::npos && std::sscanf(text.c_str() + name_end, ") %*c %d", &parent) == 1 &&
        parent == ::getpid())
      found.push_back(pid);
  }
  return found;
}

}  // namespace

children::children() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

children::~children() { end_all(); }

void children::start(std::string name, std::vector<std::string> arguments,
                     std::function<void(const std::string&)> line) {
  const std::lock_guard lock(mutex_);
  if (closed_) throw failure{exit_refused, "stopping", ""};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw failure{exit_refused, fmt::format("cannot make a pipe: {}", std::strerror(errno)), ""};
  std::vector<char*> argv;
  std::string program = "orchestrator";
  argv.push_back(program.data());
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  const int pid = ::fork();
  if (pid == 0) become(ends[1], argv.data());
  ::close(ends[1]);
  if (pid < 0) {
    ::close(ends[0]);
    throw failure{exit_refused, fmt::format("cannot start {}: {}", name, std::strerror(errno)), ""};
  }
  child c;
  c.name = name;
  c.pid = pid;
  c.copier = std::thread([name, fd = ends[0], line = std::move(line)] { copy_lines(name, fd, line); });
  list_.push_back(std::move(c));
  none_left_ = false;
}

void children::reap() {
  int status = 0;
  int pid = ::waitpid(-1, &status, WNOHANG);
  for (; pid > 0; pid = ::waitpid(-1, &status, WNOHANG)) {
    for (child& c : list_) {
      if (c.pid != pid) continue;
      c.ended = true;
      c.status = status;
    }
  }
  none_left_ = pid < 0;
}

std::string children::first_ended() {
  const std::lock_guard lock(mutex_);
  reap();
  for (const child& c : list_) {
    if (!c.ended) continue;
    const int code = WIFEXITED(c.status) ? WEXITSTATUS(c.status) : 128 + WTERMSIG(c.status);
    return fmt::format("{} ended with {}", c.name, code);
  }
  return "";
}

bool children::wait_for(std::vector<child>::iterator from, std::vector<child>::iterator to,
                        std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  const auto has_ended = [](const child& c) { return c.ended; };
  for (reap(); !std::all_of(from, to, has_ended); reap()) {
    if (std::chrono::steady_clock::now() >= until || is_hurried()) return false;
    std::this_thread::sleep_for(poll_interval);
  }
  return true;
}

/// Supervisors that wait for a daemon to come back, and what a hurried end left of the jobs.
void children::end_leftovers() {
  for (const int pid : find_children()) ::kill(pid, SIGTERM);
  const auto until = std::chrono::steady_clock::now() + leftover_patience;
  for (reap(); !none_left_; reap()) {
    if (std::chrono::steady_clock::now() >= until || is_hurried()) {
      // What those had started becomes ours with their end, and is found by the next look.
      for (const int pid : find_children()) ::kill(pid, SIGKILL);
    }
    std::this_thread::sleep_for(poll_interval);
  }
}

void children::end_all() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(closed_, true)) return;
  reap();
  const auto first = list_.begin();
  const auto second = list_.empty() ? list_.end() : first + 1;
  for (const auto& [from, to] : {std::pair{second, list_.end()}, std::pair{first, second}}) {
    for (auto c = from; c != to; ++c) {
      if (!c->ended) ::kill(c->pid, SIGTERM);
    }
    if (wait_for(from, to, patience)) continue;
    for (auto c = from; c != to; ++c) {
      if (!c->ended) ::kill(c->pid, SIGKILL);
    }
  }
  end_leftovers();
  for (child& c : list_) c.copier.join();  // their last lines
}

}  // namespace orchestrator::cli
