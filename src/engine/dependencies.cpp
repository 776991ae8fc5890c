// Dependencies between runs. See dependencies.hpp.
#include "dependencies.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>

#include "runs.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

// How a run ended, if it has and somebody here knows.
std::optional<run_state> end_of(const core& c, const submit_run& in, const run_id& id) {
  if (const run_entry* r = c.runs.find(id))
    return is_final(r->state) ? std::optional(r->state) : std::nullopt;
  const auto known = in.ended_before.find(id);
  return known == in.ended_before.end() ? std::nullopt : std::optional(known->second);
}

void file_under(core& c, run_entry& r, const dependency& d) {
  c.dependents[d.run].push_back({r.id, d.on});
  ++r.details->waits_for;
}

void settle(core& c, const dependent& d, run_state end) {
  run_entry* r = c.runs.find(d.run);
  // It may have been cancelled, skipped for another one, or told to wait no longer.
  if (r == nullptr || is_final(r->state) || r->details->waits_for == 0) return;
  const bool met = is_met(d.on, end) || planted(defect::any_end_is_met);
  if (!met) return finish_run(c, *r, run_state::skipped, "dependency");
  if (--r->details->waits_for == 0) place_run(c, *r);
}

// Those that were cancelled, or wait no longer, leave the list only when it is full.
bool has_too_many_dependents(core& c, const run_id& id) {
  const auto waiting = c.dependents.find(id);
  if (waiting == c.dependents.end() || waiting->second.size() < limits::dependents) return false;
  std::erase_if(waiting->second, [&](const dependent& d) {
    const run_entry* r = c.runs.find(d.run);
    return r == nullptr || is_final(r->state) || r->details->waits_for == 0;
  });
  return waiting->second.size() >= limits::dependents;
}

}  // namespace

bool is_open(const core& c, const run_id& id) {
  const run_entry* r = c.runs.find(id);
  return r != nullptr && !is_final(r->state);
}

std::optional<std::size_t> unknown_dependency(const core& c, const submit_run& in) {
  for (std::size_t i = 0; i < in.after.size(); ++i) {
    const run_id& id = in.after[i].run;
    if (c.runs.find(id) == nullptr && !in.ended_before.contains(id)) return i;
  }
  return std::nullopt;
}

std::optional<refusal> refuse_dependencies(core& c, const submit_run& in) {
  std::set<run_id> seen;
  for (std::size_t i = 0; i < in.after.size(); ++i) {
    const run_id& id = in.after[i].run;
    if (!seen.insert(id).second) {
      return refuse(errc::bad_field, fmt::format("It waits for run {} twice.", to_string(id)),
                    fmt::format("/after/{}/run", i), "Name each run once.");
    }
    if (has_too_many_dependents(c, id)) {
      return refuse(errc::limit,
                    fmt::format("{} runs wait for run {} already.", limits::dependents, to_string(id)),
                    fmt::format("/after/{}/run", i), "Let them wait for one run that waits for it.");
    }
  }
  return std::nullopt;
}

void wait_for_others(core& c, run_entry& r) {
  if (!r.details) return;
  for (const dependency& d : r.details->after) {
    if (is_open(c, d.run)) file_under(c, r, d);
  }
}

void wait_again(core& c, run_entry& r, const std::map<run_id, run_state>& ended) {
  if (planted(defect::waits_forgotten)) return;
  wait_for_others(c, r);
  if (!r.details) return;
  for (const dependency& d : r.details->after) {
    const auto end = ended.find(d.run);
    if (end == ended.end()) continue;
    if (!c.dependents.contains(d.run)) c.ended.emplace_back(d.run, end->second);
    file_under(c, r, d);
  }
}

bool waits_in_vain(const core& c, const submit_run& in) {
  return std::any_of(in.after.begin(), in.after.end(), [&](const dependency& d) {
    const auto end = end_of(c, in, d.run);
    return end && !is_met(d.on, *end);
  });
}

void forget_dependencies(core& c, run_entry& r) {
  if (!r.details || r.details->waits_for == 0) return;
  r.details->after.clear();
  r.details->waits_for = 0;
  announce(c, r);
  put_fact(c, "run.after_dropped", subject_of(r), "{}");
  place_run(c, r);
}

void settle_dependents(core& c) {
  // A list, not a recursion: a chain may be as long as the queue.
  for (std::size_t left = limits::dependents_a_step; !c.ended.empty(); c.ended.pop_front()) {
    const auto [id, end] = c.ended.front();
    std::vector<dependent>& waiting = c.dependents.at(id);
    for (; !waiting.empty() && left > 0; --left) {
      const dependent next = waiting.back();
      waiting.pop_back();
      settle(c, next, end);
    }
    if (!waiting.empty()) break;
    c.dependents.erase(id);
  }
  if (!c.ended.empty()) c.more_work = true;
}

}  // namespace orchestrator::engine
