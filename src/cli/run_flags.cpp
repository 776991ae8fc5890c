// From flags to the keys of a run specification. See run_flags.hpp.
#include "run_flags.hpp"

#include <fstream>
#include <iostream>
#include <iterator>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/base/time.hpp>

#include "api_client.hpp"

namespace orchestrator::cli {
namespace {

json::object pairs(const std::vector<std::string>& list, const char* flag) {
  json::object out;
  for (const std::string& text : list) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw failure{exit_usage, fmt::format("{} takes KEY=VALUE, not `{}`", flag, text), ""};
    }
    const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
    const auto [known, fresh] = out.emplace(key, value);
    if (!fresh && known->value() != json::value(value)) {
      throw failure{exit_usage,
                    fmt::format("{} gives {} twice, as `{}` and as `{}`", flag, printable(key),
                                printable(std::string_view(known->value().as_string())), printable(value)),
                    ""};
    }
  }
  return out;
}

std::string read_stdin_file(const std::string& file) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw failure{exit_usage, fmt::format("--stdin: cannot read {}", file), ""};
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  if (text.size() > limits::stdin_bytes) {
    throw failure{exit_usage,
                  fmt::format("--stdin: {} has {} bytes, at most {} can be given to a job", file, text.size(),
                              limits::stdin_bytes),
                  ""};
  }
  return text;
}

}  // namespace

void run_flags::add(CLI::App& app) {
  app.add_option("--script", script, "script to run: .py by python3, .sh by bash, else it must be executable")
      ->type_name("PATH");
  app.add_option("--args", args, "its arguments, split as a shell splits words")->type_name("STR");
  app.add_option("--priority", priority, "larger goes first, -1000 to 1000")->type_name("N");
  app.add_option("--queue", queue, "the queue it waits in; default `default`")->type_name("NAME");
  app.add_option("--require", require, "label a worker must have; may be repeated")
      ->type_name("K=V")
      ->allow_extra_args(false);
  app.add_option("--require-resource", resource,
                 "amount a worker must have free, such as gpu=1 or memory=2GiB; may be repeated")
      ->type_name("K=N")
      ->allow_extra_args(false);
  app.add_option(
         "--lock", lock,
         "named lock to hold while it runs: NAME alone, NAME:read with other readers; may be repeated")
      ->type_name("NAME")
      ->allow_extra_args(false);
  app.add_option("--max-running", max_running, "runs of its name that may be active at once")->type_name("N");
  app.add_option("--rate", rate, "starts of runs of its name, such as 10/m or 1/6s")->type_name("N/D");
  app.add_option("--tag", tag, "tag to find it by; may be repeated")
      ->type_name("K=V")
      ->allow_extra_args(false);
  app.add_option("--env", env, "environment variable; may be repeated")
      ->type_name("K=V")
      ->allow_extra_args(false);
  app.add_option("--cwd", cwd, "working directory on the worker")->type_name("DIR");
  app.add_option("--stdin", stdin_file, "file given to it as standard input; - reads ours")
      ->type_name("FILE");
  app.add_option("--timeout", timeout, "TERM after this long, then KILL; default 1h")->type_name("D");
  app.add_option("--start-within", start_within,
                 "it expires if no worker has started it by then; default never")
      ->type_name("D");
  app.add_option("--kill-grace", kill_grace, "between TERM and KILL; default 10s")->type_name("D");
  app.add_option("--retries", retries, "further attempts after a failure or timeout, 0 to 99")
      ->type_name("N");
  app.add_option("--retry-on", retry_on,
                 "exit code after which it is tried again; default any failure; may be repeated")
      ->type_name("CODE")
      ->allow_extra_args(false);
  app.add_option("--backoff", backoff, "wait before the first retry; doubles; default 10s")->type_name("D");
  app.add_option("--max-backoff", max_backoff, "the wait doubles no further than this; default 1h")
      ->type_name("D");
  app.add_option("--max-lost", max_lost,
                 "it fails when so many attempts were lost with their workers; default 3")
      ->type_name("N");
  app.add_option("--lost-after", lost_after,
                 "its worker is thought lost when it is not heard of for so long; default the server's, 60s")
      ->type_name("D");
  app.add_option("--on-lease-lost", on_lease_lost,
                 "what a worker that lost touch does with its process: keep (default) or kill; with --lock "
                 "always kill")
      ->type_name("keep|kill");
  app.add_flag("--at-most-once", at_most_once, "never start it a second time, even if its end is unknown");
  app.add_flag("--noop", noop, "no process at all: the worker answers at once");
  app.add_option("command", command, "the command and its arguments, after --")->type_name("CMD");
}

json::object run_flags::to_json() const {
  json::object o;
  if (!script.empty()) o["script"] = script;
  if (!args.empty()) o["args"] = args;
  if (!command.empty()) o["command"] = json::array(command.begin(), command.end());
  if (noop) o["builtin"] = "noop";
  if (!queue.empty()) o["queue"] = queue;
  if (!cwd.empty()) o["cwd"] = cwd;
  if (!timeout.empty()) o["timeout"] = timeout;
  if (!kill_grace.empty()) o["kill_grace"] = kill_grace;
  if (!start_within.empty()) o["start_within"] = start_within;
  if (!lost_after.empty()) o["lost_after"] = lost_after;
  if (!on_lease_lost.empty()) o["on_lease_lost"] = on_lease_lost;
  if (priority) o["priority"] = *priority;
  if (at_most_once) o["at_most_once"] = true;
  if (!env.empty()) o["env"] = pairs(env, "--env");
  if (!tag.empty()) o["tags"] = pairs(tag, "--tag");
  if (!stdin_file.empty()) o["stdin"] = read_stdin_file(stdin_file);
  if (!lock.empty()) o["locks"] = json::array(lock.begin(), lock.end());
  if (max_running) o["max_running"] = *max_running;
  if (!rate.empty()) o["rate"] = rate;
  json::object requires_;
  if (!require.empty()) requires_["labels"] = pairs(require, "--require");
  if (!resource.empty()) requires_["resources"] = pairs(resource, "--require-resource");
  if (!requires_.empty()) o["requires"] = std::move(requires_);
  json::object retry;
  if (retries) retry["max_attempts"] = *retries + 1;
  if (!backoff.empty()) retry["backoff"] = backoff;
  if (!max_backoff.empty()) retry["max_backoff"] = max_backoff;
  if (max_lost) retry["max_lost"] = *max_lost;
  if (!retry_on.empty()) retry["on_exit"] = json::array(retry_on.begin(), retry_on.end());
  if (!retry.empty()) o["retry"] = std::move(retry);
  return o;
}

std::string time_of_flag(const char* flag, const std::string& text, const char* instead) {
  if (text.empty() || parse_rfc3339(text)) return text;
  throw failure{exit_usage,
                fmt::format("{} takes a time with its zone, such as 2026-01-31T23:59:00Z or "
                            "2026-01-31T23:59:00+08:00, not `{}`; {}",
                            flag, printable(text), instead),
                ""};
}

}  // namespace orchestrator::cli
