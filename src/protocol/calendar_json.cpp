// Named calendars as tables of job files and as JSON. A calendar is written back in one order whatever order
// it was given in, so that two texts of the same days are one definition.
#include <algorithm>
#include <array>
#include <charconv>
#include <tuple>

#include <fmt/format.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "definition_parts.hpp"
#include "field_reader.hpp"

namespace orchestrator::protocol {
namespace {

constexpr std::size_t name_bytes = 128;
constexpr std::size_t description_bytes = 4096;
constexpr int first_year = 1970;
constexpr int last_year = 2400;  // as far as schedules look
constexpr std::array<std::string_view, 3> known_keys{"name", "description", "days"};
constexpr std::array<std::string_view, 7> weekdays{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
constexpr const char* forms = "write \"sat\", \"12-25\", \"2026-04-03\" or \"2026-12-24..2027-01-02\"";

std::optional<int> digits(std::string_view text, std::size_t length) {
  if (text.size() != length || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  int value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// `MM-DD`; 02-29 is a day, of leap years.
std::optional<std::pair<int, int>> parse_yearly(std::string_view text) {
  if (text.size() != 5 || text[2] != '-') return std::nullopt;
  const auto month = digits(text.substr(0, 2), 2), day = digits(text.substr(3), 2);
  constexpr int leap_year = 2000;
  if (!month || !day || *month < 1 || *month > 12 || *day < 1) return std::nullopt;
  if (*day > days_in_month(leap_year, *month)) return std::nullopt;
  return std::pair{*month, *day};
}

std::optional<day_span> parse_span(std::string_view text) {
  const std::size_t dots = text.find("..");
  const auto first = parse_day(text.substr(0, dots));
  const auto last = dots == std::string_view::npos ? first : parse_day(text.substr(dots + 2));
  if (!first || !last || *last < *first) return std::nullopt;
  return day_span{*first, *last};
}

bool read_item(std::string_view text, day_calendar& c) {
  const auto weekday = std::find(weekdays.begin(), weekdays.end(), text);
  if (weekday != weekdays.end()) {
    c.weekdays = static_cast<std::uint8_t>(c.weekdays | 1u << (weekday - weekdays.begin()));
  } else if (const auto yearly = parse_yearly(text)) {
    c.yearly.push_back(*yearly);
  } else if (const auto span = parse_span(text)) {
    c.spans.push_back(*span);
  } else {
    return false;
  }
  return true;
}

void put_in_order(day_calendar& c) {
  std::sort(c.yearly.begin(), c.yearly.end());
  c.yearly.erase(std::unique(c.yearly.begin(), c.yearly.end()), c.yearly.end());
  std::sort(c.spans.begin(), c.spans.end(), [](const day_span& a, const day_span& b) {
    return std::tie(a.first, a.last) < std::tie(b.first, b.last);
  });
  std::vector<day_span> apart;
  for (const day_span& s : c.spans) {
    if (!apart.empty() && s.first <= apart.back().last + 1) {
      apart.back().last = std::max(apart.back().last, s.last);
    } else {
      apart.push_back(s);
    }
  }
  c.spans = std::move(apart);
}

}  // namespace

std::optional<std::int32_t> parse_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto year = digits(text.substr(0, 4), 4), month = digits(text.substr(5, 2), 2),
             day = digits(text.substr(8), 2);
  if (!year || !month || !day || *year < first_year || *year > last_year || *month < 1 || *month > 12)
    return std::nullopt;
  if (*day < 1 || *day > days_in_month(*year, *month)) return std::nullopt;
  return static_cast<std::int32_t>(days_from_civil(*year, *month, *day));
}

std::string format_day(std::int32_t day) {
  const civil_time date = seconds_to_civil(std::int64_t{day} * 86'400);
  return fmt::format("{:04}-{:02}-{:02}", date.year, date.month, date.day);
}

result<day_calendar> decode_calendar(const json::value& v) {
  const json::object* o = v.if_object();
  if (o == nullptr) return bad_field("", "a calendar must be an object (a table of keys)");
  field_reader r{*o, dialect::definition};
  r.allow_only(known_keys);
  day_calendar c;
  c.name = r.required("name", r.text("name", name_bytes));
  if (!is_valid_name(c.name)) {
    r.refuse("name",
             "must be 1 to 128 of letters, digits, dot, dash and underscore, the first a letter or digit");
  }
  c.description = r.text("description", description_bytes).value_or("");
  const auto items = r.required("days", r.text_list("days", limits::calendar_days, 32));
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (read_item(items[i], c)) continue;
    r.refuse(bad_field(fmt::format("{}/{}", r.pointer("days"), i),
                       fmt::format("\"{}\" is no day, no weekday and no span", printable(items[i])), forms));
  }
  if (r.why()) return *r.why();
  put_in_order(c);
  return c;
}

json::object encode_calendar(const day_calendar& c) {
  json::array days;
  for (std::size_t n = 0; n < weekdays.size(); ++n) {
    if ((c.weekdays >> n & 1) != 0) days.emplace_back(weekdays[n]);
  }
  for (const auto& [month, day] : c.yearly) days.emplace_back(fmt::format("{:02}-{:02}", month, day));
  for (const day_span& s : c.spans) {
    days.emplace_back(s.first == s.last ? format_day(s.first)
                                        : format_day(s.first) + ".." + format_day(s.last));
  }
  json::object o;
  o["name"] = c.name;
  if (!c.description.empty()) o["description"] = c.description;
  o["days"] = std::move(days);
  return o;
}

}  // namespace orchestrator::protocol
