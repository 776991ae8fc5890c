// How results are printed: a table for people, json (one document), jsonl (one object a line) or only names.
// Data goes to stdout, everything else to stderr; colour only on a terminal and without NO_COLOR.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace orchestrator::cli {

namespace json = boost::json;

enum class format { table, json, jsonl, name };
format parse_format(const std::string& word);

/// A column: its heading and the cell of one item.
struct column {
  std::string heading;
  std::function<std::string(const json::object&)> cell;
};

class printer {
 public:
  explicit printer(format f) : format_(f) {}
  /// A list: as a table by `columns`, or by the other formats; `key` is what `name` prints of each.
  void list(const json::array& items, const std::vector<column>& columns, const std::string& key) const;
  /// One object: as `heading  value` lines by `columns`.
  void one(const json::object& item, const std::vector<column>& columns, const std::string& key) const;
  /// A document that has no table of its own.
  void document(const json::value& v) const;
  format how() const { return format_; }

 private:
  format format_;
};

/// Cell helpers. An absent or null member is "-".
std::string text_of(const json::object& o, std::string_view key);
/// The column of a member as it is.
column cell(const char* heading, const char* key);
/// The last 8 characters of an id: ids of one minute share their head.
std::string short_id(const json::object& o, std::string_view key = "id");
/// "3m ago" on a terminal, the time itself elsewhere.
std::string age_of(const json::object& o, std::string_view key);
std::string seconds_of(const json::object& o, std::string_view key);
/// A state in its colour, if colours are on.
std::string coloured_state(const std::string& state);
bool stdout_is_terminal();
bool stderr_is_terminal();
/// Writes all of it; ends the program with 74 if nobody takes it any more.
void write_stdout(std::string_view data);
/// The same for what a job wrote to its stderr.
void write_stderr(std::string_view data);
/// A line for people on stderr. It is not what was asked for: that nobody reads it changes nothing.
void tell(std::string_view line);

}  // namespace orchestrator::cli
