// The gates of queues, jobs and locks. See limiter.hpp.
#include "limiter.hpp"

#include <algorithm>
#include <array>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/planted.hpp>

namespace orchestrator::engine {
namespace {

bool is_paused_queue(const limit_use& u, const rank&, mono_time) { return u.what->settings.paused; }

bool is_full(const limit_use& u, const rank&, mono_time) {
  const int most = max_running_of(u);
  return most > 0 && u.what->running >= most + (planted(defect::queue_one_too_many) ? 1 : 0);
}

bool is_dry(const limit_use& u, const rank&, mono_time now) { return rate_of(u) && next_token(u) > now; }

bool is_held_lock(const limit_use& u, const rank&, mono_time) {
  if (planted(defect::lock_ignored_by_readers) && u.shared) return false;
  return u.shared ? u.what->alone > 0 : u.what->running > 0;
}

// Readers that kept coming would keep a lock from whoever wants it alone, for ever.
bool is_wanted_lock(const limit_use& u, const rank& head, mono_time) {
  if (!u.shared || u.what->waiting.empty()) return false;
  const auto& [priority, id, first] = *u.what->waiting.begin();
  return rank{priority, id} < head;
}

constexpr std::array<limit_gate, 7> gates{
    {{blocking_code::queue_paused, limiter_kind::queue, is_paused_queue},
     {blocking_code::queue_full, limiter_kind::queue, is_full},
     {blocking_code::queue_rate, limiter_kind::queue, is_dry},
     {blocking_code::job_full, limiter_kind::job, is_full},
     {blocking_code::job_rate, limiter_kind::job, is_dry},
     {blocking_code::lock_held, limiter_kind::lock, is_held_lock},
     {blocking_code::lock_wanted, limiter_kind::lock, is_wanted_lock}}};

nanoseconds token_time(const rate_limit& r) { return nanoseconds{r.period} / r.count; }

}  // namespace

int max_running_of(const limit_use& u) {
  return u.what->kind == limiter_kind::queue ? u.what->settings.max_running : u.max_running;
}

const std::optional<rate_limit>& rate_of(const limit_use& u) {
  return u.what->kind == limiter_kind::queue ? u.what->settings.rate : u.rate;
}

std::span<const limit_gate> limit_gates() { return gates; }

bool is_closed(const limit_use& u, const rank& head, mono_time now) {
  return std::any_of(gates.begin(), gates.end(),
                     [&](const limit_gate& g) { return g.kind == u.what->kind && g.closed(u, head, now); });
}

mono_time next_token(const limit_use& u) {
  const rate_limit& r = *rate_of(u);
  return u.what->full_at - token_time(r) * (r.count - 1);
}

void take(const limit_use& u, mono_time now) {
  take_again(u);
  if (!rate_of(u)) return;
  u.what->full_at = std::max(u.what->full_at, now) + token_time(*rate_of(u));
  u.what->spent = true;
}

void take_again(const limit_use& u) {
  ++u.what->running;
  if (u.what->kind == limiter_kind::lock && !u.shared) ++u.what->alone;
}

void give_back(const limit_use& u) {
  ORC_CHECK(u.what->running > 0, "a limit was given back by somebody who did not hold it");
  --u.what->running;
  if (u.what->kind == limiter_kind::lock && !u.shared) --u.what->alone;
}

}  // namespace orchestrator::engine
