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
void add_token_commands(CLI::App& root, selection& chosen);     // token …
void add_audit_commands(CLI::App& root, selection& chosen);     // audit …
void add_server_commands(CLI::App& root, selection& chosen);    // server …
void add_dev_command(CLI::App& root, selection& chosen);        // dev

struct loaded_files;
/// Job files of a path, schedules checked too; throws failure with file, line and column.
loaded_files load_checked_files(const std::string& path, const schedule_check& check);
/// Sends them, all or nothing; what changed.
api_answer apply_files(session& s, const loaded_files& files, bool dry_run);
/// Created, changed or same.
std::string change_of(const json::object& o);

/// `-f FILE|DIR` of a verb that reads job files.
void add_file_option(CLI::App& verb, std::string& path);
/// `apply -f FILE|DIR [--dry-run]`; the action gets the checked files.
using apply_action = std::function<int(session&, const loaded_files& files, bool dry_run)>;
void add_apply(CLI::App& noun, selection& chosen, const std::string& help, const apply_action& action);

/// A verb below a noun, with the habits all share (global flags may follow it).
CLI::App* add_verb(CLI::App& noun, const std::string& name, const std::string& help);

/// A verb that takes one thing by its name.
struct named_argument {
  const char* name;
  const char* help;
};
using named_action = std::function<int(session&, const std::string& name)>;
void add_verb_of_one(CLI::App& noun, selection& chosen, const std::string& verb, const std::string& help,
                     const named_argument& argument, const named_action& action);

}  // namespace orchestrator::cli
