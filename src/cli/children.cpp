// Child processes of `dev`. See children.hpp.
#include "children.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_client.hpp"

namespace orchestrator::cli {
namespace {

constexpr int patience_ms = 15'000;
constexpr int poll_ms = 20;

/// After fork: only calls that are safe between fork and exec. The child goes when its parent does.
[[noreturn]] void become(int log_fd, char* const* argv) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::dup2(log_fd, STDERR_FILENO);
  ::dup2(log_fd, STDOUT_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv("/proc/self/exe", argv);
  ::_exit(127);
}

void copy_lines(const std::string& name, int fd, const std::function<void(const std::string&)>& line) {
  FILE* in = ::fdopen(fd, "r");
  char* text = nullptr;
  std::size_t capacity = 0;
  for (ssize_t n = ::getline(&text, &capacity, in); n > 0; n = ::getline(&text, &capacity, in)) {
    std::string one(text, static_cast<std::size_t>(n));
    while (!one.empty() && one.back() == '\n') one.pop_back();
    if (line) line(one);
    fmt::print(stderr, "{:9}| {}\n", name, one);
  }
  std::free(text);
  std::fclose(in);
}

}  // namespace

children::~children() {
  end_all();
  for (child& c : list_) {
    if (c.copier.joinable()) c.copier.join();
  }
}

void children::start(std::string name, std::vector<std::string> arguments,
                     std::function<void(const std::string&)> line) {
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
  const std::lock_guard lock(mutex_);
  child c;
  c.name = name;
  c.pid = pid;
  c.copier = std::thread([name, fd = ends[0], line] { copy_lines(name, fd, line); });
  list_.push_back(std::move(c));
}

std::string children::first_ended() {
  const std::lock_guard lock(mutex_);
  for (child& c : list_) {
    int status = 0;
    if (!c.ended && ::waitpid(c.pid, &status, WNOHANG) == c.pid) {
      c.ended = true;
      const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      return fmt::format("{} ended with {}", c.name, code);
    }
  }
  return "";
}

void children::end_all() {
  const std::lock_guard lock(mutex_);
  for (auto c = list_.rbegin(); c != list_.rend(); ++c) {
    if (c->ended) continue;
    ::kill(c->pid, SIGTERM);
    for (int waited = 0; ::waitpid(c->pid, nullptr, WNOHANG) == 0; waited += poll_ms) {
      if (waited >= patience_ms) ::kill(c->pid, SIGKILL);
      ::usleep(poll_ms * 1000);
    }
    c->ended = true;
  }
}

}  // namespace orchestrator::cli
