// The gates of single runs. See admission.hpp.
#include "admission.hpp"

#include <algorithm>
#include <array>

#include "overlap.hpp"
#include "runs.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::array<run_gate, 6> gates{
    {{blocking_code::held, [](const core&, const run_entry& r) -> bool { return r.held; }},
     {blocking_code::job_paused, [](const core&, const run_entry& r) { return is_paused(r); }},
     {blocking_code::not_before, [](const core&, const run_entry& r) -> bool { return r.delayed; }},
     {blocking_code::backoff,
      [](const core&, const run_entry& r) { return r.details && r.details->backoff_until.has_value(); }},
     {blocking_code::overlap, [](const core&, const run_entry& r) { return is_behind_another(r); }},
     {blocking_code::dependency,
      [](const core&, const run_entry& r) { return r.details && r.details->waits_for > 0; }}}};

}  // namespace

std::span<const run_gate> run_gates() { return gates; }

bool is_kept_by_itself(const core& c, const run_entry& r) {
  return std::any_of(gates.begin(), gates.end(),
                     [&](const run_gate& g) { return g.code != blocking_code::overlap && g.closed(c, r); });
}

bool is_admitted(const core& c, const run_entry& r) {
  return r.state == run_state::queued &&
         std::none_of(gates.begin(), gates.end(), [&](const run_gate& g) { return g.closed(c, r); });
}

bool is_killed_when_lost(const run_spec& s) {
  return s.on_lease_lost == on_lease_lost::kill || !s.locks.empty();
}

}  // namespace orchestrator::engine
