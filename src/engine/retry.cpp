// What becomes of a run when an attempt of it ended: its final state, another try after a backoff, or
// unknown.
#include <algorithm>
#include <cmath>

#include <orchestrator/base/planted.hpp>

#include "leases.hpp"
#include "runs.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr milliseconds refusal_backoff{1'000};
constexpr milliseconds refusal_backoff_max{60'000};
constexpr double jitter = 0.1;  ///< either way, so that what failed together does not come back together

milliseconds doubled(core& c, milliseconds base, int times, milliseconds most) {
  double delay = static_cast<double>(base.count()) * std::pow(2.0, std::min(times, 40));
  delay = std::min(delay, static_cast<double>(most.count()));
  delay *= 1.0 - jitter + 2.0 * jitter * c.random.unit();
  return milliseconds{static_cast<std::int64_t>(delay)};
}

// After a late end the run may wait already, and then it just goes on waiting.
void wait_and_retry(core& c, run_entry& r, milliseconds delay, std::string_view reason) {
  if (r.state == run_state::active) retry_run_later(c, r, delay, reason);
  if (r.state == run_state::queued || r.state == run_state::retry_wait) touch(c, r);
}

// With a list of exit codes any other end, a signal and a timeout included, is final.
bool is_worth_another(const retry_policy& policy, const attempt& row) {
  if (policy.on_exit.empty()) return true;
  return row.state == attempt_state::failed && row.exit_code &&
         std::binary_search(policy.on_exit.begin(), policy.on_exit.end(), *row.exit_code);
}

void after_failure(core& c, attempt_entry& a) {
  run_entry& r = *a.run;
  const retry_policy& policy = r.spec->spec.retry;
  ++r.failures;
  if (r.failures >= policy.max_attempts || r.spec->spec.at_most_once || !is_worth_another(policy, a.row)) {
    finish_run(c, r, run_state::failed, a.row.reason, a.row.lease);
    if (planted(defect::retry_after_end)) retry_run_later(c, r, policy.backoff, a.row.reason);
    return;
  }
  wait_and_retry(c, r, doubled(c, policy.backoff, r.failures + r.losses - 1, policy.max_backoff),
                 a.row.reason);
}

void after_loss(core& c, attempt_entry& a) {
  run_entry& r = *a.run;
  const retry_policy& policy = r.spec->spec.retry;
  ++r.losses;
  touch(c, r);
  if (r.state == run_state::unknown) return;
  if (r.spec->spec.at_most_once && !planted(defect::at_most_once_retried))
    return make_unknown(c, r, a.row.reason, a.row.lease);
  if (r.losses >= policy.max_lost) return finish_run(c, r, run_state::failed, "worker_lost", a.row.lease);
  wait_and_retry(c, r, doubled(c, policy.backoff, r.failures + r.losses - 1, policy.max_backoff),
                 a.row.reason);
}

// Nothing ran, so no try is used up; but another worker is preferred, and a refusal cannot go on for ever.
void after_refusal(core& c, attempt_entry& a) {
  run_entry& r = *a.run;
  ++r.rejections;
  const auto& all = r.details->attempts;
  const auto rejected = std::count_if(all.begin(), all.end(), [](const attempt_entry* one) {
    return one->row.state == attempt_state::rejected;
  });
  const bool too_often = a.row.state == attempt_state::rejected && rejected >= limits::rejections_max;
  if (too_often || r.state == run_state::unknown) {
    return finish_run(c, r, run_state::failed, a.row.reason, a.row.lease);
  }
  details(r).avoid = a.holder->order;
  const int times = static_cast<int>(std::min<std::uint32_t>(r.rejections, 30)) - 1;
  wait_and_retry(c, r, doubled(c, refusal_backoff, times, refusal_backoff_max), a.row.reason);
  expire_if_due(c, r);  // while that worker had it, its time may have passed
}

// Killed without anybody having cancelled the run, as when a worker is stopped: for the run that is a loss,
// but its end is known, so nothing becomes unknown.
void after_foreign_kill(core& c, attempt_entry& a) {
  run_entry& r = *a.run;
  if (r.spec->spec.at_most_once) return finish_run(c, r, run_state::failed, "killed", a.row.lease);
  ++r.losses;
  const retry_policy& policy = r.spec->spec.retry;
  if (r.losses >= policy.max_lost) return finish_run(c, r, run_state::failed, "killed", a.row.lease);
  wait_and_retry(c, r, doubled(c, policy.backoff, r.failures + r.losses - 1, policy.max_backoff), "killed");
}

}  // namespace

void after_attempt(core& c, attempt_entry& a) {
  run_entry& r = *a.run;
  if (is_final(r.state)) return;
  // Rule 5: a run cancelled while active is cancelled whatever its attempt's end was.
  if (r.cancel_requested) return finish_run(c, r, run_state::cancelled, "cancelled", a.row.lease);
  switch (a.row.state) {
    case attempt_state::succeeded: return finish_run(c, r, run_state::succeeded, "", a.row.lease);
    case attempt_state::failed:
    case attempt_state::timed_out: return after_failure(c, a);
    case attempt_state::rejected:
    case attempt_state::not_started: return after_refusal(c, a);
    case attempt_state::lost: return after_loss(c, a);
    case attempt_state::cancelled: return after_foreign_kill(c, a);
    case attempt_state::offered:
    case attempt_state::accepted:
    case attempt_state::running: break;
  }
  ORC_CHECK(false, "the end of a live attempt was to be decided");
}

}  // namespace orchestrator::engine
