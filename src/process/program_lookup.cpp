// PATH lookup and the sentences for failed starts: see program_lookup.hpp.
#include "program_lookup.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "unique_fd.hpp"

namespace orchestrator::process {

namespace {

std::string search_path(const launch& what) {
  const auto found = what.env.find("PATH");
  return found == what.env.end() ? "/usr/local/bin:/usr/bin:/bin" : found->second;
}

/// 0 if `path` is a regular file that we may execute.
int executable_error(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return errno;
  if (!S_ISREG(info.st_mode)) return EACCES;
  return ::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

/// 0 if a process could be started in `folder`.
int folder_error(const std::string& folder) {
  const unique_fd opened(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return errno;
  return ::faccessat(AT_FDCWD, folder.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

const char* advice(int error_number) {
  switch (error_number) {
    case EACCES: return "; give the file execute permission (chmod +x) and its folders search permission";
    case ENOEXEC: return "; it is neither a program for this machine nor a script that starts with #!";
    case ETXTBSY: return "; somebody has the file open for writing";
    case E2BIG: return "; shorten the arguments or the environment";
    case EAGAIN: return "; the process limit of this user or container is reached";
    case EMFILE: return "; the supervisor's limit of open files is reached (ulimit -n)";
    default: return "";
  }
}

}  // namespace

program find_program(const launch& what) {
  const auto& name = what.argv.front();
  if (name.find('/') != std::string::npos) return {name, 0};
  if (name.empty()) return {name, ENOENT};
  const auto path = search_path(what);
  int error = ENOENT;
  for (std::size_t at = 0; at <= path.size();) {
    const auto end = std::min(path.find(':', at), path.size());
    // An empty entry is the current directory, which for the job is its cwd, not the supervisor's.
    std::string folder = end == at ? "." : path.substr(at, end - at);
    if (folder.front() != '/' && !what.cwd.empty()) folder = what.cwd + "/" + folder;
    const auto candidate = folder + "/" + name;
    const int candidate_error = executable_error(candidate);
    if (candidate_error == 0) return {candidate, 0};
    if (candidate_error == EACCES) error = EACCES;
    at = end + 1;
  }
  return {name, error};
}

std::string describe_start_failure(const launch& what, const std::string& path, int error_number) {
  // posix_spawn has one errno for the chdir and the exec, so the folder is looked at again.
  if (const int error = what.cwd.empty() ? 0 : folder_error(what.cwd); error != 0) {
    return fmt::format("cannot enter the working directory '{}': {}", what.cwd, std::strerror(error));
  }
  const auto& name = what.argv.front();
  if (error_number == ENOENT && name.find('/') == std::string::npos) {
    return fmt::format("cannot run '{}': No such file or directory in PATH ({})", name, search_path(what));
  }
  if (error_number == ENOENT && ::access(path.c_str(), F_OK) == 0) {
    return fmt::format("cannot run '{}': No such file or directory; the interpreter it names is missing",
                       name);
  }
  struct stat info{};
  if (error_number == EACCES && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
    return fmt::format("cannot run '{}': it is a directory; name a program in it", name);
  return fmt::format("cannot run '{}': {}{}", name, std::strerror(error_number), advice(error_number));
}

}  // namespace orchestrator::process
