// The cron parser: splits the text into fields, each field into items, and each item into a range and a step.
// Whatever is not understood is refused where it stands; nothing is guessed, since a schedule that means
// something else than its author thinks is found out too late.
#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "cron.hpp"

namespace orchestrator::engine {
namespace {

/// A piece of the expression and where it began, counted from 0.
struct piece {
  std::string_view text;
  std::size_t position = 0;

  piece from(std::size_t n) const { return {text.substr(n), position + n}; }
  piece first(std::size_t n) const { return {text.substr(0, n), position}; }
};

enum class unit { second, minute, hour, day, month, weekday };

struct unit_rule {
  const char* name;
  int low;
  int high;        ///< of `*`
  int high_given;  ///< of a number that is written out: 7 is Sunday too
};
constexpr std::array<unit_rule, 6> rules{{{"second", 0, 59, 59},
                                          {"minute", 0, 59, 59},
                                          {"hour", 0, 23, 23},
                                          {"day of month", 1, 31, 31},
                                          {"month", 1, 12, 12},
                                          {"day of week", 0, 6, 7}}};
const unit_rule& rule_of(unit u) { return rules[static_cast<std::size_t>(u)]; }

constexpr std::array<std::string_view, 12> month_names{"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                                       "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
constexpr std::array<std::string_view, 7> weekday_names{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> words{{{"@yearly", "0 0 1 1 *"},
                                                                              {"@annually", "0 0 1 1 *"},
                                                                              {"@monthly", "0 0 1 * *"},
                                                                              {"@weekly", "0 0 * * 0"},
                                                                              {"@daily", "0 0 * * *"},
                                                                              {"@midnight", "0 0 * * *"},
                                                                              {"@hourly", "0 * * * *"}}};

constexpr const char* overview =
    "write minute hour day-of-month month day-of-week, as in \"30 2 * * MON-FRI\"";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_blank(char c) { return c == ' ' || c == '\t'; }

std::string upper(std::string_view text) {
  std::string out{text};
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}
bool same_word(std::string_view a, std::string_view b) { return upper(a) == upper(b); }

refusal refuse(std::size_t position, const std::string& why, std::string hint = {},
               errc code = errc::bad_field) {
  return {.code = code,
          .detail = fmt::format("cron, position {}: {}", position + 1, why),
          .pointer = "/schedule/cron",
          .hint = std::move(hint)};
}

/// The text between two marks, `a,b` into `a` and `b`; an empty text is one empty piece.
std::vector<piece> split(piece whole, char mark) {
  std::vector<piece> parts;
  for (;;) {
    const std::size_t end = whole.text.find(mark);
    if (end == std::string_view::npos) break;
    parts.push_back(whole.first(end));
    whole = whole.from(end + 1);
  }
  parts.push_back(whole);
  return parts;
}

std::vector<piece> split_at_blanks(std::string_view text) {
  std::vector<piece> parts;
  for (std::size_t i = 0; i < text.size();) {
    if (is_blank(text[i])) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && !is_blank(text[end])) ++end;
    parts.push_back({text.substr(i, end - i), i});
    i = end;
  }
  return parts;
}

/// Reads one field into the set.
class field_reader {
 public:
  field_reader(unit u, std::size_t number, field_set& out) : unit_(u), number_(number), out_(out) {}

  std::optional<refusal> read(piece field) {
    if (field.text == "?") return read_question_mark(field);
    if (unit_ == unit::weekday && field.text.front() == '+') {
      if (field.text.size() == 1) return refuse_here(field.position, "\"+\" is followed by nothing");
      return read_list(field.from(1));
    }
    return read_list(field);
  }

 private:
  std::optional<refusal> read_list(piece field) {
    const std::vector<piece> items = split(field, ',');
    if (items.size() > cron_items_per_field) {
      return refuse_here(items[cron_items_per_field].position,
                         fmt::format("more than {} items in a list", cron_items_per_field),
                         "use a range or a step", errc::limit);
    }
    for (const piece& item : items) {
      if (item.text.empty()) return refuse_here(item.position, "an item of the list is empty");
      if (item.text == "*" && items.size() > 1) {
        return refuse_here(item.position, "\"*\" in a list makes the other items pointless",
                           "keep only one of them");
      }
      if (is_nearest_weekday(item) && items.size() > 1)
        return refuse_here(item.position, "\"W\" stands alone in its field: no list, no range");
      if (auto bad = read_item(item)) return bad;
    }
    return std::nullopt;
  }

  const unit_rule& rule() const { return rule_of(unit_); }

  refusal refuse_here(std::size_t position, const std::string& why, std::string hint = {},
                      errc code = errc::bad_field) const {
    return refuse(position, fmt::format("field {} ({}): {}", number_, rule().name, why), std::move(hint),
                  code);
  }

  std::uint64_t& target() const {
    switch (unit_) {
      case unit::second: return out_.seconds;
      case unit::minute: return out_.minutes;
      case unit::hour: return out_.hours;
      case unit::day: return out_.days;
      case unit::month: return out_.months;
      case unit::weekday: break;
    }
    return out_.weekdays;
  }

  void add(int low, int high, int step) const {
    for (int n = low; n <= high; n += step) {
      target() |= std::uint64_t{1} << (unit_ == unit::weekday && n == 7 ? 0 : n);
    }
  }

  std::optional<refusal> read_question_mark(piece field) const {
    if (unit_ != unit::day && unit_ != unit::weekday) {
      return refuse_here(field.position, "\"?\" is for the day of month and the day of week only",
                         "write \"*\"");
    }
    add(rule().low, rule().high, 1);
    return std::nullopt;
  }

  bool is_nearest_weekday(piece item) const {
    return unit_ == unit::day && item.text.size() > 1 && item.text.back() == 'W';
  }

  std::optional<refusal> read_nearest_weekday(piece day) const {
    if (day.text == "L") {
      return refuse_here(day.position, "\"LW\" (the last weekday) is not supported",
                         "\"W\" takes a day of the month, as in 15W");
    }
    if (day.text.find_first_of("-/*") != std::string_view::npos)
      return refuse_here(day.position, "\"W\" stands alone in its field: no list, no range");
    const auto n = read_value(day, false);
    if (!n) return n.error();
    out_.nearest_weekdays |= std::uint64_t{1} << *n;
    return std::nullopt;
  }

  std::optional<refusal> read_item(piece item) const {
    if (unit_ == unit::day && item.text == "L") {
      out_.last_day = true;
      return std::nullopt;
    }
    if (is_nearest_weekday(item)) return read_nearest_weekday(item.first(item.text.size() - 1));
    if (unit_ == unit::weekday) {
      const std::size_t mark = item.text.find('#');
      if (mark != std::string_view::npos) return read_nth(item.first(mark), item.from(mark + 1));
      if (item.text.back() == 'L' && item.text.size() > 1) {
        return read_nth(item.first(item.text.size() - 1), item.from(item.text.size() - 1));
      }
    }
    const std::vector<piece> parts = split(item, '/');
    if (parts.size() > 2) return refuse_here(parts[2].position - 1, "a second \"/\" in one item");
    return read_range(parts[0], parts.size() == 2 ? std::optional{parts[1]} : std::nullopt);
  }

  std::optional<refusal> read_nth(piece day, piece which) const {
    if (day.text.find_first_of("-/*") != std::string_view::npos) {
      return refuse_here(day.position, "\"#\" and \"L\" take one day, not a range",
                         "list the days: MON#1,TUE#1");
    }
    const auto weekday = read_value(day, false);
    if (!weekday) return weekday.error();
    auto& chosen = out_.nth_weekdays[static_cast<std::size_t>(*weekday % 7)];
    if (which.text == "L") {
      chosen |= 1;
      return std::nullopt;
    }
    if (which.text.size() != 1 || which.text[0] < '1' || which.text[0] > '5') {
      return refuse_here(which.position, "\"#\" takes 1 to 5 or L (the last)", "the second Friday is FRI#2");
    }
    chosen = static_cast<std::uint8_t>(chosen | 1 << (which.text[0] - '0'));
    return std::nullopt;
  }

  std::optional<refusal> read_range(piece range, std::optional<piece> step_text) const {
    int low = rule().low;
    int high = rule().high;
    const std::size_t dash = range.text.find('-');
    if (range.text != "*" && dash == std::string_view::npos) {
      const auto value = read_value(range, false);
      if (!value) return value.error();
      if (step_text) {
        const auto step = read_step(*step_text, rule().high);
        if (!step) return step.error();
        const int first = *value > rule().high ? rule().low : *value;  // 7 is Sunday, where the week begins
        const bool moves = first + *step <= rule().high_given;
        return refuse_here(step_text->position - 1, "a step needs a range or \"*\" before it",
                           moves ? fmt::format("write {}-{}/{}", first, rule().high_given, *step)
                                 : fmt::format("write {}, without a step", first));
      }
      add(*value, *value, 1);
      return std::nullopt;
    }
    if (range.text != "*") {
      const auto first = read_value(range.first(dash), false);
      if (!first) return first.error();
      const auto last = read_value(range.from(dash + 1), *first > 0);
      if (!last) return last.error();
      low = *first;
      high = *last;
      if (low > high) {
        return refuse_here(range.position, fmt::format("the range {}-{} runs backwards", low, high),
                           fmt::format("write {}-{},{}-{}", low, rule().high_given, rule().low, high));
      }
    }
    const auto step = step_text ? read_step(*step_text, high - low) : result<int>{1};
    if (!step) return step.error();
    add(low, high, *step);
    return std::nullopt;
  }

  result<int> read_step(piece text, int span) const {
    const bool number = !text.text.empty() && std::all_of(text.text.begin(), text.text.end(), is_digit);
    if (!number) return refuse_here(text.position, "a step is a whole number above 0");
    const int step = read_digits(text.text);
    if (step == 0)
      return refuse_here(text.position, "a step of 0 never moves", "leave the step out for every value");
    if (step > span && step > 1) {
      return refuse_here(
          text.position,
          fmt::format("a step of {} leaves only the first value of the range", printable(text.text)),
          "write that value alone");
    }
    return step;
  }

  /// Digits as a number that stays far above every range when it is above one, instead of overflowing.
  static int read_digits(std::string_view text) {
    int value = 0;
    for (const char c : text) value = std::min(value * 10 + (c - '0'), 100'000);
    return value;
  }

  /// A number or a name. `ends_range`: SUN is the 7 that ends FRI-SUN.
  result<int> read_value(piece value, bool ends_range) const {
    if (value.text.empty()) return refuse_here(value.position, "a value is missing");
    const bool number = std::all_of(value.text.begin(), value.text.end(), is_digit);
    if (!number) return read_name(value, ends_range);
    const int n = read_digits(value.text);
    if (n < rule().low || n > rule().high_given) {
      return refuse_here(value.position, fmt::format("{} is outside {}-{}", printable(value.text), rule().low,
                                                     rule().high_given));
    }
    return n;
  }

  result<int> read_name(piece value, bool ends_range) const {
    const std::string name = upper(value.text);
    const std::span<const std::string_view> names = names_here();
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) return refuse_name(value, name);
    const int index = static_cast<int>(found - names.begin());
    if (unit_ == unit::month) return index + 1;
    return index == 0 && ends_range ? 7 : index;
  }

  std::span<const std::string_view> names_here() const {
    if (unit_ == unit::month) return month_names;
    if (unit_ == unit::weekday) return weekday_names;
    return {};
  }

  /// Says what is wrong with a value that is neither a number nor a known name: the letters of other dialects
  /// get an answer of their own, since whoever wrote them expects them to work.
  refusal refuse_name(piece value, const std::string& name) const {
    std::size_t at = 0;
    while (at < name.size() && (is_digit(name[at]) || is_letter(name[at]))) ++at;
    if (at < name.size()) return refuse_character(value, at);
    if (value.text == "l")
      return refuse_here(value.position, "the modifier L is a capital letter", "write L");
    if (name == "L" && unit_ == unit::day) {
      return refuse_here(value.position, "\"L\" stands alone: no range, no step, no days before it");
    }
    if (name == "L") {
      return refuse_here(value.position, "\"L\" alone is for the day of month",
                         "the last Friday of the month is FRI#L");
    }
    if (name == "H") return refuse_here(value.position, "Jenkins' \"H\" is not supported", "write a number");
    if (name == "W" || (unit_ == unit::day && name.back() == 'W')) {
      return refuse_here(value.position, "\"W\" follows a day of the month, as a capital letter",
                         "the weekday nearest to the 15th is 15W");
    }
    std::string hint;
    if (const auto near = nearest(name, names_here())) hint = "did you mean " + *near + "?";
    return refuse_here(value.position, fmt::format("\"{}\" is not a {}", printable(value.text), rule().name),
                       std::move(hint));
  }

  refusal refuse_character(piece value, std::size_t at) const {
    const char c = value.text[at];
    const std::size_t position = value.position + at;
    if (c == '*') return refuse_here(position, "\"*\" stands alone or before a step");
    if (c == '?') return refuse_here(position, "\"?\" stands alone in its field");
    if (c == '-') return refuse_here(position, "a second \"-\" in one range");
    if (c == '#') return refuse_here(position, "\"#\" is for the day of week only");
    if (c == '+') {
      return refuse_here(position, "\"+\" (both day fields must match) stands before the day of week only",
                         "as in \"0 12 13 * +FRI\"");
    }
    return refuse_here(position,
                       fmt::format("\"{}\" has no meaning here", printable(value.text.substr(at, 1))));
  }

  unit unit_;
  std::size_t number_;
  field_set& out_;
};

refusal refuse_word(piece word, std::size_t parts) {
  if (same_word(word.text, "@every")) {
    return refuse(word.position, "\"@every\" is not cron",
                  "use the schedule's key every = \"5m\" instead of cron");
  }
  if (same_word(word.text, "@reboot")) {
    return refuse(word.position,
                  "\"@reboot\" is not supported: a schedule knows times, not starts of a machine");
  }
  std::vector<std::string_view> known;
  known.reserve(std::size(words));
  for (const auto& [name, meaning] : words) known.push_back(name);
  if (parts > 1 && std::any_of(known.begin(), known.end(), [&](auto w) { return same_word(w, word.text); })) {
    return refuse(word.position, fmt::format("\"{}\" stands alone", printable(word.text)));
  }
  std::string hint = fmt::format("known are {}", fmt::join(known, ", "));
  return refuse(word.position, fmt::format("\"{}\" is not known", printable(word.text)), std::move(hint));
}

/// What can be said before the fields are counted.
std::optional<refusal> refuse_whole(std::string_view text, std::span<const piece> parts) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\r' || c == '\n') return refuse(i, "the expression is one line");
    if (c > 0x7f) return refuse(i, "only ASCII characters have a meaning in cron");
    if ((c < ' ' && c != '\t') || c == 0x7f) return refuse(i, "a control character has no meaning in cron");
  }
  if (parts.empty()) return refuse(0, "the expression is empty", overview);
  const std::string start = upper(parts[0].text);
  if (start.starts_with("TZ=") || start.starts_with("CRON_TZ=")) {
    return refuse(parts[0].position, "a time zone is no part of the expression",
                  "use the schedule's key time_zone");
  }
  for (const piece& part : parts.subspan(1)) {
    if (part.text.front() == '#') return refuse(part.position, "a comment is no part of the expression");
  }
  if (parts.size() == 7) {
    return refuse(parts[6].position, "a seventh field (year) is not supported", overview);
  }
  return std::nullopt;
}

result<field_set> read_fields(std::span<const piece> parts) {
  field_set fields;
  fields.minutes = fields.hours = 0;
  if (parts.size() == 6) fields.seconds = 0;
  const std::size_t skipped = 6 - parts.size();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    field_reader reader{static_cast<unit>(i + skipped), i + 1, fields};
    if (auto bad = reader.read(parts[i])) return *std::move(bad);
  }
  const auto text_of = [&](unit u) { return parts[static_cast<std::size_t>(u) - skipped].text; };
  const auto open = [&](unit u) { return text_of(u).front() == '*' || text_of(u).front() == '?'; };
  const bool both_days = text_of(unit::weekday).front() == '+';
  fields.either_day = !both_days && !open(unit::day) && !open(unit::weekday);
  fields.wildcard_time = open(unit::minute) || open(unit::hour);
  return fields;
}

}  // namespace

