// Why a run does not start: every condition that keeps it, each with who has what it waits for, when that
// ends by itself as far as that can be known, and the smallest change that would let it go. Whether a
// condition holds is asked of the same gates by which the dispatcher decides (admission.hpp, limiter.hpp,
// dispatcher.hpp); here they only get words.
#include <algorithm>

#include <fmt/format.h>

#include "admission.hpp"
#include "dependencies.hpp"
#include "overlap.hpp"
#include "remedies.hpp"
#include "runs.hpp"
#include "state.hpp"

namespace orchestrator::engine {
namespace {

using reasons = std::vector<blocking_reason>;

constexpr std::size_t holders_shown = 10;

std::string seconds_left(nanoseconds d) {
  return format_duration(std::max(std::chrono::ceil<seconds>(d), seconds{0}));
}

blocking_reason reason(blocking_code code, std::string detail, std::string remedy) {
  return {code, std::move(detail), std::move(remedy), {}, forecast_kind::unknown, std::nullopt};
}

void expect(blocking_reason& b, forecast_kind kind, wall_time at) {
  b.forecast = kind;
  b.until = at;
}

// ---- who has it, and until when at most

// By then the coordinator ends it, whatever its worker does. Before its process started nothing is known.
std::optional<mono_time> latest_end(const attempt_entry& a) {
  if (a.row.state != attempt_state::running || !a.deadline_base) return std::nullopt;
  const run_spec& s = a.run->spec->spec;
  return *a.deadline_base + s.timeout + s.kill_grace + limits::run_deadline_slack;
}

void name_holders(blocking_reason& b, const attempts& list) {
  for (const attempt_entry* a : list) {
    if (b.holders.size() >= holders_shown) return;
    b.holders.push_back("run/" + id_of(*a->run));
  }
}

// One of them must end. Who is next in line then is known only of the first.
void expect_one_end(const question& q, blocking_reason& b, const attempts& list) {
  std::optional<mono_time> earliest;
  for (const attempt_entry* a : list) {
    const auto end = latest_end(*a);
    if (end && (!earliest || *end < *earliest)) earliest = end;
  }
  if (q.first && earliest) expect(b, forecast_kind::at_most, q.wall_at(*earliest));
}

// ---- the line of its job

const char* words_of(const run_entry& r) {
  if (r.cancel_requested) return "is being cancelled";
  switch (r.state) {
    case run_state::active: return "is active";
    case run_state::unknown: return "has an end that is not known";
    default: break;
  }
  if (r.place == line_place::begun)
    return r.held ? "is to be tried again, and is held" : "is to be tried again";
  return "is to start first";
}

// Until the run ends, and not just its attempt: one that is tried again keeps its place. A worker that is
// lost can make it longer all the same.
std::optional<mono_time> latest_end(const run_entry& r) {
  const attempt_entry* a = live_attempt(r);
  const run_spec& s = r.spec->spec;
  const bool last = r.cancel_requested || s.at_most_once || r.failures + 1 >= s.retry.max_attempts;
  return a != nullptr && last ? latest_end(*a) : std::nullopt;
}

std::string overlap_remedy(const std::vector<const run_entry*>& ahead, const std::string& job) {
  const run_entry& first = *ahead.front();
  if (ahead.size() > runs_in_command)
    return fmt::format(
        "Give the schedule of {} overlap = \"allow\" with orchestrator job apply; all go then.", job);
  if (ahead.size() == 1 && first.cancel_requested)
    return "Wait for the end of the run that is being cancelled.";
  if (ahead.size() == 1 && first.held) return "orchestrator run release " + id_of(first);
  std::string ids;
  for (const run_entry* r : ahead) {
    if (!r->cancel_requested) ids += " " + id_of(*r);
  }
  return ids.empty() ? "Wait for the end of the runs that are being cancelled."
                     : "orchestrator run cancel" + ids;
}

blocking_reason of_overlap(const question& q) {
  const std::vector<const run_entry*> ahead = ahead_in_line(q.r);
  if (ahead.empty()) return reason(blocking_code::overlap, "A newer run of the job is to replace it.", "");
  const run_entry& first = *ahead.front();
  auto b = reason(blocking_code::overlap,
                  fmt::format("Of the job's runs one goes at a time: {} {}, and this one is number {} in the "
                              "line behind it.",
                              id_of(first), words_of(first), ahead.size()),
                  overlap_remedy(ahead, q.r.name->text));
  for (const run_entry* r : ahead) {
    if (b.holders.size() < holders_shown) b.holders.push_back("run/" + id_of(*r));
  }
  const auto end = ahead.size() == 1 ? latest_end(first) : std::nullopt;
  if (end) expect(b, forecast_kind::at_most, q.wall_at(*end));
  return b;
}

// ---- its own gates

const char* words_of(after_condition on) {
  switch (on) {
    case after_condition::ok: return "succeed";
    case after_condition::any: return "end";
    case after_condition::failed: return "fail";
  }
  return "";
}

blocking_reason of_run(const question& q, blocking_code code) {
  const run_entry& r = q.r;
  switch (code) {
    case blocking_code::held: return reason(code, "The run is held.", "orchestrator run release " + id_of(r));
    case blocking_code::job_paused:
      return reason(code, fmt::format("The job {} is paused.", r.name->text),
                    "orchestrator job resume " + r.name->text);
    case blocking_code::not_before: {
      auto b = reason(code, "It was asked to start at " + to_rfc3339(*r.details->not_before) + ".",
                      "orchestrator run release --now " + id_of(r));
      expect(b, forecast_kind::at, *r.details->not_before);
      return b;
    }
    case blocking_code::backoff: {
      const mono_time at = *r.details->backoff_until;
      auto b = reason(code,
                      fmt::format("The last attempt ended ({}); the next one may start in {}.",
                                  r.details->reason, seconds_left(at - q.clock)),
                      "orchestrator run release --now " + id_of(r));
      expect(b, forecast_kind::at, q.wall_at(at));
      return b;
    }
    case blocking_code::overlap: return of_overlap(q);
    case blocking_code::dependency: {
      auto b = reason(code, "", "orchestrator run release --after " + id_of(r));
      std::string first;
      for (const dependency& d : r.details->after) {
        if (!is_open(q.c, d.run)) continue;
        if (first.empty()) first = fmt::format("run {} to {}", to_string(d.run), words_of(d.on));
        if (b.holders.size() < holders_shown) b.holders.push_back("run/" + to_string(d.run));
      }
      if (first.empty()) first = "a run that has just ended";
      b.detail = r.details->waits_for == 1
                     ? fmt::format("It waits for {}.", first)
                     : fmt::format("It waits for {} runs, first for {}.", r.details->waits_for, first);
      return b;
    }
    default: break;
  }
  ORC_CHECK(false, "a gate of runs has no words");
}

// ---- gates of limits

blocking_reason of_queue(const question& q, const limit_use& u, blocking_code code) {
  const queue& s = u.what->settings;
  if (code == blocking_code::queue_paused)
    return reason(code, fmt::format("The queue {} is paused.", s.name),
                  "orchestrator queue resume " + s.name);
  if (code == blocking_code::queue_rate) {
    auto b = reason(code, fmt::format("The queue {} starts at most {}.", s.name, format_rate(*s.rate)),
                    fmt::format("orchestrator queue set {} --rate none", s.name));
    if (q.first) expect(b, forecast_kind::at, q.wall_at(next_token(u)));
    return b;
  }
  const attempts list = holders_of(q.c, *u.what);
  auto b =
      reason(code, fmt::format("The queue {} runs {} of at most {}.", s.name, u.what->running, s.max_running),
             more_room(q, u));
  name_holders(b, list);
  expect_one_end(q, b, list);
  return b;
}

blocking_reason of_job(const question& q, const limit_use& u, blocking_code code) {
  const std::string& name = u.what->name();
  if (code == blocking_code::job_rate) {
    auto b = reason(code, fmt::format("Runs of {} start at most {}.", name, format_rate(*u.rate)),
                    fmt::format("A run keeps the rate it was submitted with. Submit it again without one or "
                                "with another, then: orchestrator run cancel {}",
                                id_of(q.r)));
    if (q.first) expect(b, forecast_kind::at, q.wall_at(next_token(u)));
    return b;
  }
  const attempts list = holders_of(q.c, *u.what);
  auto b = reason(
      code, fmt::format("{} of at most {} runs of {} are active.", u.what->running, u.max_running, name),
      fewer_of_job(q, u, list));
  name_holders(b, list);
  expect_one_end(q, b, list);
  return b;
}

blocking_reason of_lock(const question& q, const limit_use& u, blocking_code code) {
  const std::string& name = u.what->name();
  if (code == blocking_code::lock_wanted) {
    const run_id& before = std::get<1>(*u.what->waiting.begin());
    auto b = reason(
        code, fmt::format("An earlier run, {}, waits to have the lock {} alone.", to_string(before), name),
        nobody_alone_before(q, u));
    b.holders = {"run/" + to_string(before)};
    return b;
  }
  const attempts list = holders_of(q.c, *u.what);
  auto b = reason(code, fmt::format("The lock {} is held{}.", name, u.what->alone > 0 ? "" : " by readers"),
                  free_lock(q, u, list));
  name_holders(b, list);
  // To have it alone all readers must end.
  std::optional<mono_time> last;
  bool known = q.first && !list.empty();
  for (const attempt_entry* a : list) {
    const auto end = latest_end(*a);
    known = known && end;
    if (end && (!last || *last < *end)) last = end;
  }
  if (known) expect(b, forecast_kind::at_most, q.wall_at(*last));
  return b;
}

blocking_reason of_limit(const question& q, const limit_use& u, blocking_code code) {
  switch (u.what->kind) {
    case limiter_kind::queue: return of_queue(q, u, code);
    case limiter_kind::job: return of_job(q, u, code);
    case limiter_kind::lock: break;
  }
  return of_lock(q, u, code);
}

void add_limits(const question& q, reasons& list) {
  for (const limit_use& u : q.what.uses) {
    for (const limit_gate& g : limit_gates()) {
      if (g.kind == u.what->kind && g.closed(u, q.place, q.clock)) list.push_back(of_limit(q, u, g.code));
    }
  }
}

// ---- workers

std::string labels_text(const std::map<std::string, std::string>& labels) {
  std::string text;
  for (const auto& [key, value] : labels) text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  return text;
}

std::string amounts_text(const resource_amounts& amounts) {
  std::string text;
  for (const auto& [name, amount] : amounts)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, format_amount(amount));
  return text;
}

struct survey {
  bool any = false, labels = false, speech = false, resources = false;  ///< some worker has that, by itself
  // Each list has those of the one before that pass one more condition.
  worker_list labelled, speaking, able, willing, with_slot, free;
};

survey ask_workers(const core& c, const requirement_class& what) {
  survey s;
  for (const auto& [order, w] : c.workers_by_order) {
    const worker_traits* traits = c.places.traits_of(*w);
    if (w->session == nullptr || w->leases_only || traits == nullptr) continue;
    s.any = true;
    const bool labels = has_labels(what.what, *traits);
    const bool speech = speaks_enough(what.what, *traits);
    const bool resources = has_resources(what.what, *traits);
    s.labels = s.labels || labels;
    s.speech = s.speech || speech;
    s.resources = s.resources || resources;
    if (!labels) continue;
    s.labelled.push_back(w);
    if (!speech) continue;
    s.speaking.push_back(w);
    if (!resources) continue;
    s.able.push_back(w);
    if (!w->capacity.accepting) continue;
    s.willing.push_back(w);
    if (w->capacity.used >= w->capacity.slots) continue;
    s.with_slot.push_back(w);
    if (c.places.is_free_on(what, *w)) s.free.push_back(w);
  }
  return s;
}

blocking_reason drained(const question& q, const worker_list& able) {
  auto b = reason(blocking_code::worker_draining, "Every worker that fits is draining.",
                  "orchestrator worker resume " + best_to_resume(q, able).row.worker_id);
  for (const worker_entry* w : able) {
    if (b.holders.size() < holders_shown) b.holders.push_back("worker/" + w->row.worker_id);
  }
  return b;
}

blocking_reason without_slot(const question& q, const worker_list& workers) {
  auto b = reason(blocking_code::no_free_slot,
                  workers.size() == 1
                      ? fmt::format("All slots of {}, which fits, are taken.", workers.front()->row.worker_id)
                      : fmt::format("All slots of the {} workers that fit are taken.", workers.size()),
                  room_on(q, workers));
  const attempts list = on_workers(q.c, workers);
  name_holders(b, list);
  expect_one_end(q, b, list);
  return b;
}

blocking_reason without_resources(const question& q, const worker_list& workers) {
  auto b =
      reason(blocking_code::resources_taken,
             "What it requires is in use: " + amounts_text(q.what.what.resources) + ".", room_on(q, workers));
  name_holders(b, who_use_what_lacks(q, workers));
  return b;
}

// What no worker offers is said of each thing by itself; only when each is there, but not together, of the
// first that fails among those that have the ones before.
void add_unfit(const question& q, const survey& s, reasons& list) {
  const requirement& what = q.what.what;
  const bool together = s.labels && s.speech && s.resources;
  if (together ? s.labelled.empty() : !s.labels) {
    list.push_back(reason(blocking_code::no_matching_labels,
                          "No connected worker has " + labels_text(what.labels) + ".",
                          "Start one: " + fitting_worker(q)));
  }
  if (together ? !s.labelled.empty() && s.speaking.empty() : !s.speech) {
    list.push_back(reason(blocking_code::needs_newer_worker,
                          "Only workers of the original protocol are connected, which cannot run this.",
                          "Start one: " + fitting_worker(q)));
  }
  if (together ? !s.speaking.empty() && s.able.empty() : !s.resources) {
    list.push_back(reason(blocking_code::not_enough_resources,
                          fmt::format("No connected worker{} offers {}.",
                                      together ? " that fits otherwise" : "", amounts_text(what.resources)),
                          "Start one: " + fitting_worker(q)));
  }
}

void add_workers(const question& q, reasons& list) {
  const survey s = ask_workers(q.c, q.what);
  if (!s.any) {
    list.push_back(
        reason(blocking_code::no_worker, "No worker is connected.", "Start one: " + fitting_worker(q)));
  } else if (s.able.empty()) {
    add_unfit(q, s, list);
  } else if (s.willing.empty()) {
    list.push_back(drained(q, s.able));
  } else if (s.with_slot.empty()) {
    list.push_back(without_slot(q, s.willing));
  } else if (s.free.empty()) {
    list.push_back(without_resources(q, s.with_slot));
  }
}

// ---- on its way

// It was handed out behind short runs; one of those that have the slots must end.
blocking_reason behind_slots(const core& c, const attempt_entry& a, std::size_t ahead, engine_time now) {
  attempts in_slots;
  for (const auto& [lease, other] : a.holder->live) {
    if (in_slots.size() == static_cast<std::size_t>(a.holder->row.slots)) break;
    in_slots.push_back(other);
  }
  auto b =
      reason(blocking_code::waiting_on_worker,
             fmt::format("Handed to {}, where it waits for a slot.", a.row.worker_id), end_of_one(in_slots));
  name_holders(b, in_slots);
  const requirement_class& what = known_class(*a.run);
  const bool first = ahead == in_slots.size();
  expect_one_end({c, *a.run, what, c.places.rank_of(what, *a.run), now, now.mono - c.stalls, first}, b,
                 in_slots);
  return b;
}

void add_active_reasons(const core& c, const run_entry& r, engine_time now, reasons& list) {
  const attempt_entry* a = live_attempt(r);
  if (a == nullptr) return;
  const auto add = [&](blocking_code code, std::string detail) {
    list.push_back(reason(code, std::move(detail), ""));
    list.back().holders = {"worker/" + a->row.worker_id};
  };
  if (r.cancel_requested)
    add(blocking_code::cancel_requested, "It is being cancelled; its attempt has not ended yet.");
  const auto& live = a->holder->live;
  const auto ahead = std::distance(live.begin(), live.find(a->row.lease));
  if (a->row.state != attempt_state::running && ahead >= a->holder->row.slots) {
    list.push_back(behind_slots(c, *a, static_cast<std::size_t>(ahead), now));
  } else if (!r.cancel_requested) {
    add(blocking_code::active,
        fmt::format("Attempt {} is {} on {}.", a->row.number, to_string(a->row.state), a->row.worker_id));
  }
}

void add_waiting_reasons(const core& c, const run_entry& r, engine_time now, reasons& list) {
  const requirement_class& what = known_class(r);
  const rank place = c.places.rank_of(what, r);
  const question q{c, r, what, place, now, now.mono - c.stalls, c.places.is_first(place)};
  for (const run_gate& g : run_gates()) {
    if (g.closed(c, r)) list.push_back(of_run(q, g.code));
  }
  add_limits(q, list);
  add_workers(q, list);
  if (list.empty()) {
    list.push_back(reason(blocking_code::dispatching, "Nothing keeps it; it is about to be offered.", ""));
  }
  if (is_unstarted(r) && r.details && r.details->start_by) {
    const mono_time at = *r.details->start_by;
    list.push_back(reason(blocking_code::expires,
                          fmt::format("Unless a worker takes it before, it expires in {} (start_within).",
                                      seconds_left(at - q.clock)),
                          "Submit it again with more time, then: orchestrator run cancel " + id_of(r)));
    expect(list.back(), forecast_kind::at, q.wall_at(at));
  }
}

}  // namespace

