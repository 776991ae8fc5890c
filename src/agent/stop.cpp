// Ending the daemon: leave (jobs run on under the supervisor), drain, or kill; and the restart after the
// supervisor died. Called by agent.cpp at the end of every step, and for the input `stop`.
#include <algorithm>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

constexpr std::uint16_t close_going_away = 1001;
constexpr int exit_internal = 70;

bool link_is_up(const core& c) {
  return c.registered() || c.link.phase == link_phase::registering || c.link.phase == link_phase::switching ||
         c.link.phase == link_phase::closing;
}

void leave(core& c) {
  c.stopping = stop_mode::leave;
  c.stop_by = c.now.boot + stop_patience;
  close_link(c, close_going_away, "going away");
}

/// Somebody else may run them. A legacy coordinator would take that for a failure: its jobs wait for the next
/// start.
void give_back_waiting(core& c) {
  if (c.is_legacy()) return;
  for (const std::uint64_t lease : std::set<std::uint64_t>{c.waiting}) {
    finish_with(c, c.attempts.at(lease), protocol::result_status::rejected, "the worker is stopping");
  }
}

void kill_everything(core& c) {
  milliseconds longest{0};
  for (auto& [lease, a] : c.attempts) {
    if (a.phase == attempt_phase::running) {
      longest = std::max(longest, a.kill_grace);
      kill_attempt(c, a, a.kill_grace, kill_reason::stopping);
    }
  }
  c.stop_by = c.now.boot + longest + 2 * stop_patience;
}

bool all_ended(const core& c) { return c.running == 0 && c.leftovers == 0 && c.collections.empty(); }

/// Nothing is left to send; what a coordinator does not want, or nobody started, stays in the outbox.
bool all_delivered(const core& c) { return c.attempts.size() == c.waiting.size() + c.parked.size(); }

void exit_with(core& c, exit_now how) {
  c.exited = true;
  c.link.phase = link_phase::stopped;
  c.out.emplace_back(how);
}

}  // namespace

void on_stop(core& c, stop_mode mode) {
  c.stopping = mode;
  switch (mode) {
    case stop_mode::leave:
      say(c, note_level::info, "Leaving: {} processes run on under the supervisor", c.running);
      leave(c);
      break;
    case stop_mode::drain:
      say(c, note_level::info, "Draining: {} processes are still to end", c.running);
      give_back_waiting(c);
      if (c.registered() && !c.link.legacy) send_heartbeat(c);
      break;
    case stop_mode::kill:
      say(c, note_level::info, "Stopping: killing {} processes", c.running);
      give_back_waiting(c);
      kill_everything(c);
      break;
  }
}

void continue_stopping(core& c) {
  if (c.supervisor_gone && all_ended(c)) {
    close_link(c, close_going_away, "the supervisor died");
    exit_with(c, {exit_internal, true});
    return;
  }
  if (!c.stopping) return;
  if (*c.stopping == stop_mode::leave) {
    if (!link_is_up(c) || c.now.boot >= c.stop_by.value_or(c.now.boot)) exit_with(c, {});
    return;
  }
  const bool overdue = c.stop_by && c.now.boot >= *c.stop_by;
  const bool delivered = all_delivered(c) || !link_is_up(c);  // the outbox keeps what could not be delivered
  if (!overdue && !(all_ended(c) && delivered)) return;
  leave(c);
  if (!link_is_up(c)) exit_with(c, {});
}

}  // namespace orchestrator::agent
