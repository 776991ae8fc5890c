// One simulated cluster: a coordinator, machines, clients, a network and the faults between them, on one line
// of virtual time, from one seed.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "clients.hpp"
#include "coordinator.hpp"
#include "judge.hpp"
#include "legacy_worker.hpp"
#include "link.hpp"
#include "machine.hpp"
#include "rogue.hpp"
#include "swarm.hpp"
#include "timeline.hpp"

namespace orchestrator::sim {

struct world {
  explicit world(std::uint64_t seed, bool trace = false);

  /// The whole life of the cluster. Throws broken_promise.
  void live();

  nanoseconds message_delay();
  bool reachable(int machine) const { return !cut_off.contains(machine); }
  machine& machine_at(int number) { return *machines[static_cast<std::size_t>(number)]; }
  /// Something occurred, named by these parts together.
  template <class... Part>
  void saw(const Part&... parts) {
    name_.clear();
    (name_.append(std::string_view(parts)), ...);
    count_situation();
  }
  /// With --trace: one line with the virtual time. `make` is not called without.
  template <class F>
  void say(F make) const {
    if (tracing) print_line(make());
  }
  /// Whether the inner books of a step that wrote no rows are checked as a whole, which costs more than the
  /// step.
  bool look_inside() { return ++inside_ % 8 == 0; }

  std::uint64_t seed;
  bool tracing;
  dice chance;
  swarm draw;
  timeline time;
  struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::unordered_map<std::string, std::uint64_t, text_hash, std::equal_to<>> situations;
  sim::judge judge;
  coordinator server;
  std::vector<std::unique_ptr<machine>> machines;
  std::vector<std::unique_ptr<client>> clients;
  std::optional<legacy_worker> legacy;
  std::optional<rogue> stranger;
  std::vector<std::shared_ptr<link>> links;
  std::set<int> cut_off;  ///< machines that cannot reach the coordinator
  bool healing = false;   ///< the liveness phase: no more faults
  bool cloned = false;
  nanoseconds shortest_lost_after = 24h;
  std::uint64_t inputs = 0, agent_inputs = 0, queue_changes = 0;

 private:
  void print_line(const std::string& what) const;
  void count_situation();
  void start_all();
  void plan_faults();
  void every(bool on, std::function<void()> what);
  std::shared_ptr<link> any_link();
  machine& any_machine();
  void heal();
  bool at_rest();
  void run_until(nanoseconds end);

  std::uint64_t inside_ = 0;
  std::string name_;  ///< of what occurs; keeps its room
};

}  // namespace orchestrator::sim
