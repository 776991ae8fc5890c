// The settings of the coordinator's core, from flags and files, fixed at start.
#pragma once

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::engine {

struct config {
  milliseconds lease_ttl = limits::lease_ttl_default;  ///< 2 s .. 24 h
  milliseconds ping_interval{
      20'000};  ///< the session's is min(this, smallest TTL / 3); the core says when it changes
  milliseconds ping_timeout{10'000};
  milliseconds stale_after{90'000};                   ///< since the last frame: shown as stale
  milliseconds offline_after{180'000};                ///< shown as offline
  std::uint64_t disk_reserve = limits::disk_reserve;  ///< bytes; 0: only a full disk refuses work
  std::size_t max_queued_runs = limits::queued_runs;
  std::size_t max_jobs = limits::jobs;
  std::size_t max_schedules = limits::schedules;
};

}  // namespace orchestrator::engine
