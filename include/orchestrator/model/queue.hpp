// What limits runs beside the workers: queues, which people set up and the store keeps, and the parts of a
// specification that ask for more than a slot: locks, rates and resources.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <orchestrator/base/time.hpp>

namespace orchestrator {

/// A token bucket: `count` starts fit into it, and one comes back each `period / count`. After a rest `count`
/// may start at once, so `10/m` lets at most twenty go within any minute, and `1/6s` keeps six seconds
/// between any two.
struct rate_limit {
  int count = 1;  ///< 1..1,000,000
  milliseconds period{1'000};
  auto operator<=>(const rate_limit&) const = default;
};
/// Reads `10/m`, `1/6s`, `100/1h30m`. Nothing on anything else.
std::optional<rate_limit> parse_rate(std::string_view text);
std::string format_rate(const rate_limit& r);

/// One lock that a run holds from its offer to the end of its attempt.
struct lock_request {
  std::string name;
  bool shared = false;  ///< with other readers; without, alone
  auto operator<=>(const lock_request&) const = default;
};
/// Reads `db` (alone) or `db:read` (with other readers). Nothing on anything else.
std::optional<lock_request> parse_lock(std::string_view text);
std::string format_lock(const lock_request& l);

/// Amounts by name, in thousandths, so that `cpu = 0.5` is a whole number here. Memory counts bytes.
using resource_amounts = std::map<std::string, std::int64_t>;
inline constexpr std::int64_t resource_unit = 1'000;
inline constexpr std::int64_t resource_max = std::int64_t{1} << 60;
/// Reads `2`, `0.5`, `512MiB`, `2GiB`, `1TiB`, `100MB`. Nothing on anything else, on zero and on less.
std::optional<std::int64_t> parse_amount(std::string_view text);
/// The shortest exact form: `2GiB` from 1 MiB on where it is whole, else the number.
std::string format_amount(std::int64_t amount);

/// A named queue. Every run waits in one; a queue that nobody set up has no limits and no row.
struct queue {
  std::string name;
  bool paused = false;             ///< nothing in it starts
  int max_running = 0;             ///< runs of it with a live attempt; 0: no limit
  std::optional<rate_limit> rate;  ///< of starts
  int priority = 0;                ///< added to that of its runs, -1000..1000
  bool operator==(const queue&) const = default;
  /// Nothing is set, so nothing has to be kept.
  bool is_plain() const { return !paused && max_running == 0 && !rate && priority == 0; }
};

}  // namespace orchestrator
