// What Prometheus scrapes. See metrics.hpp. The registry and the exposition format are prometheus-cpp's; what
// is known only at the moment of a scrape is appended in the library's own types.
#include "metrics.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/resource.h>

#include <orchestrator/base/limits.hpp>

namespace orchestrator::server {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;
using labels = std::map<std::string, std::string>;

/// From what a fast disk needs to what nobody wants to wait for.
const Histogram::BucketBoundaries short_times{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                              0.1,    0.25,  0.5,    1,     2.5,  5,     10};
/// Of jobs and of waiting for them: from a tenth of a second to a day.
const Histogram::BucketBoundaries long_times{0.1, 0.5, 1,    5,    10,   30,    60,
                                             300, 900, 1800, 3600, 7200, 21600, 86400};

double seconds(nanoseconds d) { return std::chrono::duration<double>(d).count(); }
double seconds(milliseconds d) { return std::chrono::duration<double>(d).count(); }

MetricFamily gauge_family(const char* name, const char* help) { return {name, help, MetricType::Gauge, {}}; }

void add(MetricFamily& to, double value, const labels& with = {}) {
  prometheus::ClientMetric m;
  for (const auto& [name, text] : with) m.label.push_back({name, text});
  if (to.type == MetricType::Counter)
    m.counter.value = value;
  else
    m.gauge.value = value;
  to.metric.push_back(std::move(m));
}

// ---- of the process: the names every client library of Prometheus uses

/// A number of /proc/self/stat, counted from 0 behind the command's name, which may hold anything.
std::optional<double> own_stat(std::size_t field) {
  std::ifstream in("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::size_t at = text.rfind(')');
  for (std::size_t n = 0; n <= field && at != std::string::npos; ++n) at = text.find(' ', at + 1);
  double value = 0;
  if (at == std::string::npos) return std::nullopt;
  const auto [end, ec] = std::from_chars(text.data() + at + 1, text.data() + text.size(), value);
  return ec == std::errc{} ? std::optional(value) : std::nullopt;
}

std::optional<double> boot_seconds() {
  std::ifstream in("/proc/stat");
  for (std::string word; in >> word;) {
    double value = 0;
    if (word == "btime" && in >> value) return value;
  }
  return std::nullopt;
}

void add_process(std::vector<MetricFamily>& to) {
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto gauge = [&to](const char* name, const char* help, std::optional<double> value) {
    if (!value) return;
    to.push_back(gauge_family(name, help));
    add(to.back(), *value);
  };
  constexpr std::size_t user_time = 11, system_time = 12, started = 19, virtual_bytes = 20,
                        resident_pages = 21;
  const auto user = own_stat(user_time), system = own_stat(system_time);
  if (user && system) {
    to.push_back({"process_cpu_seconds_total", "Processor time used.", MetricType::Counter, {}});
    add(to.back(), (*user + *system) / ticks);
  }
  std::optional<double> resident = own_stat(resident_pages);
  if (resident) *resident *= static_cast<double>(::sysconf(_SC_PAGESIZE));
  gauge("process_resident_memory_bytes", "Memory in use.", resident);
  gauge("process_virtual_memory_bytes", "Address space in use.", own_stat(virtual_bytes));
  std::optional<double> start = boot_seconds();
  if (const auto since_boot = own_stat(started); start && since_boot) *start += *since_boot / ticks;
  gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", start);
  std::error_code error;
  const std::filesystem::directory_iterator open("/proc/self/fd", error);
  if (!error)
    gauge("process_open_fds", "Open file descriptors.",
          static_cast<double>(std::distance(begin(open), end(open))));
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    gauge("process_max_fds", "The most file descriptors that may be open.",
          static_cast<double>(limit.rlim_cur));
}

const char* known_method(std::string_view method) {
  for (const char* known : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}) {
    if (method == known) return known;
  }
  return "other";
}

}  // namespace

