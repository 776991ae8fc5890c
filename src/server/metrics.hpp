// What Prometheus scrapes at /metrics: counted from what the engine makes durable, and measured at the moment
// of the scrape from its view. Owned by the coordinator, which tells it of every batch; api_metrics.cpp adds
// the route. Names follow the conventions of Prometheus: one base unit each, `_total` for what only rises.
// Labels never hold what users can make without bound: no run, no job, and at most limits::metric_queues
// queues.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <orchestrator/base/time.hpp>
#include <orchestrator/engine/view.hpp>
#include <orchestrator/model/snapshot.hpp>

namespace orchestrator::server {

class metrics {
 public:
  explicit metrics(const std::string& version);
  ~metrics();
  metrics(const metrics&) = delete;
  metrics& operator=(const metrics&) = delete;

  /// Before everything else: what was there already is not counted again.
  void started(const snapshot& found);
  /// A batch goes to the store. `view` still knows the runs that end with it.
  void issued(const mutation_batch& batch, const engine::engine_view& view, engine_time now);
  /// All batches up to `number` are on disk.
  void committed(std::uint64_t number, mono_time now);
  /// An answer left the HTTP server; `pattern` is its route's, and empty where no route was found.
  void answered(std::string_view method, std::string_view pattern, int status, nanoseconds took);

  /// The exposition format 0.0.4, which every Prometheus reads.
  std::string text(const engine::engine_view& view, engine_time now);

 private:
  struct families;

  void attempt_changed(const attempt& a, const engine::engine_view& view);
  void run_ended(const run& r, const engine::engine_view& view);
  void instant_decided(const put_instant& m, wall_time now);
  std::string queue_label(const std::string& queue);

  std::unique_ptr<families> all_;
  std::unordered_map<lease_id, attempt_state> live_;  ///< attempts that have not ended
  lease_id newest_{};                                 ///< the highest one seen
  /// The newest row without a run of each job: it is put again with more instants in it.
  std::map<std::string, std::pair<wall_time, std::uint64_t>> rows_;
  std::set<std::string> queues_;                               ///< those that have a label of their own
  std::deque<std::pair<std::uint64_t, mono_time>> in_flight_;  ///< batches that are not on disk
};

}  // namespace orchestrator::server
