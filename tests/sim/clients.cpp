// People and programs that use the API. See clients.hpp.
#include "clients.hpp"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "world.hpp"

namespace orchestrator::sim {
namespace {

constexpr const char* queues[] = {"fast", "slow"};
constexpr const char* zones[] = {"UTC", "Sim/Jumping", "Sim/Twitching", "Sim/Jumping"};
constexpr const char* crons[] = {"* * * * *", "*/2 * * * *", "3 0 * * *",     "4 0 * * *",
                                 "5 0 * * *", "9 0 * * *",   "3,8 0,1 * * *", "30 0 * * *"};

}  // namespace

run_spec client::draw_spec() {
  dice& d = world_.chance;
  run_spec s;
  const std::uint64_t kind = d.below(6);
  if (kind == 0) {
    s.builtin = "noop";
  } else if (kind < 3) {
    s.script = "work.py";  // what a legacy worker can run
  } else {
    s.command = {"work"};
  }
  if (d.below(8) == 0) s.required_labels = {{"kind", "first"}};  // which one machine has
  if (d.below(4) == 0) s.priority = static_cast<int>(d.below(3)) - 1;
  s.timeout = std::chrono::duration_cast<milliseconds>(d.spread(5s, 200s));
  s.kill_grace = std::chrono::duration_cast<milliseconds>(d.between(100ms, 10s));
  s.at_most_once = d.below(5) == 0;
  if (d.below(4) == 0) s.on_lease_lost = on_lease_lost::kill;
  if (d.below(4) == 0) s.output_limit = 1000;
  if (d.below(6) == 0) s.lost_after = 5s;
  if (s.lost_after)
    world_.shortest_lost_after = std::min<nanoseconds>(world_.shortest_lost_after, *s.lost_after);
  s.retry.max_attempts = s.at_most_once ? 1 : 1 + static_cast<int>(d.below(3));
  s.retry.max_lost = 1 + static_cast<int>(d.below(3));
  if (world_.draw.limits) draw_limits(s);
  s.retry.backoff = 1s;
  s.retry.max_backoff = 20s;
  // What the API would have taken.
  const std::string text = protocol::encode_spec(s);
  const run_spec* taken = world_.judge.book().spec(text);
  if (taken == nullptr) world_.judge.broken("a drawn specification is refused: " + text);
  return *taken;
}

/// No more than the first machine can give, and nothing that would take hours.
void client::draw_limits(run_spec& s) {
  dice& d = world_.chance;
  if (d.below(2) == 0) s.queue = d.one_of(queues);
  if (d.below(2) == 0) s.locks.push_back({"left", d.below(2) == 0});
  if (d.below(4) == 0) s.locks.push_back({"right", d.below(2) == 0});
  if (d.below(4) == 0) s.max_running = 1 + static_cast<int>(d.below(2));
  if (d.below(4) == 0)
    s.rate = rate_limit{1 + static_cast<int>(d.below(3)), milliseconds{1'000 * (1 + d.below(30))}};
  if (d.below(4) == 0) s.required_resources["gpu"] = 1'000 * (1 + static_cast<std::int64_t>(d.below(2)));
  if (d.below(6) == 0) s.required_resources["disk"] = 500;
}

void client::set_queue() {
  dice& d = world_.chance;
  queue q;
  q.name = d.one_of(queues);
  q.paused = d.below(4) == 0;
  q.max_running = static_cast<int>(d.below(3));
  q.priority = static_cast<int>(d.below(3)) - 1;
  const bool sets_rate = d.below(3) == 0;
  if (sets_rate && d.below(3) != 0)
    q.rate = rate_limit{1 + static_cast<int>(d.below(3)), milliseconds{1'000 * (1 + d.below(30))}};
  change_queue(std::move(q), sets_rate);
}

void client::change_queue(queue q, bool sets_rate) {
  if (!world_.server.accepts()) return;
  engine::set_queue in;
  in.name = q.name;
  in.paused = q.paused;
  in.max_running = q.max_running;
  in.priority = q.priority;
  if (sets_rate) in.rate = q.rate;
  const std::uint64_t number = ++world_.queue_changes;
  world_.judge.admission().queue_asked(number, q, sets_rate, world_.time.now());
  world_.server.ask(std::move(in), [this, number, name = q.name](const engine::answer& a) {
    if (std::holds_alternative<refusal>(a.body)) return;
    world_.judge.admission().queue_answered(number, name);
    world_.saw("a queue was set up");
  });
}

/// Some of its own runs, whatever became of them: they may wait, or have ended and left the engine's memory.
std::vector<dependency> client::draw_dependencies() {
  dice& d = world_.chance;
  std::vector<dependency> after;
  if (runs_.empty() || d.below(4) != 0) return after;
  for (std::uint64_t n = 1 + d.below(3); n > 0; --n) {
    const run_id& run = runs_[d.below(runs_.size())];
    const bool twice =
        std::any_of(after.begin(), after.end(), [&](const dependency& a) { return a.run == run; });
    if (!twice) after.push_back({run, static_cast<after_condition>(d.below(3))});
  }
  return after;
}

void client::submit_new() {
  request r{fmt::format("key-{}-{}", number_, ++made_), draw_spec(), std::nullopt, draw_dependencies()};
  if (world_.chance.below(10) == 0)
    r.not_before =
        world_.server.clock().wall + std::chrono::duration_cast<milliseconds>(world_.chance.spread(1s, 200s));
  world_.judge.submission_sent(r.key);
  unanswered_.push_back(std::make_shared<const request>(std::move(r)));
  submit(unanswered_.back());
}

void client::submit(const std::shared_ptr<const request>& r) {
  engine::submit_run in;
  in.what.name = r->key;
  in.what.spec = r->spec;
  in.what.not_before = r->not_before;
  in.after = r->after;
  in.idempotency_key = r->key;
  in.fingerprint = 1;
  world_.server.ask(std::move(in), [this, r](const engine::answer& a) {
    if (const auto* run = std::get_if<engine::run_answer>(&a.body)) {
      world_.judge.submission_answered(r->key, run->run.id);
      runs_.push_back(run->run.id);
    } else if (const auto* purged = std::get_if<engine::purged_answer>(&a.body)) {
      world_.judge.submission_answered(r->key, purged->id);
    } else if (!r->after.empty() && std::get<refusal>(a.body).code == errc::not_found) {
      std::erase(unanswered_, r);  // a run it was to wait for is gone: retention, or an older database
      return;
    } else {
      return;  // refused: it may be asked again
    }
    std::erase(unanswered_, r);
    answered_.push_back(r);
  });
}

void client::repeat_unanswered() {
  for (const auto& r : std::vector(unanswered_)) submit(r);
}

run_id client::any_run() { return runs_.empty() ? run_id{} : runs_[world_.chance.below(runs_.size())]; }

void client::cancel() {
  const run_id run = any_run();
  world_.server.ask(engine::cancel_run{{}, run}, [this, run](const engine::answer& a) {
    if (!std::holds_alternative<refusal>(a.body)) world_.judge.cancel_answered(run);
  });
}

/// With a key, so that a repetition makes no other run.
void client::retry(const run_id& run) {
  engine::retry_run in;
  in.run = run;
  in.idempotency_key = fmt::format("retry-{}-{}", number_, ++made_);
  const bool repeats = !retries_.empty() && world_.chance.below(2) == 0;
  if (repeats) std::tie(in.idempotency_key, in.run) = retries_[world_.chance.below(retries_.size())];
  in.fingerprint = hash64(to_string(in.run));
  world_.server.ask(in, [this, key = in.idempotency_key, old = in.run](const engine::answer& a) {
    const auto* run = std::get_if<engine::run_answer>(&a.body);
    if (run == nullptr) return;
    world_.judge.submission_answered(key, run->run.id);
    runs_.push_back(run->run.id);
    retries_.emplace_back(key, old);
    if (run->replayed) world_.saw("a retry was replayed");
  });
}

void client::retry_in_bulk() {
  engine::retry_runs in;
  world_.server.disk().read([&](store::reader& r) {
    store::run_filter ended;
    ended.states = {run_state::failed, run_state::cancelled, run_state::skipped};
    ended.limit = 1 + world_.chance.below(3);
    for (const auto& row : r.list_runs(ended)) in.runs.push_back({row.run, row.spec_text});
  });
  if (in.runs.empty()) return;
  world_.server.ask(std::move(in), [this](const engine::answer& a) {
    if (const auto* made = std::get_if<engine::retried_answer>(&a.body)) {
      world_.saw("runs were retried in bulk");
      runs_.insert(runs_.end(), made->runs.begin(), made->runs.end());
    }
  });
}

void client::backfill() {
  dice& d = world_.chance;
  engine::backfill_schedule in;
  in.job = fmt::format("job-{}", d.below(3));
  in.to = world_.server.clock().wall - std::chrono::duration_cast<milliseconds>(d.between(0s, 60s));
  in.from = in.to - std::chrono::duration_cast<milliseconds>(d.spread(1s, 120s));
  in.dry_run = d.below(4) == 0;
  world_.server.ask(std::move(in), [this](const engine::answer& a) {
    const auto* made = std::get_if<engine::backfill_answer>(&a.body);
    if (made != nullptr && made->had_runs > 0) world_.saw("a backfill left alone what had run");
  });
}

/// What keeps a run is asked of the same gates that keep it.
void client::ask_why() {
  std::vector<run_id> waiting{any_run()};
  std::set<run_id> by_hand;
  world_.server.disk().read([&](store::reader& r) {
    store::run_filter some;
    some.states = {run_state::queued, run_state::retry_wait};
    some.limit = 8;
    for (const auto& row : r.list_runs(some)) {
      waiting.push_back(row.run.id);
      if (!row.run.instant) by_hand.insert(row.run.id);
    }
  });
  for (const run_id& run : waiting) {
    const auto reasons = world_.server.core()->view().why(run, world_.server.clock());
    if (!reasons) continue;
    for (const engine::blocking_reason& r : *reasons) {
      world_.saw("why: ", engine::to_string(r.code));
      if (r.code == engine::blocking_code::overlap && by_hand.contains(run))
        world_.saw("a run by hand waited for another one of its job");
    }
  }
}

day_calendar client::draw_calendar(int number) {
  dice& d = world_.chance;
  day_calendar days;
  days.name = fmt::format("days-{}", number);
  days.weekdays = static_cast<std::uint8_t>(d.below(127));
  const auto today = static_cast<std::int32_t>(first_wall_seconds / 86'400);
  const auto first = today - 1 + static_cast<std::int32_t>(d.below(3));
  if (days.weekdays == 0 || d.below(4) == 0)
    days.spans.push_back({first, first + static_cast<std::int32_t>(d.below(2))});
  return days;
}

void client::draw_days(schedule& s, engine::apply_jobs& in) {
  dice& d = world_.chance;
  if (!world_.draw.calendars || d.below(4) == 0) return;
  const int number = static_cast<int>(d.below(2));
  (d.below(3) == 0 ? s.include : s.exclude).push_back(fmt::format("days-{}", number));
  if (d.below(2) == 0) in.calendars.push_back(draw_calendar(number));
}

void client::apply_job(int number) {
  dice& d = world_.chance;
  job_definition j;
  j.name = fmt::format("job-{}", number);
  j.spec = draw_spec();
  schedule s;
  constexpr schedule_kind kinds[] = {
      schedule_kind::interval, schedule_kind::interval, schedule_kind::interval, schedule_kind::interval,
      schedule_kind::cron,     schedule_kind::cron,     schedule_kind::cron,     schedule_kind::cron,
      schedule_kind::cron,     schedule_kind::cron,     schedule_kind::daily,    schedule_kind::hourly,
      schedule_kind::manual};
  s.kind = d.one_of(kinds);
  s.every = std::chrono::duration_cast<milliseconds>(d.between(5s, 90s));
  s.cron = d.one_of(crons);
  s.minute = 2 + 2 * static_cast<int>(d.below(4));
  s.hour = static_cast<int>(d.below(2));
  s.time_zone = d.one_of(zones);
  s.gap = d.below(2) == 0 ? gap_policy::shift : gap_policy::skip;
  s.fold = d.below(2) == 0 ? fold_policy::first : fold_policy::both;
  if (d.below(4) == 0) s.start_deadline = std::chrono::duration_cast<milliseconds>(d.spread(1s, 120s));
  constexpr catch_up_policy missed[] = {catch_up_policy::none, catch_up_policy::latest, catch_up_policy::all};
  constexpr overlap_policy overlaps[] = {overlap_policy::skip, overlap_policy::queue,
                                         overlap_policy::queue_all, overlap_policy::cancel_old,
                                         overlap_policy::allow};
  s.catch_up = d.one_of(missed);
  s.overlap = d.one_of(overlaps);
  engine::apply_jobs in;
  draw_days(s, in);
  j.schedule = s;
  in.jobs.push_back(std::move(j));
  world_.server.ask(std::move(in), [](const engine::answer&) {});
}

/// By hand, at once or later, or when another one has ended; now and then twice.
void client::run_job() {
  dice& d = world_.chance;
  engine::submit_run in;
  in.what.job = fmt::format("job-{}", d.below(3));
  in.what.held = d.below(2) == 0;
  in.after = draw_dependencies();
  if (d.below(6) == 0)
    in.what.not_before =
        world_.server.clock().wall + std::chrono::duration_cast<milliseconds>(d.spread(1s, 60s));
  for (std::uint64_t i = 1 + d.below(3); i > 0; --i)
    world_.server.ask(in, [this](const engine::answer& a) {
      if (const auto* run = std::get_if<engine::run_answer>(&a.body)) runs_.push_back(run->run.id);
    });
}

void client::act() {
  if (!world_.server.accepts()) return;
  dice& d = world_.chance;
  const auto nothing = [](const engine::answer&) {};
  switch (d.below(26)) {
    case 0:
    case 1: return cancel();
    case 2:
    case 20:
    case 21: return retry(any_run());
    case 3:
      return world_.server.ask(engine::hold_run{{}, any_run(), d.below(2) == 0, d.below(4) == 0}, nothing);
    case 4: return world_.server.ask(engine::resolve_run{{}, any_run(), run_state::failed}, nothing);
    case 5:
      if (!answered_.empty()) submit(answered_[d.below(answered_.size())]);  // a lost answer, a doubled click
      return;
    case 6:
      if (!answered_.empty()) {
        const request& other = *answered_[d.below(answered_.size())];
        engine::submit_run in;
        in.what.name = other.key;
        in.what.spec = other.spec;
        in.idempotency_key = other.key;
        in.fingerprint = 2;  // the same key for something else
        world_.server.ask(std::move(in), nothing);
      }
      return;
    case 7:
      if (world_.draw.jobs > 0)
        apply_job(static_cast<int>(d.below(static_cast<std::uint64_t>(world_.draw.jobs))));
      return;
    case 8: {
      engine::pause_job in{{}, fmt::format("job-{}", d.below(3)), d.below(2) == 0, d.below(2) == 0};
      return world_.server.ask(std::move(in), nothing);
    }
    case 9:
      if (d.below(4) == 0)
        world_.server.ask(engine::delete_job{{}, fmt::format("job-{}", d.below(3)), true}, nothing);
      return;
    case 10:
    case 22:
    case 23: return run_job();
    case 11:
      return world_.server.ask(
          engine::remove_worker{{}, world_.machines[d.below(world_.machines.size())]->id()}, nothing);
    case 12: return retry_in_bulk();
    case 13:
    case 18:
    case 19: return backfill();
    case 14:
    case 24:
      if (world_.draw.calendars) {
        engine::apply_jobs in;
        in.calendars.push_back(draw_calendar(static_cast<int>(d.below(2))));
        world_.server.ask(std::move(in), nothing);
      }
      return;
    case 15:
    case 16:
    case 17: return ask_why();
    default: return repeat_unanswered();
  }
}

/// Somebody who looked at a wrong clock asked for a time that is far off.
bool client::chosen_for_later(const run& r) const {
  return r.not_before && *r.not_before > world_.server.clock().wall + 10min;
}

void client::clear_the_way() {
  if (!world_.server.accepts()) return;
  const auto nothing = [](const engine::answer&) {};
  repeat_unanswered();
  if (number_ != 0) return;
  std::vector<run> stuck;
  std::vector<worker> workers;
  std::vector<stored_job> jobs;
  world_.server.disk().read([&](store::reader& r) {
    store::run_filter waiting;
    waiting.states = {run_state::unknown, run_state::queued};
    waiting.limit = 1000;
    for (const auto& row : r.list_runs(waiting)) {
      if (row.run.state == run_state::unknown || row.run.held || chosen_for_later(row.run))
        stuck.push_back(row.run);
    }
    workers = r.list_workers();
    jobs = r.list_jobs();
  });
  for (const run& r : stuck) {
    if (r.state == run_state::unknown) world_.saw("a person settled an unknown run");
    if (r.state == run_state::unknown)
      world_.server.ask(engine::resolve_run{{}, r.id, run_state::failed}, nothing);
    else if (chosen_for_later(r))
      world_.server.ask(engine::cancel_run{{}, r.id}, nothing);
    else
      world_.server.ask(engine::hold_run{{}, r.id, false}, nothing);
  }
  for (const auto& j : jobs) {
    if (j.job.paused) world_.server.ask(engine::pause_job{{}, j.job.name, false, false}, nothing);
    if (!j.job.schedule_paused) world_.server.ask(engine::pause_job{{}, j.job.name, true, true}, nothing);
  }
  if (!world_.server.accepts()) return;  // a request may have been its last
  for (const engine::queue_status& q : world_.server.core()->view().queues()) {
    queue settings = q.queue;
    if (std::exchange(settings.paused, false)) change_queue(std::move(settings), false);
  }
  for (const worker& w : workers) {
    if (w.draining) world_.server.ask(engine::drain_worker{{}, w.worker_id, false}, nothing);
  }
}

}  // namespace orchestrator::sim
