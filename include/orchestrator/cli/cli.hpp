// The command line: `orchestrator <noun> <verb>` as a client of the HTTP API, and the flags of the two roles.
// Called by main.cpp.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <boost/json/value.hpp>

#include <orchestrator/base/result.hpp>
#include <orchestrator/cli/settings.hpp>
#include <orchestrator/model/schedule.hpp>

namespace orchestrator::cli {

/// Exit codes of client commands (interface page); daemons use sysexits.
enum exit_code {
  exit_ok = 0,
  exit_refused = 1,
  exit_usage = 2,
  exit_not_found = 3,
  exit_not_authorised = 4,
  exit_conflict = 5,
  exit_unreachable = 6,
  exit_wait_timed_out = 7,
  exit_ours = 125,  ///< with --wait: anything that is not the command's own end
};

/// What is wrong with a schedule (cron syntax, never fires, unknown zone), so that job files are checked
/// where they are written. main.cpp passes the engine's check, which this layer cannot reach.
using schedule_check = std::function<std::optional<refusal>(const schedule&)>;

/// What came of work on a data directory: a document, or a daemon's exit code with the reason.
struct offline_outcome {
  int exit_code = exit_ok;
  std::string message;
  boost::json::value document;
};
/// The verbs of `server` that need no server. main.cpp passes the store's, which this layer cannot reach.
struct offline_tools {
  std::function<std::string()> default_data_dir;
  std::function<offline_outcome(const std::string& data_dir)> check;
  std::function<offline_outcome(const std::string& data_dir, const std::string& target)> backup;
  std::function<offline_outcome(const std::string& backup, const std::string& data_dir, bool replace)>
      restore;
};

/// Runs a client command and returns its exit code.
int run_client(int argc, char** argv, schedule_check check, offline_tools tools);

/// What --role was given, and that role's settings; or an exit code when there is nothing to run (help, wrong
/// flags: daemons answer 64).
struct role_request {
  std::string role;
  settings values;
};
struct role_choice {
  std::optional<role_request> request;
  int exit_code = 0;
};
/// Parses `--role=… [flags]`. Nothing if there is no --role among the arguments.
std::optional<role_choice> parse_role(int argc, char** argv);

}  // namespace orchestrator::cli
