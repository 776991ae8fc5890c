// The time that retention goes by. Ages are differences of wall times, and a clock that stepped a month ahead
// would let everything look old enough to be deleted: keys of requests that may be repeated, runs, facts,
// decided instants. So the wall clock is believed only near to what has surely passed. Pure; the server asks
// it before each pass, and so does the simulator.
#pragma once

#include <algorithm>
#include <optional>

#include <orchestrator/base/time.hpp>

namespace orchestrator::store {

class retention_clock {
 public:
  /// A wall clock this far ahead of the time that has surely passed is believed: a server that is off for a
  /// night, or a clock whose zone was set wrongly.
  static constexpr milliseconds believed{std::chrono::hours{25}};

  /// One that stays further ahead is believed at last, or a server that is off at weekends, or whose first
  /// start came before its clock was set, would never delete anything. Somebody has been warned by then.
  static constexpr milliseconds longest_doubt{std::chrono::hours{6}};

  struct reading {
    wall_time now;
    /// Set by the reading with which a doubt begins: how far ahead of all that is known the clock is. It has
    /// to stay there for longest_doubt of this process's life until it is believed.
    std::optional<milliseconds> ahead;
  };

  /// `last`: the newest time that an earlier process went by (snapshot::retained_at). Without one there is
  /// nothing that could be deleted too early.
  retention_clock(std::optional<wall_time> last, engine_time start)
      : passed_(last.value_or(start.wall)), at_(start.mono) {}

  reading read(engine_time t) {
    const auto since = std::chrono::floor<milliseconds>(t.mono - at_);
    passed_ += since;
    at_ += since;
    const milliseconds ahead = t.wall - passed_;
    if (ahead <= believed) return believe(t.wall);
    // Ahead by another stretch than before: it was stepped again.
    const bool same = doubt_ && ahead - doubt_->ahead <= believed && doubt_->ahead - ahead <= believed;
    if (!same) {
      doubt_ = {t.mono, ahead};
      return {passed_, ahead};
    }
    if (t.mono - doubt_->since >= longest_doubt) return believe(t.wall);
    return {passed_, std::nullopt};
  }

 private:
  struct doubt {
    mono_time since;
    milliseconds ahead;
  };

  // A clock that is behind deletes nothing too early; what has passed does not go back with it.
  reading believe(wall_time wall) {
    doubt_.reset();
    passed_ = std::max(passed_, wall);
    return {wall, std::nullopt};
  }

  wall_time passed_;  ///< at least this late it is: the newest time believed, and what has passed since
  mono_time at_;      ///< when that was so
  std::optional<doubt> doubt_;
};

}  // namespace orchestrator::store
