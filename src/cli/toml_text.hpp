// TOML as text to a table, for job files and orchestrator.toml alike: both come from people, and from
// strangers.
#pragma once

#include <cstddef>
#include <string_view>

#include <toml++/toml.h>
#include <boost/system/result.hpp>

#include <orchestrator/base/result.hpp>

namespace orchestrator::cli {

/// What is wrong with it and where; lines and columns count from 1.
struct toml_fault {
  std::size_t line = 1;
  std::size_t column = 1;
  refusal why;
};

/// Refuses before parsing what would end the parser's stack.
boost::system::result<toml::table, toml_fault> parse_toml(std::string_view text);

}  // namespace orchestrator::cli
