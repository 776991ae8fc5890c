// A schedule as the `schedule` table of a job file, and as a phrase for people. The syntax of cron and the
// existence of the zone are judged by the engine, which has the tables for it.
#include <array>
#include <cctype>

#include <fmt/format.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "definition_parts.hpp"
#include "field_reader.hpp"

namespace orchestrator::protocol {
namespace {

using enum schedule_kind;

constexpr std::size_t cron_bytes = 256;
constexpr std::size_t zone_bytes = 64;
constexpr milliseconds shortest_interval{1000};
constexpr milliseconds longest_duration{std::chrono::hours{24 * 3650}};  // what parse_duration reads

constexpr milliseconds longest_jitter{std::chrono::hours{24}};

constexpr std::array<std::string_view, 8> rule_keys{"cron",   "every",   "hourly", "daily",
                                                    "weekly", "monthly", "at",     "manual"};
constexpr std::array<std::string_view, 19> known_keys{
    "cron",   "every",     "hourly",   "daily",   "weekly", "monthly", "at",
    "manual", "time_zone", "catch_up", "overlap", "gap",    "fold",    "start_deadline",
    "start",  "end",       "include",  "exclude", "jitter"};

// Each in the order of its enum.
constexpr std::array<std::string_view, 3> catch_up_words{"none", "latest", "all"};
constexpr std::array<std::string_view, 5> overlap_words{"skip", "queue", "queue_all", "cancel_old", "allow"};
constexpr std::array<std::string_view, 2> gap_words{"shift", "skip"};
constexpr std::array<std::string_view, 2> fold_words{"first", "both"};
constexpr std::array<std::string_view, 7> weekday_names{"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                        "Thursday", "Friday", "Saturday"};

// One or two digits, at most `highest`.
std::optional<int> small_number(std::string_view text, int highest) {
  if (text.empty() || text.size() > 2) return std::nullopt;
  int n = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    n = n * 10 + (c - '0');
  }
  if (n > highest) return std::nullopt;
  return n;
}

bool read_clock_time(std::string_view text, schedule& s) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || text.size() - colon != 3) return false;
  const auto hour = small_number(text.substr(0, colon), 23);
  const auto minute = small_number(text.substr(colon + 1), 59);
  if (!hour || !minute) return false;
  s.hour = *hour;
  s.minute = *minute;
  return true;
}

