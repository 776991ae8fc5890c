// What is counted for Prometheus, from batches as the engine issues them.
#include "metrics.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace orchestrator;
using namespace orchestrator::server;
using namespace std::chrono_literals;

namespace {

class view_of_nothing : public engine::engine_view {
 public:
  std::uint64_t issued() const override { return 0; }
  std::uint64_t durable() const override { return 0; }
  std::uint64_t term() const override { return 1; }
  uuid cluster() const override { return {}; }
  std::vector<protocol::worker_status> workers(mono_time) const override { return workers_; }
  std::optional<std::vector<engine::blocking_reason>> why(const run_id&, engine_time) const override {
    return std::nullopt;
  }
  std::optional<engine::run_standing> standing(const run_id&) const override { return standing_; }
  std::optional<std::string> worker_of(const uuid&) const override { return std::nullopt; }
  result<std::vector<engine::upcoming_instant>> next_instants(const std::string&, wall_time,
                                                              std::size_t) const override {
    return std::vector<engine::upcoming_instant>{};
  }
  totals count() const override { return {}; }
  std::vector<engine::queue_status> queues() const override { return queues_; }
  engine::space_level space() const override { return engine::space_level::ample; }

  std::vector<protocol::worker_status> workers_;
  std::vector<engine::queue_status> queues_;
  std::optional<engine::run_standing> standing_ = engine::run_standing{"default", wall_time{1'000ms}};
};

struct scrape {
  metrics m{"1.2.3"};
  view_of_nothing view;
  std::uint64_t number = 0;

  void issue(std::vector<mutation> mutations) {
    m.issued({++number, std::move(mutations)}, view, {mono_time{1s}, wall_time{10'000ms}});
  }
  /// The value behind the one line that begins so; -1 if there is none.
  double value(const std::string& series) {
    const std::string text = "\n" + m.text(view, {mono_time{60s}, wall_time{60'000ms}});
    const auto at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
  }
};

attempt attempt_in(attempt_state state, std::uint64_t lease = 1) {
  attempt a;
  a.lease = lease_id{lease};
  a.state = state;
  a.offered_at = wall_time{1'500ms};
  if (state >= attempt_state::running && state != attempt_state::rejected) a.started_at = wall_time{2'000ms};
  return a;
}

put_instant quiet(const char* job, instant_outcome outcome, std::uint64_t count, std::int64_t from = 1'000) {
  return {job, wall_time{milliseconds{from}}, outcome, std::nullopt, "", count, std::nullopt};
}

}  // namespace

TEST_CASE("an attempt is counted once, by its end, however often its row is written") {
  scrape s;
  for (const attempt_state state :
       {attempt_state::offered, attempt_state::accepted, attempt_state::running, attempt_state::running})
    s.issue({put_attempt{attempt_in(state)}});
  CHECK(s.value("orchestrator_dispatch_latency_seconds_sum") == 0.5);
  CHECK(s.value("orchestrator_run_wait_seconds_count") == 1);
  CHECK(s.value("orchestrator_run_wait_seconds_sum") == 1.0);
  CHECK(s.value("orchestrator_attempts_total{result=\"lost\"}") == -1);
  s.issue({put_attempt{attempt_in(attempt_state::lost)}});
  CHECK(s.value("orchestrator_attempts_total{result=\"lost\"}") == 1);

  attempt late = attempt_in(attempt_state::succeeded);
  late.late = true;
  s.issue({put_attempt{late}});
  late.superseded_status = "SUCCESS";
  s.issue({put_attempt{late}});
  CHECK(s.value("orchestrator_attempts_total{result=\"lost\"}") == 1);
  CHECK(s.value("orchestrator_attempts_total{result=\"succeeded\"}") == -1);

  s.issue({put_attempt{attempt_in(attempt_state::rejected, 2)}});  // offered and refused within one batch
  CHECK(s.value("orchestrator_attempts_total{result=\"rejected\"}") == 1);
  CHECK(s.value("orchestrator_dispatch_latency_seconds_count") == 1);
}

TEST_CASE("an attempt that ran before this start is counted when it ends, and did not start again") {
  scrape s;
  snapshot found;
  found.attempts = {attempt_in(attempt_state::running), attempt_in(attempt_state::lost, 2)};
  s.m.started(found);
  s.issue({put_attempt{attempt_in(attempt_state::succeeded)}});
  CHECK(s.value("orchestrator_attempts_total{result=\"succeeded\"}") == 1);
  CHECK(s.value("orchestrator_dispatch_latency_seconds_count") == 0);
}

TEST_CASE("a run is counted with its queue, and only so many queues have a label of their own") {
  scrape s;
  for (std::size_t i = 0; i < limits::metric_queues + 5; ++i) {
    s.view.standing_ = engine::run_standing{fmt::format("q{}", i), {}};
    run r;
    r.state = run_state::failed;
    r.started_at = wall_time{1'000ms};
    r.finished_at = wall_time{3'000ms};
    s.issue({put_run{r}});
  }
  CHECK(s.value("orchestrator_runs_total{queue=\"q0\",result=\"failed\"}") == 1);
  CHECK(s.value("orchestrator_runs_total{queue=\"other\",result=\"failed\"}") == 5);
  CHECK(s.value("orchestrator_run_duration_seconds_sum") ==
        doctest::Approx(2.0 * static_cast<double>(limits::metric_queues + 5)));
}

TEST_CASE("instants that share a row are counted one by one as the row grows, over a restart too") {
  scrape s;
  snapshot found;
  found.instants["job"] = {
      {wall_time{1'000ms}, instant_outcome::paused, std::nullopt, "", 3, wall_time{3'000ms}}};
  s.m.started(found);
  s.issue({quiet("job", instant_outcome::paused, 4)});
  s.issue({quiet("job", instant_outcome::paused, 6)});
  CHECK(s.value("orchestrator_schedule_missed_total{reason=\"paused\"}") == 3);
  s.issue({quiet("job", instant_outcome::missed, 2, 9'000)});
  CHECK(s.value("orchestrator_schedule_missed_total{reason=\"missed\"}") == 2);
  put_instant ran = quiet("job", instant_outcome::ran, 1, 9'500);
  ran.run = run_id{};
  s.issue({ran});
  CHECK(s.value("orchestrator_schedule_instants_total{outcome=\"ran\"}") == 1);
  CHECK(s.value("orchestrator_schedule_lag_seconds_sum") == 0.5);
  CHECK(s.value("orchestrator_schedule_missed_total{reason=\"ran\"}") == -1);
}

TEST_CASE("a commit lasts from its batch's issue until all up to it are on disk") {
  scrape s;
  s.issue({});
  s.issue({});
  CHECK(s.value("orchestrator_store_commit_seconds_count") == 0);
  s.m.committed(1, mono_time{3s});
  s.m.committed(2, mono_time{4s});
  CHECK(s.value("orchestrator_store_commit_seconds_count") == 2);
  CHECK(s.value("orchestrator_store_commit_seconds_sum") == 5);
}

TEST_CASE("what is there at the moment: queues, slots, workers and the process") {
  scrape s;
  engine::queue_status q;
  q.queue.name = "slow";
  q.waiting = 7;
  q.running = 2;
  q.oldest = wall_time{50'000ms};
  s.view.queues_ = {q};
  protocol::worker_status w;
  w.worker.slots = 4;
  w.running = 1;
  w.connected = true;
  w.state = protocol::presence::online;
  protocol::worker_status leaving = w, gone = w;
  leaving.worker.draining = true;
  gone.connected = false;
  gone.state = protocol::presence::offline;
  s.view.workers_ = {w, leaving, gone};
  CHECK(s.value("orchestrator_queue_depth{queue=\"slow\",state=\"waiting\"}") == 7);
  CHECK(s.value("orchestrator_queue_oldest_seconds{queue=\"slow\"}") == 10);
  CHECK(s.value("orchestrator_worker_slots{state=\"free\"}") == 3);
  CHECK(s.value("orchestrator_worker_slots{state=\"busy\"}") == 2);
  for (const char* state : {"online", "draining", "offline"})
    CHECK(s.value(fmt::format("orchestrator_workers{{state=\"{}\"}}", state)) == 1);
  CHECK(s.value("orchestrator_workers{state=\"stale\"}") == 0);
  CHECK(s.value("process_resident_memory_bytes") > 1'000'000);
  CHECK(s.value("process_open_fds") >= 3);
  CHECK(s.value("process_start_time_seconds") > 1'700'000'000);
}

TEST_CASE("an answer is measured by its route, and what no route has shares one label") {
  scrape s;
  s.m.answered("GET", "/api/v1/runs/{id}", 200, 2ms);
  s.m.answered("BREW", "", 501, 1ms);
  CHECK(s.value("orchestrator_http_request_duration_seconds_count"
                "{code=\"200\",method=\"GET\",route=\"/api/v1/runs/{id}\"}") == 1);
  CHECK(s.value("orchestrator_http_request_duration_seconds_count"
                "{code=\"501\",method=\"other\",route=\"none\"}") == 1);
}
