// Parses a client command line and runs the chosen command. See include/orchestrator/cli/cli.hpp.
#include <csignal>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/version.hpp>
#include <orchestrator/cli/cli.hpp>

#include "commands.hpp"
#include "usage.hpp"

namespace orchestrator::cli {
namespace {

constexpr const char* intro =
    "Runs jobs on a fleet of machines and never loses one.\n\n"
    "  orchestrator dev                     a coordinator and a worker here, to try it out\n"
    "  orchestrator --role=server           the coordinator (--role=server --help)\n"
    "  orchestrator --role=worker           a worker        (--role=worker --help)\n"
    "  orchestrator submit --wait -- CMD    run a command and pass on its exit code";

constexpr const char* verb_outro =
    "\nEverywhere: --server HOST:PORT, -o table|json|jsonl|name, --token-file FILE, --config FILE.\n"
    "Exit codes: see `orchestrator --help`.";

constexpr const char* outro =
    "\nExit codes: 0 ok, 1 refused or failed, 2 usage, 3 not found, 4 not authorised, 5 conflict,\n"
    "6 coordinator unreachable, 7 wait timed out. With --wait, a single run's own exit code; 124 its "
    "timeout,\n"
    "125 anything of ours (cancelled, skipped, the wait limit), 126/127 not executable/not found, 128+N "
    "signal N.";

void report(const failure& f, format how) {
  if (how == format::json && !f.problem.empty()) {
    tell(f.problem);
  } else {
    tell("orchestrator: " + f.message);
  }
}

int run_action(selection& chosen, const settings& values) {
  const format how = parse_format(values.text("output"));
  try {
    session s{values, printer(how), nullptr};
    if (!chosen.offline) s.api = std::make_unique<api_client>(values);
    return chosen.action(s);
  } catch (const failure& f) {
    report(f, how);
    return f.code;
  }
}

}  // namespace

CLI::App* add_verb(CLI::App& noun, const std::string& name, const std::string& help) {
  CLI::App* verb = noun.add_subcommand(name, help);
  verb->fallthrough();
  return verb;
}

void add_verb_of_one(CLI::App& noun, selection& chosen, const std::string& verb, const std::string& help,
                     const named_argument& argument, const named_action& action) {
  auto name = std::make_shared<std::string>();
  CLI::App* added = add_verb(noun, verb, help);
  added->add_option(argument.name, *name, argument.help)->required();
  added->callback(
      [name, action, &chosen] { chosen.action = [name, action](session& s) { return action(s, *name); }; });
}

int run_client(int argc, char** argv, schedule_check check, offline_tools tools) {
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app(intro);
  app.name("orchestrator");
  app.set_help_flag("-h,--help", "print this help");
  app.set_version_flag("--version", std::string("orchestrator ") + version_text, "print the version");
  app.footer(verb_outro);  // of all commands made from here on
  app.require_subcommand(0, 1);
  flag_reader flags;
  flags.add(app, client_settings());
  std::string config;
  app.add_option("--config", config, "settings file, table [client]")->type_name("FILE");
  selection chosen;
  chosen.check = std::move(check);
  chosen.tools = std::move(tools);
  add_run_commands(app, chosen);
  add_job_commands(app, chosen);
  add_schedule_commands(app, chosen);
  add_calendar_commands(app, chosen);
  add_worker_commands(app, chosen);
  add_queue_commands(app, chosen);
  add_event_commands(app, chosen);
  add_token_commands(app, chosen);
  add_audit_commands(app, chosen);
  add_server_commands(app, chosen);
  add_system_commands(app, chosen);
  add_dev_command(app, chosen);
  app.footer(outro);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    write_stdout(app.help());
    return exit_ok;
  } catch (const CLI::CallForVersion& v) {
    write_stdout(std::string(v.what()) + "\n");
    return exit_ok;
  } catch (const CLI::ParseError& e) {
    tell("orchestrator: " + explain_parse_error(app, e));
    return exit_usage;
  }
  if (!chosen.action) {
    const auto nouns = app.get_subcommands();
    tell(nouns.empty() ? app.help() : nouns.front()->help());
    return exit_usage;
  }
  const auto merged = merge_settings("client", client_settings(), flags.given(), config);
  if (!merged) {
    tell(fmt::format("orchestrator: {}{}{}", merged.error().detail, merged.error().hint.empty() ? "" : "; ",
                     merged.error().hint));
    return exit_usage;
  }
  return run_action(chosen, *merged);
}

}  // namespace orchestrator::cli