const char* to_string(blocking_code code) {
  switch (code) {
    case blocking_code::held: return "held";
    case blocking_code::job_paused: return "job_paused";
    case blocking_code::not_before: return "not_before";
    case blocking_code::backoff: return "backoff";
    case blocking_code::overlap: return "overlap";
    case blocking_code::dependency: return "dependency";
    case blocking_code::queue_paused: return "queue_paused";
    case blocking_code::queue_full: return "queue_full";
    case blocking_code::queue_rate: return "queue_rate";
    case blocking_code::job_full: return "job_full";
    case blocking_code::job_rate: return "job_rate";
    case blocking_code::lock_held: return "lock_held";
    case blocking_code::lock_wanted: return "lock_wanted";
    case blocking_code::no_worker: return "no_worker";
    case blocking_code::no_matching_labels: return "no_matching_labels";
    case blocking_code::needs_newer_worker: return "needs_newer_worker";
    case blocking_code::not_enough_resources: return "not_enough_resources";
    case blocking_code::worker_draining: return "worker_draining";
    case blocking_code::no_free_slot: return "no_free_slot";
    case blocking_code::resources_taken: return "resources_taken";
    case blocking_code::dispatching: return "dispatching";
    case blocking_code::active: return "active";
    case blocking_code::waiting_on_worker: return "waiting_on_worker";
    case blocking_code::cancel_requested: return "cancel_requested";
    case blocking_code::unknown: return "unknown";
    case blocking_code::expires: return "expires";
  }
  return "invalid";
}

std::optional<std::vector<blocking_reason>> live_view::why(const run_id& id, engine_time now) const {
  const run_entry* r = core_.runs.find(id);
  if (r == nullptr || is_final(r->state)) return std::nullopt;
  reasons list;
  if (r->state == run_state::active || r->state == run_state::unknown)
    add_active_reasons(core_, *r, now, list);
  if (r->state == run_state::unknown) {
    list.push_back(reason(blocking_code::unknown,
                          "It starts at most once, and how its attempt ended is not known.",
                          fmt::format("orchestrator run resolve {} --as failed", to_string(id))));
  }
  if (r->state == run_state::queued || r->state == run_state::retry_wait)
    add_waiting_reasons(core_, *r, now, list);
  return list;
}

}  // namespace orchestrator::engine
