// What a seed draws before anything happens: how large the cluster is, and which kinds of faults it meets.
// Each kind is on in half of the seeds, so that some seeds have nearly none and bugs that need quiet show
// too.
#pragma once

#include "timeline.hpp"

namespace orchestrator::sim {

struct swarm {
  explicit swarm(dice& d);

  int machines, clients, submissions, jobs;
  nanoseconds faulty_time;  ///< the safety phase; then everything heals
  milliseconds lease_ttl;
  nanoseconds slowest_message, slowest_commit;

  // Kinds of faults
  bool cuts, half_open, one_way, partitions;
  bool kill_coordinator, pause_coordinator, full_disk, failing_disk, retention, rollback;
  bool kill_daemon, kill_supervisor, reboot, pause_daemon, gone_for_good, clone;
  bool wall_steps, rogue, legacy, drains, slow_reader, repetitions, stops;
  bool limits, calendars;   ///< queues, locks, rates and resources; named calendars
  nanoseconds fault_every;  ///< mean time between faults of one kind
};

}  // namespace orchestrator::sim
