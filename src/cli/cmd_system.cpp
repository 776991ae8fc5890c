// config show, version.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>

#include <orchestrator/base/version.hpp>

#include "commands.hpp"

namespace orchestrator::cli {
namespace {

std::string join(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& text : list) out += (out.empty() ? "" : ",") + text;
  return out;
}

/// Settings of all three roles as this environment and file give them, with where each comes from.
int show_config(session& s, const std::string& config, bool origin) {
  json::array items;
  const std::tuple<const char*, std::span<const setting>> roles[] = {
      {"server", server_settings()}, {"worker", worker_settings()}, {"client", client_settings()}};
  for (const auto& [role, table] : roles) {
    const auto merged = merge_settings(role, table, {}, config);
    if (!merged)
      throw failure{exit_usage,
                    merged.error().detail + (merged.error().hint.empty() ? "" : "; " + merged.error().hint),
                    ""};
    for (const setting& one : table) {
      const auto& value = merged->values.find(one.flag)->second;
      json::object o;
      o["role"] = role;
      o["setting"] = json::string_view(one.flag.data(), one.flag.size());
      o["value"] = join(value.values);
      if (origin) o["origin"] = value.origin;
      items.push_back(std::move(o));
    }
  }
  std::vector<column> columns = {cell("ROLE", "role"), cell("SETTING", "setting"), cell("VALUE", "value")};
  if (origin) columns.push_back(cell("FROM", "origin"));
  s.out.list(items, columns, "setting");
  return exit_ok;
}

}  // namespace

void add_system_commands(CLI::App& root, selection& chosen) {
  CLI::App* noun = root.add_subcommand("config", "settings: show");
  noun->fallthrough();
  auto origin = std::make_shared<bool>(false);
  CLI::App* show = add_verb(*noun, "show", "every setting of every role as it would be used now");
  show->add_flag("--origin", *origin, "say where each value comes from");
  show->callback([origin, &root, &chosen] {
    const CLI::Option* config = root.get_option("--config");
    const std::string file = config->count() > 0 ? config->as<std::string>() : "";
    chosen.offline = true;
    chosen.action = [origin, file](session& s) { return show_config(s, file, *origin); };
  });
  CLI::App* version = add_verb(root, "version", "of this program");
  version->callback([&chosen] {
    chosen.offline = true;
    chosen.action = [](session& s) {
      json::object o;
      o["version"] = version_text;
      if (s.out.how() == format::json || s.out.how() == format::jsonl)
        s.out.document(o);
      else
        write_stdout(fmt::format("orchestrator {}\n", version_text));
      return exit_ok;
    };
  });
}

}  // namespace orchestrator::cli
