// People and programs that use the API. See clients.hpp.
#include "clients.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "world.hpp"

namespace orchestrator::sim {
namespace {

constexpr const char* zones[] = {"UTC", "Sim/Jumping", "Sim/Twitching"};
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
  s.retry.backoff = 1s;
  s.retry.max_backoff = 20s;
  // What the API would have taken.
  auto taken = protocol::decode_spec(protocol::encode_spec(s));
  if (!taken) world_.judge.broken("a drawn specification is refused: " + taken.error().detail);
  return std::move(*taken);
}

void client::submit_new() {
  request r{fmt::format("key-{}-{}", number_, ++made_), draw_spec(), std::nullopt};
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
  in.idempotency_key = r->key;
  in.fingerprint = 1;
  world_.server.ask(std::move(in), [this, r](const engine::answer& a) {
    if (const auto* run = std::get_if<engine::run_answer>(&a.body)) {
      world_.judge.submission_answered(r->key, run->run.id);
      runs_.push_back(run->run.id);
    } else if (const auto* purged = std::get_if<engine::purged_answer>(&a.body)) {
      world_.judge.submission_answered(r->key, purged->id);
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

void client::apply_job(int number) {
  dice& d = world_.chance;
  job_definition j;
  j.name = fmt::format("job-{}", number);
  j.spec = draw_spec();
  schedule s;
  constexpr schedule_kind kinds[] = {schedule_kind::interval, schedule_kind::interval, schedule_kind::cron,
                                     schedule_kind::cron,     schedule_kind::cron,     schedule_kind::daily,
                                     schedule_kind::hourly};
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
  j.schedule = s;
  engine::apply_jobs in;
  in.jobs.push_back(std::move(j));
  world_.server.ask(std::move(in), [](const engine::answer&) {});
}

void client::act() {
  if (!world_.server.accepts()) return;
  dice& d = world_.chance;
  const auto nothing = [](const engine::answer&) {};
  const auto told = [this](const engine::answer& a) {
    if (const auto* run = std::get_if<engine::run_answer>(&a.body)) runs_.push_back(run->run.id);
  };
  switch (d.below(17)) {
    case 0:
    case 1: return cancel();
    case 2: return world_.server.ask(engine::retry_run{{}, any_run()}, told);
    case 3: return world_.server.ask(engine::hold_run{{}, any_run(), d.below(2) == 0}, nothing);
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
    case 10: {
      engine::submit_run in;
      in.what.job = fmt::format("job-{}", d.below(3));
      return world_.server.ask(std::move(in), told);
    }
    case 11:
      return world_.server.ask(
          engine::remove_worker{{}, world_.machines[d.below(world_.machines.size())]->id()}, nothing);
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
  for (const worker& w : workers) {
    if (w.draining) world_.server.ask(engine::drain_worker{{}, w.worker_id, false}, nothing);
  }
}

}  // namespace orchestrator::sim
