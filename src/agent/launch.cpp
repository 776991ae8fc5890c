// What a job means as a process: argument vector, environment, directory. Pure; whether a file exists is
// found out by whoever starts it. Called by offers.cpp before an offer is accepted and again when it starts.
#include <algorithm>
#include <cmath>

#include <orchestrator/base/text.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

std::string absolute(const std::string& path, const std::string& base) {
  return path.starts_with('/') || base.empty() ? path : base + '/' + path;
}

milliseconds bounded_ms(std::optional<double> seconds_, milliseconds otherwise, milliseconds longest) {
  if (!seconds_ || !std::isfinite(*seconds_)) return otherwise;
  const double ms = std::clamp(*seconds_ * 1000, 0.0, static_cast<double>(longest.count()));
  return milliseconds{static_cast<std::int64_t>(ms)};
}

/// By its ending, as users of the original expect.
result<void> set_script(const config& settings, const protocol::execute_job& offer, start_process& p) {
  const auto words = split_shell_words(offer.script_args);
  if (!words) {
    return refusal{errc::bad_field,
                   fmt::format("the arguments cannot be split into words: {}", printable(offer.script_args)),
                   "/script_args", "close every quote, and end no line in a backslash"};
  }
  const std::string path = absolute(offer.script_path, settings.start_directory);
  if (path.ends_with(".py")) {
    p.argv = {"python3", path};
    p.script = path;
  } else if (path.ends_with(".sh")) {
    p.argv = {"bash", path};
    p.script = path;
  } else {
    p.argv = {path};
  }
  p.argv.insert(p.argv.end(), words->begin(), words->end());
  return {};
}

void set_environment(const config& settings, const protocol::execute_job& offer, start_process& p) {
  p.env = settings.base_env;
  for (const auto& [name, value] : offer.env) p.env[name] = value;
  p.env["ORCHESTRATOR_LEASE"] = std::to_string(p.lease);
  p.env["ORCHESTRATOR_ATTEMPT"] = std::to_string(offer.attempt.value_or(1));
  if (!offer.run_id.empty()) p.env["ORCHESTRATOR_RUN_ID"] = offer.run_id;
  if (!offer.job.empty()) p.env["ORCHESTRATOR_JOB"] = offer.job;
  if (offer.scheduled_at) p.env["ORCHESTRATOR_SCHEDULED_AT"] = *offer.scheduled_at;
  if (!settings.output_directory.empty()) {
    p.env["ORCHESTRATOR_OUTPUT"] = settings.output_directory + '/' + std::to_string(p.lease);
  }
  if (!offer.traceparent.empty()) p.env["TRACEPARENT"] = offer.traceparent;
}

}  // namespace

result<start_process> plan_launch(const config& settings, const protocol::execute_job& offer,
                                  std::uint64_t lease) {
  start_process p;
  p.lease = lease;
  if (!offer.builtin.empty()) {
    return refusal{errc::unsupported,
                   fmt::format("this worker has no builtin '{}'", printable(offer.builtin)), "/builtin",
                   "the only one is noop"};
  }
  if (!offer.command.empty()) {
    p.argv = offer.command;
  } else if (offer.script_path.empty()) {
    return refusal{errc::bad_field, "the job names neither script, command nor builtin", "/script_path", ""};
  } else if (const auto set = set_script(settings, offer, p); set.has_error()) {
    return set.error();
  }
  set_environment(settings, offer, p);
  p.cwd = offer.cwd.empty() ? settings.start_directory : absolute(offer.cwd, settings.start_directory);
  p.stdin_text = offer.stdin_text;
  // Only a legacy coordinator leaves the timeout out; it has none.
  p.timeout = bounded_ms(offer.timeout_seconds, milliseconds{0}, limits::timeout_max);
  p.kill_grace = bounded_ms(offer.kill_grace_seconds, limits::kill_grace_default, limits::kill_grace_max);
  p.output_limit = offer.output_limit_bytes.value_or(limits::output_default);
  return p;
}

}  // namespace orchestrator::agent