result<field_set> parse_cron(std::string_view text) {
  if (text.size() > cron_text_bytes) {
    return refuse(cron_text_bytes, fmt::format("the expression is longer than {} bytes", cron_text_bytes),
                  "split it into several jobs", errc::limit);
  }
  std::vector<piece> parts = split_at_blanks(text);
  if (auto bad = refuse_whole(text, parts)) return *std::move(bad);
  if (parts[0].text.front() == '@') {
    const auto* known = std::find_if(words.begin(), words.end(),
                                     [&](const auto& word) { return same_word(word.first, parts[0].text); });
    if (known == words.end() || parts.size() > 1) return refuse_word(parts[0], parts.size());
    return read_fields(split_at_blanks(known->second));
  }
  if (parts.size() != 5 && parts.size() != 6) {
    const piece& last = parts.back();
    return refuse(parts.size() > 6 ? parts[6].position : last.position + last.text.size(),
                  fmt::format("{} field{} instead of 5 (or 6, seconds first)", parts.size(),
                              parts.size() == 1 ? "" : "s"),
                  overview);
  }
  auto fields = read_fields(parts);
  if (!fields) return fields;
  if (!match_at_or_after(*fields, 0)) {
    return refuse(parts[parts.size() - 3].position, "the expression never fires: no year has such a day",
                  "check day and month");
  }
  return fields;
}

}  // namespace orchestrator::engine
