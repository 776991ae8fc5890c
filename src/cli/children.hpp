// The processes `orchestrator dev` starts: this same executable in its roles, their logs copied to stderr
// with a name in front, ended together with everything they left behind.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace orchestrator::cli {

class children {
 public:
  /// From here on this process is the one to which orphans below it come, so that none is missed at the end.
  children();
  ~children();
  children(const children&) = delete;
  children& operator=(const children&) = delete;

  /// Starts `orchestrator <arguments>`, deaf to the terminal's Ctrl-C, which is ours to pass on. Each line of
  /// its log is given to `line` (on a thread of its own) before it is copied. Throws failure if it cannot be
  /// started.
  void start(std::string name, std::vector<std::string> arguments,
             std::function<void(const std::string&)> line = {});
  /// TERM to all but the first, then to the first, then KILL to whatever is left below us. A SIGINT or
  /// SIGTERM that waits for this process cuts the patience short. Safe to call again; nothing starts
  /// afterwards.
  void end_all();
  /// The name and exit code of one that ended by itself, or nothing.
  std::string first_ended();

 private:
  struct child {
    std::string name;
    int pid = -1;
    bool ended = false;
    int status = 0;
    std::thread copier;
  };

  void reap();
  /// False if some of them still run after `limit`, or somebody is in a hurry.
  bool wait_for(std::vector<child>::iterator from, std::vector<child>::iterator to,
                std::chrono::milliseconds limit);
  void end_leftovers();

  std::mutex mutex_;
  std::vector<child> list_;
  bool none_left_ = false;
  bool closed_ = false;
};

}  // namespace orchestrator::cli
