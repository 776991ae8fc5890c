// TOML as text to a table. See toml_text.hpp.
#include "toml_text.hpp"

#include <algorithm>
#include <optional>
#include <string>

#include <fmt/format.h>

namespace orchestrator::cli {
namespace {

/// toml++ builds a table for each dot of a key and frees them recursively: some 20,000 on one line end the
/// stack.
constexpr std::size_t dots_per_line = 1'024;

std::optional<toml_fault> find_deep_keys(std::string_view text) {
  std::size_t line = 1, dots = 0;
  for (const char c : text) {
    if (c == '\n') {
      ++line;
      dots = 0;
    } else if (c == '.' && ++dots > dots_per_line) {
      return toml_fault{line,
                        1,
                        {errc::limit, fmt::format("more than {} dots on one line", dots_per_line), "",
                         "put long texts into a file of their own"}};
    }
  }
  return std::nullopt;
}

}  // namespace

boost::system::result<toml::table, toml_fault> parse_toml(std::string_view text) {
  if (auto deep = find_deep_keys(text)) return *std::move(deep);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& e) {
    const auto at = e.source().begin;
    return toml_fault{std::max<std::size_t>(at.line, 1),
                      std::max<std::size_t>(at.column, 1),
                      {errc::bad_field, std::string{e.description()}, "", ""}};
  }
}

}  // namespace orchestrator::cli
