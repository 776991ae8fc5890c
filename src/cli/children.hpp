// The processes `orchestrator dev` starts: this same executable in its roles, their logs copied to stderr
// with a name in front, ended together.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace orchestrator::cli {

class children {
 public:
  children() = default;
  ~children();
  children(const children&) = delete;
  children& operator=(const children&) = delete;

  /// Starts `orchestrator <arguments>`; each line of its log is given to `line` (on a thread of its own)
  /// before it is copied. Throws failure if it cannot be started.
  void start(std::string name, std::vector<std::string> arguments,
             std::function<void(const std::string&)> line = {});
  /// TERM to all, in the reverse order of their start, KILL to what is left after 15 s. Safe to call again.
  void end_all();
  /// The name and exit code of one that ended by itself, or nothing.
  std::string first_ended();

 private:
  struct child {
    std::string name;
    int pid = -1;
    bool ended = false;
    std::thread copier;
  };
  std::mutex mutex_;
  std::vector<child> list_;
};

}  // namespace orchestrator::cli
