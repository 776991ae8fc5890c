// The ledger of instants: one outcome for each, rows that stand for several, clocks that were wrong,
// calendars, jitter, edits at the very instant, and backfill.
#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>
#include <orchestrator/engine/timetable.hpp>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;

namespace {

job_definition cron_job(const std::string& cron, overlap_policy overlap = overlap_policy::allow) {
  job_definition d;
  d.name = "job";
  d.spec = command_spec();
  schedule s;
  s.kind = schedule_kind::cron;
  s.cron = cron;
  s.overlap = overlap;
  d.schedule = s;
  return d;
}

std::uint64_t total(const world& w) {
  std::uint64_t count = 0;
  for (const auto& [key, row] : w.disk.instants) count += row.count;
  return count;
}

wall_time minute_after(wall_time t) { return std::chrono::ceil<std::chrono::minutes>(t + 1ms); }

request_id apply(world& w, apply_jobs in) {
  in.request = w.ask();
  w.give(in);
  w.settle();
  return in.request;
}

day_calendar weekends() {
  day_calendar c;
  c.name = "weekends";
  c.weekdays = 0b1000001;
  return c;
}

request_id backfill(world& w, wall_time from, wall_time to, bool dry_run = false) {
  backfill_schedule in;
  in.request = w.ask();
  in.job = "job";
  in.from = from;
  in.to = to;
  in.dry_run = dry_run;
  w.give(in);
  w.settle();
  return in.request;
}

}  // namespace

TEST_CASE("consecutive instants of one outcome without a run are one row, also across a restart") {
  world w;
  const wall_time zero = minute_after(w.wall());
  w.apply(cron_job("* * * * *"));
  w.give(pause_job{w.ask(), "job", true, true});
  w.advance(10min);
  REQUIRE(w.disk.instants.size() == 1);
  w.restart(1s);
  w.advance(10min);
  REQUIRE(w.disk.instants.size() == 1);
  CHECK(total(w) >= 20);
  const auto row = w.disk.instants.begin()->second;
  CHECK(row.outcome == instant_outcome::paused);
  CHECK(row.rule == "paused");
  CHECK((row.until - row.instant) / 1min == static_cast<long>(row.count) - 1);
  CHECK(row.instant == zero);
  CHECK(w.facts("schedule.skipped") == 1);
  w.give(pause_job{w.ask(), "job", true, false});
  w.advance(2min);
  CHECK(w.disk.instants.size() == 3);
  CHECK(w.disk.runs.size() == 2);
}

TEST_CASE("days of downtime are accounted for to the instant, with the rule that decided") {
  world w;
  w.apply(cron_job("* * * * *"));
  w.advance(2min);
  const auto before = total(w);
  REQUIRE(before == 2);
  const auto down = [&](catch_up_policy policy, nanoseconds away) {
    job_definition d = cron_job("* * * * *");
    d.schedule->catch_up = policy;
    d.description = std::to_string(static_cast<int>(policy)) + std::to_string(away.count());
    w.apply(d);
    const auto was = total(w);
    const auto runs = w.disk.runs.size();
    w.restart(away);
    w.advance(100ms);
    const auto minutes = static_cast<std::uint64_t>(away / 1min);
    CHECK(total(w) - was >= minutes);
    CHECK(total(w) - was <= minutes + 1);
    return w.disk.runs.size() - runs;
  };
  CHECK(down(catch_up_policy::none, 72h) <= 1);  // one is on time
  CHECK(down(catch_up_policy::latest, 72h) == 1);
  CHECK(down(catch_up_policy::all, 72h) >= 10);
  std::set<std::string> rules;
  for (const auto& [key, row] : w.disk.instants) rules.insert(row.rule);
  CHECK(rules.contains("catch_up none"));
  CHECK(rules.contains("start_deadline"));
  CHECK(rules.contains("catch_up all"));
}

