// The worker's core: registration, reconnect, acceptance of offers, what runs, what is kept until
// acknowledged, as a deterministic state machine. `step` is handed the time (CLOCK_BOOTTIME and the wall
// clock) and an input and returns effects, which the worker's shell carries out in order.
#pragma once

#include <memory>
#include <optional>

#include <orchestrator/agent/effect.hpp>
#include <orchestrator/agent/input.hpp>

namespace orchestrator::agent {

struct core;

class agent {
 public:
  explicit agent(config settings);
  ~agent();
  agent(const agent&) = delete;
  agent& operator=(const agent&) = delete;
  effects step(agent_time now, const input& in);
  /// When it wants a `tick`, at the latest.
  std::optional<boot_time> next_deadline() const;
  /// What is wrong with its own books, in words; for tests and the simulator.
  std::optional<std::string> check_invariants() const;

 private:
  std::unique_ptr<core> core_;
};

}  // namespace orchestrator::agent
