// Between CLI11 and the rest of the command line: settings tables as flags, and parse errors as sentences
// with the nearest known flag or command.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <orchestrator/cli/settings.hpp>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace orchestrator::cli {

/// Registers a table of settings as flags and tells afterwards which stood on the command line.
class flag_reader {
 public:
  void add(CLI::App& app, std::span<const setting> table);
  /// By flag; only those that were given.
  std::map<std::string, std::vector<std::string>> given() const;

 private:
  std::map<std::string, std::shared_ptr<std::vector<std::string>>> texts_;
  std::map<std::string, std::shared_ptr<bool>> switches_;
};

/// One sentence: what was wrong, and what was probably meant.
std::string explain_parse_error(const CLI::App& app, const CLI::ParseError& e);

}  // namespace orchestrator::cli
