// The lease table: which attempt holds which lease, and when one ends without a result. See leases.hpp.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>

#include "admission.hpp"
#include "leases.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

// A loss is up to six mutations, and one step is one transaction (rule 3): the others follow in the next.
constexpr std::size_t losses_a_step = 500;
// A database is rolled back a few times in its life; only a peer that plays with its highest_lease makes
// more.
constexpr std::size_t lease_holes_max = 256;
constexpr std::uint64_t lease_jump = std::uint64_t{1} << 32;
// Terms count starts, and a restore adds 2^32: a few of those are believed, nonsense is not.
constexpr std::uint64_t term_jump_max = std::uint64_t{1} << 34;

std::int64_t ms(nanoseconds d) { return std::chrono::duration_cast<milliseconds>(d).count(); }

// The moment at which silence alone ends it. A legacy worker may read and send nothing while its job runs, so
// its silence says nothing.
std::optional<mono_time> silence_deadline(const core& c, const attempt_entry& a) {
  const worker_entry& w = *a.holder;
  if (w.row.legacy) return std::nullopt;
  // Rule 6: silence counts only while its socket is read.
  const bool counts_unread = planted(defect::silence_while_not_reading);
  if (w.session != nullptr && w.session->unread && !counts_unread) return std::nullopt;
  if (!w.ever_received) return a.renewed_until;
  return std::max(w.last_received + silence_limit(c, a.run->spec->spec), a.renewed_until);
}

struct own_deadline {
  mono_time at;
  const char* reason;
};

// The deadline that an attempt has by itself, however lively its worker is.
std::optional<own_deadline> deadline_of(const core& c, const attempt_entry& a) {
  const run_spec& s = a.run->spec->spec;
  if (a.holder->row.legacy) {
    if (!a.deadline_base) return std::nullopt;
    const auto whole = s.timeout + s.kill_grace + ttl_of(c, s) + limits::run_deadline_slack;
    return own_deadline{std::max(*a.deadline_base + whole, a.renewed_until), "run_deadline"};
  }
  if (a.row.state == attempt_state::offered) {
    if (!a.sent_at) return std::nullopt;
    return own_deadline{*a.sent_at + limits::offer_ack_deadline, "offer_ack_deadline"};
  }
  if (!a.deadline_base) return std::nullopt;
  const auto whole = s.timeout + s.kill_grace + limits::run_deadline_slack;
  return own_deadline{std::max(*a.deadline_base + whole, a.renewed_until), "run_deadline"};
}

// An attempt handed out ahead waits behind others; its own time has not begun yet.
bool waits_behind_others(const attempt_entry& a) {
  if (a.row.state != attempt_state::accepted) return false;
  const auto& live = a.holder->live;
  const auto ahead = std::distance(live.begin(), live.find(a.row.lease));
  // Without any slot the first one waits for nobody: it ends at its own time, as every attempt must.
  return ahead >= std::max(a.holder->row.slots, 1);
}

void put_lost_fact(core& c, const attempt_entry& a, std::string_view reason) {
  const worker_entry& w = *a.holder;
  const mono_time since = w.ever_received ? w.last_received : c.started_at;
  const milliseconds limit = silence_limit(c, a.run->spec->spec);
  const nanoseconds grace = std::max<nanoseconds>(limit, a.renewed_until - since);
  put_fact(c, "attempt.lost", subject_of(*a.run),
           fact_data()
               .add("lease", a.row.lease)
               .add("worker", a.row.worker_id)
               .add("reason", reason)
               .add("silence_ms", ms(c.clock - since))
               .add("stall_ms", ms(c.stalls - w.stall_at_last))
               .add("grace_ms", ms(grace))
               .take());
}

// Gives an attempt that waited behind others its own time anew, when those ahead of it took it. Bounded by
// how many were ahead, so that every attempt has an end.
bool renew_waiting(core& c, attempt_entry& a) {
  if (waits_behind_others(a)) {
    a.deadline_base = c.clock;
    return true;
  }
  if (a.row.state != attempt_state::accepted || a.line_moves == 0 || a.holder->last_end <= *a.deadline_base)
    return false;
  --a.line_moves;
  a.deadline_base = a.holder->last_end;
  return true;
}