struct metrics::families {
  explicit families(const std::string& version)
      : runs(counters("runs_total", "Runs that ended, by their queue and end.")),
        attempts(counters("attempts_total", "Attempts that ended, by their end.")),
        instants(counters("schedule_instants_total", "Instants of schedules, by what became of them.")),
        missed(counters("schedule_missed_total", "Instants of schedules that got no run, by the reason.")),
        waits(histograms("run_wait_seconds", "From when a run might start to its first process.")),
        durations(histograms("run_duration_seconds", "From the first process of a run to its end.")),
        dispatch(histograms("dispatch_latency_seconds", "From the offer of an attempt to its process.")),
        lag(histograms("schedule_lag_seconds", "From an instant of a schedule to the making of its run.")),
        commits(histograms("store_commit_seconds", "From a batch of changes to its being on disk.")),
        http(histograms("http_request_duration_seconds", "From the head of a request to its answer.")),
        wait(waits.Add({}, long_times)),
        duration(durations.Add({}, long_times)),
        dispatch_latency(dispatch.Add({}, short_times)),
        schedule_lag(lag.Add({}, long_times)),
        commit(commits.Add({}, short_times)) {
    prometheus::BuildGauge()
        .Name("orchestrator_build_info")
        .Help("1, and the version as a label.")
        .Register(registry)
        .Add({{"version", version}})
        .Set(1);
  }

  Family<Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter()
        .Name(fmt::format("orchestrator_{}", name))
        .Help(help)
        .Register(registry);
  }
  Family<Histogram>& histograms(const char* name, const char* help) {
    return prometheus::BuildHistogram()
        .Name(fmt::format("orchestrator_{}", name))
        .Help(help)
        .Register(registry);
  }

  prometheus::Registry registry;  // first: the families live in it
  Family<Counter>&runs, &attempts, &instants, &missed;
  Family<Histogram>&waits, &durations, &dispatch, &lag, &commits, &http;
  Histogram &wait, &duration, &dispatch_latency, &schedule_lag, &commit;
};

metrics::metrics(const std::string& version) : all_(std::make_unique<families>(version)) {}
metrics::~metrics() = default;

void metrics::started(const snapshot& found) {
  newest_ = found.lease_counter;
  for (const attempt& a : found.attempts) {
    if (is_live(a.state)) live_.emplace(a.lease, a.state);
  }
  for (const auto& [job, rows] : found.instants) {
    for (const stored_instant& row : rows) {
      if (!row.run) rows_[job] = {row.instant, row.count};
    }
  }
}

void metrics::issued(const mutation_batch& batch, const engine::engine_view& view, engine_time now) {
  in_flight_.emplace_back(batch.number, now.mono);
  std::string
      rewritten;  // a job whose newest row is put anew, because a wrong clock had decided ahead of time
  for (const mutation& m : batch.mutations) {
    if (const auto* put = std::get_if<put_attempt>(&m)) {
      attempt_changed(put->attempt, view);
    } else if (const auto* ended = std::get_if<put_run>(&m); ended != nullptr && is_final(ended->run.state)) {
      run_ended(ended->run, view);
    } else if (const auto* instant = std::get_if<put_instant>(&m)) {
      if (rewritten == instant->job && !instant->run)
        rows_[instant->job] = {instant->instant, instant->count};  // what was cut, not what was decided
      else
        instant_decided(*instant, now.wall);
      rewritten.clear();
    } else if (const auto* backfill = std::get_if<backfill_instant>(&m)) {
      all_->instants.Add({{"outcome", to_string(instant_outcome::late)}}).Increment();
      const auto row = rows_.find(backfill->job);
      if (row != rows_.end() && backfill->shared && row->second.first == *backfill->shared &&
          !backfill->parts.empty())
        row->second = {backfill->parts.back().instant, backfill->parts.back().count};
    } else if (const auto* withdrawn = std::get_if<withdraw_instants>(&m)) {
      rewritten = withdrawn->job;
    } else if (const auto* deleted = std::get_if<delete_job>(&m)) {
      rows_.erase(deleted->name);
    }
  }
}

void metrics::committed(std::uint64_t number, mono_time now) {
  for (; !in_flight_.empty() && in_flight_.front().first <= number; in_flight_.pop_front())
    all_->commit.Observe(seconds(now - in_flight_.front().second));
}

// A row may be put again after its end, by a late result or event: that end is counted already.
void metrics::attempt_changed(const attempt& a, const engine::engine_view& view) {
  if (a.lease <= newest_ && !live_.contains(a.lease)) return;
  newest_ = std::max(newest_, a.lease);
  const auto known = live_.try_emplace(a.lease, attempt_state::offered).first;
  const bool started = known->second != attempt_state::running && a.started_at.has_value();
  if (started) {
    all_->dispatch_latency.Observe(seconds(std::max(*a.started_at - a.offered_at, milliseconds{0})));
    const auto standing = view.standing(a.run);
    if (a.number == 1 && standing)
      all_->wait.Observe(seconds(std::max(*a.started_at - standing->might_start, milliseconds{0})));
    known->second = attempt_state::running;
  }
  if (is_live(a.state)) return;
  all_->attempts.Add({{"result", to_string(a.state)}}).Increment();
  live_.erase(known);
}