std::string lower_case(std::string_view text) {
  std::string out{text};
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::optional<int> read_weekday(std::string_view text) {
  const std::string word = lower_case(text);
  for (std::size_t i = 0; i < weekday_names.size(); ++i) {
    const std::string name = lower_case(weekday_names[i]);
    if (word == name || word == name.substr(0, 3)) return static_cast<int>(i);
  }
  return std::nullopt;
}

// `before`@HH:MM, where the part before is read by `read_day`.
template <class ReadDay>
bool read_day_and_time(std::string_view text, schedule& s, ReadDay read_day) {
  const std::size_t at = text.find('@');
  if (at == std::string_view::npos) return false;
  return read_day(text.substr(0, at)) && read_clock_time(text.substr(at + 1), s);
}

bool read_weekly(std::string_view text, schedule& s) {
  return read_day_and_time(text, s, [&s](std::string_view day) {
    const auto weekday = read_weekday(day);
    s.weekday = weekday.value_or(0);
    return weekday.has_value();
  });
}

bool read_monthly(std::string_view text, schedule& s) {
  return read_day_and_time(text, s, [&s](std::string_view day) {
    s.day = small_number(day, 31).value_or(0);
    return s.day > 0;
  });
}

void read_hourly(field_reader& r, schedule& s) {
  const json::value* v = r.find("hourly");
  std::optional<int> minute;
  if (const json::string* text = v->if_string()) {
    std::string_view digits{text->data(), text->size()};
    if (digits.starts_with(':')) digits.remove_prefix(1);
    if (digits.size() == 2) minute = small_number(digits, 59);
  } else if (v->is_int64() && v->get_int64() >= 0 && v->get_int64() <= 59) {
    minute = static_cast<int>(v->get_int64());
  }
  if (!minute) r.refuse("hourly", "must be a minute from 0 to 59, as a number or as \":05\"");
  s.minute = minute.value_or(0);
}

void read_cron(field_reader& r, schedule& s) {
  // With the place, as the cron parser says what else is wrong with an expression.
  const auto text = r.text("cron", limits::argv_item_bytes);
  s.cron = text.value_or("");
  if (!text) return;
  if (text->find_first_not_of(" \t") == std::string::npos)
    r.refuse(bad_field(r.pointer("cron"), "cron, position 1: the expression is empty",
                       "write minute hour day-of-month month day-of-week, as in \"30 2 * * MON-FRI\""));
  if (text->size() > cron_bytes)
    r.refuse(bad_field(
        r.pointer("cron"),
        fmt::format("cron, position {}: the expression is longer than {} bytes", cron_bytes + 1, cron_bytes),
        "split it into several jobs"));
}

void read_rule(field_reader& r, std::string_view key, schedule& s) {
  const std::string text =
      key == "daily" || key == "weekly" || key == "monthly" ? r.text(key, 32).value_or("") : "";
  if (key == "cron") {
    s.kind = cron;
    read_cron(r, s);
  } else if (key == "every") {
    s.kind = interval;
    s.every = r.duration(key, shortest_interval, longest_duration).value_or(shortest_interval);
  } else if (key == "hourly") {
    s.kind = hourly;
    read_hourly(r, s);
  } else if (key == "daily") {
    s.kind = daily;
    if (!read_clock_time(text, s)) r.refuse(key, "must be a time of day such as \"02:30\"");
  } else if (key == "weekly") {
    s.kind = weekly;
    if (!read_weekly(text, s)) r.refuse(key, "must be a weekday and a time such as \"mon@02:30\"");
  } else if (key == "monthly") {
    s.kind = monthly;
    if (!read_monthly(text, s)) r.refuse(key, "must be a day from 1 to 31 and a time such as \"15@02:30\"");
  } else if (key == "at") {
    s.kind = once;
    const auto at = parse_rfc3339(r.text(key, 64).value_or(""));
    if (!at)
      r.refuse(key, "must be a time such as \"2026-01-31T23:59:00Z\" or with an offset such as +08:00");
    s.at = at.value_or(wall_time{});
  } else if (!r.boolean(key).value_or(false)) {
    r.refuse(key, "can only be true", "leave it out, and give the rule of the schedule instead");
  }
}

// A name and never a path: the shell looks it up in the system's zone data.
bool is_zone_name(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find("..") != std::string_view::npos) return false;
  return name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") ==
         std::string_view::npos;
}

std::optional<std::int32_t> read_day(field_reader& r, std::string_view key) {
  const auto text = r.text(key, 32);
  if (!text) return std::nullopt;
  const auto day = parse_day(*text);
  if (!day) r.refuse(key, "must be a day such as \"2026-03-01\"");
  return day;
}

