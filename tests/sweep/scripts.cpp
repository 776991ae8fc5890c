// The scripts of the sweep: the batches that the coordinator's core makes for these events, made by hand, so
// that each is small and all of its rows are known. See scripts.hpp.
#include "scripts.hpp"

#include <algorithm>
#include <utility>

#include <orchestrator/base/random.hpp>
#include <orchestrator/base/text.hpp>

namespace orchestrator::sweep {
namespace {

using namespace std::chrono_literals;

/// Makes batches of one history: runs are named by number.
class historian {
 public:
  explicit historian(std::uint64_t seed) : random_(seed) {}

  int count(int low, int high) {
    return low + static_cast<int>(random_.below(static_cast<std::uint64_t>(high - low) + 1));
  }
  std::string text(std::size_t most) { return std::string(random_.below(most), 'x'); }

  void submit(std::uint64_t n, wall_time at = script_time) {
    run r;
    r.id = make_uuid_v7(at, n, n * 7919);
    r.job = "adhoc";
    r.spec = spec_id{n};
    r.submitted_at = at;
    add(put_spec{r.spec, R"({"command":["true",")" + text(1500) + R"("]})"});
    add(put_run{r});
    add(put_idempotency{"key-" + std::to_string(n), n, r.id});
    tell("run.queued", r, at);
    runs_.resize(std::max<std::size_t>(runs_.size(), n + 1));
    runs_[n] = r;
  }

  void offer(std::uint64_t n, wall_time at = script_time) {
    run& r = runs_[n];
    attempt a;
    a.lease = lease_id{++lease_};
    a.run = r.id;
    a.number = ++r.attempts;
    a.term = 1;
    a.worker_id = "worker";
    a.instance = make_uuid_v4(7, 1);
    a.offered_at = at;
    r.state = run_state::active;
    add(put_run{r});
    add(put_attempt{a});
    tell("attempt.offered", r, at);
    attempts_.resize(runs_.size());
    attempts_[n] = a;
  }

  void start(std::uint64_t n, wall_time at = script_time) {
    attempt& a = attempts_[n];
    a.state = attempt_state::running;
    a.started_at = at;
    runs_[n].started_at = at;
    add(put_run{runs_[n]});
    add(put_attempt{a});
    tell("attempt.running", runs_[n], at);
  }

  void print(std::uint64_t n, std::size_t most = 9000) {
    attempt& a = attempts_[n];
    std::string data = "line " + std::to_string(n) + "\n" + text(most);
    std::uint64_t& end = a.output_bytes["stdout"];
    item_.output.push_back({a.lease, "stdout", end, data});
    end += data.size();
  }

  void result(std::uint64_t n, bool good, wall_time at = script_time) {
    attempt& a = attempts_[n];
    run& r = runs_[n];
    a.state = good ? attempt_state::succeeded : attempt_state::failed;
    a.reason = good ? "" : "exit_code";
    a.exit_code = good ? 0 : 3;
    a.finished_at = at;
    a.result_crc = static_cast<std::uint32_t>(n);
    r.state = good ? run_state::succeeded : run_state::failed;
    r.reason = a.reason;
    r.failures = good ? 0 : 1;
    r.finished_at = at;
    r.deciding_lease = a.lease;
    add(put_run{r});
    add(put_attempt{a});
    tell(good ? "run.succeeded" : "run.failed", r, at);
  }

  void cancel(std::uint64_t n) {
    run& r = runs_[n];
    if (r.state == run_state::active) {
      r.cancel_requested = true;
      tell("run.cancel_requested", r, script_time);
    } else {
      r.state = run_state::cancelled;
      r.reason = "cancelled";
      r.finished_at = script_time;
      tell("run.cancelled", r, script_time);
    }
    add(put_run{r});
  }

  void declare_job() {
    job_.name = "nightly";
    job_.created_at = job_.updated_at = job_.schedule_anchor = script_time;
    job_.cursor = script_time;
    add(put_job{job_, R"({"name":"nightly"})"});
    add(put_spec{spec_id{900}, R"({"command":["true"]})"});
  }

  void tick(std::uint64_t n) {
    const wall_time instant = script_time + std::chrono::minutes{n};
    run r;
    r.id = make_uuid_v7(instant, n, n * 7919);
    r.job = job_.name;
    r.job_version = 1;
    r.spec = spec_id{900};
    r.submitted_at = instant;
    r.instant = instant;
    add(put_run{r});
    add(put_instant{job_.name, instant, instant_outcome::ran, r.id, "every 1m", 1, std::nullopt});
    tell("run.queued", r, instant);
    add(put_cursor{job_.name, instant});
  }

  void grow(std::uint64_t n) {
    add(put_spec{spec_id{2000 + n},
                 R"({"command":[")" + std::string(20'000 + random_.below(20'000), 'y') + R"("]})"});
  }

  work_item take() {
    item_.batch.number = ++number_;
    return std::exchange(item_, {});
  }

 private:
  void add(mutation m) { item_.batch.mutations.push_back(std::move(m)); }
  void tell(const char* type, const run& r, wall_time at) {
    add(put_fact{{type, "run/" + to_string(r.id), at, "{}"}});
  }

