// The invariants that are visible in memory: I3 (one live attempt), I4 (leases rise), I5 (no offer after the
// end), I7 (bounded attempts), I16 (never beyond slots + credit), and that every index says the same.
#include "invariants.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "admission.hpp"
#include "dependencies.hpp"
#include "leases.hpp"
#include "overlap.hpp"
#include "runs.hpp"

namespace orchestrator::engine {
namespace {

using finding = std::optional<std::string>;

finding check_attempts_of(const core& c, const run_entry& r) {
  if (!r.details) return std::nullopt;
  int live = 0;
  int refused = 0;
  lease_id before{};
  for (const attempt_entry* a : r.details->attempts) {
    if (a->row.lease <= before) return fmt::format("I4: the leases of run {} do not rise", to_string(r.id));
    before = a->row.lease;
    if (c.lease_counter < a->row.lease)
      return fmt::format("I4: lease {} is beyond the counter", a->row.lease.value);
    if (find_attempt(c, a->row.lease) != a || a->run != &r)
      return std::string("an attempt is not filed under its lease");
    const bool is_refusal =
        a->row.state == attempt_state::rejected || a->row.state == attempt_state::not_started;
    refused += is_refusal ? 1 : 0;
    if (is_live(a->row.state)) ++live;
    if (is_live(a->row.state) && !is_newest(*a))
      return fmt::format("I3: an old attempt of run {} lives", to_string(r.id));
    if (is_live(a->row.state) != a->holder->live.contains(a->row.lease)) {
      return fmt::format("the slot of lease {} is booked wrongly", a->row.lease.value);
    }
  }
  if (live > 1) return fmt::format("I3: run {} has {} live attempts", to_string(r.id), live);
  if (is_final(r.state) && live != 0)
    return fmt::format("I5: run {} ended with a live attempt", to_string(r.id));
  const retry_policy& p = r.spec->spec.retry;
  const int most = p.max_attempts + p.max_lost + refused;
  if (static_cast<int>(r.details->attempts.size()) > most) {
    return fmt::format("I7: run {} had {} attempts", to_string(r.id), r.details->attempts.size());
  }
  return std::nullopt;
}

finding check_run(const core& c, const run_entry& r) {
  if (r.dirty) return std::string("a run is still marked as changed after its step");
  const bool has_live = live_attempt(r) != nullptr;
  if (r.state == run_state::active && !has_live)
    return fmt::format("active run {} has no live attempt", to_string(r.id));
  if ((r.state == run_state::queued || r.state == run_state::retry_wait) && has_live) {
    return fmt::format("waiting run {} has a live attempt", to_string(r.id));
  }
  if (r.ready && !is_admitted(c, r)) return fmt::format("I5: run {} stands in the queue", to_string(r.id));
  if (!r.ready && is_admitted(c, r)) return fmt::format("I6: run {} waits for nothing", to_string(r.id));
  std::size_t open = 0;
  if (r.details && r.state == run_state::queued) {
    for (const dependency& d : r.details->after) open += is_open(c, d.run) ? 1 : 0;
  }
  const std::size_t waits_for = r.details ? r.details->waits_for : 0;
  if (!is_final(r.state) && (waits_for < open || (waits_for > open && c.ended.empty())))
    return fmt::format("I6: run {} miscounts the runs it waits for", to_string(r.id));
  const bool has_timer = r.details && r.details->backoff_until;
  if ((r.state == run_state::retry_wait) != has_timer)
    return std::string("a backoff has no timer, or a timer no backoff");
  if (has_timer && !c.timers.contains({*r.details->backoff_until, timer_kind::backoff, 0, r.id})) {
    return std::string("a backoff's timer is missing");
  }
  const bool waits = r.state == run_state::queued || r.state == run_state::retry_wait;
  if (waits && is_unstarted(r) && r.spec->spec.start_within && !r.delayed &&
      (!r.details || !r.details->start_by ||
       !c.timers.contains({*r.details->start_by, timer_kind::start, 0, r.id}))) {
    return fmt::format("I6: nothing ends the wait of run {} for its start", to_string(r.id));
  }
  const bool lists = r.job_version != 0 && !is_final(r.state);
  if (r.name->live.contains(const_cast<run_entry*>(&r)) != lists)
    return std::string("a name lists the wrong runs");
  if (r.place != place_in_line(c, r) ||
      r.name->line.contains(const_cast<run_entry*>(&r)) != (r.place != line_place::outside))
    return fmt::format("I28: run {} stands wrongly in the line of its job", to_string(r.id));
  return check_attempts_of(c, r);
}

// What live attempts hold is what limits and workers think is taken.
finding check_limits(const core& c) {
  std::map<const limiter*, int> running;
  std::map<const worker_entry*, resource_amounts> taken;
  for (const auto& [lease, a] : c.attempts) {
    if (!is_live(a->row.state)) continue;
    for (const limit_use& u : known_class(*a->run).uses) ++running[u.what];
    for (const auto& [name, amount] : a->run->spec->spec.required_resources) taken[a->holder][name] += amount;
  }
  for (const auto& [key, l] : c.places.limiters()) {
    const auto counted = running.find(&l);
    if (l.running != (counted == running.end() ? 0 : counted->second))
      return fmt::format("the limit {} miscounts its runs", l.name());
  }
  for (const auto& [key, w] : c.workers) {
    const auto counted = taken.find(&w);
    const resource_amounts known = counted == taken.end() ? resource_amounts{} : counted->second;
    if (w.capacity.taken != known)
      return fmt::format("the resources of worker {} are booked wrongly", w.row.worker_id);
  }
  return std::nullopt;
}

finding check_workers(const core& c) {
  for (const auto& [key, w] : c.workers) {
    const auto used = static_cast<int>(w.live.size());
    if (w.capacity.used != used)
      return fmt::format("worker {} is thought to run {}", w.row.worker_id, w.capacity.used);
    const auto brief =
        std::count_if(w.live.begin(), w.live.end(), [](const auto& l) { return l.second->brief; });
    if (w.capacity.brief != brief)
      return fmt::format("worker {} is thought to have {} short runs", w.row.worker_id, w.capacity.brief);
    if (w.capacity.place && used >= w.row.slots + w.row.credit)
      return std::string("I16: a full worker is offered work");
    if (w.session != nullptr && w.session->worker != &w)
      return std::string("a worker and its connection disagree");
    const bool unread =
        w.session != nullptr && w.session->unread;  // rule 6: nothing is due before it is read
    if (!w.live.empty() && !w.check_at && !w.row.legacy && !unread) {
      return fmt::format("nothing watches the leases of worker {}", w.row.worker_id);
    }
    for (const auto& [lease, a] : w.lost) {
      if (a->row.state != attempt_state::lost || is_final(a->run->state))
        return std::string("the list of lost leases is wrong");
    }
  }
  return std::nullopt;
}

finding check_sessions(const core& c) {
  for (const auto& [id, s] : c.sessions) {
    if (s.dead && s.worker != nullptr) return std::string("a dead connection still has a worker");
    if (s.worker != nullptr && s.worker->session != &s)
      return std::string("a connection and its worker disagree");
    const bool must_wait = s.blocked() || s.challenges.has_value();
    if (!s.parked.empty() && !must_wait) return std::string("parked messages wait for nothing");
    if (s.waits_output != 0 && !c.output_waits.contains({s.waits_output, id}))
      return std::string("a wait for output is not filed");
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> engine_invariants(const core& c) {
  finding first;
  engine_view::totals seen;
  std::size_t attempts = 0;
  std::size_t ready = 0;
  c.runs.each_unordered([&](const run_entry& r) {
    if (!first) first = check_run(c, r);
    seen.queued += r.state == run_state::queued ? 1 : 0;
    seen.active += r.state == run_state::active ? 1 : 0;
    seen.retry_wait += r.state == run_state::retry_wait ? 1 : 0;
    seen.unknown += r.state == run_state::unknown ? 1 : 0;
    attempts += r.details ? r.details->attempts.size() : 0;
    ready += r.ready ? 1 : 0;
  });
  if (first) return first;
  if (attempts != c.attempts.size()) return std::string("the lease table holds attempts of no run");
  if (ready != c.places.queued())
    return std::string("the dispatcher holds other runs than those that are ready");
  const bool counted = seen.queued == c.counts.queued && seen.active == c.counts.active &&
                       seen.retry_wait == c.counts.retry_wait && seen.unknown == c.counts.unknown;
  if (!counted) return std::string("the counts of runs by state are wrong");
  if (auto wrong = check_workers(c)) return wrong;
  if (auto wrong = check_limits(c)) return wrong;
  if (auto wrong = check_sessions(c)) return wrong;
  return c.places.check();
}

}  // namespace orchestrator::engine
