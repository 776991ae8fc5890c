// Jobs: applied all or nothing, versioned, paused, deleted; and zones that must exist.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

job_definition job_named(std::string name) {
  job_definition d;
  d.name = std::move(name);
  d.spec = script_spec();
  return d;
}

job_definition daily_in(std::string zone) {
  job_definition d = job_named("daily");
  schedule s;
  s.kind = schedule_kind::daily;
  s.hour = 12;
  s.time_zone = std::move(zone);
  d.schedule = s;
  return d;
}

}  // namespace

TEST_CASE("applying a job creates it, changes it, or leaves it alone") {
  world w;
  const auto first = w.apply(job_named("a"));
  const auto same = w.apply(job_named("a"));
  auto changed = job_named("a");
  changed.spec.args = "--fast";
  const auto other = w.apply(changed);
  const auto change = [&](request_id id) { return w.answered<jobs_answer>(id)->changes.at(0); };
  CHECK(change(first).created);
  CHECK(change(first).version == 1);
  CHECK_FALSE(change(same).changed);
  CHECK(change(other).changed);
  CHECK(change(other).version == 2);
  CHECK(w.facts("job.applied") == 2);
}

TEST_CASE("a new name must differ from the others in more than case, and is not `last` (J11)") {
  world w;
  w.apply(job_named("Report"));
  const auto refused = w.apply(job_named("report"));
  REQUIRE(w.answered<refusal>(refused) != nullptr);
  CHECK(w.answered<refusal>(refused)->pointer == "/name");
  CHECK(w.answered<refusal>(refused)->hint.find("write Report") == 0);
  CHECK(w.answered<jobs_answer>(w.apply(job_named("Report"))) != nullptr);
  CHECK(w.answered<refusal>(w.apply(job_named("last"))) != nullptr);
  CHECK(w.answered<jobs_answer>(w.apply(job_named("Last"))) != nullptr);
  apply_jobs in;
  in.request = w.ask();
  in.jobs = {job_named("a"), job_named("b"), job_named("A")};
  w.give(in);
  w.settle();
  REQUIRE(w.answered<refusal>(in.request) != nullptr);
  CHECK(w.answered<refusal>(in.request)->pointer == "/2/name");
  CHECK(w.disk.jobs.size() == 2);
}

TEST_CASE("jobs of a database whose names differ in case alone stay, and may be changed") {
  world w;
  w.apply(job_named("Report"));
  auto stored = w.disk.jobs.at("Report");
  stored.job.name = "report";
  const std::size_t at = stored.text.find("Report");
  REQUIRE(at != std::string::npos);
  stored.text.replace(at, 6, "report");
  w.disk.jobs["report"] = stored;
  w.restart(1s);
  auto changed = job_named("report");
  changed.spec.args = "--fast";
  CHECK(w.answered<jobs_answer>(w.apply(changed)) != nullptr);
  CHECK(w.answered<jobs_answer>(w.apply(job_named("Report"))) != nullptr);
}

TEST_CASE("a list is applied whole or not at all") {
  world w;
  apply_jobs in;
  in.request = w.ask();
  in.jobs = {job_named("good"), daily_in("UTC")};
  in.jobs[1].schedule->hour = 99;
  w.give(in);
  w.settle();
  REQUIRE(w.answered<refusal>(in.request) != nullptr);
  CHECK(w.answered<refusal>(in.request)->pointer.find("/1/schedule") == 0);
  CHECK(w.disk.jobs.empty());
  in.request = w.ask();
  in.jobs = {job_named("twice"), job_named("twice")};
  w.give(in);
  w.settle();
  CHECK(w.answered<refusal>(in.request)->code == errc::bad_field);
}

TEST_CASE("a dry run says what would happen and changes nothing") {
  world w;
  apply_jobs in;
  in.request = w.ask();
  in.jobs = {job_named("a")};
  in.dry_run = true;
  w.give(in);
  w.settle();
  CHECK(w.answered<jobs_answer>(in.request)->changes.at(0).created);
  CHECK(w.disk.jobs.empty());
}

TEST_CASE("If-Match guards against lost edits") {
  world w;
  w.apply(job_named("a"));
  apply_jobs in;
  in.jobs = {job_named("a")};
  in.jobs[0].description = "new";
  in.request = w.ask();
  in.if_version = 7;
  w.give(in);
  w.settle();
  CHECK(w.answered<refusal>(in.request)->code == errc::precondition);
  in.request = w.ask();
  in.if_version = 0;
  w.give(in);
  w.settle();
  CHECK(w.answered<refusal>(in.request)->code == errc::precondition);
  in.request = w.ask();
  in.if_version = 1;
  w.give(in);
  w.settle();
  CHECK(w.answered<jobs_answer>(in.request)->changes.at(0).version == 2);
}

