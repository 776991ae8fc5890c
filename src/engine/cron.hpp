// Cron expressions. Follows the Open Cron Pattern Specification through 1.4 (five or six fields, lists,
// ranges, steps, names, `L`, `#`, `W`, `+`, `?`, @words) but for its year field and `@reboot`, which are
// refused by name, and for two rules of Vixie's cron that it changed: a day field that begins with `*` is no
// restriction even with a step, and a date that no year has is refused. Called by timetable.cpp only.
//
//   [second 0-59] minute 0-59  hour 0-23  day of month 1-31|L|15W  month 1-12|JAN-DEC
//                                         day of week [+]0-7|SUN-SAT|5L|FRI#2|FRI#L
#pragma once

#include <cstddef>
#include <string_view>

#include <orchestrator/base/result.hpp>

#include "field_set.hpp"

namespace orchestrator::engine {

inline constexpr std::size_t cron_text_bytes = 256;
inline constexpr std::size_t cron_items_per_field = 64;

/// Reads an expression. A refusal names the field and the position of the first character that is wrong,
/// counted from 1, and points at `/schedule/cron`. An expression that never fires is refused too.
result<field_set> parse_cron(std::string_view text);

}  // namespace orchestrator::engine
