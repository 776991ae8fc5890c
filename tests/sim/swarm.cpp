// What a seed draws before anything happens. See swarm.hpp.
#include "swarm.hpp"

#include <cmath>

namespace orchestrator::sim {

nanoseconds dice::spread(nanoseconds low, nanoseconds high) {
  const double ratio =
      static_cast<double>(high.count()) / static_cast<double>(std::max<std::int64_t>(low.count(), 1));
  return nanoseconds{
      static_cast<std::int64_t>(static_cast<double>(low.count()) * std::pow(ratio, random_.unit()))};
}

swarm::swarm(dice& d) {
  const auto coin = [&d] { return d.below(2) == 0; };
  machines = 1 + static_cast<int>(d.below(4));
  clients = 1 + static_cast<int>(d.below(3));
  submissions = 4 + static_cast<int>(d.below(11));
  jobs = static_cast<int>(d.below(4));
  faulty_time = d.between(50s, 170s);
  constexpr milliseconds ttls[] = {2s, 10s, 20s, 30s, 30s, 45s, 60s, 60s};
  lease_ttl = d.one_of(ttls);
  slowest_message = coin() ? 20ms : 5s;
  slowest_commit = coin() ? 5ms : coin() ? 500ms : 10s;
  cuts = coin();
  half_open = coin();
  one_way = coin();
  partitions = coin();
  kill_coordinator = coin();
  pause_coordinator = coin();
  full_disk = coin();
  failing_disk = coin();
  retention = coin();
  rollback = d.below(8) == 0;
  kill_daemon = coin();
  kill_supervisor = coin();
  reboot = coin();
  pause_daemon = coin();
  gone_for_good = coin();
  clone = d.below(4) == 0;
  wall_steps = coin();
  rogue = coin();
  legacy = coin();
  drains = coin();
  slow_reader = coin();
  repetitions = coin();
  stops = coin();
  limits = coin();
  calendars = coin();
  fault_every = d.spread(20s, 300s);
}

}  // namespace orchestrator::sim
