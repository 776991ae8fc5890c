// Deadlines, the dispatcher's turn, and reports of the store and the shell. See on_tick.hpp.
#include <orchestrator/base/planted.hpp>

#include "on_tick.hpp"

#include <algorithm>

#include "backfill.hpp"
#include "leases.hpp"
#include "on_worker.hpp"
#include "requests.hpp"
#include "runs.hpp"
#include "schedules.hpp"
#include "sessions.hpp"
#include "space.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t offers_a_turn =
    1'000;  // each is a few mutations; a batch stays within limits::commit_mutations
constexpr std::size_t timers_a_tick = 10'000;
constexpr std::size_t rows_a_tick = 1'000;  // before the last timer, whose own share is bounded too
// A wall clock may jump forward, which no monotonic timer notices: waits for it are cut into pieces.
constexpr std::chrono::seconds wall_patience{10};
constexpr std::chrono::minutes wall_step_back{1};

std::size_t step_rows(const core& c) {
  return c.step.runs.size() + c.step.attempts.size() + c.step.rest.size();
}

void fire_timer(core& c, const timer& t) {
  switch (t.kind) {
    case timer_kind::session: {
      session_entry& s = *find_session(c, session_id{t.number});
      s.timer.reset();
      if (s.challenges) return end_challenge(c, s);
      return end_session(c, s, close_code::bad_registration, "no registration within 10 s",
                         close_kind::direct);
    }
    case timer_kind::worker: {
      worker_entry& w = *c.workers_by_order.at(t.number);
      w.check_at.reset();
      return check_worker(c, w);
    }
    case timer_kind::backoff: return requeue(c, *c.runs.find(t.run));
    case timer_kind::start: return expire_if_due(c, *c.runs.find(t.run));
  }
}

// True if more are due than one tick may take.
bool fire_timers(core& c) {
  for (std::size_t fired = 0; !c.timers.empty() && c.timers.begin()->at <= c.clock; ++fired) {
    if (fired == timers_a_tick || step_rows(c) > rows_a_tick) return true;
    const timer t = *c.timers.begin();
    c.timers.erase(c.timers.begin());
    fire_timer(c, t);
  }
  return false;
}

void release_delayed(core& c) {
  while (!c.delayed.empty() && c.delayed.begin()->first <= c.now.wall) {
    place_run(c, *c.runs.find(c.delayed.begin()->second));
  }
}

// With the offers that took the tokens, so that a restart finds the buckets no fuller than they were.
void store_buckets(core& c) {
  for (const limiter* l : c.places.take_spent()) {
    const auto left = std::chrono::ceil<milliseconds>(l->full_at - c.clock);
    c.step.rest.emplace_back(
        put_bucket{(l->kind == limiter_kind::queue ? "queue/" : "job/") + l->name(), c.now.wall + left});
  }
}

std::optional<wall_time> next_wall_deadline(const core& c) {
  std::optional<wall_time> next;
  if (!c.delayed.empty()) next = c.delayed.begin()->first;
  if (!c.due.empty() && may_fire(c) && (!next || c.due.begin()->first < *next)) next = c.due.begin()->first;
  return next;
}

}  // namespace

void refresh_deadline(core& c) {
  c.next_deadline.reset();
  if (c.more_work) c.next_deadline = c.now.mono;
  if (!c.timers.empty()) {
    const nanoseconds behind = planted(defect::lease_on_wall_clock) ? c.now.mono - c.clock : c.stalls;
    const mono_time at = c.timers.begin()->at + behind;
    c.next_deadline = c.next_deadline ? std::min(*c.next_deadline, at) : at;
  }
  if (const auto refill = c.places.next_refill(); refill && !c.stopping) {
    const mono_time at = *refill + c.stalls;
    c.next_deadline = c.next_deadline ? std::min(*c.next_deadline, at) : at;
  }
  if (const auto wall = next_wall_deadline(c)) {
    const nanoseconds wait = std::clamp<nanoseconds>(*wall - c.now.wall, nanoseconds{0}, wall_patience);
    const mono_time at = c.now.mono + wait;
    c.next_deadline = c.next_deadline ? std::min(*c.next_deadline, at) : at;
  }
}

void on(core& c, const tick&) {
  const bool went_back = c.now.wall + wall_step_back < c.last_wall;
  c.last_wall = c.now.wall;
  watch_wall_clock(c);  // before the cursors: what they take back must be in memory
  if (went_back) recheck_cursors(c);
  const bool more_timers = fire_timers(c);
  release_delayed(c);
  const bool more_instants = fire_due(c);
  c.more_work = more_timers || more_instants;
}

void on(core& c, const turn_end&) {
  if (c.stopping) return;
  const std::vector<placement> plan = c.places.plan(offers_a_turn);
  for (const placement& p : plan) make_offer(c, *p.run, *p.worker);
  store_buckets(c);
  if (plan.size() == offers_a_turn) c.more_work = true;
}

void on(core& c, const persisted& in) {
  ORC_CHECK(in.number <= c.issued_number, "the store reported a batch that was never issued");
  std::vector<output> released;
  c.gate.persisted(in.number, released);
  deliver(c, std::move(released), c.step.direct);
  while (!c.recent_keys_by_number.empty() && c.recent_keys_by_number.begin()->first <= in.number) {
    for (const std::string& key : c.recent_keys_by_number.begin()->second) c.recent_keys.erase(key);
    c.recent_keys_by_number.erase(c.recent_keys_by_number.begin());
  }
  let_depart(c);
  drop_durable_loose(c);
  ask_for_instants(c);
  ask_for_window(c);
}

void on(core& c, const output_persisted& in) {
  ORC_CHECK(in.number <= c.issued_output, "the store reported output that was never issued");
  std::vector<output> released;
  c.gate.output_persisted(in.number, released);
  deliver(c, std::move(released), c.step.direct);
  while (!c.output_waits.empty() && c.output_waits.begin()->first <= in.number) {
    session_entry& s = *find_session(c, c.output_waits.begin()->second);
    c.output_waits.erase(c.output_waits.begin());
    s.waits_output = 0;
    resume(c, s, nullptr);
  }
}

void on(core& c, const fetched& in) {
  const auto waiting = c.fetches.extract(in.fetch);
  if (waiting.empty()) return;
  if (const auto* session = std::get_if<session_id>(&waiting.mapped())) {
    session_entry* s = find_session(c, *session);
    if (s == nullptr || s->dead || s->waits_fetch != in.fetch) return;
    s->waits_fetch.reset();
    resume(c, *s, &in.rows);
  } else if (const auto* key = std::get_if<std::string>(&waiting.mapped())) {
    on_key_fetched(c, *key, in.rows);
  } else {
    on_run_fetched(c, std::get<parked_request>(waiting.mapped()), in.rows);
  }
}

void on(core& c, const stalled& in) {
  if (planted(defect::no_stall_rule)) return;
  c.stalls += in.by;
}

void on(core& c, const stopping&) { c.stopping = true; }

}  // namespace orchestrator::engine
