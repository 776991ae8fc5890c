// Schedules on virtual time: each instant once, catch-up, overlap, pauses and clocks that jump.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

job_definition every(milliseconds interval, overlap_policy overlap = overlap_policy::allow,
                     catch_up_policy catch_up = catch_up_policy::latest) {
  job_definition d;
  d.name = "job";
  d.spec = command_spec();
  schedule s;
  s.kind = schedule_kind::interval;
  s.every = interval;
  s.overlap = overlap;
  s.catch_up = catch_up;
  d.schedule = s;
  return d;
}

std::size_t outcomes(const world& w, instant_outcome outcome) {
  std::size_t count = 0;
  for (const auto& [key, row] : w.disk.instants) count += row.outcome == outcome ? row.count : 0;
  return count;
}

}  // namespace

TEST_CASE("an instant fires once, and its row, cursor and run are in one batch") {
  world w;
  w.apply(every(60s));
  w.advance(60s, false);
  CHECK(w.disk.queued() == 1);
  w.settle();
  CHECK(w.disk.runs.size() == 1);
  CHECK(outcomes(w, instant_outcome::ran) == 1);
  const auto& [key, row] = *w.disk.instants.begin();
  CHECK(row.run == w.disk.runs.begin()->first);
  CHECK(w.disk.runs.begin()->second.instant == key.second);
  CHECK(w.disk.jobs.at("job").job.cursor == key.second);
  w.advance(10min);
  CHECK(w.disk.instants.size() == 11);
  CHECK(w.facts("schedule.fired") == 11);
}

TEST_CASE("a kill before the commit fires the instant after the restart, a kill after it does not") {
  world w;
  w.apply(every(60s));
  w.advance(60s, false);
  SUBCASE("before") { w.restart(1s); }
  SUBCASE("after") {
    w.settle();
    w.restart(1s);
  }
  w.advance(1s);
  CHECK(w.disk.runs.size() == 1);
  CHECK(w.disk.instants.size() == 1);
}

TEST_CASE("missed instants follow the catch-up rule") {
  const auto missed_for = [](catch_up_policy policy, milliseconds start_deadline, nanoseconds away) {
    auto w = std::make_unique<world>();
    job_definition d = every(10min, overlap_policy::allow, policy);
    d.schedule->start_deadline = start_deadline;
    w->apply(d);
    w->restart(away);
    w->advance(1s);
    return w;
  };
  auto none = missed_for(catch_up_policy::none, 1h, 35min);
  CHECK(none->disk.runs.empty());
  CHECK(outcomes(*none, instant_outcome::missed) == 3);
  auto latest = missed_for(catch_up_policy::latest, 1h, 35min);
  CHECK(latest->disk.runs.size() == 1);
  CHECK(outcomes(*latest, instant_outcome::late) == 1);
  auto all = missed_for(catch_up_policy::all, 1h, 35min);
  CHECK(all->disk.runs.size() == 3);
  auto too_old = missed_for(catch_up_policy::latest, 2min, 35min);
  CHECK(too_old->disk.runs.empty());
  CHECK(outcomes(*too_old, instant_outcome::missed) == 3);
  auto at_most_ten =
      missed_for(catch_up_policy::all, std::chrono::hours{24 * 30}, std::chrono::hours{24 * 20} + 5min);
  CHECK(at_most_ten->disk.runs.size() == 10);
  auto within = missed_for(catch_up_policy::all, 21min, 35min);
  CHECK(within->disk.runs.size() == 2);
}

TEST_CASE("years of missed seconds are one run, and take no time to see") {
  world w;
  w.apply(every(1s));
  w.restart(std::chrono::hours{24 * 365 * 5});
  w.advance(100ms);
  CHECK(w.disk.runs.size() >= 1);
  CHECK(w.disk.runs.size() <= 11);  // those of the last ten seconds are on time
}

TEST_CASE("an overlap of skip makes no second run, and says so in the ledger") {
  world w;
  w.apply(every(60s, overlap_policy::skip));
  w.advance(185s);
  CHECK(w.disk.runs.size() == 1);
  CHECK(outcomes(w, instant_outcome::skipped_overlap) == 2);
}

