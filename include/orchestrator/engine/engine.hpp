// The coordinator's core: every decision about jobs, runs, attempts, leases and workers, as a deterministic
// state machine. No clock, socket, file, thread, random source, logger or co_await inside: `step` is handed
// the time and an input and returns effects. The server's shell (and the simulator) moves bytes and carries
// effects out.
//
// Where to look: a duplicate result is refused in on_result (`record_result`), an output is held back until
// its cause is on disk in commit_gate, a run is placed in dispatcher, a lease ends in lease_table, an instant
// fires in timetable.
#pragma once

#include <memory>
#include <optional>

#include <orchestrator/engine/effect.hpp>
#include <orchestrator/engine/input.hpp>
#include <orchestrator/engine/view.hpp>

namespace orchestrator::engine {

class engine {
 public:
  explicit engine(config settings);
  ~engine();
  engine(engine&&) noexcept;
  engine& operator=(engine&&) noexcept;

  /// One input, one batch of mutations at most. Total: never throws; a broken invariant aborts (ORC_CHECK).
  /// Inputs are processed while commits are in flight. After the last input of a turn the shell gives
  /// `turn_end`, which runs the dispatcher once.
  effects step(engine_time now, const input& in);

  /// When `tick` should be given next. The shell owns the one timer.
  std::optional<mono_time> next_deadline() const;

  /// Read-only answers about live state, for API reads that the store cannot give. The shell shows them only
  /// when `issued()` is durable (see gate_read).
  const engine_view& view() const;

  /// Cross-checks every index; the first broken invariant as a sentence, or nothing.
  std::optional<std::string> check_invariants() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace orchestrator::engine
