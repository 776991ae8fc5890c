// The texts in which people write rates, locks and amounts; see queue.hpp.
#include <orchestrator/model/queue.hpp>

#include <array>
#include <charconv>

#include <orchestrator/base/text.hpp>

namespace orchestrator {
namespace {

constexpr int rate_count_max = 1'000'000;
constexpr milliseconds rate_period_max = std::chrono::hours{24 * 30};

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || end != text.data() + text.size() || text.empty() || n < 0) return std::nullopt;
  return n;
}

struct byte_unit {
  std::string_view name;
  std::int64_t bytes;
};
// Larger ones first, so that an amount is written in the largest that divides it.
constexpr std::array<byte_unit, 8> byte_units{{{"TiB", std::int64_t{1} << 40},
                                               {"GiB", std::int64_t{1} << 30},
                                               {"MiB", std::int64_t{1} << 20},
                                               {"KiB", std::int64_t{1} << 10},
                                               {"TB", 1'000'000'000'000},
                                               {"GB", 1'000'000'000},
                                               {"MB", 1'000'000},
                                               {"kB", 1'000}}};
constexpr std::size_t binary_units = 4;

// A number with up to three decimals, in thousandths.
std::optional<std::int64_t> thousandths(std::string_view text) {
  const std::size_t dot = text.find('.');
  const auto whole = whole_number(text.substr(0, dot));
  if (!whole || *whole > resource_max / resource_unit) return std::nullopt;
  std::int64_t amount = *whole * resource_unit;
  if (dot == std::string_view::npos) return amount;
  std::string decimals(text.substr(dot + 1));
  if (decimals.empty() || decimals.size() > 3) return std::nullopt;
  decimals.resize(3, '0');
  const auto rest = whole_number(decimals);
  if (!rest) return std::nullopt;
  return amount + *rest;
}

}  // namespace

std::optional<rate_limit> parse_rate(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto count = whole_number(text.substr(0, slash));
  std::string period(text.substr(slash + 1));
  // `10/m` is short for `10/1m`.
  if (!period.empty() && (period.front() < '0' || period.front() > '9')) period.insert(0, "1");
  const auto d = parse_duration(period);
  if (!count || *count < 1 || *count > rate_count_max || !d) return std::nullopt;
  if (*d < milliseconds{1} || *d > rate_period_max) return std::nullopt;
  return rate_limit{static_cast<int>(*count), *d};
}

std::string format_rate(const rate_limit& r) {
  return std::to_string(r.count) + '/' + format_duration(r.period);
}

std::optional<lock_request> parse_lock(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  if (!is_valid_name(name)) return std::nullopt;
  if (colon == std::string_view::npos) return lock_request{std::string(name), false};
  if (text.substr(colon + 1) != "read") return std::nullopt;
  return lock_request{std::string(name), true};
}

std::string format_lock(const lock_request& l) { return l.shared ? l.name + ":read" : l.name; }

std::optional<std::int64_t> parse_amount(std::string_view text) {
  std::int64_t factor = 1;
  for (const byte_unit& unit : byte_units) {
    if (!text.ends_with(unit.name)) continue;
    factor = unit.bytes;
    text.remove_suffix(unit.name.size());
    break;
  }
  const auto amount = thousandths(text);
  if (!amount || *amount <= 0 || *amount > resource_max / factor) return std::nullopt;
  return *amount * factor;
}

std::string format_amount(std::int64_t amount) {
  for (std::size_t i = 0; i < binary_units; ++i) {
    const std::int64_t unit = byte_units[i].bytes * resource_unit;
    const bool large = amount >= (std::int64_t{1} << 20) * resource_unit;
    if (large && amount % unit == 0) return std::to_string(amount / unit) + std::string(byte_units[i].name);
  }
  std::string text = std::to_string(amount / resource_unit);
  const std::int64_t rest = amount % resource_unit;
  if (rest == 0) return text;
  std::string decimals = std::to_string(resource_unit + rest).substr(1);
  while (decimals.ends_with('0')) decimals.pop_back();
  return text + '.' + decimals;
}

}  // namespace orchestrator
