// Waiting for runs, following their logs, and the exit code a finished run stands for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "commands.hpp"

namespace orchestrator::cli {

/// The command's own exit code; 124 for its timeout, 125 for what is ours, 128+N for signal N. The reason of
/// a 125 goes to stderr.
int exit_code_of(const json::object& run);

/// Waits until every run is final; nothing if `until` came first. On a terminal shows how many ended.
std::optional<std::vector<json::object>> wait_for_runs(session& s, const std::vector<std::string>& ids,
                                                       steady_time until);

struct log_options {
  std::optional<int> attempt;
  std::string stream;
  std::optional<std::uint64_t> tail;
  bool follow = false;
};
/// Copies a run's stdout and stderr to ours; false if a follower's `until` came before the run's end.
bool print_logs(session& s, const std::string& id, const log_options& options,
                steady_time until = steady_time::max());

/// From here on Ctrl-C says that the run goes on, and ends the program.
void detach_on_interrupt(const std::string& id);

/// The tail of `submit`, `job run` and `wait`: follow, wait, print the final run, exit as it did.
struct wait_flags {
  bool wait = false;
  bool follow = false;
  std::string wait_timeout;
  bool always = false;  ///< the command does nothing but wait
  void add(CLI::App& app, bool with_wait);
  /// When waiting is given up, counted from this call. Throws failure if --wait-timeout cannot be read, or if
  /// nothing is waited for: to be asked before anything is submitted.
  steady_time until() const;
};
int finish(session& s, const json::object& run, const wait_flags& flags, steady_time until);

}  // namespace orchestrator::cli
