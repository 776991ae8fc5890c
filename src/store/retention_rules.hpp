// What retention may delete: numbers 11 and 12 of the design's guarantees as plain predicates, shared by the
// SQLite store (in steps) and the memory store (at once).
#pragma once

#include <algorithm>
#include <cstdint>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/model/run.hpp>

namespace orchestrator::store {

inline constexpr milliseconds count_rule_spares = std::chrono::hours{24};
inline constexpr milliseconds lost_attempt_kept = std::chrono::hours{24 * 7};
inline constexpr milliseconds key_kept = std::chrono::hours{24 * 7};
inline constexpr milliseconds instant_kept = std::chrono::hours{48};
/// A specification without runs is kept this long, because a request in flight may make a run of it.
inline constexpr milliseconds spent_spec_kept = std::chrono::hours{1};

struct retention_request {
  wall_time now{};
  milliseconds age{};
  std::uint64_t count = 0;
};

/// A final run that ended at `ended` is old by age, or (if it is beyond the newest `count` runs) by number.
inline bool is_old_enough(const retention_request& request, wall_time ended, bool beyond_count) {
  const milliseconds old = request.now - ended;
  return old > request.age || (beyond_count && old > count_rule_spares);
}

/// Whether an attempt keeps its run: it is live, or was lost at `lost_at` and its result may still come.
inline bool spares_its_run(const retention_request& request, attempt_state state, wall_time lost_at,
                           bool has_result) {
  if (is_live(state)) return true;
  return state == attempt_state::lost && !has_result && request.now - lost_at < lost_attempt_kept;
}

/// An attempt that the engine has to know after a start although its run may be final.
inline bool is_unsettled(const attempt& a) {
  return is_live(a.state) || (a.state == attempt_state::lost && a.superseded_status.empty());
}

/// No id made at `t` or later is smaller.
inline run_id first_id_at(wall_time t) {
  const std::int64_t ms = std::max<std::int64_t>(0, to_unix_ms(t));
  run_id id;
  for (std::size_t i = 0; i < 6; ++i) id.bytes[i] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
  return id;
}

}  // namespace orchestrator::store
