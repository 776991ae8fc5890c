// The client's commands. Each noun's file registers its verbs on the CLI11 tree and, when chosen, sets the
// action that runs after parsing. `submit`, `status`, `logs`, `wait` and `why` are also words of their own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api_client.hpp"
#include "output.hpp"

namespace CLI {
class App;
}

namespace orchestrator::cli {

/// What an action works with; made after parsing, when settings are known.
struct session {
  const settings& values;
  printer out;
  std::unique_ptr<api_client> api;
};

/// The chosen command.
struct selection {
  std::function<int(session&)> action;
  bool offline = false;  ///< needs no server
  schedule_check check;
  offline_tools tools;
};

void add_run_commands(CLI::App& root, selection& chosen);       // run …, submit, status, logs, wait, why
void add_job_commands(CLI::App& root, selection& chosen);       // job …
void add_schedule_commands(CLI::App& root, selection& chosen);  // schedule …
void add_calendar_commands(CLI::App& root, selection& chosen);  // calendar …
void add_worker_commands(CLI::App& root, selection& chosen);    // worker …
void add_queue_commands(CLI::App& root, selection& chosen);     // queue …
void add_event_commands(CLI::App& root, selection& chosen);     // event …
void add_system_commands(CLI::App& root, selection& chosen);    // config, version
void add_server_commands(CLI::App& root, selection& chosen);    // server …
void add_dev_command(CLI::App& root, selection& chosen);        // dev

struct loaded_files;
/// Job files of a path, schedules checked too; throws failure with file, line and column.
loaded_files load_checked_files(const std::string& path, const schedule_check& check);
/// Sends them, all or nothing; what changed.
api_answer apply_files(session& s, const loaded_files& files, bool dry_run);
/// Created, changed or same.
std::string change_of(const json::object& o);

/// A verb below a noun, with the habits all share (global flags may follow it).
CLI::App* add_verb(CLI::App& noun, const std::string& name, const std::string& help);

}  // namespace orchestrator::cli