std::vector<std::string> read_calendar_names(field_reader& r, std::string_view key) {
  auto names = r.text_list(key, limits::schedule_calendars, 128).value_or(std::vector<std::string>{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (is_valid_name(names[i])) continue;
    r.refuse(bad_field(fmt::format("{}/{}", r.pointer(key), i), "must be the name of a calendar"));
  }
  return names;
}

void read_dates(field_reader& r, schedule& s) {
  s.start = read_day(r, "start");
  s.end = read_day(r, "end");
  s.include = read_calendar_names(r, "include");
  s.exclude = read_calendar_names(r, "exclude");
  s.jitter = r.duration("jitter", milliseconds{0}, longest_jitter).value_or(s.jitter);
}

void read_policies(field_reader& r, schedule& s) {
  s.time_zone = r.text("time_zone", zone_bytes).value_or(s.time_zone);
  if (!is_zone_name(s.time_zone)) r.refuse("time_zone", "must be an IANA name such as \"Europe/Berlin\"");
  if (const auto i = r.one_of("catch_up", catch_up_words)) s.catch_up = static_cast<catch_up_policy>(*i);
  s.overlap = default_overlap(s.kind);
  if (const auto i = r.one_of("overlap", overlap_words)) s.overlap = static_cast<overlap_policy>(*i);
  if (const auto i = r.one_of("gap", gap_words)) s.gap = static_cast<gap_policy>(*i);
  if (const auto i = r.one_of("fold", fold_words)) s.fold = static_cast<fold_policy>(*i);
  s.start_deadline =
      r.duration("start_deadline", shortest_interval, longest_duration).value_or(s.start_deadline);
}

void write_rule(const schedule& s, json::object& o) {
  switch (s.kind) {
    case manual: o["manual"] = true; return;
    case interval: o["every"] = format_duration(s.every); return;
    case hourly: o["hourly"] = s.minute; return;
    case daily: o["daily"] = fmt::format("{:02}:{:02}", s.hour, s.minute); return;
    case weekly:
      o["weekly"] = fmt::format(
          "{}@{:02}:{:02}", lower_case(weekday_names.at(static_cast<std::size_t>(s.weekday)).substr(0, 3)),
          s.hour, s.minute);
      return;
    case monthly: o["monthly"] = fmt::format("{}@{:02}:{:02}", s.day, s.hour, s.minute); return;
    case cron: o["cron"] = s.cron; return;
    case once: o["at"] = to_rfc3339(s.at); return;
  }
}

template <class Policy, std::size_t N>
void write_policy(json::object& o, std::string_view key, Policy value, Policy standard,
                  const std::array<std::string_view, N>& words) {
  if (value != standard) o[key] = words.at(static_cast<std::size_t>(value));
}

}  // namespace

result<schedule> read_schedule(const json::object& o, const std::string& path) {
  field_reader r{o, dialect::definition, path};
  r.allow_only(known_keys);
  schedule s;
  std::string_view rule;
  for (const std::string_view key : rule_keys) {
    if (!r.has(key)) continue;
    if (!rule.empty()) r.refuse(key, fmt::format("is given beside {}", rule), "a schedule has one rule");
    rule = key;
  }
  if (rule.empty()) {
    r.refuse(bad_field(path, "the schedule has no rule",
                       fmt::format("give one of {}", fmt::join(rule_keys, ", "))));
  } else {
    read_rule(r, rule, s);
  }
  read_policies(r, s);
  read_dates(r, s);
  if (r.why()) return *r.why();
  return s;
}

json::object write_schedule(const schedule& s) {
  const schedule standard;
  json::object o;
  write_rule(s, o);
  if (s.time_zone != standard.time_zone) o["time_zone"] = s.time_zone;
  write_policy(o, "catch_up", s.catch_up, standard.catch_up, catch_up_words);
  write_policy(o, "overlap", s.overlap, default_overlap(s.kind), overlap_words);
  write_policy(o, "gap", s.gap, standard.gap, gap_words);
  write_policy(o, "fold", s.fold, standard.fold, fold_words);
  if (s.start_deadline != standard.start_deadline) o["start_deadline"] = format_duration(s.start_deadline);
  if (s.start) o["start"] = format_day(*s.start);
  if (s.end) o["end"] = format_day(*s.end);
  if (!s.include.empty()) o["include"] = json::array(s.include.begin(), s.include.end());
  if (!s.exclude.empty()) o["exclude"] = json::array(s.exclude.begin(), s.exclude.end());
  if (s.jitter != standard.jitter) o["jitter"] = format_duration(s.jitter);
  return o;
}

std::string describe(const schedule& s) {
  const std::string time = fmt::format("{:02}:{:02} ({})", s.hour, s.minute, s.time_zone);
  switch (s.kind) {
    case manual: return "by hand only";
    case interval: return fmt::format("every {}", format_duration(s.every));
    case hourly: return fmt::format("hourly at :{:02} ({})", s.minute, s.time_zone);
    case daily: return "daily at " + time;
    case weekly:
      return fmt::format("weekly on {} at {}", weekday_names.at(static_cast<std::size_t>(s.weekday)), time);
    case monthly: return fmt::format("monthly on day {} at {}", s.day, time);
    case cron: return fmt::format("cron {} ({})", s.cron, s.time_zone);
    case once: return "once at " + to_rfc3339(s.at);
  }
  return "invalid";
}

}  // namespace orchestrator::protocol