TEST_CASE("an overlap of queue keeps at most one waiting, one at a time") {
  world w;
  test_worker worker(w);
  worker.form.slots = 5;
  worker.connect();
  w.apply(every(60s, overlap_policy::queue));
  std::vector<protocol::execute_job> offers;
  for (int i = 0; i < 25; ++i) {
    w.advance(10s);
    worker.beat();
    for (const auto& offer : worker.take_offers()) offers.push_back(offer);
  }
  CHECK(w.disk.runs.size() == 2);
  REQUIRE(offers.size() == 1);
  CHECK(w.why(w.disk.runs.rbegin()->first) == std::vector<std::string>{"overlap"});
  worker.finish(offers[0]);
  w.settle();
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("an overlap of queue_all keeps all, one at a time") {
  world w;
  test_worker worker(w);
  worker.form.slots = 5;
  worker.connect();
  w.apply(every(60s, overlap_policy::queue_all));
  std::size_t offers = 0;
  for (int i = 0; i < 25; ++i) {
    w.advance(10s);
    worker.beat();
    offers += worker.take_offers().size();
  }
  CHECK(w.disk.runs.size() == 4);
  CHECK(offers == 1);
}

TEST_CASE("an overlap of cancel_old replaces the old run, and waits for its end") {
  world w;
  test_worker worker(w);
  worker.form.slots = 5;
  worker.connect();
  w.apply(every(60s, overlap_policy::cancel_old));
  w.advance(61s);
  const auto old = worker.take_offer();
  w.advance(50s);
  worker.beat();
  w.advance(10s);
  CHECK(worker.received<protocol::cancel_job>().size() == 1);
  CHECK(worker.take_offers().empty());
  worker.finish(old, result_status::cancelled);
  w.settle();
  CHECK(w.disk.runs.begin()->second.state == run_state::cancelled);
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("an overlap of allow runs them side by side") {
  world w;
  test_worker worker(w);
  worker.form.slots = 5;
  worker.connect();
  w.apply(every(20s, overlap_policy::allow));
  std::size_t offers = 0;
  for (int i = 0; i < 3; ++i) {
    w.advance(20500ms);
    offers += worker.take_offers().size();
  }
  CHECK(offers == 3);
}

TEST_CASE("a paused schedule decides its instants as paused, and does not catch them up") {
  world w;
  w.apply(every(60s));
  w.give(pause_job{w.ask(), "job", true, true});
  w.settle();
  w.advance(181s);
  CHECK(w.disk.runs.empty());
  CHECK(outcomes(w, instant_outcome::paused) == 3);
  w.give(pause_job{w.ask(), "job", true, false});
  w.advance(58s);
  CHECK(w.disk.runs.empty());
  w.advance(2s);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("no instant fires twice when the wall clock goes back") {
  world w;
  w.apply(every(60s));
  w.advance(125s);
  CHECK(w.disk.runs.size() == 2);
  w.jump_wall(-90s);
  w.advance(80s);
  CHECK(w.disk.runs.size() == 2);
  w.advance(70s);
  CHECK(w.disk.runs.size() == 3);
}

TEST_CASE("a cursor far in the future is reset with a warning, so that a wrong clock silences no job") {
  world w;
  w.apply(every(60s));
  w.jump_wall(std::chrono::hours{24 * 365});
  w.advance(10s);
  w.jump_wall(-std::chrono::hours{24 * 365});
  const auto before = w.disk.runs.size();
  w.advance(3min);
  CHECK(w.noted("25 h ahead"));
  CHECK(w.disk.runs.size() >= before + 2);
}

TEST_CASE(
    "no instant fires twice when the clock flaps between two years, whatever is on its way to the disk") {
  world w;
  job_definition d = every(60s, overlap_policy::allow, catch_up_policy::all);
  d.schedule->kind = schedule_kind::cron;
  d.schedule->cron = "* * * * *";
  w.apply(d);
  const milliseconds year = std::chrono::hours{24 * 365};
  for (int flap = 0; flap < 4; ++flap) {
    w.advance(90s);
    w.jump_wall(flap % 2 == 0 ? year : -year);
    if (flap % 2 == 0) w.jump_wall(-100s);
    w.advance(30s, false);  // the disk is slow
    w.settle();
  }
  CHECK(w.disk.instants.size() > 4);  // put() would have refused a second decision
  std::set<std::optional<wall_time>> fired;
  for (const auto& [id, r] : w.disk.runs) CHECK(fired.insert(r.instant).second);
}

TEST_CASE("after a far step of the clock schedules wait for the instants that left memory") {
  world w;
  w.apply(every(60s));
  w.advance(61s);
  w.jump_wall(std::chrono::hours{24 * 365});
  w.advance(20s, false);
  const auto decided = w.disk.instants.size() + w.disk.queued();
  REQUIRE(w.lookups.size() == 1);
  CHECK(std::holds_alternative<load_instants>(w.lookups.front()));
  w.advance(10min, false);
  CHECK(w.disk.instants.size() + w.disk.queued() == decided);
  w.settle();
  w.advance(61s);
  CHECK(w.disk.instants.size() > decided);
}

TEST_CASE("an edit decides nothing before it") {
  world w;
  w.apply(every(60s));
  w.advance(30s);
  w.apply(every(45s));
  w.advance(44s);
  CHECK(w.disk.runs.empty());
  w.advance(2s);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("the instants of a job outlive its deletion") {
  world w;
  job_definition d = every(60s);
  d.schedule->kind = schedule_kind::hourly;
  d.schedule->minute = 1;
  w.apply(d);
  w.advance(61s);
  CHECK(w.disk.instants.size() == 1);
  w.give(deletion{w.ask(), "job", true});
  w.settle();
  w.jump_wall(-50s);
  w.apply(d);
  w.advance(60s);  // the same instant comes again, for a job of the same name
  CHECK(w.disk.instants.size() == 1);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("a job whose zone is still loading after a restart waits for it") {
  world w;
  w.zones["Asia/Hong_Kong"] = zone_table{"Asia/Hong_Kong", 8 * 3600, {}};
  job_definition d = every(60s);
  d.schedule->kind = schedule_kind::hourly;
  d.schedule->minute = 1;
  d.schedule->time_zone = "Asia/Hong_Kong";
  w.apply(d);
  w.restart();
  w.advance(61s, false);
  CHECK(w.disk.queued() == 0);
  CHECK_FALSE(w.view().next_instants("job", w.wall(), 1).has_value());
  w.settle();
  w.advance(1s);
  CHECK(w.disk.runs.size() == 1);
}

TEST_CASE("a zone whose data changes moves the next instants; no instant comes twice, and none is left out") {
  world w;
  w.zones["Asia/Hong_Kong"] = zone_table{"Asia/Hong_Kong", 8 * 3600, {}};
  job_definition d = every(60s);
  d.schedule->kind = schedule_kind::hourly;
  d.schedule->minute = 10;
  d.schedule->time_zone = "Asia/Hong_Kong";
  w.apply(d);
  w.advance(2h);
  const std::size_t before = w.disk.runs.size();
  REQUIRE(before == 2);
  const auto next_minute = [&] {
    return to_unix_ms(w.view().next_instants("job", w.wall(), 1)->front().instant) / 60'000 % 60;
  };
  const auto at_first = next_minute();
  // The same once more changes nothing; half an hour more to the east brings the instants half an hour
  // forward.
  w.give(zone_loaded{"Asia/Hong_Kong", w.zones["Asia/Hong_Kong"]});
  CHECK(next_minute() == at_first);
  w.zones["Asia/Hong_Kong"].first_offset += 1800;
  w.give(zone_loaded{"Asia/Hong_Kong", w.zones["Asia/Hong_Kong"]});
  CHECK(next_minute() == (at_first + 30) % 60);
  w.advance(2h);
  CHECK(w.disk.runs.size() == before + 2);
  // And back: what was decided stays decided.
  w.zones["Asia/Hong_Kong"].first_offset -= 1800;
  w.give(zone_loaded{"Asia/Hong_Kong", w.zones["Asia/Hong_Kong"]});
  w.give(zone_loaded{"Asia/Hong_Kong", std::nullopt});  // a zone that was lost stays as it was
  CHECK(next_minute() == at_first);
  w.advance(2h);
  CHECK(w.disk.runs.size() >= before + 4);
  CHECK(w.disk.runs.size() == w.disk.instants.size());
}

TEST_CASE("while the disk is full instants wait, and then follow their catch-up rule") {
  world w;
  w.apply(every(10min));
  w.give(space_changed{true});
  w.advance(31min);
  CHECK(w.disk.instants.empty());
  w.give(space_changed{false});
  w.advance(1s);
  CHECK(w.disk.runs.size() == 1);
  CHECK(outcomes(w, instant_outcome::late) == 1);
}

TEST_CASE("a full queue rejects the instant and says so") {
  config settings;
  settings.max_queued_runs = 1;
  world w(settings);
  w.apply(every(60s));
  w.advance(121s);
  CHECK(w.disk.runs.size() == 1);
  CHECK(outcomes(w, instant_outcome::rejected) == 1);
}

TEST_CASE("many schedules due in one second are all fired, in bounded steps") {
  world w;
  apply_jobs in;
  in.request = w.ask();
  for (int i = 0; i < 1'200; ++i) {
    in.jobs.push_back(every(60s));
    in.jobs.back().name = "job" + std::to_string(i);
  }
  w.give(in);
  w.settle();
  w.advance(60s);
  CHECK(w.disk.runs.size() == 1'200);
}

TEST_CASE("instants between a backup and its restore are recorded as missed and never fire") {
  world w;
  w.apply(every(10min));
  w.advance(10min);
  REQUIRE(w.disk.runs.size() == 1);
  w.skip_mono(65min);
  w.disk.restored(w.wall());
  w.restart();
  w.advance(1s);
  CHECK(w.disk.runs.size() == 1);
  CHECK(outcomes(w, instant_outcome::missed) == 6);
  for (const auto& [key, row] : w.disk.instants)
    if (row.outcome == instant_outcome::missed) CHECK(row.rule == "restored");
  w.advance(10min);
  CHECK(w.disk.runs.size() == 2);
  w.restart();
  w.advance(1s);
  CHECK(outcomes(w, instant_outcome::missed) == 6);
}
