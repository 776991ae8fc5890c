// Queues as people set them up: limits, priority, pause. See requests.hpp; what a queue does to its runs is
// in limiter.hpp.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>

#include "requests.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr int priority_bound = 1000;

std::optional<refusal> check(const core& c, const set_queue& in) {
  if (!is_valid_name(in.name)) {
    return refuse(errc::bad_field, "A queue's name must match [A-Za-z0-9][A-Za-z0-9_.-]{0,127}.", "/name");
  }
  if (in.max_running && (*in.max_running < 0 || *in.max_running > limits::max_running_max)) {
    return refuse(errc::bad_field,
                  fmt::format("concurrency must be from 0 (no limit) to {}.", limits::max_running_max),
                  "/concurrency");
  }
  if (in.priority && (*in.priority < -priority_bound || *in.priority > priority_bound)) {
    return refuse(errc::bad_field, "priority must be from -1000 to 1000.", "/priority");
  }
  const auto& all = c.places.limiters();
  const auto set_up = std::count_if(all.begin(), all.end(), [](const auto& entry) {
    return entry.first.first == limiter_kind::queue && !entry.second.settings.is_plain();
  });
  const auto known = all.find({limiter_kind::queue, in.name});
  const bool fresh = known == all.end() || known->second.settings.is_plain();
  if (fresh && static_cast<std::size_t>(set_up) >= limits::queues) {
    return refuse(errc::limit, fmt::format("{} queues are set up already.", limits::queues), "",
                  "Take the limits of one away: it needs no settings then.");
  }
  return std::nullopt;
}

queue changed(const queue& old, const set_queue& in) {
  queue q = old;
  q.paused = in.paused.value_or(q.paused);
  q.max_running = in.max_running.value_or(q.max_running);
  if (in.rate) q.rate = *in.rate;
  q.priority = in.priority.value_or(q.priority);
  return q;
}

std::string describe(const queue& q) {
  fact_data data;
  data.add("paused", q.paused).add("concurrency", q.max_running).add("priority", q.priority);
  if (q.rate) data.add("rate", format_rate(*q.rate));
  return data.take();
}

}  // namespace

void on(core& c, const set_queue& in) {
  if (auto full = refuse_change(c)) return respond(c, in.request, std::move(*full));
  if (auto wrong = check(c, in)) return respond(c, in.request, std::move(*wrong));
  limiter& l = c.places.queue_of(in.name);
  const queue wanted = changed(l.settings, in);
  if (!(wanted == l.settings)) {
    const char* fact = wanted.paused == l.settings.paused ? "queue.changed"
                       : wanted.paused                    ? "queue.paused"
                                                          : "queue.resumed";
    l.settings = wanted;
    queue stored = wanted;
    if (planted(defect::queue_hold_not_durable)) stored.paused = false;
    if (stored.is_plain())
      c.step.rest.emplace_back(delete_queue{in.name});
    else
      c.step.rest.emplace_back(put_queue{stored});
    put_fact(c, fact, "queue/" + in.name, describe(wanted));
    c.places.reconsider(l);
  }
  respond(c, in.request, done_answer{});
}

}  // namespace orchestrator::engine
