// What the coordinator's core costs at three sizes each, which shows growth: a submission, a result and the
// placement that follows it, with 10,000 schedules, 100 workers and up to 1,000,000 queued runs of 300
// different requirements (labels, resources, queues with limits, locks); and up to 10,000 schedules that are
// due in one second. Every step is followed by its turn and its commit. Built on demand, in the optimised
// tree: ninja -C build/release bench_engine; not part of any test.
#include <deque>
#include <memory>

#include <benchmark/benchmark.h>

#include <orchestrator/engine/engine.hpp>
#include <orchestrator/protocol/definitions.hpp>

namespace {

using namespace orchestrator;
using namespace std::chrono_literals;

constexpr int requirements = 300;
constexpr int workers = 100;
constexpr int slots = 4;
constexpr std::size_t all_schedules = 10'000;

run_spec spec_number(int i) {
  run_spec s;
  s.command = {"true", std::to_string(i)};
  s.queue = "q" + std::to_string(i % 20);
  s.priority = i % 3;
  if (i % 2 == 0) s.required_labels = {{"kind", std::to_string(i % 10)}};
  if (i % 5 == 0) s.required_resources = {{"gpu", 1'000}};
  if (i % 7 == 0) s.locks = {{"lock" + std::to_string(i % 40), i % 3 == 0}};
  if (i % 11 == 0) s.max_running = 3;
  return s;
}

run_id id_number(std::uint64_t n) {
  return make_uuid_v7(from_unix_ms(1'700'000'000'000 + static_cast<std::int64_t>(n / 4)), 0, n);
}

/// Either spread over the day, or all at 02:30.
job_definition schedule_number(std::size_t i, bool together) {
  job_definition d;
  d.name = "scheduled" + std::to_string(i);
  d.spec.command = {"true"};
  d.schedule = schedule{};
  d.schedule->kind = schedule_kind::daily;
  d.schedule->hour = together ? 2 : static_cast<int>(i % 24);
  d.schedule->minute = together ? 30 : static_cast<int>(i % 60);
  d.schedule->overlap = overlap_policy::allow;
  return d;
}

snapshot make_snapshot(std::size_t queued, wall_time now, std::size_t schedules, bool together) {
  snapshot s;
  s.cluster = uuid{{1}};
  s.term = 1;
  for (int i = 0; i < requirements; ++i)
    s.specs.push_back({spec_id{static_cast<std::uint64_t>(i + 1)}, protocol::encode_spec(spec_number(i))});
  s.spec_counter = spec_id{requirements};
  for (int i = 0; i < 10; ++i) s.queues.push_back({"q" + std::to_string(i), false, 30, {}, i % 2});
  s.runs.resize(queued);
  for (std::size_t i = 0; i < queued; ++i) {
    run& r = s.runs[i];
    r.id = id_number(i);
    r.job = "job" + std::to_string(i % requirements);
    r.spec = spec_id{i % requirements + 1};
    r.submitted_at = now;
  }
  for (std::size_t i = 0; i < schedules; ++i) {
    const job_definition d = schedule_number(i, together);
    job j;
    j.name = d.name;
    j.cursor = now;
    s.jobs.push_back({j, protocol::write_json(protocol::encode_job(d))});
  }
  return s;
}

class bed {
 public:
  bed(std::size_t queued, std::size_t schedules, bool together) : core_(roomy()) {
    give(engine::started{make_snapshot(queued, wall_, schedules, together), 1});
    if (!together) {
      for (int i = 0; i < workers; ++i) connect(i);
    }
    turn();
  }
  void submit_one() {
    engine::submit_run in;
    in.request = request_id{++requests_};
    in.what.spec = spec_number(static_cast<int>(requests_ % requirements));
    in.idempotency_key = "key" + std::to_string(requests_);
    give(std::move(in));
    turn();
  }
  /// The next 02:30 comes, and all that follows from it.
  void pass_half_past_two() {
    constexpr auto day = 24h;
    wall_ = wall_time{(wall_.time_since_epoch() / day + 1) * milliseconds{day} + 2h + 30min};
    now_ += day;
    do {
      give(engine::tick{});
      turn();
    } while (core_.next_deadline() && *core_.next_deadline() <= now_);
  }
  std::size_t queued() const { return core_.view().count().queued; }
  /// One result in; what it makes room for out.
  void complete_one() {
    const auto [session, offer] = offers_.front();
    offers_.pop_front();
    protocol::job_result r;
    r.job_id = offer.job_id;
    r.worker_id = "w";
    r.lease = offer.lease;
    r.exit_code = 0;
    r.duration_seconds = 1;
    give(engine::session_frame{session,
                               {{++seq_[session], r, static_cast<std::uint32_t>(offer.lease->value)}}});
    turn();
  }
  std::size_t placed() const { return placed_; }

 private:
  static engine::config roomy() {
    engine::config c;
    c.max_queued_runs = 10'000'000;
    return c;
  }
  void connect(int i) {
    const session_id session{static_cast<std::uint64_t>(i + 1)};
    protocol::worker_register r;
    r.worker_id = "w" + std::to_string(i);
    r.protocol = 1;
    r.features = {"batch"};
    r.slots = slots;
    r.credit = 0;
    r.labels = {{"kind", std::to_string(i % 10)}};
    r.resources = {{"gpu", 2'000}};
    r.instance = uuid{{7, static_cast<std::uint8_t>(i)}};
    give(engine::session_opened{session, "bench"});
    give(engine::session_frame{session, {{++seq_[session], r, 0}}});
  }
  void turn() {
    now_ += 1ms;
    wall_ += 1ms;
    give(engine::turn_end{});
    give(engine::persisted{issued_});
  }
  void give(engine::input in) {
    engine::effects e = core_.step({now_, wall_}, in);
    if (e.commit) issued_ = e.commit->number;
    for (const engine::output& o : e.outputs) {
      const auto* sent = std::get_if<engine::send>(&o);
      if (sent == nullptr) continue;
      if (const auto* offer = std::get_if<protocol::execute_job>(&sent->message.body)) {
        offers_.emplace_back(sent->session, *offer);
        ++placed_;
      }
    }
  }

  engine::engine core_;
  mono_time now_{1h};
  wall_time wall_ = from_unix_ms(1'800'000'000'000);
  std::map<session_id, std::uint64_t> seq_;
  std::deque<std::pair<session_id, protocol::execute_job>> offers_;
  std::uint64_t issued_ = 0, requests_ = 0;
  std::size_t placed_ = 0;
};

void submission(benchmark::State& state) {
  bed b(static_cast<std::size_t>(state.range(0)), all_schedules, false);
  for (auto _ : state) b.submit_one();
}
BENCHMARK(submission)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Arg(1'000'000)
    ->Iterations(8'000)
    ->Unit(benchmark::kMicrosecond);

void due_schedules(benchmark::State& state) {
  bed b(0, static_cast<std::size_t>(state.range(0)), true);
  for (auto _ : state) b.pass_half_past_two();
  state.counters["runs_made"] = static_cast<double>(b.queued());
  state.counters["a_run"] = benchmark::Counter(static_cast<double>(b.queued()),
                                               benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(due_schedules)->Arg(100)->Arg(1'000)->Arg(10'000)->Iterations(5)->Unit(benchmark::kMillisecond);

void completion_and_placement(benchmark::State& state) {
  bed b(static_cast<std::size_t>(state.range(0)), all_schedules, false);
  const std::size_t before = b.placed();
  for (auto _ : state) b.complete_one();
  state.counters["placed_per_result"] =
      static_cast<double>(b.placed() - before) / static_cast<double>(state.iterations());
}
BENCHMARK(completion_and_placement)
    ->Arg(10'000)
    ->Arg(100'000)
    ->Arg(1'000'000)
    ->Iterations(8'000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
