// What one placement costs with a long queue behind it: the coordinator's core with 10,000 schedules, 100
// workers and up to 1,000,000 queued runs of 300 different requirements (labels, resources, queues with
// limits, locks). One iteration is one result, the turn in which the freed slot is given away, and the
// commit. Built on demand: ninja bench_engine; not part of any test.
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
constexpr int schedules = 10'000;

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

snapshot make_snapshot(std::size_t queued, wall_time now) {
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
  for (int i = 0; i < schedules; ++i) {
    job_definition d;
    d.name = "scheduled" + std::to_string(i);
    d.spec.command = {"true"};
    d.schedule = schedule{};
    d.schedule->kind = schedule_kind::daily;
    d.schedule->hour = i % 24;
    d.schedule->minute = i % 60;
    job j;
    j.name = d.name;
    j.cursor = now;
    s.jobs.push_back({j, protocol::write_json(protocol::encode_job(d))});
  }
  return s;
}

class bed {
 public:
  explicit bed(std::size_t queued) : core_({}) {
    give(engine::started{make_snapshot(queued, wall_), 1});
    for (int i = 0; i < workers; ++i) connect(i);
    turn();
  }
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
  std::uint64_t issued_ = 0;
  std::size_t placed_ = 0;
};

void completion_and_placement(benchmark::State& state) {
  bed b(static_cast<std::size_t>(state.range(0)));
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
