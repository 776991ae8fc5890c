// The overlap rule. See overlap.hpp.
#include "overlap.hpp"

#include <algorithm>
#include <tuple>
#include <vector>

#include <orchestrator/base/planted.hpp>

#include "admission.hpp"
#include "requests.hpp"
#include "runs.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t ends_a_step = 500;  // each is a few mutations, and one step is one transaction

run_entry* first_of(const name_entry& n) { return n.line.empty() ? nullptr : *n.line.begin(); }

bool has_begun(const run_entry& r) { return r.state != run_state::queued || r.attempts > 0; }

// One that is kept by something else would come as a ready one.
bool goes_before(const run_entry& other, const run_entry& r) {
  const line_place place = std::min(r.place, line_place::ready);
  return std::tie(other.place, other.id) < std::tie(place, r.id);
}

std::vector<run_entry*> predecessors(const name_entry& n, std::size_t most) {
  std::vector<run_entry*> list;
  for (run_entry* r : n.line) {
    if (list.size() == most) break;
    // An end that is not known is for a late result or a person to tell, as after any loss.
    const bool settled_by_others = r->state == run_state::unknown && live_attempt(*r) == nullptr;
    if (r->id != n.successor && !r->cancel_requested && !settled_by_others) list.push_back(r);
  }
  return list;
}

}  // namespace

bool by_line_place::operator()(const run_entry* a, const run_entry* b) const {
  return std::tie(a->place, a->id) < std::tie(b->place, b->id);
}

overlap_policy overlap_rule(const name_entry& n) {
  if (n.job == nullptr || !n.job->job.definition.schedule) return overlap_policy::allow;
  return n.job->job.definition.schedule->overlap;
}

line_place place_in_line(const core& c, const run_entry& r) {
  if (r.job_version == 0 || is_final(r.state)) return line_place::outside;
  if (r.state == run_state::active || r.state == run_state::unknown) return line_place::under_way;
  if (has_begun(r)) return line_place::begun;
  if (planted(defect::held_run_occupies) && r.held) return line_place::ready;
  return is_kept_by_itself(c, r) ? line_place::outside : line_place::ready;
}

void file_in_line(core& c, run_entry& r) {
  const line_place to = place_in_line(c, r);
  if (to == r.place) return;
  name_entry& n = *r.name;
  run_entry* const before = first_of(n);
  const bool comes = r.place == line_place::outside && to == line_place::ready;
  if (r.place != line_place::outside) n.line.erase(&r);
  r.place = to;
  if (to != line_place::outside) n.line.insert(&r);
  const overlap_policy rule = overlap_rule(n);
  // Without a rule all are let in, each by itself.
  if (rule == overlap_policy::allow) return;
  if (rule == overlap_policy::cancel_old && comes) succeed(c, r);
  run_entry* const after = first_of(n);
  if (before == after) return;
  for (run_entry* other : {before, after}) {
    if (other != nullptr && other != &r) let_in_or_out(c, *other);
  }
}

bool is_behind_another(const run_entry& r) {
  if (planted(defect::overlap_not_asked)) return false;
  if (planted(defect::overlap_of_instants_only) && (!r.details || !r.details->instant)) return false;
  const name_entry& n = *r.name;
  if (r.job_version == 0 || overlap_rule(n) == overlap_policy::allow) return false;
  if (n.successor && *n.successor != r.id) return true;
  const run_entry* first = first_of(n);
  return first != nullptr && goes_before(*first, r);
}

std::vector<const run_entry*> ahead_in_line(const run_entry& r) {
  const run_line& line = r.name->line;
  const auto end = std::find_if_not(line.begin(), line.end(),
                                    [&](const run_entry* other) { return goes_before(*other, r); });
  return {line.begin(), end};
}

bool may_go_on(const run_entry& r) {
  if (r.place == line_place::under_way || overlap_rule(*r.name) == overlap_policy::allow) return true;
  const run_entry* first = first_of(*r.name);
  return first == nullptr || first->place != line_place::under_way;
}

std::optional<std::string> overlap_objection(const name_entry& n) {
  if (n.line.empty()) return std::nullopt;
  switch (overlap_rule(n)) {
    case overlap_policy::skip: return "overlap skip";
    case overlap_policy::queue: {
      const bool waits = n.line.size() > 1 && (*n.line.rbegin())->place != line_place::under_way;
      return waits ? std::optional<std::string>("overlap queue: one waits already") : std::nullopt;
    }
    case overlap_policy::queue_all:
    case overlap_policy::cancel_old:
    case overlap_policy::allow: break;
  }
  return std::nullopt;
}

void succeed(core& c, const run_entry& r) {
  r.name->successor = r.id;
  c.successions.insert(r.name->text);
  // The end of the others may take more than this step, and until then none of them starts.
  run_entry* const first = first_of(*r.name);
  if (first != nullptr && first != &r) let_in_or_out(c, *first);
}

void take_up_rule(core& c, name_entry& n) {
  if (n.line.empty() || overlap_rule(n) != overlap_policy::cancel_old) return;
  const run_entry& last = **n.line.rbegin();
  if (last.place == line_place::ready) succeed(c, last);
}

void end_predecessors(core& c) {
  std::size_t left = ends_a_step;
  for (auto at = c.successions.begin(); at != c.successions.end() && left > 0;) {
    const auto found = c.names.find(*at);
    if (found == c.names.end()) {
      at = c.successions.erase(at);
      continue;
    }
    name_entry& n = found->second;
    const bool holds = overlap_rule(n) == overlap_policy::cancel_old;
    const std::vector<run_entry*> old = holds ? predecessors(n, left) : std::vector<run_entry*>{};
    for (run_entry* r : old) request_cancel(c, *r, "overlap");
    left -= old.size();
    if (left == 0) break;
    n.successor.reset();
    if (run_entry* first = first_of(n)) let_in_or_out(c, *first);
    at = c.successions.erase(at);
  }
  if (!c.successions.empty() || !c.ended.empty()) c.more_work = true;
}

}  // namespace orchestrator::engine