// Where the range that begins at `from` is filed: jumps that follow each other make one range.
lease_id open_hole(const core& c, lease_id from) {
  if (c.lease_holes.empty()) return from;
  const auto& [first, last] = *c.lease_holes.rbegin();
  return last.value + 1 == from.value ? first : from;
}

void add_live(worker_entry& w, attempt_entry& a) {
  w.live.emplace(a.row.lease, &a);
  if (a.brief) ++w.brief;
}

struct due_lease {
  lease_id lease;
  std::string reason;
};

}  // namespace

attempt_entry* find_attempt(const core& c, lease_id lease) {
  const auto found = c.attempts.find(lease);
  return found == c.attempts.end() ? nullptr : found->second.get();
}

attempt_entry& file_attempt(core& c, run_entry& r, worker_entry& w, attempt row) {
  auto fresh = std::make_unique<attempt_entry>();
  attempt_entry& a = *fresh;
  a.row = std::move(row);
  a.run = &r;
  a.holder = &w;
  const bool inserted = c.attempts.emplace(a.row.lease, std::move(fresh)).second;
  ORC_CHECK(inserted, "a lease was used twice");
  auto& list = details(r).attempts;
  ORC_CHECK(list.empty() || list.back()->row.lease < a.row.lease, "the leases of a run do not rise");
  list.push_back(&a);
  ++w.attempts;
  a.brief = is_brief(r);
  if (is_live(a.row.state)) add_live(w, a);
  if (a.row.state == attempt_state::lost && !is_final(r.state)) w.lost.emplace(a.row.lease, &a);
  return a;
}

bool is_newest(const attempt_entry& a) { return newest_attempt(*a.run) == &a; }

bool owns(const worker_entry& w, const attempt& row) {
  return row.instance == w.row.instance && (!row.instance.is_nil() || row.worker_id == w.row.worker_id);
}

milliseconds ttl_of(const core& c, const run_spec& s) { return s.lost_after.value_or(c.settings.lease_ttl); }

milliseconds silence_limit(const core& c, const run_spec& s) {
  const milliseconds kill = is_killed_when_lost(s) ? s.kill_grace : milliseconds{0};
  return ttl_of(c, s) + kill + limits::lease_slack;
}

void accept_attempt(core& c, attempt_entry& a) {
  if (a.holder->row.highest_acked < a.row.lease) {
    a.holder->row.highest_acked = a.row.lease;
    touch(c, *a.holder);
  }
  if (a.row.state != attempt_state::offered) return;
  a.row.state = attempt_state::accepted;
  a.deadline_base = c.clock;
  touch(c, a);
  if (const auto own = deadline_of(c, a)) arm_worker(c, *a.holder, own->at);
}

void start_attempt(core& c, attempt_entry& a) {
  if (a.row.state != attempt_state::offered && a.row.state != attempt_state::accepted) return;
  a.row.state = attempt_state::running;
  a.row.started_at = c.now.wall;
  if (!a.holder->row.legacy) a.deadline_base = c.clock;
  touch(c, a);
  if (!details(*a.run).started_at) details(*a.run).started_at = c.now.wall;
  announce(c, *a.run);
  put_fact(c, "attempt.running", subject_of(*a.run),
           fact_data().add("lease", a.row.lease).add("worker", a.row.worker_id).take());
  if (const auto own = deadline_of(c, a)) arm_worker(c, *a.holder, own->at);
}

void end_attempt(core& c, attempt_entry& a, attempt_state to, std::string_view reason,
                 std::optional<wall_time> ended) {
  ORC_CHECK(may_change(a.row.state, to), "an attempt took a step that the table of states does not have");
  const bool was_lost = a.row.state == attempt_state::lost;
  const bool was_live = is_live(a.row.state);
  if (was_lost && a.run->losses > 0) --a.run->losses;
  a.row.state = to;
  a.row.reason = reason;
  a.row.finished_at = ended.value_or(c.now.wall);
  touch(c, a);
  worker_entry& w = *a.holder;
  if (was_live) free_limits(c, *a.run, w);
  w.last_end = c.clock;
  if (w.live.erase(a.row.lease) == 1 && a.brief) --w.brief;
  w.lost.erase(a.row.lease);
  if (to == attempt_state::lost && !is_final(a.run->state)) w.lost.emplace(a.row.lease, &a);
  refresh_capacity(c, w);
  if (a.run->spec->spec.lost_after) refresh_ping_interval(c, w);
}

