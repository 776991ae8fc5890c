// A second implementation of the timetable, as slow and as plain as possible: it walks real time step by
// step, looks at the clock on the wall, and asks whether the expression names what it shows. The tests of the
// engine and of the server's zones compare the calendar with it. It trusts its input: only valid expressions
// come here.
#pragma once

#include <cstdint>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <orchestrator/base/time.hpp>
#include <orchestrator/engine/timetable.hpp>

namespace orchestrator::test {

inline int naive_value(std::string text) {
  static const std::vector<std::string> months{"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                               "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
  static const std::vector<std::string> days{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (std::size_t i = 0; i < months.size(); ++i) {
    if (months[i] == text) return static_cast<int>(i) + 1;
  }
  for (std::size_t i = 0; i < days.size(); ++i) {
    if (days[i] == text) return static_cast<int>(i);
  }
  return std::stoi(text);
}

inline std::vector<std::string> naive_split(const std::string& text, char mark) {
  std::vector<std::string> parts;
  std::istringstream in{text};
  for (std::string part; std::getline(in, part, mark);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

/// One field: the numbers it names, and the words that depend on the month.
struct naive_field {
  std::string text;
  std::set<int> numbers;
  bool last_day = false;
  int nearest_to = 0;                 ///< `W`: the weekday nearest to that day
  std::set<std::pair<int, int>> nth;  ///< weekday, which (0 = last)

  naive_field(std::string field, int low, int high) : text(std::move(field)) {
    for (const std::string& item : naive_split(text, ',')) add(item, low, high);
  }

  void add(const std::string& item, int low, int high) {
    if (item == "L") {
      last_day = true;
      return;
    }
    if (item.back() == 'W') {
      nearest_to = std::stoi(item);
      return;
    }
    const std::size_t hash = item.find('#');
    if (hash != std::string::npos) {
      const std::string which = item.substr(hash + 1);
      nth.insert({naive_value(item.substr(0, hash)) % 7, which == "L" ? 0 : std::stoi(which)});
      return;
    }
    // JUL is the one name that ends so, too.
    if (item.size() > 1 && item.back() == 'L' && std::toupper(static_cast<unsigned char>(item[0])) != 'J') {
      nth.insert({naive_value(item.substr(0, item.size() - 1)) % 7, 0});
      return;
    }
    const std::vector<std::string> halves = naive_split(item, '/');
    const int step = halves.size() == 2 ? std::stoi(halves[1]) : 1;
    int first = low, last = high;
    if (halves[0] != "*" && halves[0] != "?") {
      const std::vector<std::string> ends = naive_split(halves[0], '-');
      first = naive_value(ends[0]);
      last = naive_value(ends.back());
      if (last == 0 && first > 0) last = 7;  // the Sunday that ends FRI-SUN
    }
    for (int n = first; n <= last; n += step) numbers.insert(n);
  }

  bool open() const { return text[0] == '*' || text[0] == '?'; }
};

/// The weekday nearest to a day: looked for at growing distance, earlier first; 0 if the month has no such
/// day.
inline int naive_nearest(int year, int month, int day, int length) {
  if (day == 0 || day > length) return 0;
  for (const int distance : {0, -1, 1, -2, 2}) {
    const int near = day + distance;
    const int weekday = near < 1 || near > length ? 0 : weekday_of(year, month, near);
    if (weekday >= 1 && weekday <= 5) return near;
  }
  return 0;
}

class naive_cron {
 public:
  explicit naive_cron(const std::string& expression) {
    std::vector<std::string> texts = naive_split(expression, ' ');
    if (texts.size() == 5) texts.insert(texts.begin(), "0");
    both_days_ = texts[5][0] == '+';
    if (both_days_) texts[5].erase(0, 1);
    const int low[] = {0, 0, 0, 1, 1, 0};
    const int high[] = {59, 59, 23, 31, 12, 6};
    for (std::size_t i = 0; i < 6; ++i) fields_.emplace_back(texts[i], low[i], high[i]);
  }

  bool follows_real_time() const { return fields_[1].open() || fields_[2].open(); }

  bool matches(const civil_time& c) const {
    if (!fields_[0].numbers.count(c.second) || !fields_[1].numbers.count(c.minute)) return false;
    if (!fields_[2].numbers.count(c.hour) || !fields_[4].numbers.count(c.month)) return false;
    const int length = days_in_month(c.year, c.month);
    const bool by_date = fields_[3].numbers.count(c.day) > 0 || (fields_[3].last_day && c.day == length) ||
                         c.day == naive_nearest(c.year, c.month, fields_[3].nearest_to, length);
    const int weekday = weekday_of(c.year, c.month, c.day);
    const auto& week = fields_[5];
    const bool by_name = week.numbers.count(weekday) > 0 || (weekday == 0 && week.numbers.count(7) > 0) ||
                         week.nth.count({weekday, (c.day - 1) / 7 + 1}) > 0 ||
                         (week.nth.count({weekday, 0}) > 0 && c.day + 7 > length);
    const bool either = !both_days_ && !fields_[3].open() && !week.open();
    return either ? by_date || by_name : by_date && by_name;
  }

 private:
  std::vector<naive_field> fields_;
  bool both_days_ = false;
};

inline std::int32_t naive_offset(const zone_table& zone, std::int64_t t) {
  std::int32_t offset = zone.first_offset;
  for (const zone_transition& change : zone.transitions) {
    if (change.at <= t) offset = change.utc_offset;
  }
  return offset;
}

/// What the clocks of a zone show from `from` to before `to`, every `step` seconds, and for three days
/// before.
class naive_clock {
 public:
  struct reading {
    std::int64_t utc;
    std::int64_t local;
  };

  naive_clock(const zone_table& zone, std::int64_t from, std::int64_t to, std::int64_t step)
      : from_(from), step_(step) {
    constexpr std::int64_t three_days = 3 * 86'400;
    zone_table near{
        .name = zone.name, .first_offset = naive_offset(zone, from - three_days), .transitions = {}};
    for (const zone_transition& change : zone.transitions) {
      if (change.at > from - three_days && change.at < to) near.transitions.push_back(change);
    }
    for (std::int64_t t = from - three_days; t < to; t += step)
      readings_.push_back({t, t + naive_offset(near, t)});
  }

  /// Every instant of the expression in this time.
  std::vector<engine::upcoming_instant> instants(const std::string& expression,
                                                 gap_policy gap = gap_policy::shift,
                                                 fold_policy fold = fold_policy::first) const {
    const naive_cron cron{expression};
    std::vector<engine::upcoming_instant> found;
    std::int64_t furthest = readings_.front().local - step_;
    for (const reading& now : readings_) {
      const bool shown = cron.matches(seconds_to_civil(now.local));
      bool skipped = false;
      for (std::int64_t l = furthest + step_; l < now.local; l += step_)
        skipped |= cron.matches(seconds_to_civil(l));
      const bool repeated = now.local <= furthest;
      furthest = std::max(furthest, now.local);
      if (now.utc < from_) continue;
      const auto add = [&](const char* note) {
        found.push_back({from_unix_ms(now.utc * 1000), static_cast<std::int32_t>(now.local - now.utc), note});
      };
      if (cron.follows_real_time()) {
        if (shown) add("");
      } else if (shown && !repeated) {
        add(skipped && gap == gap_policy::shift ? "gap_merged" : "");
      } else if (shown && fold == fold_policy::both) {
        add("fold_second");
      } else if (skipped && gap == gap_policy::shift) {
        add("gap_shifted");
      }
    }
    return found;
  }

 private:
  std::int64_t from_;
  std::int64_t step_;
  std::vector<reading> readings_;
};

}  // namespace orchestrator::test
