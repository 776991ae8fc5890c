// Tables and JSON on stdout. See output.hpp.
#include "output.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/protocol/definitions.hpp>

namespace orchestrator::cli {
namespace {

constexpr int exit_lost_output = 74;
constexpr std::size_t longest_cell = 4096;  ///< bytes of one text in a table

bool colours() {
  static const bool on = [] {
    const char* none = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    return stdout_is_terminal() && (none == nullptr || *none == '\0') &&
           (term == nullptr || std::string_view(term) != "dumb");
  }();
  return on;
}

/// Characters a terminal shows: escape sequences and UTF-8 continuation bytes take no column.
std::size_t width_of(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
      ++width;
    }
  }
  return width;
}

/// False if nobody takes it any more.
bool write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

constexpr std::size_t column_gap = 2;
constexpr std::size_t narrowest_cell = 12;

/// Columns of the terminal that shows stdout; no limit if it is none.
std::size_t terminal_width() {
  winsize size{};
  if (!stdout_is_terminal() || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
    return SIZE_MAX;
  return size.ws_col;
}

/// Takes from the widest columns what a line is too long, so that long names do not wrap every line.
void narrow(std::vector<std::size_t>& widths, std::size_t limit) {
  std::size_t all = column_gap * (widths.size() - 1);
  for (const std::size_t w : widths) all += w;
  while (all > limit) {
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= narrowest_cell) return;
    --*widest;
    --all;
  }
}

/// The text in that many columns: its middle goes, since names differ at their ends.
std::string shorten(const std::string& text, std::size_t width) {
  if (width_of(text) <= width || text.find('\033') != std::string::npos) return text;
  std::vector<std::string_view> characters;
  for (std::size_t i = 0, next = 0; i < text.size(); i = next) {
    for (next = i + 1; next < text.size() && width_of(std::string_view(text).substr(next, 1)) == 0;) ++next;
    characters.push_back(std::string_view(text).substr(i, next - i));
  }
  const std::size_t head = width / 2, tail = width - 1 - head;
  std::string out;
  for (std::size_t i = 0; i < head; ++i) out += characters[i];
  out += "…";
  for (std::size_t i = characters.size() - tail; i < characters.size(); ++i) out += characters[i];
  return out;
}

std::string pad(const std::string& text, std::size_t width) {
  const std::size_t has = width_of(text);
  return has < width ? text + std::string(width - has, ' ') : text;
}

}  // namespace

format parse_format(const std::string& word) {
  if (word == "json") return format::json;
  if (word == "jsonl") return format::jsonl;
  if (word == "name") return format::name;
  return format::table;
}

bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

void write_stdout(std::string_view data) {
  if (!write_all(STDOUT_FILENO, data)) std::_Exit(exit_lost_output);
}

void write_stderr(std::string_view data) {
  if (!write_all(STDERR_FILENO, data)) std::_Exit(exit_lost_output);
}

void tell(std::string_view line) {
  const std::string whole = std::string(line) + "\n";
  static_cast<void>(write_all(STDERR_FILENO, whole));
}

std::string text_of(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  if (v == nullptr || v->is_null()) return "-";
  // What a worker or a job file says could move the cursor or forge a line.
  if (v->is_string()) return v->as_string().empty() ? "-" : printable(v->as_string(), longest_cell);
  if (v->is_bool()) return v->as_bool() ? "yes" : "no";
  return protocol::write_json(*v);
}

column cell(const char* heading, const char* key) {
  return {heading, [key](const json::object& o) { return text_of(o, key); }};
}

std::string short_id(const json::object& o, std::string_view key) {
  const std::string id = text_of(o, key);
  return id.size() > 8 ? id.substr(id.size() - 8) : id;
}

std::string age_of(const json::object& o, std::string_view key) {
  std::string text = text_of(o, key);
  const auto t = parse_rfc3339(text);
  if (!t || !stdout_is_terminal()) return text;
  const auto age = std::chrono::duration_cast<seconds>(read_wall_clock() - *t);
  if (age.count() < 0) return "in " + format_duration(-age);
  if (age < std::chrono::minutes{2}) return fmt::format("{}s ago", age.count());
  if (age < std::chrono::hours{2}) return fmt::format("{}m ago", age.count() / 60);
  if (age < std::chrono::hours{48}) return fmt::format("{}h ago", age.count() / 3600);
  return fmt::format("{}d ago", age.count() / 86400);
}

std::string seconds_of(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  if (v == nullptr || !v->is_number()) return "-";
  const double s = v->to_number<double>();
  return s < 10 ? fmt::format("{:.2f}s", s)
                : format_duration(milliseconds{static_cast<std::int64_t>(s) * 1000});
}

std::string coloured_state(const std::string& state) {
  if (!colours()) return state;
  const char* colour = "";
  if (state == "succeeded" || state == "online")
    colour = "\033[32m";
  else if (state == "failed" || state == "offline" || state == "unknown")
    colour = "\033[31m";
  else if (state == "active")
    colour = "\033[36m";
  else if (state == "cancelled" || state == "stale" || state == "retry_wait")
    colour = "\033[33m";
  return *colour == '\0' ? state : colour + state + "\033[0m";
}

void printer::document(const json::value& v) const { write_stdout(protocol::write_json(v) + "\n"); }

void printer::list(const json::array& items, const std::vector<column>& columns,
                   const std::string& key) const {
  if (format_ == format::json) return document(items);
  std::string out;
  if (format_ == format::jsonl || format_ == format::name) {
    for (const json::value& item : items) {
      out += format_ == format::jsonl ? protocol::write_json(item) : text_of(item.as_object(), key);
      out += '\n';
    }
    return write_stdout(out);
  }
  std::vector<std::vector<std::string>> rows(1);
  for (const column& c : columns) rows[0].push_back(c.heading);
  for (const json::value& item : items) {
    rows.emplace_back();
    for (const column& c : columns) rows.back().push_back(c.cell(item.as_object()));
  }
  std::vector<std::size_t> widths(columns.size(), 0);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  narrow(widths, terminal_width());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string cell = shorten(row[i], widths[i]);
      out += i + 1 == row.size() ? cell : pad(cell, widths[i] + column_gap);
    }
    out += '\n';
  }
  write_stdout(out);
}

void printer::one(const json::object& item, const std::vector<column>& columns,
                  const std::string& key) const {
  if (format_ == format::json || format_ == format::jsonl) return document(item);
  if (format_ == format::name) return write_stdout(text_of(item, key) + "\n");
  std::size_t width = 0;
  for (const column& c : columns) width = std::max(width, width_of(c.heading));
  std::string out;
  for (const column& c : columns) {
    const std::string cell = c.cell(item);
    if (cell != "-") out += pad(c.heading, width + 2) + cell + "\n";
  }
  write_stdout(out);
}

}  // namespace orchestrator::cli
