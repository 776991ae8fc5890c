// TOML as text to a table. See toml_text.hpp.
#include "toml_text.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

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

bool surprises(std::string_view text) {
  try {
    static_cast<void>(toml::parse(text));
  } catch (const toml_surprise&) {
    return true;
  } catch (const toml::parse_error&) {
    return false;  // an error of the text, which the parser places itself
  }
  return false;
}

/// The parser does not say where it was surprised: the first line with which a text surprises it.
toml_fault find_surprise(std::string_view text) {
  std::vector<std::size_t> ends;  // of the lines
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' || i + 1 == text.size()) ends.push_back(i + 1);
  }
  const auto line = std::partition_point(ends.begin(), ends.end(),
                                         [&](std::size_t end) { return !surprises(text.substr(0, end)); });
  return {static_cast<std::size_t>(line - ends.begin()) + 1,
          1,
          {errc::bad_field, "this line is not TOML", "",
           "a date is written 2026-01-31T23:59:00Z, a text in quotes"}};
}

}  // namespace

boost::system::result<toml::table, toml_fault> parse_toml(std::string_view text) {
  if (auto deep = find_deep_keys(text)) return *std::move(deep);
  try {
    return toml::parse(text);
  } catch (const toml_surprise&) {
    return find_surprise(text);
  } catch (const toml::parse_error& e) {
    const auto at = e.source().begin;
    return toml_fault{std::max<std::size_t>(at.line, 1),
                      std::max<std::size_t>(at.column, 1),
                      {errc::bad_field, std::string{e.description()}, "", ""}};
  }
}

}  // namespace orchestrator::cli
