// The read-only face of the core for API reads: who is connected, what fires next, how much there is. `why`
// has a file of its own.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "space.hpp"
#include "state.hpp"

namespace orchestrator::engine {
namespace {

protocol::presence presence_of(const core& c, const worker_entry& w, mono_time clock) {
  if (!w.ever_received && !w.row.last_seen) return protocol::presence::offline;  // it never registered
  const nanoseconds silent = clock - w.last_received;
  if (silent > c.settings.offline_after) return protocol::presence::offline;
  // A closed socket is at best stale.
  if (silent > c.settings.stale_after || w.session == nullptr) return protocol::presence::stale;
  return protocol::presence::online;
}

}  // namespace

const char* to_string(space_level l) {
  switch (l) {
    case space_level::ample: return "ok";
    case space_level::low: return "low";
    case space_level::full: break;
  }
  return "full";
}

space_level live_view::space() const { return space_of(core_); }

std::vector<protocol::worker_status> live_view::workers(mono_time now) const {
  const mono_time clock = now - core_.stalls;
  std::vector<protocol::worker_status> list;
  for (const auto& [name, w] : core_.worker_names) {
    protocol::worker_status status;
    status.worker = w->row;
    status.worker.last_seen = w->seen_wall;
    status.state = presence_of(core_, *w, clock);
    status.connected = w->session != nullptr;
    const auto live = static_cast<int>(w->live.size());
    status.running = std::min(live, w->row.slots);
    status.waiting = live - status.running;
    list.push_back(std::move(status));
  }
  return list;
}

std::optional<std::string> live_view::worker_of(const uuid& instance) const {
  for (const auto& [key, w] : core_.workers) {
    if (w.row.instance == instance) return w.row.worker_id;
  }
  return std::nullopt;
}

std::optional<run_standing> live_view::standing(const run_id& id) const {
  const run_entry* r = core_.runs.find(id);
  if (r == nullptr) return std::nullopt;
  wall_time from = r->submitted_at;
  if (r->details && r->details->not_before) from = std::max(from, *r->details->not_before);
  return run_standing{r->spec->spec.queue, from};
}

result<std::vector<upcoming_instant>> live_view::next_instants(const std::string& job, wall_time from,
                                                               std::size_t count) const {
  const auto found = core_.jobs.find(job);
  if (found == core_.jobs.end()) {
    return refusal{errc::not_found, fmt::format("There is no job \"{}\".", printable(job)), "", ""};
  }
  std::vector<upcoming_instant> list;
  const auto& s = found->second.job.definition.schedule;
  if (!s || s->kind == schedule_kind::manual) return list;
  if (!found->second.times) {
    return refusal{errc::unavailable, fmt::format("The time zone {} is still loading.", s->time_zone), "",
                   "Try again in a moment."};
  }
  while (list.size() < count) {
    auto next = found->second.times->next(from);
    if (!next) break;
    from = next->instant;
    next->delay = found->second.delay;
    list.push_back(std::move(*next));
  }
  return list;
}

std::vector<queue_status> live_view::queues() const {
  std::vector<queue_status> list;
  const auto ready = core_.places.ready_by_queue();
  for (const auto& [key, l] : core_.places.limiters()) {
    if (l.kind != limiter_kind::queue) continue;
    const auto waiting = ready.find(&l);
    queue_status s{l.settings, 0, l.running, std::nullopt};
    if (waiting != ready.end()) {
      s.waiting = waiting->second.count;
      if (waiting->second.oldest != nullptr) s.oldest = waiting->second.oldest->submitted_at;
    }
    if (!l.settings.is_plain() || s.waiting > 0 || s.running > 0) list.push_back(std::move(s));
  }
  return list;
}

engine_view::totals live_view::count() const {
  totals t = core_.counts;
  for (const auto& [key, w] : core_.workers) t.workers_online += w.session != nullptr ? 1 : 0;
  return t;
}

}  // namespace orchestrator::engine
