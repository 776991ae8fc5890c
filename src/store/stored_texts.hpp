// The texts of orchestrator.db that only their owner can read, judged row by row. check.cpp, backup.cpp and
// restore.cpp call it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <orchestrator/store/maintenance.hpp>

#include "connection.hpp"

namespace orchestrator::store {

struct unreadable_text {
  std::string table;
  std::string row;
  std::string why;
};

/// At most `most` of them.
std::vector<unreadable_text> unreadable_texts(connection& main, const text_judge& texts, std::size_t most);

/// Throws the open_error of the first that a start would read, if there is one.
void refuse_unreadable_texts(connection& main, const std::filesystem::path& dir, const text_judge& texts);

}  // namespace orchestrator::store