void lose_attempt(core& c, attempt_entry& a, std::string_view reason) {
  put_lost_fact(c, a, reason);
  end_attempt(c, a, attempt_state::lost, reason);
  after_attempt(c, a);
}

void end_not_started(core& c, attempt_entry& a, std::string_view reason) {
  end_attempt(c, a, attempt_state::not_started, reason);
  after_attempt(c, a);
}

void revive_attempt(core& c, attempt_entry& a) {
  end_attempt(c, a, attempt_state::running, "");
  ++a.revivals;
  a.row.finished_at.reset();
  a.deadline_base = c.clock;
  add_live(*a.holder, a);
  hold_limits(c, *a.run, *a.holder);
  refresh_capacity(c, *a.holder);
  // An unknown run stays unknown until its result: the table of states has no way back to active.
  if (a.run->state != run_state::unknown) reactivate_run(c, *a.run);
  put_fact(c, "attempt.running", subject_of(*a.run),
           fact_data().add("lease", a.row.lease).add("worker", a.row.worker_id).add("revived", true).take());
}

void arm_worker(core& c, worker_entry& w, mono_time at) {
  if (w.check_at && *w.check_at <= at) return;
  if (w.check_at) c.timers.erase({*w.check_at, timer_kind::worker, w.order, {}});
  w.check_at = at;
  c.timers.insert({at, timer_kind::worker, w.order, {}});
}

void check_worker(core& c, worker_entry& w) {
  if (w.check_at) c.timers.erase({*w.check_at, timer_kind::worker, w.order, {}});
  w.check_at.reset();
  std::optional<mono_time> next;
  const auto wake = [&](mono_time at) { next = next ? std::min(*next, at) : at; };
  std::vector<due_lease> due;
  bool probe = false;
  for (const auto& [lease, a] : w.live) {
    auto own = deadline_of(c, *a);
    const auto silence = silence_deadline(c, *a);
    // Its own time may begin anew; how long its worker has been silent does not.
    if (own && own->at <= c.clock && renew_waiting(c, *a))
      own->at = std::max(deadline_of(c, *a)->at, c.clock + seconds{1});
    if (own && own->at <= c.clock) {
      due.push_back({lease, own->reason});
    } else if (silence && *silence <= c.clock) {
      // Rule 6: before a loss by silence the socket is read once more.
      if (w.session != nullptr && !w.probe_until) probe = true;
      if (probe) continue;
      if (w.session != nullptr && c.clock < *w.probe_until) {
        wake(*w.probe_until);
      } else {
        due.push_back({lease, "silence"});
      }
    } else {
      if (own) wake(own->at);
      if (silence) wake(*silence);
    }
  }
  if (probe) {
    w.probe_until = c.clock + c.settings.ping_timeout;
    wake(*w.probe_until);
    c.step.direct.emplace_back(ping_session{w.session->id});
  }
  if (next) arm_worker(c, w, *next);
  if (due.empty()) return;
  // The connection ends first, so that nothing more can come from it about a lease that is lost.
  if (w.session != nullptr)
    end_session(c, *w.session, close_code::lease_lost, "lease_lost", close_kind::gated);
  if (due.size() > losses_a_step) {
    due.resize(losses_a_step);
    arm_worker(c, w, c.clock);
  }
  for (const due_lease& d : due) {
    attempt_entry* a = find_attempt(c, d.lease);
    if (a != nullptr && is_live(a->row.state)) lose_attempt(c, *a, d.reason);
  }
}