TEST_CASE("a leap second smeared or stepped neither doubles an instant nor loses it (K16)") {
  for (const milliseconds step : {-1s, +1s}) {
    world w;
    w.apply(cron_job("*/10 * * * * *"));
    const wall_time midnight = std::chrono::ceil<std::chrono::minutes>(w.wall() + 1ms);
    w.advance(midnight - w.wall() + 200ms);
    w.jump_wall(step);
    w.advance(59s);
    std::set<std::optional<wall_time>> fired;
    for (const auto& [id, r] : w.disk.runs) CHECK(fired.insert(r.instant).second);
    const wall_time last = std::chrono::floor<std::chrono::seconds>(w.wall());
    const auto tens = (last - midnight) / 10s + 1;
    CHECK(std::count_if(fired.begin(), fired.end(), [&](const auto& t) { return *t >= midnight; }) == tens);
    CHECK(total(w) == w.disk.runs.size());
  }
}

TEST_CASE("a zone whose rules changed while the coordinator was away fires no instant twice (K17)") {
  world w;
  zone_table zone{"Zone", 3600, {}};
  w.zones["Zone"] = zone;
  job_definition d = cron_job("0,30 0-23 * * *");
  d.schedule->time_zone = "Zone";
  w.apply(d);
  w.advance(3h);
  const auto before = w.disk.runs.size();
  const std::int64_t now = to_unix_ms(w.wall()) / 1000;
  zone.transitions = {{now - 3'600, 5'400}};  // half an hour more, since an hour ago
  w.zones["Zone"] = zone;
  w.restart(1s);
  w.settle();
  w.advance(3h);
  std::set<std::optional<wall_time>> fired;
  for (const auto& [id, r] : w.disk.runs) CHECK(fired.insert(r.instant).second);
  CHECK(w.disk.runs.size() >= before + 5);
}

TEST_CASE("three days down with a minute schedule make one run by `latest`, ten by `all` (K19)") {
  for (const auto policy : {catch_up_policy::latest, catch_up_policy::all}) {
    world w;
    job_definition d = cron_job("0 * * * * *");
    d.schedule->catch_up = policy;
    w.apply(d);
    w.advance(1s);
    const auto zero = std::chrono::floor<std::chrono::minutes>(w.wall());
    w.restart(72h + (zero + 1min - w.wall()) - 30s);  // between two minutes: none is on time
    w.advance(1s);
    CHECK(w.disk.runs.size() == (policy == catch_up_policy::latest ? 1 : 10));
    CHECK(total(w) == 72 * 60);
  }
}

