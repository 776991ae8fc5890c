// What a start makes of what the store found. Rows that cannot be used end it; and the first start after
// `server restore` (rule 10): what the lost database did since the backup is not known, and nothing of it may
// happen a second time.
#include <doctest/doctest.h>

#include "support/engine_script.hpp"

using namespace orchestrator;
using namespace orchestrator::engine;
using namespace orchestrator::engine::script;
using protocol::result_status;

namespace {

constexpr std::uint64_t jump = std::uint64_t{1} << 32;

run_spec once() {
  run_spec s = command_spec();
  s.at_most_once = true;
  return s;
}

/// The backup becomes the data, `away` after now.
void put_back(world& w, const fake_disk& backup, nanoseconds away = 1min) {
  w.disk = fake_disk(backup);
  w.disk.crash();
  w.disk.term += jump;
  w.disk.restored(w.wall() + std::chrono::duration_cast<milliseconds>(away));
  w.restart(away);
  w.settle();
}

/// A database with one run, one job whose schedule names a calendar, and that calendar.
snapshot sound_database() {
  world w;
  apply_jobs in;
  in.request = w.ask();
  in.calendars.push_back({"holidays", "", 1, {}, {}});
  job_definition d;
  d.name = "nightly";
  d.spec = command_spec();
  d.schedule = schedule{};
  d.schedule->kind = schedule_kind::daily;
  d.schedule->exclude = {"holidays"};
  in.jobs.push_back(d);
  w.give(in);
  w.run(script_spec());
  return w.disk.reopen(w.wall());
}

/// Which row a start on `s` stops at, and why; nothing if it does not.
std::optional<unusable_row> refused_row(const snapshot& s) {
  orchestrator::engine::engine core{config{}};
  const effects e = core.step({mono_time{1h}, {}}, started{s, 1});
  if (e.cannot_start) {
    CHECK_FALSE(e.commit.has_value());
    CHECK(e.outputs.empty());
  }
  return e.cannot_start;
}

}  // namespace

TEST_CASE("a start stops at the first row that it cannot use, and names it") {
  const snapshot sound = sound_database();
  REQUIRE_FALSE(refused_row(sound).has_value());
  REQUIRE(sound.specs.size() == 1);
  const auto check = [&](const auto& damage, const std::string& table, const std::string& row,
                         const std::string& why) {
    snapshot s = sound;
    damage(s);
    const auto refused = refused_row(s);
    REQUIRE(refused.has_value());
    CHECK(refused->table == table);
    CHECK(refused->row == row);
    INFO(refused->why);
    CHECK(refused->why.find(why) != std::string::npos);
  };
  const std::string spec = std::to_string(sound.specs[0].id.value);
  check([](snapshot& s) { s.specs[0].text = "{\"script\":"; }, "specs", spec, "byte");
  check([](snapshot& s) { s.specs[0].text = R"({"script":"a.sh","moon":"full"})"; }, "specs", spec, "moon");
  check([](snapshot& s) { s.specs.clear(); }, "specs", spec, "it is missing, and run");
  check([](snapshot& s) { s.jobs[0].text.resize(9); }, "job_versions", "nightly version 1", "byte");
  check([](snapshot& s) { s.jobs[0].text = R"({"name":"nightly"})"; }, "job_versions", "nightly version 1",
        "nothing says what to run");
  check([](snapshot& s) { s.jobs[0].text = R"({"name":"hourly","command":["true"]})"; }, "job_versions",
        "nightly version 1", "it is the definition of hourly");
  check([](snapshot& s) { s.calendars[0].text = "[]"; }, "calendars", "holidays", "object");
  check([](snapshot& s) { s.calendars.clear(); }, "job_versions", "nightly version 1",
        "the calendar holidays that it names is not there");
}

TEST_CASE(
    "row 36: after a restore no lease is issued twice, and results the backup cannot know stay unknown") {
  world w;
  test_worker worker(w);
  worker.form.slots = 2;
  worker.connect();
  w.run(command_spec());
  const auto known = worker.take_offer();
  w.settle();
  const fake_disk backup = w.disk;
  w.run(command_spec());
  const auto lost = worker.take_offer();
  w.settle();
  put_back(w, backup);
  CHECK(w.noted("restored from a backup"));
  test_worker other(w, "w2", 2);  // it has seen no lease, so its registration tells nothing about the counter
  other.connect();
  w.run(command_spec());
  const auto next = other.take_offer();
  CHECK(next.lease->value == known.lease->value + jump + 1);
  worker.form.running = {test_worker::ref(known)};
  worker.form.unacked = {test_worker::ref(lost)};
  worker.form.highest_lease = lost.lease;
  worker.connect();
  CHECK(worker.registration().keep == std::vector{test_worker::ref(known)});
  const auto foreign = worker.finish(lost);
  const auto own = worker.finish(known);
  w.settle();
  CHECK(worker.verdict(foreign) == disposition::unknown_lease);
  CHECK(worker.verdict(own) == disposition::accepted);
  const lease_id counter = w.disk.lease_counter;
  w.restart();
  w.settle();
  CHECK(w.disk.lease_counter == counter);  // once is enough
}

TEST_CASE("a restore makes every at_most_once run that has not ended unknown, and starts none of them") {
  world w;
  test_worker worker(w);
  worker.connect();
  const run_id started = w.run(once());
  const auto offer = worker.take_offer();
  const run_id waiting = w.run(once());
  const run_id refused_once = w.run(once());
  const run_id ordinary = w.run(command_spec());
  w.settle();
  put_back(w, w.disk);
  for (const run_id& id : {started, waiting, refused_once}) {
    CHECK(w.stored(id).state == run_state::unknown);
    CHECK(w.why(id) == std::vector<std::string>{"unknown"});
  }
  CHECK(w.stored(ordinary).state == run_state::queued);
  CHECK(w.facts("run.unknown") == 3);
  test_worker second(w, "w2", 2);
  second.form.slots = 8;
  second.connect();
  REQUIRE(second.take_offers().size() == 1);
  CHECK(w.stored(ordinary).state == run_state::active);
  w.advance(10min);
  CHECK(w.attempts_of(waiting).empty());
  worker.form.unacked = {test_worker::ref(offer)};
  worker.connect();
  worker.finish(offer);
  const resolve_run verdict{w.ask(), waiting, run_state::failed};
  w.give(verdict);
  w.settle();
  CHECK(w.stored(started).state == run_state::succeeded);  // a late result settles it
  CHECK(w.stored(waiting).state == run_state::failed);     // or a person
}

TEST_CASE("instants between a backup and its restore are missed, and not caught up") {
  world w;
  job_definition d;
  d.name = "job";
  d.spec = command_spec();
  d.schedule = schedule{};
  d.schedule->kind = schedule_kind::interval;
  d.schedule->every = 60s;
  d.schedule->overlap = overlap_policy::allow;
  d.schedule->catch_up = catch_up_policy::all;
  w.apply(d);
  w.advance(61s);
  REQUIRE(w.disk.runs.size() == 1);
  put_back(w, w.disk, 10min);
  w.advance(1s);
  CHECK(w.disk.runs.size() == 1);
  REQUIRE(w.disk.instants.size() == 2);
  CHECK(w.disk.instants.rbegin()->second.outcome == instant_outcome::missed);
  CHECK(w.disk.instants.rbegin()->second.rule == "restored");
  w.advance(60s);
  CHECK(w.disk.runs.size() == 2);  // from then on they fire again
}
