// The flags that say what a run executes and how; `submit` and `schedule add` share them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

namespace CLI {
class App;
}

namespace orchestrator::cli {

namespace json = boost::json;

struct run_flags {
  std::string script, args, queue, cwd, stdin_file, timeout, backoff, kill_grace, rate, start_within,
      max_backoff, lost_after, on_lease_lost;
  std::vector<std::string> command, require, resource, lock, tag, env;
  std::vector<int> retry_on;
  std::optional<int> priority, retries, max_running, max_lost;
  bool at_most_once = false;
  bool noop = false;

  void add(CLI::App& app);
  /// As the keys of a job's specification. Throws failure for what cannot be read (--stdin FILE, K=V without
  /// =).
  json::object to_json() const;
};

/// What was given with a flag that takes a time, read before anything is sent; throws failure if it is none.
/// `instead` names the way to say a time from now.
std::string time_of_flag(const char* flag, const std::string& text, const char* instead);

}  // namespace orchestrator::cli
