// `--role=server|worker [flags]`: reads a daemon's flags. A daemon with a wrong flag ends with 64 and says
// which.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <orchestrator/base/text.hpp>
#include <orchestrator/base/version.hpp>
#include <orchestrator/cli/cli.hpp>

#include "output.hpp"
#include "usage.hpp"

namespace orchestrator::cli {
namespace {

constexpr int exit_daemon_usage = 64;
constexpr int exit_daemon_config = 78;

/// `--role` with subcommand words, or with a value we do not have. Behind the noun `token` it is that of a
/// token.
std::optional<std::string> role_in(int argc, char** argv, bool& given) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i], before = argv[i - 1];
    const bool may_be_value = i > 1 && before.starts_with('-') && before.find('=') == std::string_view::npos;
    if (word == "--" || (word == "token" && !may_be_value)) break;
    if (word.starts_with("--role=")) {
      given = true;
      return std::string(word.substr(7));
    }
    if (word == "--role") {
      given = true;
      if (i + 1 < argc) return std::string(argv[i + 1]);
      return std::string{};
    }
  }
  return std::nullopt;
}

/// The first argument that is neither a flag nor may be a flag's value: a command, if the daemon does not
/// know it.
const char* first_plain_word(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view before = argv[i - 1];
    const bool may_be_value = before.starts_with("--") && before.find('=') == std::string_view::npos;
    if (argv[i][0] != '-' && !may_be_value) return argv[i];
  }
  return nullptr;
}

std::string footer(std::string_view role) {
  if (role == "server") {
    return "\nEvery flag is also an environment variable (--lease-ttl is ORCHESTRATOR_LEASE_TTL) and a key "
           "of [server] in\n"
           "orchestrator.toml (lease_ttl); flags win over the environment, the environment over the file.\n\n"
           "Exit codes: 0 stopped, 64 wrong flag, 65 damaged data, 73 cannot create, 74 I/O error, 75 in "
           "use,\n"
           "77 permission, 78 configuration.\n";
  }
  return "\nEvery flag is also an environment variable (--slots is ORCHESTRATOR_SLOTS) and a key of [worker] "
         "in\n"
         "orchestrator.toml; flags win over the environment, the environment over the file.\n\n"
         "Exit codes: 0 stopped, 64 wrong flag, 70 internal error, 73 cannot create, 74 I/O error, 75 in "
         "use,\n"
         "77 permission, 78 configuration.\n\n"
         "The token is read from --token-file; for a coordinator of the same user on loopback it is found by "
         "itself.\n";
}

}  // namespace

std::optional<role_choice> parse_role(int argc, char** argv) {
  bool given = false;
  const auto role = role_in(argc, argv, given);
  if (!given) return std::nullopt;
  if (*role != "server" && *role != "worker") {
    tell(fmt::format("orchestrator: --role takes server or worker, not `{}`", printable(*role)));
    return role_choice{std::nullopt, exit_daemon_usage};
  }
  CLI::App app(*role == "server"
                   ? "The coordinator: keeps jobs, schedules and history, and dispatches runs to workers."
                   : "A worker: dials the coordinator, runs processes and reports their results.");
  app.name("orchestrator --role=" + *role);
  app.set_help_flag("-h,--help", "print this help");
  app.footer(footer(*role));
  std::string role_value, config;
  app.add_option("--role", role_value, "server or worker")->required();
  app.add_option("--config", config,
                 "settings file; default $XDG_CONFIG_HOME/orchestrator/orchestrator.toml, else /etc")
      ->type_name("FILE");
  const auto table = *role == "server" ? server_settings() : worker_settings();
  flag_reader flags;
  flags.add(app, table);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    write_stdout(app.help());
    return role_choice{std::nullopt, 0};
  } catch (const CLI::ParseError& e) {
    const bool extra = dynamic_cast<const CLI::ExtrasError*>(&e) != nullptr;
    if (const char* word = first_plain_word(argc, argv); extra && word != nullptr) {
      tell(fmt::format("orchestrator: --role starts a daemon and cannot be combined with a command (`{}`)",
                       printable(word)));
      return role_choice{std::nullopt, exit_usage};
    }
    tell(fmt::format("orchestrator --role={}: {}", *role, explain_parse_error(app, e)));
    return role_choice{std::nullopt, exit_daemon_usage};
  }
  auto merged = merge_settings(*role, table, flags.given(), config);
  if (!merged) {
    const bool from_flag = merged.error().detail.starts_with("--");
    tell(fmt::format("orchestrator --role={}: {}{}{}", *role, merged.error().detail,
                     merged.error().hint.empty() ? "" : "; ", merged.error().hint));
    return role_choice{std::nullopt, from_flag ? exit_daemon_usage : exit_daemon_config};
  }
  return role_choice{role_request{*role, std::move(*merged)}, 0};
}

}  // namespace orchestrator::cli
