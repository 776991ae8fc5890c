// Why a run does not start: every condition that keeps it, from a closed list of codes, each with the
// smallest change that would let it go.
//
// Codes: held, job_paused, not_before, backoff, overlap, cancel_requested, active, waiting_on_worker,
// unknown, no_worker, no_matching_labels, needs_newer_worker, worker_draining, no_free_slot, dispatching.
#include <algorithm>

#include <fmt/format.h>

#include "runs.hpp"
#include "state.hpp"

namespace orchestrator::engine {
namespace {

using reasons = std::vector<blocking_reason>;

std::string seconds_left(nanoseconds d) {
  return format_duration(std::max(std::chrono::ceil<seconds>(d), seconds{0}));
}

void add_waiting_reasons(const core& c, const run_entry& r, const engine_time& at, reasons& list) {
  if (r.held) list.push_back({"held", "The run is held.", "orchestrator run release " + to_string(r.id)});
  if (is_paused(r)) {
    list.push_back({"job_paused", fmt::format("The job {} is paused.", r.name->text),
                    "orchestrator job resume " + r.name->text});
  }
  if (r.state == run_state::retry_wait && r.details && r.details->backoff_until) {
    const nanoseconds left = *r.details->backoff_until - (at.mono - c.stalls);
    list.push_back({"backoff",
                    fmt::format("The last attempt ended ({}); the next one starts in {}.", r.details->reason,
                                seconds_left(left)),
                    ""});
  }
  if (r.state == run_state::queued && r.delayed) {
    list.push_back(
        {"not_before", "It was asked to start at " + to_rfc3339(*r.details->not_before) + ".", ""});
  }
  if (blocked_by_overlap(r)) {
    const run_entry& first = **r.name->live.begin();
    list.push_back({"overlap",
                    fmt::format("An earlier run of the job, {}, has not ended.", to_string(first.id)),
                    "orchestrator run cancel " + to_string(first.id)});
  }
}

std::string labels_text(const std::map<std::string, std::string>& labels) {
  std::string text;
  for (const auto& [key, value] : labels)
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", key, value);
  return text;
}

struct survey {
  int connected = 0, with_labels = 0, fitting = 0, draining = 0, free = 0;
};

survey ask_workers(const core& c, const requirement& what) {
  survey s;
  for (const auto& [key, w] : c.workers) {
    const worker_traits* traits = c.places.traits_of(w);
    if (w.session == nullptr || w.leases_only || traits == nullptr) continue;
    ++s.connected;
    const requirement labels_only{what.labels, legacy_fit::without_args};
    if (!fits(labels_only, *traits)) continue;
    ++s.with_labels;
    if (!fits(what, *traits)) continue;
    ++s.fitting;
    if (w.row.draining || w.session->drains_itself) {
      ++s.draining;
    } else if (w.capacity.used < w.capacity.slots) {
      ++s.free;
    }
  }
  return s;
}

void add_worker_reason(const core& c, const run_entry& r, reasons& list) {
  const bool with_args =
      r.details && r.details->has_args ? !r.details->args.empty() : !r.spec->spec.args.empty();
  const requirement_class* known = r.spec->classes[with_args ? 1 : 0];
  if (known == nullptr) return;  // it never was ready, so another reason stands in the list
  const survey s = ask_workers(c, known->what);
  if (s.connected == 0) {
    list.push_back({"no_worker", "No worker is connected.", "Start one: orchestrator --role=worker"});
  } else if (s.with_labels == 0) {
    list.push_back({"no_matching_labels", "No connected worker has " + labels_text(known->what.labels) + ".",
                    "Start a worker with these labels, or change what the run requires."});
  } else if (s.fitting == 0) {
    list.push_back({"needs_newer_worker",
                    "Only workers of the original protocol are connected, which cannot run this.",
                    "Start one: orchestrator --role=worker"});
  } else if (s.draining == s.fitting) {
    list.push_back({"worker_draining", "Every worker that fits is draining.", "orchestrator worker resume"});
  } else if (s.free == 0) {
    list.push_back({"no_free_slot",
                    fmt::format("All slots of the {} workers that fit are taken.", s.fitting - s.draining),
                    "Wait, or start another worker."});
  } else {
    list.push_back({"dispatching", "A slot is free; the run is about to be offered.", ""});
  }
}

void add_active_reasons(const run_entry& r, reasons& list) {
  const attempt_entry* a = live_attempt(r);
  if (a == nullptr) return;
  if (r.cancel_requested) {
    list.push_back({"cancel_requested", "It is being cancelled; its attempt has not ended yet.", ""});
  }
  const auto& live = a->holder->live;
  const auto ahead = std::distance(live.begin(), live.find(a->row.lease));
  if (a->row.state != attempt_state::running && ahead >= a->holder->row.slots) {
    list.push_back(
        {"waiting_on_worker", fmt::format("Handed to {}, where it waits for a slot.", a->row.worker_id), ""});
  } else if (!r.cancel_requested) {
    list.push_back(
        {"active",
         fmt::format("Attempt {} is {} on {}.", a->row.number, to_string(a->row.state), a->row.worker_id),
         ""});
  }
}

}  // namespace

std::optional<std::vector<blocking_reason>> live_view::why(const run_id& id, engine_time now) const {
  const run_entry* r = core_.runs.find(id);
  if (r == nullptr || is_final(r->state)) return std::nullopt;
  reasons list;
  if (r->state == run_state::active) add_active_reasons(*r, list);
  if (r->state == run_state::unknown) {
    add_active_reasons(*r, list);
    list.push_back(
        {"unknown", "It starts at most once, and how its attempt ended is not known.",
         fmt::format("orchestrator run resolve {} --as succeeded|failed|cancelled", to_string(id))});
  }
  if (r->state == run_state::queued || r->state == run_state::retry_wait) {
    add_waiting_reasons(core_, *r, now, list);
    if (list.empty()) add_worker_reason(core_, *r, list);
  }
  return list;
}

}  // namespace orchestrator::engine
