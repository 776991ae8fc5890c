// Clocks, RFC 3339, durations as people write them, and the civil calendar. The read_*_clock functions are
// for shells; everything else is arithmetic that the cores use too.
#include <algorithm>
#include <array>
#include <ctime>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator {
namespace {

constexpr std::int64_t ms_per_second = 1000;
constexpr std::int64_t seconds_per_day = 86'400;
// RFC 3339 has four digits for the year, so texts lie between these two instants.
constexpr std::int64_t first_written_ms = -62'167'219'200'000;  // 0000-01-01T00:00:00.000Z
constexpr std::int64_t last_written_ms = 253'402'300'799'999;   // 9999-12-31T23:59:59.999Z

timespec read_clock(clockid_t which) {
  timespec now{};
  ORC_CHECK(::clock_gettime(which, &now) == 0, "this kernel lacks a clock that the product needs");
  return now;
}

nanoseconds since_epoch(const timespec& t) { return seconds{t.tv_sec} + nanoseconds{t.tv_nsec}; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

bool is_leap_year(int year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

// Writes `value` with `width` digits and returns what follows them. Times are written for every fact, and a
// format string would take most of the time that this takes.
char* put_digits(char* to, std::int64_t value, int width) {
  for (int i = width; i-- > 0; value /= 10) to[i] = static_cast<char>('0' + value % 10);
  return to + width;
}

// Date and time of day with milliseconds, of an instant that was already moved into its zone.
std::string write_civil(std::int64_t local_ms) {
  const std::int64_t s = floor_divide(local_ms, ms_per_second);
  const civil_time c = seconds_to_civil(s);
  std::string text = "0000-00-00T00:00:00.000";
  char* to = put_digits(text.data(), c.year, 4) + 1;
  to = put_digits(to, c.month, 2) + 1;
  to = put_digits(to, c.day, 2) + 1;
  to = put_digits(to, c.hour, 2) + 1;
  to = put_digits(to, c.minute, 2) + 1;
  to = put_digits(to, c.second, 2) + 1;
  put_digits(to, local_ms - s * ms_per_second, 3);
  return text;
}

// Takes exactly `width` digits from the front of `text`.
std::optional<int> take_number(std::string_view& text, std::size_t width) {
  if (text.size() < width) return std::nullopt;
  int value = 0;
  for (const char c : text.substr(0, width)) {
    if (!is_digit(c)) return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(width);
  return value;
}

bool take_any_of(std::string_view& text, std::string_view accepted) {
  if (text.empty() || accepted.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// `YYYY-MM-DDTHH:MM:SS`, each field within its range; a second of 60 is judged by the caller.
std::optional<civil_time> take_civil(std::string_view& text) {
  struct field {
    int civil_time::* member;
    std::size_t width;
    std::string_view before;
    int lowest, highest;
  };
  static constexpr std::array<field, 6> fields{{{&civil_time::year, 4, "", 0, 9999},
                                                {&civil_time::month, 2, "-", 1, 12},
                                                {&civil_time::day, 2, "-", 1, 31},
                                                {&civil_time::hour, 2, "Tt ", 0, 23},
                                                {&civil_time::minute, 2, ":", 0, 59},
                                                {&civil_time::second, 2, ":", 0, 60}}};
  civil_time c;
  for (const field& f : fields) {
    if (!f.before.empty() && !take_any_of(text, f.before)) return std::nullopt;
    const auto value = take_number(text, f.width);
    if (!value || *value < f.lowest || *value > f.highest) return std::nullopt;
    c.*f.member = *value;
  }
  if (c.day > days_in_month(c.year, c.month)) return std::nullopt;
  return c;
}

// An optional `.123456`, cut to milliseconds: an instant is never moved into the future by reading it.
std::optional<std::int64_t> take_fraction_ms(std::string_view& text) {
  if (!take_any_of(text, ".")) return 0;
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  std::int64_t ms = 0;
  for (std::int64_t weight = 100; !text.empty() && is_digit(text.front());
       weight /= 10, text.remove_prefix(1)) {
    ms += weight * (text.front() - '0');
  }
  return ms;
}

// `Z` or `+08:00`, in seconds east of UTC.
std::optional<std::int64_t> take_offset(std::string_view& text) {
  if (take_any_of(text, "Zz")) return 0;
  if (text.empty()) return std::nullopt;
  const std::int64_t sign = text.front() == '-' ? -1 : 1;
  if (!take_any_of(text, "+-")) return std::nullopt;
  const auto hours = take_number(text, 2);
  if (!hours || *hours > 23 || !take_any_of(text, ":")) return std::nullopt;
  const auto minutes = take_number(text, 2);
  if (!minutes || *minutes > 59) return std::nullopt;
  return sign * (*hours * 3600 + *minutes * 60);
}

struct duration_unit {
  std::string_view name;
  std::int64_t ms;
};
// Descending: `1h30m` is read, `30m1h` is not, since it is a slip more often than a wish.
constexpr std::array<duration_unit, 5> duration_units{
    {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};
constexpr std::int64_t longest_duration_ms = 3650 * 86'400'000LL;

// A decimal number as `whole + numerator / denominator`, so that 1.1 h is read exactly.
struct decimal {
  std::int64_t whole = 0, numerator = 0, denominator = 1;
};

// Takes `12` or `1.5`. More than ten significant digits after the point are finer than any whole millisecond.
std::optional<decimal> take_decimal(std::string_view& text) {
  const auto digits = [&text] {
    const std::size_t end = std::min(text.find_first_not_of("0123456789"), text.size());
    const std::string_view taken = text.substr(0, end);
    text.remove_prefix(end);
    return taken;
  };
  decimal d;
  const std::string_view whole = digits();
  if (whole.empty()) return std::nullopt;
  for (const char c : whole) {
    d.whole = d.whole * 10 + (c - '0');
    if (d.whole > longest_duration_ms) return std::nullopt;
  }
  if (!take_any_of(text, ".")) return d;
  std::string_view fraction = digits();
  if (fraction.empty()) return std::nullopt;
  while (!fraction.empty() && fraction.back() == '0') fraction.remove_suffix(1);
  if (fraction.size() > 10) return std::nullopt;
  for (const char c : fraction) {
    d.numerator = d.numerator * 10 + (c - '0');
    d.denominator *= 10;
  }
  return d;
}

// Nothing if that is no whole number of milliseconds, or too many of them. Nothing here can overflow: the
// numerator is below 10^10, and the bound on `whole` is checked by division.
std::optional<std::int64_t> to_ms(const decimal& d, std::int64_t unit_ms) {
  if (d.whole > longest_duration_ms / unit_ms) return std::nullopt;
  if (d.numerator * unit_ms % d.denominator != 0) return std::nullopt;
  return d.whole * unit_ms + d.numerator * unit_ms / d.denominator;
}

}  // namespace

mono_time read_mono_clock() { return mono_time{since_epoch(read_clock(CLOCK_MONOTONIC))}; }

boot_time read_boot_clock() { return boot_time{since_epoch(read_clock(CLOCK_BOOTTIME))}; }

wall_time read_wall_clock() {
  return wall_time{std::chrono::floor<milliseconds>(since_epoch(read_clock(CLOCK_REALTIME)))};
}

std::string to_rfc3339(wall_time t) {
  return write_civil(std::clamp(to_unix_ms(t), first_written_ms, last_written_ms)) + 'Z';
}

std::string to_rfc3339(wall_time t, seconds utc_offset) {
  // The format has no seconds in an offset, but zones before 1900 do. The time of day is written with the
  // same shortened offset, so that the text still names the exact instant.
  const std::int64_t offset_minutes =
      std::clamp(utc_offset.count() / 60, std::int64_t{-1439}, std::int64_t{1439});
  const std::int64_t shown = std::clamp(to_unix_ms(t), first_written_ms, last_written_ms);
  const std::int64_t local =
      std::clamp(shown + offset_minutes * 60 * ms_per_second, first_written_ms, last_written_ms);
  const std::int64_t size = offset_minutes < 0 ? -offset_minutes : offset_minutes;
  std::string offset = "+00:00";
  if (offset_minutes < 0) offset[0] = '-';
  put_digits(put_digits(offset.data() + 1, size / 60, 2) + 1, size % 60, 2);
  return write_civil(local) + offset;
}

std::optional<wall_time> parse_rfc3339(std::string_view text) {
  const auto civil = take_civil(text);
  if (!civil) return std::nullopt;
  const auto fraction = take_fraction_ms(text);
  if (!fraction) return std::nullopt;
  const auto offset = take_offset(text);
  if (!offset || !text.empty()) return std::nullopt;
  const std::int64_t s = civil_to_seconds(*civil) - *offset;
  // 23:59:60 UTC is a leap second, which the system's clock does not count: it is the next day's first.
  if (civil->second == 60 && s % seconds_per_day != 0) return std::nullopt;
  const std::int64_t ms = s * ms_per_second + *fraction;
  if (ms < first_written_ms || ms > last_written_ms) return std::nullopt;
  return from_unix_ms(ms);
}

std::optional<milliseconds> parse_duration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::int64_t total = 0;
  auto allowed = duration_units.begin();
  for (bool first = true; !text.empty(); first = false) {
    const auto number = take_decimal(text);
    if (!number) return std::nullopt;
    const std::size_t name_end = std::min(text.find_first_of("0123456789"), text.size());
    std::string_view name = text.substr(0, name_end);
    if (name.empty() && first) name = "s";
    const auto unit =
        std::find_if(allowed, duration_units.end(), [&](const auto& u) { return u.name == name; });
    if (unit == duration_units.end()) return std::nullopt;
    const auto ms = to_ms(*number, unit->ms);
    if (!ms || *ms > longest_duration_ms - total) return std::nullopt;
    total += *ms;
    text.remove_prefix(name_end);
    allowed = unit + 1;
  }
  return milliseconds{total};
}

std::string format_duration(milliseconds d) {
  if (d.count() == 0) return "0s";
  std::string text;
  std::uint64_t rest = static_cast<std::uint64_t>(d.count());
  if (d.count() < 0) {
    text = "-";
    rest = 0 - rest;
  }
  for (const duration_unit& unit : duration_units) {
    const auto size = static_cast<std::uint64_t>(unit.ms);
    const std::uint64_t whole = rest / size;
    if (whole == 0) continue;
    rest %= size;
    text += std::to_string(whole);
    if (unit.name == "s" && rest != 0) {
      std::string fraction = ".000";
      put_digits(fraction.data() + 1, static_cast<std::int64_t>(rest), 3);
      fraction.erase(fraction.find_last_not_of('0') + 1);
      text += fraction;
      rest = 0;
    }
    text += unit.name;
  }
  return text;
}

std::int64_t days_from_civil(int year, int month, int day) {
  ORC_CHECK(month >= 1 && month <= 12, "months go from 1 to 12");
  // Years start in March here, so that the leap day is the last one, and are counted in eras of 400.
  const std::int64_t y = std::int64_t{year} - (month <= 2 ? 1 : 0);
  const std::int64_t era = floor_divide(y, 400);
  const std::int64_t year_of_era = y - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const std::int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

std::int64_t civil_to_seconds(const civil_time& c) {
  return days_from_civil(c.year, c.month, c.day) * seconds_per_day + c.hour * 3600 + c.minute * 60 + c.second;
}

civil_time seconds_to_civil(std::int64_t s) {
  const std::int64_t day_number = floor_divide(s, seconds_per_day);
  const std::int64_t second_of_day = s - day_number * seconds_per_day;
  const std::int64_t z = day_number + 719'468;
  const std::int64_t era = floor_divide(z, 146'097);
  const std::int64_t day_of_era = z - era * 146'097;
  const std::int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t shifted_month = (5 * day_of_year + 2) / 153;
  const std::int64_t month = shifted_month + (shifted_month < 10 ? 3 : -9);
  const std::int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  ORC_CHECK(year == static_cast<int>(year), "an instant in milliseconds never leaves the range of int years");
  return {.year = static_cast<int>(year),
          .month = static_cast<int>(month),
          .day = static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1),
          .hour = static_cast<int>(second_of_day / 3600),
          .minute = static_cast<int>(second_of_day / 60 % 60),
          .second = static_cast<int>(second_of_day % 60)};
}

int weekday_of(int year, int month, int day) {
  const std::int64_t days = days_from_civil(year, month, day);
  return static_cast<int>((days % 7 + 7 + 4) % 7);  // 1970-01-01 was a Thursday
}

int days_in_month(int year, int month) {
  ORC_CHECK(month >= 1 && month <= 12, "months go from 1 to 12");
  if (month == 2) return is_leap_year(year) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

}  // namespace orchestrator
