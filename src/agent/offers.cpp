// What the coordinator asks for: execute_job, cancel_job, drain, and after a registration keep and abandon.
// Guards the promise that a lease seen once never starts twice. Called by link.cpp; the numbers it acks are
// in the outbox by the time the ack leaves.
#include <algorithm>
#include <set>

#include <orchestrator/base/check.hpp>

#include <orchestrator/base/planted.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

using protocol::result_status;

milliseconds to_ms(std::optional<double> seconds_, milliseconds otherwise) {
  if (!seconds_) return otherwise;
  const double bounded = std::clamp(*seconds_, 0.0, 366.0 * 24 * 3600);
  return milliseconds{static_cast<std::int64_t>(bounded * 1000)};
}

attempt& add_attempt(core& c, const protocol::execute_job& offer, std::uint64_t lease) {
  attempt& a = c.attempts[lease];
  a.lease = lease;
  a.job_id = offer.job_id;
  a.admitted = true;
  return a;
}

/// In words for people, or nothing if there is room.
std::optional<std::string> why_no_room(const core& c) {
  if (c.supervisor_gone) return "the worker's supervisor died; the worker is starting again";
  if (c.stopping) return "the worker is stopping";
  if (c.draining) return "the worker is draining";
  const auto room = static_cast<std::size_t>(c.settings.slots) + static_cast<std::size_t>(c.settings.credit);
  const std::size_t held = c.running + c.leftovers + c.waiting.size();
  if (held >= room) return fmt::format("the worker already holds {} attempts, all it has room for", held);
  if (c.attempts.size() >= limits::inventory_leases) {
    return fmt::format("the worker's outbox holds {} leases, most of them unacknowledged results",
                       c.attempts.size());
  }
  return std::nullopt;
}

/// Nothing of a stale coordinator's lease is recorded: its numbers may mean something else to the present
/// one.
void refuse_stale(core& c, const protocol::execute_job& offer, std::uint64_t lease) {
  attempt& a = add_attempt(c, offer, lease);
  a.passing = true;
  finish_with(
      c, a, result_status::rejected,
      fmt::format("the offer's term {} is below {}, which this worker has seen", *offer.term, c.term));
}

void accept(core& c, const protocol::execute_job& offer, std::uint64_t lease) {
  attempt& a = add_attempt(c, offer, lease);
  if (const auto full = why_no_room(c)) {
    finish_with(c, a, result_status::rejected, *full);
  } else if (offer.builtin == "noop") {
    a.started_at = c.now.wall;
    finish_with(c, a, result_status::success, "");
  } else if (const auto plan = plan_launch(c.settings, offer, lease); plan.has_error()) {
    finish_with(c, a, result_status::error, plan.error().detail);
  } else {
    a.offer = offer;
    take_into_queue(c, a);
  }
}

void withdraw(core& c, attempt& a, const char* why) { finish_with(c, a, result_status::cancelled, why); }

/// Takes its start back if it was decided in this very step.
bool unstart(core& c, std::uint64_t lease) {
  const auto it =
      std::find_if(c.starting.begin(), c.starting.end(), [&](const auto& s) { return s.lease == lease; });
  if (it == c.starting.end()) return false;
  c.starting.erase(it);
  return true;
}

void abandon(core& c, attempt& a) {
  if (a.phase == attempt_phase::waiting) withdraw(c, a, "the coordinator gave it up before it started");
  if (a.phase == attempt_phase::running) kill_attempt(c, a, a.kill_grace, kill_reason::cancelled);
}

void start_process_of(core& c, attempt& a) {
  auto plan = plan_launch(c.settings, a.offer, a.lease);
  if (plan.has_error()) {
    finish_with(c, a, result_status::error, plan.error().detail);
    return;
  }
  c.waiting.erase(a.lease);
  a.phase = attempt_phase::running;
  a.supervised = true;
  ++c.running;
  plan->lease_until = watch_lease(c, a);
  c.starting.push_back(*std::move(plan));
}

}  // namespace

void apply_rules(attempt& a, const protocol::execute_job& offer) {
  a.kill_on_loss = offer.on_lease_lost == "kill";
  a.ttl = to_ms(offer.lease_ttl_seconds, milliseconds{0});
  a.kill_grace = to_ms(offer.kill_grace_seconds, limits::kill_grace_default);
}

void take_into_queue(core& c, attempt& a) {
  apply_rules(a, a.offer);
  if (a.ttl.count() != 0) adapt_pings(c, a.ttl);
  const bool at_once = !c.stopping && c.waiting.empty() &&
                       c.running < static_cast<std::size_t>(c.settings.slots) && may_start_under_lease(c, a);
  write_record(c, a, at_once ? record::start : record::offer, protocol::encode(a.offer));
  if (at_once) {
    start_process_of(c, a);
  } else {
    c.waiting.insert(a.lease);
  }
}