TEST_CASE(
    "a year ahead and back again is one catch-up each, no storm, and every minute is decided once (K18)") {
  world w;
  w.apply(cron_job("* * * * *"));
  w.advance(3min);
  w.jump_wall(std::chrono::hours{24 * 365});
  w.advance(2min);
  const auto ahead = w.disk.runs.size();
  CHECK(ahead <= 3 + 4);
  CHECK(total(w) > 525'000);
  w.jump_wall(-std::chrono::hours{24 * 365});
  w.advance(10min);
  CHECK(w.noted("25 h ahead"));
  CHECK(w.disk.runs.size() - ahead >= 9);
  CHECK(w.disk.runs.size() - ahead <= 11);
  // What the wrong clock had decided without a run is withdrawn; the runs it made stay.
  std::set<wall_time> fired;
  for (const auto& [key, row] : w.disk.instants) {
    if (row.run) CHECK(fired.insert(row.instant).second);
    if (!row.run) CHECK(row.until <= w.wall());
  }
}

TEST_CASE(
    "a clock that was wrong for days silences no job when it is set right, whatever left memory meanwhile") {
  world w;
  job_definition d = cron_job("0 * * * *");
  d.schedule->catch_up = catch_up_policy::none;
  w.apply(d);
  w.advance(3h);
  const milliseconds year = std::chrono::hours{24 * 365};
  w.jump_wall(year);
  w.advance(60h);
  const auto ahead = w.disk.runs.size();
  w.jump_wall(-year);
  w.advance(5h);
  CHECK(w.disk.runs.size() == ahead + 5);
  for (const auto& [key, row] : w.disk.instants) {
    if (!row.run) CHECK(row.until <= w.wall());
  }
  w.restart(1s);
  w.advance(5h);
  CHECK(w.disk.runs.size() == ahead + 10);
}

TEST_CASE("an edit or a pause at the very instant neither loses it nor doubles it (K23)") {
  for (const bool edit : {true, false}) {
    world w;
    w.apply(cron_job("* * * * *"));
    const wall_time at = minute_after(w.wall());
    w.skip_mono(at - w.wall());  // the tick has not come yet
    if (edit) {
      job_definition d = cron_job("* * * * *");
      d.description = "edited";
      w.apply(d);
    } else {
      w.give(pause_job{w.ask(), "job", true, true});
      w.settle();
    }
    w.advance(1s);
    CHECK(w.disk.runs.size() == 1);
    REQUIRE(w.disk.instants.size() == 1);
    CHECK(w.disk.instants.begin()->second.instant == at);
    CHECK(w.disk.instants.begin()->second.outcome == instant_outcome::ran);
  }
}

TEST_CASE("an instant that is due when its job is deleted is missed by that") {
  world w;
  w.apply(cron_job("* * * * *"));
  w.skip_mono(minute_after(w.wall()) - w.wall());
  w.give(deletion{w.ask(), "job", false});
  w.settle();
  REQUIRE(w.disk.instants.size() == 1);
  CHECK(w.disk.instants.begin()->second.rule == "job deleted");
}

TEST_CASE("the overlap rule's objection is in the ledger, as one row while it holds (K20)") {
  world w;
  w.apply(cron_job("* * * * *", overlap_policy::skip));
  w.advance(5min);
  REQUIRE(w.disk.instants.size() == 2);
  const auto& row = w.disk.instants.rbegin()->second;
  CHECK(row.outcome == instant_outcome::skipped_overlap);
  CHECK(row.rule == "overlap skip");
  CHECK(row.count >= 3);
}

TEST_CASE("a calendar leaves days out, and the ledger names it") {
  world w;
  w.jump_wall(parse_rfc3339("2026-07-02T23:30:00Z").value() - w.wall());  // a Thursday
  w.advance(1s);
  apply_jobs in;
  in.calendars.push_back(weekends());
  in.jobs.push_back(cron_job("0 * * * *"));
  in.jobs[0].schedule->exclude = {"weekends"};
  const auto request = apply(w, in);
  REQUIRE(w.answered<jobs_answer>(request) != nullptr);
  CHECK(w.answered<jobs_answer>(request)->calendars.front().created);
  CHECK(w.disk.calendars.contains("weekends"));
  const auto next = w.view().next_instants("job", w.wall(), 26).value();
  CHECK(to_rfc3339(next[23].instant) == "2026-07-03T23:00:00.000Z");
  CHECK(to_rfc3339(next[24].instant) == "2026-07-06T00:00:00.000Z");
  w.advance(73h);
  CHECK(w.disk.runs.size() == 25);
  std::vector<stored_instant> out;
  for (const auto& [key, row] : w.disk.instants) {
    if (row.outcome == instant_outcome::skipped_calendar) out.push_back(row);
  }
  REQUIRE(out.size() == 1);
  CHECK(out[0].count == 48);
  CHECK(out[0].rule == "exclude weekends");
}

TEST_CASE("a calendar's change holds from then on, a restart keeps it, and one in use is not deleted") {
  world w;
  w.jump_wall(parse_rfc3339("2026-07-04T11:30:00Z").value() - w.wall());  // a Saturday
  w.advance(1s);
  apply_jobs in;
  in.calendars.push_back(weekends());
  in.jobs.push_back(cron_job("0 * * * *"));
  in.jobs[0].schedule->include = {"weekends"};
  apply(w, in);
  w.advance(1h);
  CHECK(w.disk.runs.size() == 1);
  w.restart(1s);
  w.advance(1h);
  CHECK(w.disk.runs.size() == 2);
  apply_jobs change;
  change.calendars.push_back(weekends());
  change.calendars[0].weekdays = 0b0000001;  // Sundays only
  const auto changed = apply(w, change);
  CHECK(w.answered<jobs_answer>(changed)->calendars.front().changed);
  w.advance(2h);
  CHECK(w.disk.runs.size() == 2);
  CHECK(w.disk.instants.rbegin()->second.rule == "not in weekends");
  const remove_calendar used{w.ask(), "weekends"};
  w.give(used);
  w.settle();
  REQUIRE(w.answered<refusal>(used.request) != nullptr);
  CHECK(w.answered<refusal>(used.request)->code == errc::conflict);
  w.give(deletion{w.ask(), "job", true});
  const remove_calendar unused{w.ask(), "weekends"}, again{w.ask(), "weekends"};
  w.give(unused);
  w.give(again);
  w.settle();
  CHECK(w.answered<done_answer>(unused.request) != nullptr);
  CHECK(w.answered<refusal>(again.request)->code == errc::not_found);
  CHECK(w.disk.calendars.empty());
}

TEST_CASE("a schedule that names no known calendar is refused, and nothing of the list is applied") {
  world w;
  apply_jobs in;
  in.calendars.push_back(weekends());
  in.jobs.push_back(cron_job("0 * * * *"));
  in.jobs[0].schedule->exclude = {"weekends", "weekend"};
  const auto request = apply(w, in);
  REQUIRE(w.answered<refusal>(request) != nullptr);
  CHECK(w.answered<refusal>(request)->pointer == "/schedule/exclude/1");
  CHECK(w.disk.calendars.empty());
  CHECK(w.disk.jobs.empty());
  in.calendars.push_back(weekends());
  in.jobs.clear();
  CHECK(w.answered<refusal>(apply(w, in))->pointer == "/calendars/1/name");
}

TEST_CASE("jitter starts a job late by its name, and its instants stay where they are") {
  world w;
  apply_jobs in;
  std::set<milliseconds> delays;
  for (int i = 0; i < 20; ++i) {
    in.jobs.push_back(cron_job("0 * * * *"));
    in.jobs.back().name = "job" + std::to_string(i);
    in.jobs.back().schedule->jitter = 10min;
    delays.insert(start_delay(*in.jobs.back().schedule, in.jobs.back().name));
  }
  CHECK(delays.size() > 15);
  CHECK(*delays.rbegin() < 10min);
  apply(w, in);
  const wall_time hour = std::chrono::ceil<std::chrono::hours>(w.wall() + 1ms);
  w.advance(hour - w.wall() + *delays.begin() - 1ms);
  CHECK(w.disk.runs.empty());
  w.advance(1ms);
  CHECK(w.disk.runs.size() == 1);
  w.advance(10min);
  CHECK(w.disk.runs.size() == 20);
  for (const auto& [key, row] : w.disk.instants) {
    CHECK(row.instant == hour);
    CHECK(row.outcome == instant_outcome::ran);
  }
  CHECK(w.view().next_instants("job0", w.wall(), 1).value()[0].delay ==
        start_delay(*in.jobs[0].schedule, "job0"));
}

TEST_CASE("an edit while an instant waits for its jitter does not lose it") {
  world w;
  job_definition d = cron_job("0 * * * *");
  d.schedule->jitter = 50min;
  const milliseconds delay = start_delay(*d.schedule, d.name);
  REQUIRE(delay > 1min);
  w.apply(d);
  const wall_time hour = std::chrono::ceil<std::chrono::hours>(w.wall() + 1ms);
  w.advance(hour - w.wall() + 30s);
  d.description = "edited";
  w.apply(d);
  w.advance(delay);
  CHECK(w.disk.runs.size() == 1);
  CHECK(w.disk.instants.size() == 1);
}

TEST_CASE("a one-time schedule fires once, also after a restart, and a past one is refused") {
  world w;
  job_definition d = cron_job("");
  d.schedule->kind = schedule_kind::once;
  d.schedule->at = w.wall() + 90s;
  w.apply(d);
  w.restart(1s);
  w.advance(10min);
  CHECK(w.disk.runs.size() == 1);
  CHECK(w.disk.instants.size() == 1);
  d.description = "an edit of something else";
  CHECK(w.answered<jobs_answer>(w.apply(d)) != nullptr);
  w.advance(10min);
  CHECK(w.disk.runs.size() == 1);
  d.schedule->at = w.wall() - 1s;
  const auto request = w.apply(d);
  REQUIRE(w.answered<refusal>(request) != nullptr);
  CHECK(w.answered<refusal>(request)->pointer == "/schedule/at");
}

TEST_CASE("start and end bound a schedule by days of its zone") {
  world w;
  w.jump_wall(parse_rfc3339("2026-07-01T12:00:00Z").value() - w.wall());
  w.advance(1s);
  job_definition d = cron_job("0 6 * * *");
  d.schedule->start = static_cast<std::int32_t>(days_from_civil(2026, 7, 3));
  d.schedule->end = static_cast<std::int32_t>(days_from_civil(2026, 7, 4));
  w.apply(d);
  CHECK(w.view().next_instants("job", w.wall(), 10).value().size() == 2);
  w.advance(24h * 6);
  CHECK(w.disk.runs.size() == 2);
  CHECK(w.disk.instants.size() == 2);
  d.schedule->end = static_cast<std::int32_t>(days_from_civil(2026, 7, 2));
  CHECK(w.answered<refusal>(w.apply(d))->pointer == "/schedule/end");
}

TEST_CASE("the second pass of a fold and the end of a skipped gap are in the ledger") {
  const auto outcomes = [](const char* around, gap_policy gap, const std::string& cron) {
    world w;
    zone_table zone{"America/New_York", -5 * 3600, {}};
    zone.transitions = {{civil_to_seconds({2026, 3, 8, 7, 0, 0}), -4 * 3600},
                        {civil_to_seconds({2026, 11, 1, 6, 0, 0}), -5 * 3600}};
    w.zones[zone.name] = zone;
    w.jump_wall(parse_rfc3339(around).value() - w.wall());
    w.advance(1s);
    job_definition d = cron_job(cron);
    d.schedule->time_zone = zone.name;
    d.schedule->gap = gap;
    w.apply(d);
    w.advance(6h);
    std::vector<std::string> found;
    for (const auto& [key, row] : w.disk.instants)
      found.push_back(to_rfc3339(row.instant).substr(11, 5) + " " + to_string(row.outcome) + " " + row.rule);
    return found;
  };
  using list = std::vector<std::string>;
  CHECK(outcomes("2026-11-01T04:00:00Z", gap_policy::shift, "30 1 * * *") ==
        list{"05:30 ran ", "06:30 fold_merged fold first"});
  CHECK(outcomes("2026-03-08T04:00:00Z", gap_policy::shift, "30 2 * * *") ==
        list{"07:00 gap_shifted gap_shifted"});
  CHECK(outcomes("2026-03-08T04:00:00Z", gap_policy::skip, "30 2 * * *") ==
        list{"07:00 skipped_calendar gap skip"});
  CHECK(outcomes("2026-03-08T04:00:00Z", gap_policy::shift, "0,30 2-3 * * *") ==
        list{"07:00 ran gap_merged", "07:30 ran "});
}

TEST_CASE("a backfill runs the instants of a window that have no run, and says so in the ledger") {
  world w;
  job_definition d = cron_job("* * * * *");
  d.schedule->catch_up = catch_up_policy::none;
  w.apply(d);
  w.advance(3min);
  const wall_time from = std::chrono::floor<std::chrono::minutes>(w.wall()) - 2min;
  w.restart(10min);
  w.advance(1s);
  const auto runs = w.disk.runs.size(), decided = total(w);
  const auto trial = backfill(w, from, w.wall(), true);
  REQUIRE(w.answered<backfill_answer>(trial) != nullptr);
  const auto missing = w.answered<backfill_answer>(trial)->items.size();
  CHECK(missing >= 9);
  CHECK(w.answered<backfill_answer>(trial)->had_runs >= 3);
  CHECK(w.disk.runs.size() == runs);
  const auto done = backfill(w, from, w.wall());
  CHECK(w.answered<backfill_answer>(done)->items.size() == missing);
  CHECK(w.disk.runs.size() == runs + missing);
  CHECK(total(w) == decided);  // each instant has one outcome, as before
  for (const auto& [key, row] : w.disk.instants) CHECK(row.run);
  const auto again = backfill(w, from, w.wall());
  CHECK(w.answered<backfill_answer>(again)->items.empty());
  std::set<std::optional<wall_time>> instants;
  for (const auto& [id, r] : w.disk.runs) CHECK(instants.insert(r.instant).second);
}

TEST_CASE("an instant that is backfilled inside a row splits it, and the row goes on behind it") {
  world w;
  w.apply(cron_job("* * * * *"));
  w.give(pause_job{w.ask(), "job", true, true});
  w.advance(6min + 1s);
  REQUIRE(w.disk.instants.size() == 1);
  const stored_instant whole = w.disk.instants.begin()->second;
  REQUIRE(whole.count == 6);
  const wall_time filled = whole.instant + 2min;
  const auto done = backfill(w, filled, filled);
  REQUIRE(w.answered<backfill_answer>(done)->items.size() == 1);
  const auto rows = [&] {
    std::vector<std::tuple<long, long, std::uint64_t, bool>> list;
    for (const auto& [key, row] : w.disk.instants)
      list.emplace_back((row.instant - whole.instant) / 1min, (row.until - whole.instant) / 1min, row.count,
                        row.run.has_value());
    return list;
  };
  using list = decltype(rows());
  CHECK(rows() == list{{0, 1, 2, false}, {2, 2, 1, true}, {3, 5, 3, false}});
  w.advance(1min);
  CHECK(rows() == list{{0, 1, 2, false}, {2, 2, 1, true}, {3, 6, 4, false}});
  backfill(w, whole.instant + 6min, whole.instant + 6min);  // the newest: what follows begins a row
  w.advance(1min);
  CHECK(rows() ==
        list{{0, 1, 2, false}, {2, 2, 1, true}, {3, 5, 3, false}, {6, 6, 1, true}, {7, 7, 1, false}});
}

TEST_CASE("a backfill splits a row that left memory long ago, also one of an earlier schedule") {
  world w;
  w.apply(cron_job("0 * * * *"));
  w.give(pause_job{w.ask(), "job", true, true});
  w.advance(10h);
  w.give(pause_job{w.ask(), "job", true, false});
  w.advance(24h * 5);
  w.restart(1s);
  w.advance(1h);
  const auto decided = total(w);
  const stored_instant row = w.disk.instants.begin()->second;
  REQUIRE(row.count == 10);
  backfill(w, row.instant + 3h, row.instant + 4h);
  CHECK(total(w) == decided);
  const auto at = [&](milliseconds later) { return w.disk.instants.at({"job", row.instant + later}); };
  CHECK(at(0h).until == row.instant + 2h);
  CHECK(at(0h).count == 3);
  CHECK(at(5h).until == row.until);
  CHECK(at(5h).count == 5);
  w.apply(cron_job("0 */2 * * *"));
  const auto again = backfill(w, row.instant + 5h, row.until);
  CHECK(w.answered<backfill_answer>(again)->items.size() >= 2);
  CHECK(total(w) <= decided);  // what only the earlier schedule named may have no place left
  w.advance(3h);
  w.check();
}

TEST_CASE("two backfills of one window at once, with a slow disk, make one run for each instant") {
  world w;
  w.apply(cron_job("* * * * *"));
  w.advance(1min);
  const auto in = [&] {
    backfill_schedule request;
    request.request = w.ask();
    request.job = "job";
    request.from = w.wall() - 24h * 30;
    request.to = request.from + 30min;
    return request;
  };
  w.give(in());
  w.give(in());
  w.settle();
  std::set<std::optional<wall_time>> instants;
  for (const auto& [id, r] : w.disk.runs) CHECK(instants.insert(r.instant).second);
  CHECK(w.disk.runs.size() >= 31);
}

TEST_CASE("a backfill that makes no sense is refused") {
  world w;
  const auto code = [&](wall_time from, wall_time to) { return w.answered<refusal>(backfill(w, from, to)); };
  CHECK(code(w.wall() - 1h, w.wall())->code == errc::not_found);
  w.apply(cron_job("* * * * *"));
  w.advance(1min);
  CHECK(code(w.wall(), w.wall() - 1h)->pointer == "/to");
  CHECK(code(w.wall() - 1h, w.wall() + 1h)->pointer == "/to");
  CHECK(code(w.wall() - 24h, w.wall())->code == errc::limit);
  job_definition d = cron_job("* * * * *");
  d.schedule->kind = schedule_kind::manual;
  w.apply(d);
  CHECK(code(w.wall() - 1h, w.wall())->code == errc::conflict);
}

TEST_CASE("ten thousand schedules of one second are decided in it, in bounded steps (K21)") {
  world w;
  apply_jobs in;
  in.request = w.ask();
  for (int i = 0; i < 10'000; ++i) {
    in.jobs.push_back(cron_job("0 * * * *"));
    in.jobs.back().name = "job" + std::to_string(i);
  }
  w.give(in);
  w.sync();
  const wall_time hour = std::chrono::ceil<std::chrono::hours>(w.wall() + 1ms);
  w.skip_mono(hour - w.wall());
  std::size_t most = 0, steps = 0;
  while (w.next_deadline() && *w.next_deadline() <= w.mono() && steps < 1'000) {
    const effects e = w.give(tick{});
    if (e.commit) most = std::max(most, e.commit->mutations.size());
    ++steps;
  }
  w.sync();
  CHECK(w.disk.runs.size() == 10'000);
  CHECK(steps <= 30);
  CHECK(most < 10'000);
}

TEST_CASE("random clocks, restarts, pauses and edits lose no instant and decide none twice") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    random_source random{seed};
    world w({}, seed);
    zone_table zone{"Zone", 3600, {}};
    const std::int64_t begin = to_unix_ms(w.wall()) / 1000;
    for (int i = 1; i < 12; ++i)
      zone.transitions.push_back({begin + i * 7'000, i % 2 == 0 ? 3600 : i % 3 * 1800});
    w.zones[zone.name] = zone;
    const char* crons[] = {"* * * * *", "*/5 * * * *", "0,17,30,45 0-23 * * *", "*/20 * * * * *"};
    job_definition d = cron_job(crons[seed % 4]);
    d.schedule->time_zone = zone.name;
    d.schedule->fold = seed % 3 == 0 ? fold_policy::both : fold_policy::first;
    d.schedule->gap = seed % 5 == 0 ? gap_policy::skip : gap_policy::shift;
    d.schedule->catch_up = static_cast<catch_up_policy>(seed % 3);
    w.apply(d);
    const wall_time start = w.wall();
    bool paused = false;
    wall_time highest = w.wall();
    for (int i = 0; i < 60; ++i) {
      w.advance(std::chrono::seconds{random.below(900)}, random.below(4) != 0);
      highest = std::max(highest, w.wall());
      switch (random.below(6)) {
        case 0: w.restart(std::chrono::seconds{random.below(3'000)}); break;
        case 1: w.jump_wall(std::chrono::seconds{random.below(4'000)}); break;
        case 2: w.jump_wall(-std::chrono::seconds{random.below(3'000)}); break;
        case 3: {
          paused = !paused;
          w.give(pause_job{w.ask(), "job", true, paused});
          break;
        }
        default: w.settle();
      }
      highest = std::max(highest, w.wall());
    }
    w.settle();
    w.advance(1s);
    highest = std::max(highest, w.wall());
    // Every instant the calendar has is in exactly one row, and a row has as many as it says.
    const auto times = make_calendar(*d.schedule, start, zone).value();
    std::uint64_t expected = 0;
    for (auto at = times->next_of_any_kind(start); at && *at <= highest; at = times->next_of_any_kind(*at)) {
      ++expected;
      int in_rows = 0;
      for (const auto& [key, row] : w.disk.instants)
        in_rows += row.instant <= *at && *at <= row.until ? 1 : 0;
      REQUIRE(in_rows == 1);
    }
    CHECK(total(w) == expected);
    std::set<std::optional<wall_time>> fired;
    for (const auto& [id, r] : w.disk.runs) CHECK(fired.insert(r.instant).second);
    CHECK(expected > 20);
  }
}