TEST_CASE("a list with an unknown time zone waits for the look-up and is refused") {
  world w;
  apply_jobs in;
  in.request = w.ask();
  in.jobs = {daily_in("Mars/Olympus")};
  w.give(in);
  REQUIRE(w.lookups.size() == 1);
  CHECK(w.answer_to(in.request) == nullptr);
  w.settle();
  REQUIRE(w.answered<refusal>(in.request) != nullptr);
  CHECK(w.answered<refusal>(in.request)->detail.find("Mars/Olympus") != std::string::npos);
  CHECK(w.disk.jobs.empty());
}

TEST_CASE("a list with a zone that exists is applied when its table is here") {
  world w;
  w.zones["Asia/Hong_Kong"] = zone_table{"Asia/Hong_Kong", 8 * 3600, {}};
  const auto id = w.apply(daily_in("Asia/Hong_Kong"));
  CHECK(w.answered<jobs_answer>(id)->changes.at(0).created);
  const auto next = w.view().next_instants("daily", w.wall(), 2);
  REQUIRE(next.has_value());
  REQUIRE(next->size() == 2);
  CHECK((*next)[0].instant == w.wall() + 4h);
}

TEST_CASE("a run pins the version it came from") {
  world w;
  test_worker worker(w);
  w.apply(job_named("a"));
  const run_id old = w.run_job("a");
  auto changed = job_named("a");
  changed.spec.script = "jobs/b.sh";
  w.apply(changed);
  const run_id fresh = w.run_job("a");
  worker.connect();
  auto offer = worker.take_offer();
  CHECK(offer.script_path == "jobs/a.sh");
  worker.finish(offer);
  w.settle();
  CHECK(worker.take_offer().script_path == "jobs/b.sh");
  CHECK(w.stored(old).job_version == 1);
  CHECK(w.stored(fresh).job_version == 2);
}

TEST_CASE("pausing a job holds its waiting runs, and resuming lets them go") {
  world w;
  test_worker worker(w);
  w.apply(job_named("a"));
  const run_id run = w.run_job("a");
  w.give(pause_job{w.ask(), "a", false, true});
  w.settle();
  w.restart();
  worker.connect();
  CHECK(worker.take_offers().empty());
  CHECK(w.why(run) == std::vector<std::string>{"job_paused"});
  w.give(pause_job{w.ask(), "a", false, false});
  w.settle();
  CHECK(worker.take_offers().size() == 1);
}

TEST_CASE("deleting a job refuses while runs live, unless they are to be cancelled") {
  world w;
  test_worker worker(w);
  worker.connect();
  w.apply(job_named("a"));
  const run_id active = w.run_job("a");
  const run_id waiting = w.run_job("a");
  const auto offer = worker.take_offer();
  const deletion plain{w.ask(), "a", false};
  w.give(plain);
  w.settle();
  CHECK(w.answered<refusal>(plain.request)->code == errc::conflict);
  const deletion with_cancel{w.ask(), "a", true};
  w.give(with_cancel);
  w.settle();
  CHECK(w.answered<done_answer>(with_cancel.request) != nullptr);
  CHECK(w.disk.jobs.empty());
  CHECK(w.stored(waiting).state == run_state::cancelled);
  CHECK(w.stored(active).state == run_state::active);
  worker.finish(offer, result_status::cancelled);
  w.settle();
  CHECK(w.stored(active).state == run_state::cancelled);
  w.apply(job_named("a"));
  CHECK(w.disk.jobs.size() == 1);
}

TEST_CASE("the number of jobs and schedules is bounded") {
  config settings;
  settings.max_jobs = 2;
  settings.max_schedules = 1;
  world w(settings);
  w.apply(daily_in("UTC"));
  auto second = daily_in("UTC");
  second.name = "second";
  const auto too_many = w.apply(second);
  CHECK(w.answered<refusal>(too_many)->code == errc::limit);
  w.apply(job_named("b"));
  const auto third = w.apply(job_named("c"));
  CHECK(w.answered<refusal>(third)->code == errc::limit);
}

