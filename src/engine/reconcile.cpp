// Reconciliation: at each registration, what the worker's outbox holds is set against what we believe it
// holds. This is the table of guarantees.md, "Lease and time"; every lease ends up kept, abandoned, lost or
// not started.
#include <fmt/format.h>

#include <set>

#include <orchestrator/base/planted.hpp>

#include "leases.hpp"
#include "on_worker.hpp"
#include "overlap.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

struct evidence {
  const protocol::worker_register& r;
  bool same_boot = false;
  bool same_process = false;
  lease_id highest_acked;  ///< before this registration
};

attempt_entry* own_attempt(core& c, const worker_entry& w, const protocol::lease_ref& ref) {
  attempt_entry* a = find_attempt(c, ref.lease);
  if (a == nullptr || a->holder != &w) return nullptr;
  const auto* text = std::get_if<std::string>(&ref.job_id.id);
  return text != nullptr && *text == to_string(a->row.run) ? a : nullptr;
}

// Each revival gives an attempt its whole time anew, so a worker that registers again and again, and never
// brings the result, would keep its run for ever.
constexpr int revivals_max = 100;

// Nothing newer was offered, and nobody decided the run: what this attempt still does counts.
// A lost one gave its locks back, and must not go on when somebody else has them.
bool still_counts(core& c, const attempt_entry& a) {
  if (is_final(a.run->state) || !is_newest(a)) return false;
  if (is_live(a.row.state)) return true;
  return a.row.state == attempt_state::lost && a.revivals < revivals_max &&
         c.places.may_take_again(class_of(c, *a.run));
}

void keep(core& c, attempt_entry& a) {
  if (a.row.state == attempt_state::lost) {
    revive_attempt(c, a);
  } else {
    accept_attempt(c, a);
  }
}

// Absent from all lists. Only a worker that provably never had it may say so by silence; all else is a loss.
bool never_had_it(const evidence& e, const attempt_entry& a) {
  if (planted(defect::absent_is_not_started) && a.row.state == attempt_state::offered) return true;
  if (a.row.state != attempt_state::offered || !e.same_boot || !e.r.highest_lease) return false;
  if (!(*e.r.highest_lease < a.row.lease) || *e.r.highest_lease < e.highest_acked) return false;
  return !a.run->spec->spec.at_most_once || e.same_process;
}

constexpr const char* boot_changed = "boot_changed";

// It cannot run any more. The answer that says so may be lost, and the worker's next registration is one of
// the same boot: what is known now must be on record, also of an attempt that was thought lost before.
void end_by_boot(core& c, attempt_entry& a) {
  if (is_live(a.row.state)) return lose_attempt(c, a, boot_changed);
  if (a.row.state != attempt_state::lost || a.row.reason == boot_changed) return;
  a.row.reason = boot_changed;
  touch(c, a);
}

bool may_still_run(const evidence& e, const attempt_entry& a) {
  return e.same_boot && (is_live(a.row.state) || a.row.reason != boot_changed);
}

void sort_running(core& c, worker_entry& w, const evidence& e, protocol::registration& answer) {
  for (const protocol::lease_ref& ref : e.r.running) {
    attempt_entry* a = own_attempt(c, w, ref);
    if (a != nullptr && still_counts(c, *a) && may_still_run(e, *a) && may_go_on(*a->run)) {
      keep(c, *a);
      answer.keep.push_back(ref);
      continue;
    }
    if (a != nullptr && (!e.same_boot || is_live(a->row.state))) end_by_boot(c, *a);
    answer.abandon.push_back(ref);
  }
}

// The result waits in the outbox, so whatever happened to the machine, this attempt's end is known there.
void sort_unacked(core& c, worker_entry& w, const evidence& e, protocol::registration& answer) {
  for (const protocol::lease_ref& ref : e.r.unacked) {
    if (planted(defect::unacked_ignored)) continue;
    attempt_entry* a = own_attempt(c, w, ref);
    if (a != nullptr && still_counts(c, *a)) {
      keep(c, *a);
      answer.keep.push_back(ref);
    } else {
      answer.abandon.push_back(ref);
    }
  }
}

void sort_lost(core& c, worker_entry& w, const evidence& e, protocol::registration& answer) {
  for (const protocol::lease_ref& ref : e.r.lost) {
    attempt_entry* a = own_attempt(c, w, ref);
    if (a != nullptr && is_live(a->row.state))
      lose_attempt(c, *a, e.same_boot ? "process_gone" : boot_changed);
    answer.abandon.push_back(ref);
  }
}

void sort_absent(core& c, worker_entry& w, const evidence& e, const std::set<lease_id>& listed) {
  std::vector<lease_id> absent;
  for (const auto& [lease, a] : w.live) {
    if (!listed.contains(lease)) absent.push_back(lease);
  }
  for (const lease_id lease : absent) {
    attempt_entry& a = *find_attempt(c, lease);
    if (never_had_it(e, a)) {
      end_not_started(c, a, "never_received");
    } else {
      lose_attempt(c, a, e.same_boot ? "not_in_outbox" : boot_changed);
    }
  }
}

}  // namespace

void reconcile(core& c, worker_entry& w, const protocol::worker_register& r, protocol::registration& answer) {
  // What a worker leaves out proves nothing.
  const auto same = [](const std::string& before, const std::string& now) {
    return !now.empty() && before == now;
  };
  evidence e{r, same(w.row.boot_id, r.boot_id), same(w.row.process, r.process), w.row.highest_acked};
  if (r.cluster && *r.cluster != c.cluster) {
    // Its lists speak of another database's leases, whose numbers may equal ours. Of ours it holds nothing.
    log(c, note_level::warning,
        fmt::format("Worker {} comes from another cluster; its old leases are not ours.", r.worker_id));
    const protocol::worker_register none;
    sort_absent(c, w, {none, e.same_boot, e.same_process, e.highest_acked}, {});
    return;
  }
  if (r.highest_lease) raise_lease_counter(c, *r.highest_lease, r.worker_id);
  if (r.term && r.cluster) raise_own_term(c, *r.term, r.worker_id);
  std::set<lease_id> listed;
  for (const auto* list : {&r.running, &r.unacked, &r.lost}) {
    if (planted(defect::unacked_ignored) && list == &r.unacked) continue;
    for (const protocol::lease_ref& ref : *list) listed.insert(ref.lease);
  }
  sort_running(c, w, e, answer);
  sort_unacked(c, w, e, answer);
  sort_lost(c, w, e, answer);
  sort_absent(c, w, e, listed);
}

}  // namespace orchestrator::engine