void refresh_capacity(core& c, worker_entry& w) {
  const session_entry* s = w.session;
  worker_capacity& cap = w.capacity;
  cap.accepting =
      s != nullptr && s->registered && !s->dead && !s->drains_itself && !w.leases_only && !w.row.draining;
  cap.slots = w.row.slots + (planted(defect::overlapping_slots) ? 1 : 0);
  cap.credit = w.row.credit;
  cap.used = static_cast<int>(w.live.size());
  cap.brief = w.brief;
  c.places.update(w);
}

void refresh_ping_interval(core& c, worker_entry& w) {
  if (w.session == nullptr) return;
  milliseconds smallest = c.settings.lease_ttl;
  for (const auto& [lease, a] : w.live) smallest = std::min(smallest, ttl_of(c, a->run->spec->spec));
  const milliseconds wanted = std::min(c.settings.ping_interval, smallest / 3);
  if (wanted == w.session->ping_interval) return;
  w.session->ping_interval = wanted;
  c.step.direct.emplace_back(set_ping_interval{w.session->id, wanted});
}

bool was_issued(const core& c, lease_id lease) {
  if (!lease || c.lease_counter < lease) return false;
  const auto after = c.lease_holes.upper_bound(lease);
  return after == c.lease_holes.begin() || std::prev(after)->second < lease;
}

const attempt* stored_row(const core& c, const fetched_rows& rows, lease_id lease) {
  const attempt* row = nullptr;
  for (const attempt& a : rows.attempts) {
    if (a.lease == lease) row = &a;
  }
  if (const auto newer = c.loose.find(lease); newer != c.loose.end()) row = &newer->second.row;
  return row;
}

const attempt* loose_row(const core& c, const worker_entry* w, const fetched_rows& rows, lease_id lease) {
  const attempt* row = stored_row(c, rows, lease);
  return row != nullptr && w != nullptr && owns(*w, *row) ? row : nullptr;
}

void put_loose(core& c, attempt row) {
  const lease_id lease = row.lease;
  c.loose[lease] = {std::move(row), c.issued_number + 1};
  c.step.loose.push_back(lease);
}

void drop_durable_loose(core& c) {
  std::erase_if(c.loose, [&](const auto& entry) { return entry.second.number <= c.gate.durable(); });
}

void jump_lease_counter(core& c, lease_id seen) {
  const lease_id first = open_hole(c, lease_id{c.lease_counter.value + 1});
  c.lease_counter = lease_id{seen.value + lease_jump};
  if (c.lease_holes.contains(first) || c.lease_holes.size() < lease_holes_max)
    c.lease_holes[first] = c.lease_counter;
  c.step.first.emplace_back(put_lease_hole{first, c.lease_counter});
}

void raise_lease_counter(core& c, lease_id seen, std::string_view worker_id) {
  if (planted(defect::counter_not_raised)) return;
  if (seen <= c.lease_counter || seen.value > std::numeric_limits<std::int64_t>::max() - 2 * lease_jump)
    return;
  const std::uint64_t before = c.lease_counter.value;
  jump_lease_counter(c, seen);
  log(c, note_level::warning,
      fmt::format("Worker {} has seen lease {}, beyond our counter {}: the database seems to be older than "
                  "the worker. "
                  "Leases go on at {}.",
                  worker_id, seen.value, before, c.lease_counter.value));
}

void raise_own_term(core& c, std::uint64_t seen, std::string_view worker_id) {
  if (seen <= c.term || planted(defect::term_not_raised)) return;
  if (seen - c.term > term_jump_max) {
    log(c, note_level::warning,
        fmt::format(
            "Worker {} says that it has seen term {}, ours is {}: no database of this cluster can have "
            "come that far. It will refuse what it is offered; drain it and give it a fresh work dir.",
            worker_id, seen, c.term));
    return;
  }
  log(c, note_level::warning,
      fmt::format("Worker {} has seen term {}, ours is {}: the database seems to be older than the worker. "
                  "Terms go on at {}.",
                  worker_id, seen, c.term, seen + 1));
  // Not the same one: two histories must not share a term.
  c.term = seen + 1;
  c.step.first.emplace_back(raise_term{c.term});
}

}  // namespace orchestrator::engine