void metrics::run_ended(const run& r, const engine::engine_view& view) {
  const auto standing = view.standing(r.id);
  const std::string queue = standing ? queue_label(standing->queue) : "other";
  all_->runs.Add({{"queue", queue}, {"result", to_string(r.state)}}).Increment();
  if (r.started_at && r.finished_at)
    all_->duration.Observe(seconds(std::max(*r.finished_at - *r.started_at, milliseconds{0})));
}

void metrics::instant_decided(const put_instant& m, wall_time now) {
  std::uint64_t more = m.count;
  if (m.run) {
    all_->schedule_lag.Observe(seconds(std::max(now - m.instant, milliseconds{0})));
  } else {
    auto& [instant, count] = rows_[m.job];
    if (instant == m.instant) more -= std::min(more, count);
    instant = m.instant;
    count = m.count;
    all_->missed.Add({{"reason", to_string(m.outcome)}}).Increment(static_cast<double>(more));
  }
  all_->instants.Add({{"outcome", to_string(m.outcome)}}).Increment(static_cast<double>(more));
}

void metrics::answered(std::string_view method, std::string_view pattern, int status, nanoseconds took) {
  const labels by{{"method", known_method(method)},
                  {"route", pattern.empty() ? "none" : std::string(pattern)},
                  {"code", std::to_string(status)}};
  all_->http.Add(by, short_times).Observe(seconds(took));
}

std::string metrics::queue_label(const std::string& queue) {
  if (queues_.contains(queue)) return queue;
  if (queues_.size() >= limits::metric_queues) return "other";
  queues_.insert(queue);
  return queue;
}

std::string metrics::text(const engine::engine_view& view, engine_time now) {
  std::vector<MetricFamily> all = all_->registry.Collect();

  MetricFamily depth = gauge_family("orchestrator_queue_depth", "Runs of a queue that wait or run.");
  MetricFamily oldest =
      gauge_family("orchestrator_queue_oldest_seconds", "Age of the oldest run that waits.");
  std::map<std::string, std::array<double, 3>> queues;  // several share the label of those over the limit
  for (const engine::queue_status& q : view.queues()) {
    auto& [waiting, running, age] = queues[queue_label(q.queue.name)];
    waiting += static_cast<double>(q.waiting);
    running += q.running;
    if (q.oldest) age = std::max(age, seconds(now.wall - *q.oldest));
  }
  for (const auto& [name, of] : queues) {
    add(depth, of[0], {{"queue", name}, {"state", "waiting"}});
    add(depth, of[1], {{"queue", name}, {"state", "running"}});
    add(oldest, of[2], {{"queue", name}});
  }

  MetricFamily runs = gauge_family("orchestrator_runs", "Runs that have not ended, by their state.");
  const engine::engine_view::totals count = view.count();
  for (const auto& [state, n] : {std::pair{run_state::queued, count.queued},
                                 {run_state::active, count.active},
                                 {run_state::retry_wait, count.retry_wait},
                                 {run_state::unknown, count.unknown}})
    add(runs, static_cast<double>(n), {{"state", to_string(state)}});

  MetricFamily workers = gauge_family("orchestrator_workers", "Workers, by what is heard of them.");
  MetricFamily slots = gauge_family("orchestrator_worker_slots", "Slots of connected workers.");
  std::map<std::string, double> by_state{{"online", 0}, {"stale", 0}, {"offline", 0}, {"draining", 0}};
  double busy = 0, free = 0;
  for (const protocol::worker_status& w : view.workers(now.mono)) {
    const bool draining = w.connected && w.worker.draining;
    by_state[draining ? "draining" : protocol::to_string(w.state)] += 1;
    if (!w.connected) continue;
    busy += w.running;
    if (!draining) free += std::max(0, w.worker.slots - w.running);
  }
  for (const auto& [state, n] : by_state) add(workers, n, {{"state", state}});
  add(slots, busy, {{"state", "busy"}});
  add(slots, free, {{"state", "free"}});

  for (MetricFamily* f : {&depth, &oldest, &runs, &workers, &slots}) all.push_back(std::move(*f));
  add_process(all);
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace orchestrator::server