TEST_CASE("a schedule that can never fire is refused, with the key that keeps it from it") {
  world w;
  w.zones["Asia/Hong_Kong"] = zone_table{"Asia/Hong_Kong", 8 * 3600, {}};
  const auto today = static_cast<std::int32_t>(w.wall().time_since_epoch() / 24h);
  day_calendar all{"all", "", 0x7f, {}, {}}, none{"none", "", 0, {}, {{0, 10}}};
  const auto refused = [&](const schedule& s, const std::vector<day_calendar>& calendars = {}) {
    job_definition d = job_named("never");
    d.schedule = s;
    apply_jobs in;
    in.request = w.ask();
    in.jobs = {job_named("other"), d};
    in.calendars = calendars;
    for (const bool dry : {true, false}) {
      in.request = w.ask();
      in.dry_run = dry;
      w.give(in);
      w.settle();
      REQUIRE(w.answered<refusal>(in.request) != nullptr);
      CHECK(w.answered<refusal>(in.request)->detail.find("Job never: its schedule never fires") == 0);
      CHECK(w.disk.jobs.empty());
      CHECK(w.disk.calendars.empty());
    }
    return w.answered<refusal>(in.request)->pointer;
  };
  schedule ended = *daily_in("UTC").schedule;
  ended.end = today - 1;
  CHECK(refused(ended) == "/1/schedule/end");
  schedule rare;  // in ten years first, and to end in one
  rare.kind = schedule_kind::interval;
  rare.every = 24h * 3650;
  rare.end = today + 365;
  CHECK(refused(rare) == "/1/schedule/end");
  schedule excluded = *daily_in("Asia/Hong_Kong").schedule;  // the zone is loaded first
  excluded.exclude = {"all"};
  CHECK(refused(excluded, {all}) == "/1/schedule/exclude");
  schedule past = *daily_in("UTC").schedule;
  past.include = {"none"};
  CHECK(refused(past, {none}) == "/1/schedule/include");
  past.end = today + 3;
  CHECK(refused(past, {none}) == "/1/schedule/include");
  schedule once;
  once.kind = schedule_kind::once;
  once.at = w.wall() + 48h;
  once.end = today;
  CHECK(refused(once) == "/1/schedule/end");
}

TEST_CASE(
    "a schedule whose first instant is far, behind many changes of the clock, is none that never fires") {
  world w;
  zone_table summer{"Test/Summer", 3600, {}};  // forward each April, back each October
  const auto year = 365 * 24h;
  for (int i = 0; i < 12; ++i) {
    const wall_time january = w.wall() + i * year;
    summer.transitions.push_back({to_unix_ms(january + 90 * 24h) / 1000, 7200});
    summer.transitions.push_back({to_unix_ms(january + 270 * 24h) / 1000, 3600});
  }
  w.zones["Test/Summer"] = summer;
  const auto today = static_cast<std::int32_t>(w.wall().time_since_epoch() / 24h);
  for (const auto& [every, days] : {std::pair{1s, 400}, std::pair{60s, 3600}}) {
    job_definition d = job_named("far");
    d.schedule = schedule{};
    d.schedule->kind = schedule_kind::interval;
    d.schedule->every = every;
    d.schedule->time_zone = "Test/Summer";
    d.schedule->include = {"one"};
    apply_jobs in;
    in.request = w.ask();
    in.jobs = {d};
    in.calendars = {{"one", "", 0, {}, {{today + days, today + days}}}};
    w.give(in);
    w.settle();
    REQUIRE(w.answered<jobs_answer>(in.request) != nullptr);
    const auto next = w.view().next_instants("far", w.wall(), 1).value();
    REQUIRE(next.size() == 1);
    const auto local = next[0].instant + seconds{next[0].utc_offset};
    CHECK(local.time_since_epoch() / 24h == today + days);
  }
}

TEST_CASE("an end that leaves an interval that goes on one more instant is none that never fires") {
  world w;
  job_definition d = job_named("weekly");
  d.schedule = schedule{};
  d.schedule->kind = schedule_kind::interval;
  d.schedule->every = 7 * 24h;
  w.apply(d);
  w.advance(3 * 24h);
  d.schedule->end = static_cast<std::int32_t>((w.wall() + 5 * 24h).time_since_epoch() / 24h);
  CHECK(w.answered<jobs_answer>(w.apply(d)) != nullptr);
  CHECK(w.view().next_instants("weekly", w.wall(), 5).value().size() == 1);
}

TEST_CASE("a schedule that has run out may be applied again as it is, but not anew") {
  world w;
  job_definition d = daily_in("UTC");
  d.schedule->end = static_cast<std::int32_t>(w.wall().time_since_epoch() / 24h);
  CHECK(w.answered<jobs_answer>(w.apply(d)) != nullptr);
  w.advance(48h);
  d.spec.args = "--fast";
  CHECK(w.answered<jobs_answer>(w.apply(d)) != nullptr);
  CHECK(w.disk.jobs.at("daily").job.version == 2);
  CHECK(w.view().next_instants("daily", w.wall(), 5).value().empty());
  d.schedule->hour = 13;
  CHECK(w.answered<refusal>(w.apply(d)) != nullptr);
}