void on_execute(core& c, const protocol::execute_job& offer) {
  const std::uint64_t lease = offer.lease.value_or(lease_id{}).value;
  if (lease == 0) {
    say(c, note_level::warning, "The coordinator sent a job without a lease; it is ignored");
    return;
  }
  if (const auto it = c.attempts.find(lease); it != c.attempts.end()) {
    it->second.admitted = true;  // said twice; it starts once all the same
    return;
  }
  if (offer.term && *offer.term < c.term) {
    refuse_stale(c, offer, lease);
    return;
  }
  if (offer.term && *offer.term > c.term) {
    c.term = *offer.term;
    c.out.emplace_back(store_term{c.term});
  }
  if (c.tombstones.erase(lease) != 0) {
    finish_with(c, add_attempt(c, offer, lease), result_status::cancelled, "cancelled before it came");
  } else if (lease <= c.highest && !planted(defect::no_tombstone)) {
    finish_with(c, add_attempt(c, offer, lease), result_status::rejected,
                fmt::format("lease {} is not above {}, the highest this worker has seen", lease, c.highest));
  } else {
    accept(c, offer, lease);
  }
}

void refuse_unreadable(core& c, const protocol::invalid_message& bad) {
  const std::uint64_t lease = bad.lease->value;
  if (lease == 0 || c.attempts.contains(lease)) return;
  protocol::execute_job offer;
  offer.job_id = *bad.job_id;
  finish_with(c, add_attempt(c, offer, lease), result_status::rejected,
              fmt::format("this worker cannot take the job: {}", bad.why.detail));
}

void on_cancel(core& c, const protocol::cancel_job& cancel) {
  const std::uint64_t lease = cancel.lease.value;
  const auto it = c.attempts.find(lease);
  if (it != c.attempts.end()) {
    attempt& a = it->second;
    if (a.phase == attempt_phase::waiting) withdraw(c, a, "cancelled before it started");
    if (a.phase == attempt_phase::running)
      kill_attempt(c, a, to_ms(cancel.grace_seconds, 10s), kill_reason::cancelled);
    return;
  }
  // An older lease could not start any more; a newer one must be remembered, so that its offer finds the
  // cancel.
  if (lease <= c.highest || c.tombstones.size() >= limits::inventory_leases) return;
  c.tombstones.insert(lease);
  c.highest = lease;
  c.out.emplace_back(write_outbox{lease, record::tombstone, ""});
}

void on_drain(core& c, const protocol::drain& drain) {
  if (drain.on != c.draining) {
    say(c, note_level::info, "{}",
        drain.on ? "Draining: what runs is finished, no new work is taken" : "Taking work again");
  }
  c.draining = drain.on;
  send_heartbeat(c);
}

void reconcile(core& c, const protocol::registration& greeting) {
  std::set<std::uint64_t> kept;
  for (const auto& ref : greeting.keep) kept.insert(ref.lease.value);
  for (auto& [lease, a] : c.attempts) {
    if (a.phase == attempt_phase::finished) continue;
    a.admitted = kept.contains(lease);
    if (a.ttl.count() != 0 && a.admitted) adapt_pings(c, a.ttl);
    // `keep` is exhaustive: what is in neither list is to be given up too.
    if (!a.admitted) abandon(c, a);
  }
}

void start_waiting(core& c) {
  while (!c.stopping && !c.supervisor_gone && c.registered() && !c.waiting.empty() &&
         c.running < static_cast<std::size_t>(c.settings.slots) && !c.outbox_retry_at) {
    attempt& a = c.attempts.at(*c.waiting.begin());
    ORC_CHECK(a.admitted, "what waits was offered on this connection or kept at its registration");
    if (!may_start_under_lease(c, a)) return;  // leases start in rising order, so the others wait too
    write_record(c, a, record::start, "");
    start_process_of(c, a);
  }
}

void kill_attempt(core& c, attempt& a, milliseconds grace, kill_reason why) {
  const bool first = a.killed == kill_reason::none;
  if (first) a.killed = why;
  if (unstart(c, a.lease)) {
    finish_with(c, a, result_status::cancelled, "cancelled before it started");
    return;
  }
  // The supervisor knows that it was killed, only we know what for; the next daemon must call its end the
  // same.
  if (first) write_record(c, a, record::killed, std::to_string(static_cast<int>(why)));
  c.out.emplace_back(kill_process{a.lease, grace});
}

}  // namespace orchestrator::agent
