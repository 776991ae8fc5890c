// Three levels of room on the disk. See space.hpp.
#include "space.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::uint64_t mib = 1024 * 1024;

// The smaller of the two: a twentieth of a large disk is far more than commits in flight can need, and 512
// MiB may be all that a small one has.
std::uint64_t reserve_of(const core& c, std::uint64_t total) {
  return std::min(c.settings.disk_reserve, total / limits::disk_reserve_share);
}

// Released by the store when a commit meets a full disk. It lies within the reserve, so that new work is
// refused before it is touched.
std::uint64_t ballast_of(const core& c, std::uint64_t total) {
  const std::uint64_t reserve = total / limits::disk_reserve_share;
  return std::min(limits::ballast, (c.settings.disk_reserve == 0 ? reserve : reserve_of(c, total)) / 2);
}

void log_level(core& c, space_level before) {
  const space_level now = space_of(c);
  if (now == before) return;
  switch (now) {
    case space_level::ample: return log(c, note_level::warning, "The disk has room again.");
    case space_level::low:
      return log(
          c, note_level::warning,
          fmt::format("The disk is nearly full ({} MiB left): new work is refused and output of jobs is "
                      "dropped until there is room again.",
                      c.disk_free / mib));
    case space_level::full:
      return log(c, note_level::warning, "The disk is full: nothing is taken until there is room again.");
  }
}

}  // namespace

space_level space_of(const core& c) {
  if (c.disk_full) return space_level::full;
  return c.disk_low ? space_level::low : space_level::ample;
}

void on(core& c, const space_changed& in) {
  const space_level before = space_of(c);
  c.disk_full = in.full;
  if (in.full) c.ballast_held = false;  // the store has let it go
  log_level(c, before);
}

void on(core& c, const space_measured& in) {
  const space_level before = space_of(c);
  const std::uint64_t reserve = reserve_of(c, in.total);
  // Some way above it before the level changes back, so that it does not flicker.
  const std::uint64_t enough = reserve + reserve / 8;
  c.disk_free = in.free;
  c.disk_low = in.free < (c.disk_low ? enough : reserve);
  log_level(c, before);
  const std::uint64_t ballast = ballast_of(c, in.total);
  if (c.ballast_held || space_of(c) != space_level::ample || in.free < enough + ballast) return;
  c.ballast_held = true;
  c.step.ballast = ballast;
}

std::optional<refusal> refuse_growth(const core& c) {
  switch (space_of(c)) {
    case space_level::ample: return std::nullopt;
    case space_level::low:
      return refuse(
          errc::no_space,
          fmt::format("The disk is nearly full ({} MiB left), so no new work is taken; what runs goes "
                      "on.",
                      c.disk_free / mib),
          "", "Free some space; the server goes on by itself.");
    case space_level::full: break;
  }
  return refuse(errc::no_space, "The disk is full, so no change is taken; what runs goes on.", "",
                "Free some space; the server goes on by itself.");
}

}  // namespace orchestrator::engine