  random_source random_;
  work_item item_;
  std::uint64_t number_ = 0, lease_ = 0;
  std::vector<run> runs_{1};
  std::vector<attempt> attempts_{1};
  job job_;
};

using numbers = std::uint64_t;

void prepare_runs(historian& h, script& s, numbers runs, numbers offered) {
  for (numbers n = 1; n <= runs; ++n) h.submit(n);
  s.before.push_back(h.take());
  for (numbers n = 1; n <= offered; ++n) h.offer(n);
  if (offered > 0) s.before.push_back(h.take());
}

script submit(historian h) {
  script s;
  s.name = "submit";
  const auto count = static_cast<numbers>(h.count(3, 6));
  for (numbers n = 1; n <= count; ++n) {
    h.submit(n);
    if (h.count(0, 2) == 0) h.submit(100 + n);
    s.work.push_back(h.take());
  }
  h.submit(90);
  s.after = h.take();
  return s;
}

script dispatch(historian h) {
  script s;
  s.name = "dispatch";
  const auto count = static_cast<numbers>(h.count(3, 5));
  prepare_runs(h, s, count, 0);
  for (numbers n = 1; n <= count; ++n) {
    h.offer(n);
    s.work.push_back(h.take());
    h.start(n);
    s.work.push_back(h.take());
  }
  h.submit(90);
  s.after = h.take();
  return s;
}

script result(historian h) {
  script s;
  s.name = "result";
  const auto count = static_cast<numbers>(h.count(3, 5));
  prepare_runs(h, s, count, count);
  for (numbers n = 1; n <= count; ++n) {
    h.print(n);
    if (h.count(0, 1) == 0) h.print(n, 70'000);
    h.result(n, h.count(0, 3) != 0);
    s.work.push_back(h.take());
  }
  h.submit(90);
  s.after = h.take();
  return s;
}

script cancel(historian h) {
  script s;
  s.name = "cancel";
  const auto count = static_cast<numbers>(h.count(4, 7));
  prepare_runs(h, s, count, count / 2);
  for (numbers n = 1; n <= count; ++n) {
    h.cancel(n);
    s.work.push_back(h.take());
  }
  h.submit(90);
  s.after = h.take();
  return s;
}

script tick(historian h) {
  script s;
  s.name = "tick";
  h.declare_job();
  s.before.push_back(h.take());
  const auto count = static_cast<numbers>(h.count(4, 7));
  for (numbers n = 1; n <= count; ++n) {
    h.tick(n);
    s.work.push_back(h.take());
  }
  h.tick(90);
  s.after = h.take();
  return s;
}

script group(historian h) {
  script s;
  s.name = "group";
  s.what = deed::group;
  h.submit(1000);
  s.work.push_back(h.take());
  for (numbers n = 1; n <= 256; ++n) {
    h.submit(n);
    s.work.push_back(h.take());
  }
  h.submit(1001);
  s.after = h.take();
  return s;
}

script checkpoints(historian h) {
  script s;
  s.name = "checkpoint";
  s.what = deed::checkpoints;
  prepare_runs(h, s, 3, 0);
  const auto count = static_cast<numbers>(h.count(4, 6));
  for (numbers n = 1; n <= count; ++n) {
    h.grow(n);
    h.submit(10 + n);
    s.work.push_back(h.take());
  }
  h.submit(90);
  s.after = h.take();
  return s;
}

script migration(historian h) {
  script s;
  s.name = "migration";
  s.what = deed::start;
  s.from_nothing = true;
  h.submit(1);
  s.work.push_back(h.take());
  h.submit(90);
  s.after = h.take();
  return s;
}

script backup(historian h) {
  script s;
  s.name = "backup";
  s.what = deed::backup;
  const auto count = static_cast<numbers>(h.count(2, 6));
  prepare_runs(h, s, count, count);
  h.print(1);
  h.result(1, true);
  s.work.push_back(h.take());
  h.submit(50);
  s.work.push_back(h.take());
  h.submit(90);
  s.after = h.take();
  return s;
}

script retention(historian h) {
  script s;
  s.name = "retention";
  s.what = deed::retention;
  const wall_time old = script_time - 24h * 60;
  const auto count = static_cast<numbers>(h.count(3, 6));
  for (numbers n = 1; n <= count; ++n) h.submit(n, old);
  for (numbers n = 1; n <= count; ++n) h.offer(n, old);
  s.before.push_back(h.take());
  for (numbers n = 1; n <= count; ++n) {
    h.print(n);
    h.result(n, true, old);
  }
  s.before.push_back(h.take());
  for (numbers n = 20; n <= 22; ++n) h.submit(n);
  s.before.push_back(h.take());
  h.submit(30);
  s.work.push_back(h.take());
  h.submit(90);
  s.after = h.take();
  return s;
}

script recovery(historian h) {
  script s;
  s.name = "recovery";
  s.what = deed::start;
  s.killed_before = true;
  const auto count = static_cast<numbers>(h.count(4, 8));
  prepare_runs(h, s, count, count / 2);
  h.print(1);
  h.result(1, true);
  s.before.push_back(h.take());
  h.submit(50);
  s.work.push_back(h.take());
  h.submit(90);
  s.after = h.take();
  return s;
}

script shutdown(historian h) {
  script s;
  s.name = "shutdown";
  s.what = deed::close;
  const auto count = static_cast<numbers>(h.count(3, 6));
  prepare_runs(h, s, count, count);
  for (numbers n = 1; n <= count; ++n) {
    h.print(n);
    h.result(n, true);
    s.work.push_back(h.take());
  }
  h.submit(90);
  s.after = h.take();
  return s;
}

}  // namespace

bool is_old(const run& r) { return is_final(r.state) && r.submitted_at < script_time - retain_age; }

std::vector<script> make_scripts(std::uint64_t seed) {
  std::vector<script> all;
  std::uint64_t own = seed * 100;
  for (script (*make)(historian) : {submit, dispatch, result, cancel, tick, group, checkpoints, migration,
                                    backup, retention, recovery, shutdown})
    all.push_back(make(historian(++own)));
  return all;
}

}  // namespace orchestrator::sweep
