// The worker's core from outside: one step, and when the next tick is wanted. Called by the worker's shell
// and by the simulator, on one thread.
#include <algorithm>

#include <orchestrator/base/check.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

struct input_handler {
  core& c;

  void operator()(const started& in) const {
    ORC_CHECK(c.link.phase == link_phase::idle, "`started` comes once");
    say(c, note_level::info, "Worker {} starting...", c.settings.worker_id);
    if (!in.warning.empty()) say(c, note_level::warning, "{}", in.warning);
    c.born = c.now.boot;
    c.cluster = in.cluster;
    c.term = in.term;
    c.highest = in.highest_lease;
    recover(c, in.records, in.processes);
    forget_files(c, in);
    begin_dialling(c);
  }
  void operator()(const outbox_switched& in) const { on_outbox_switched(c, in); }
  void operator()(const connected&) const { on_connected(c); }
  void operator()(const connect_failed& in) const { on_connect_failed(c, in); }
  void operator()(const frame& in) const { on_frame(c, in); }
  void operator()(const pong& in) const { note_contact(c, in.sent); }
  void operator()(const disconnected& in) const { on_disconnected(c, in); }
  void operator()(const process_started& in) const { on_process_started(c, in); }
  void operator()(const process_output& in) const { on_process_output(c, in); }
  void operator()(const process_ended& in) const { on_process_ended(c, in.end); }
  void operator()(const supervisor_lost&) const { on_supervisor_lost(c); }
  void operator()(const leftovers_killed& in) const { on_leftovers_killed(c, in); }
  void operator()(const spool_data& in) const { on_spool_data(c, in); }
  void operator()(const load_report& in) const { c.load = in; }
  void operator()(const tick&) const {}
  void operator()(const stop& in) const { on_stop(c, in.mode); }
  void operator()(const outbox_failed& in) const { on_outbox_failed(c, in); }
};

void retry_leftovers(core& c) {
  if (!c.leftover_retry_at || c.now.boot < *c.leftover_retry_at) return;
  c.leftover_retry_at.reset();
  kill_leftovers again;
  for (const auto& [lease, a] : c.attempts) {
    if (a.phase == attempt_phase::leftover) again.leases.push_back(lease);
  }
  if (!again.leases.empty()) c.out.emplace_back(std::move(again));
}

/// What every input may have made possible. Starts come behind the acks of their offers; output goes before
/// results.
void settle(core& c) {
  retry_outbox(c);
  retry_leftovers(c);
  tick_leases(c);
  tick_results(c);
  start_waiting(c);
  for (start_process& s : c.starting) c.out.emplace_back(std::move(s));
  c.starting.clear();
  send_events(c);
  send_output(c);
  send_results(c);
  tick_link(c);
  send_legacy(c);
  continue_stopping(c);
}

void take_earlier(std::optional<boot_time>& next, std::optional<boot_time> other) {
  if (other && (!next || *other < *next)) next = other;
}

template <class Phase>
std::size_t count(const core& c, Phase phase) {
  return static_cast<std::size_t>(std::count_if(c.attempts.begin(), c.attempts.end(),
                                                [&](const auto& a) { return a.second.phase == phase; }));
}

std::optional<std::string> fault_of(const core& c, const attempt& a) {
  const bool finished = a.phase == attempt_phase::finished;
  if (finished != a.result.has_value()) return "a result and the phase finished go together";
  if (finished && a.due && a.sent) return "a result is due and sent";
  if (finished && a.sent && !a.stored) return "a result was sent that is not in the outbox";
  if (!finished && a.records == 0) return "it is held without a record";
  if (a.records < 0) return "its records are fewer than none";
  if (a.records > 0 && a.lease > c.highest) return "its lease is above the highest";
  if ((a.phase == attempt_phase::waiting) != c.waiting.contains(a.lease))
    return "the queue and its phase differ";
  if (finished && !a.stored && !c.unstored.contains(a.lease))
    return "its result is neither stored nor to be stored";
  if ((a.phase == attempt_phase::collecting) != c.collections.contains(a.lease))
    return "its collection is wrong";
  for (const auto& [name, s] : a.streams) {
    if (s.acked > s.sent || s.recorded > s.acked || s.sent > s.end)
      return "the offsets of " + name + " are out of order";
  }
  return std::nullopt;
}

}  // namespace

agent::agent(config settings) : core_(std::make_unique<core>()) {
  core_->random = random_source{settings.seed};
  core_->settings = std::move(settings);
}

agent::~agent() = default;

effects agent::step(agent_time now, const input& in) {
  core& c = *core_;
  c.now = now;
  c.out.clear();
  // A list that ended the daemon may still have failed before its end.
  if (!c.exited || std::holds_alternative<outbox_failed>(in)) std::visit(input_handler{c}, in);
  if (!c.exited && c.link.phase != link_phase::idle) settle(c);
  return std::exchange(c.out, {});
}

std::optional<boot_time> agent::next_deadline() const {
  const core& c = *core_;
  std::optional<boot_time> next;
  if (c.exited || c.link.phase == link_phase::idle) return next;
  if (c.link.phase == link_phase::pausing) take_earlier(next, c.link.retry_at);
  if (c.link.phase == link_phase::registering)
    take_earlier(next, c.link.registering_since + registration_patience);
  if (c.registered()) take_earlier(next, c.link.heartbeat_at);
  take_earlier(next, next_legacy_deadline(c));
  take_earlier(next, next_lease_deadline(c));
  take_earlier(next, c.outbox_retry_at);
  take_earlier(next, c.leftover_retry_at);
  take_earlier(next, c.stop_by);
  for (const std::uint64_t lease : c.delayed) take_earlier(next, c.attempts.at(lease).not_before);
  return next;
}

std::optional<std::string> agent::check_invariants() const {
  const core& c = *core_;
  for (const auto& [lease, a] : c.attempts) {
    if (const auto fault = fault_of(c, a)) return fmt::format("lease {}: {}", lease, *fault);
  }
  if (count(c, attempt_phase::running) != c.running) return "the number of running attempts is wrong";
  if (count(c, attempt_phase::leftover) != c.leftovers) return "the number of leftovers is wrong";
  if (count(c, attempt_phase::waiting) != c.waiting.size()) return "the queue holds leases that do not wait";
  std::size_t bytes = 0;
  for (const unacked_message& m : c.link.unacked) bytes += m.settled ? 0 : m.bytes;
  if (bytes != c.link.unacked_bytes) return "the bytes on the way are counted wrong";
  if (c.link.unacked.size() > 2 * window_messages)
    return "more messages are on the way than the window allows";
  if (!c.starting.empty()) return "a start was decided and not given out";
  return std::nullopt;
}

}  // namespace orchestrator::agent
