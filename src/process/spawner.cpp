// posix_spawn with everything a job must not inherit taken away: see spawner.hpp.
#include "spawner.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "program_lookup.hpp"

namespace orchestrator::process {

namespace {

class spawn_attributes {
 public:
  spawn_attributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    // Every bit, not sigfillset: that leaves out glibc's own two signals, which children would then ignore.
    std::memset(&all, 0xff, sizeof all);
    // An ignored signal survives exec, and so does a blocked one: without this jobs would not die of SIGPIPE.
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~spawn_attributes() { ::posix_spawnattr_destroy(&attributes_); }
  spawn_attributes(const spawn_attributes&) = delete;
  spawn_attributes& operator=(const spawn_attributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

class file_actions {
 public:
  file_actions() { ::posix_spawn_file_actions_init(&actions_); }
  ~file_actions() { ::posix_spawn_file_actions_destroy(&actions_); }
  file_actions(const file_actions&) = delete;
  file_actions& operator=(const file_actions&) = delete;
  void duplicate(int from, int to) { note(::posix_spawn_file_actions_adddup2(&actions_, from, to)); }
  void change_directory(const std::string& folder) {
    note(::posix_spawn_file_actions_addchdir_np(&actions_, folder.c_str()));
  }
  void close_from(int first) { note(::posix_spawn_file_actions_addclosefrom_np(&actions_, first)); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }
  int error() const { return error_; }

 private:
  void note(int error) {
    if (error_ == 0) error_ = error;
  }
  posix_spawn_file_actions_t actions_;
  int error_ = 0;
};

struct pipe_ends {
  unique_fd read;
  unique_fd write;
};

/// 0 or errno. Only our end is non-blocking: the flag belongs to the end, and jobs expect a blocking stdout.
int open_pipe(pipe_ends& ends) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return errno;
  ends.read.reset(fds[0]);
  ends.write.reset(fds[1]);
  return ::fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
}

/// A file in memory with the job's input. Not a pipe, since nobody could wait for a job that reads slowly.
int open_input(const std::string& text, unique_fd& input) {
  input.reset(::memfd_create("stdin", MFD_CLOEXEC));
  if (!input) return errno;
  for (std::size_t done = 0; done < text.size();) {
    const auto written = ::write(input.get(), text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    done += static_cast<std::size_t>(written);
  }
  return ::lseek(input.get(), 0, SEEK_SET) == 0 ? 0 : errno;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_of(const launch& what) {
  std::vector<std::string> environment;
  environment.reserve(what.env.size());
  for (const auto& [name, value] : what.env) environment.push_back(name + "=" + value);
  return environment;
}

spawned failed(int error_number, std::string error) {
  spawned result;
  result.error_number = error_number;
  result.error = std::move(error);
  return result;
}

/// Pipes and input of one child, made together so that a lack of descriptors can be cured in one place.
struct child_files {
  pipe_ends out;
  pipe_ends err;
  unique_fd input;
};

int open_files(const launch& what, child_files& files) {
  if (const int error = open_pipe(files.out); error != 0) return error;
  if (const int error = open_pipe(files.err); error != 0) return error;
  return what.stdin_text.empty() ? 0 : open_input(what.stdin_text, files.input);
}

}  // namespace

spawner::spawner() : null_(::open("/dev/null", O_RDWR | O_CLOEXEC)) { ::getrlimit(RLIMIT_NOFILE, &limit_); }

/// Half of the numbers are left for the spool files of these pipes and for daemons that connect.
bool spawner::is_near_descriptor_limit(int fd) const {
  return static_cast<rlim_t>(fd) >= limit_.rlim_cur / 2;
}

/// Raised only when it is needed: the limit is inherited, and programs that use select() break above 1,024.
bool spawner::raise_descriptor_limit() {
  if (limit_.rlim_cur >= limit_.rlim_max) return false;
  const rlimit raised{limit_.rlim_max, limit_.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &raised) != 0) return false;
  original_limit_ = limit_;
  limit_ = raised;
  return true;
}

spawned spawner::spawn(const launch& what) {
  if (what.argv.empty()) return failed(EINVAL, "cannot run a launch without argv: it names no program");
  const auto found = find_program(what);
  if (found.error_number != 0) {
    return failed(found.error_number, describe_start_failure(what, found.path, found.error_number));
  }

  child_files files;
  int error = open_files(what, files);
  if (error == 0 && is_near_descriptor_limit(files.err.write.get())) error = EMFILE;
  if (error == EMFILE && raise_descriptor_limit()) {
    files = child_files{};
    error = open_files(what, files);
  }
  if (error != 0) return failed(error, describe_start_failure(what, found.path, error));

  static const spawn_attributes attributes;
  file_actions actions;
  actions.duplicate(files.input ? files.input.get() : null_.get(), 0);
  actions.duplicate(files.out.write.get(), 1);
  actions.duplicate(files.err.write.get(), 2);
  if (!what.cwd.empty()) actions.change_directory(what.cwd);
  actions.close_from(3);

  auto argument_texts = what.argv;
  auto environment_texts = environment_of(what);
  const auto arguments = pointers_to(argument_texts);
  const auto environment = pointers_to(environment_texts);
  pid_t pid = 0;
  error = actions.error();
  if (error == 0) {
    error = ::posix_spawn(&pid, found.path.c_str(), actions.get(), attributes.get(), arguments.data(),
                          environment.data());
  }
  if (error != 0) return failed(error, describe_start_failure(what, found.path, error));
  if (original_limit_) ::prlimit(pid, RLIMIT_NOFILE, &*original_limit_, nullptr);
  return {pid, std::move(files.out.read), std::move(files.err.read), 0, {}};
}

}  // namespace orchestrator::process
