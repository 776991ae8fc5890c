// Databases that earlier versions of this program wrote must open for ever. One small pair of files per
// schema version is kept in tests/support/fixtures; to make the one of a new version, run this program once
// with ORCHESTRATOR_WRITE_FIXTURE set to that directory. What is in them a coordinator can carry on with:
// unit/server/upgrade_test.cpp starts one on each, and integration/upgrade_test.py the whole program.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "connection.hpp"
#include "open.hpp"
#include "schema.hpp"
#include "support/store_support.hpp"
#include "support/tests_dir.hpp"

using namespace orchestrator;
using namespace orchestrator::store;
using namespace orchestrator::store::testing;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

fs::path fixtures() { return orchestrator::testing::tests_dir() / "support" / "fixtures"; }
std::string name_of(const char* half, int version) {
  return std::string{half} + "_v" + std::to_string(version) + ".db";
}

constexpr const char* spec_text =
    R"({"command":["true"],"env":{"REGION":"eu"},"timeout":"30m","priority":5,"tags":{"team":"data"},)"
    R"("retry":{"backoff":"20s"}})";
constexpr const char* job_text =
    R"({"name":"nightly","description":"Sums up the day","command":["true"],"env":{"REGION":"eu"},)"
    R"("timeout":"30m","priority":5,"tags":{"team":"data"},"retry":{"backoff":"20s"},)"
    R"("schedule":{"cron":"0 3 1 1 *","time_zone":"Europe/Berlin","catch_up":"none"}})";

run fixture_run(std::uint64_t n) {
  run r = sample_run(n);
  r.job = "nightly";
  r.job_version = 4;
  return r;
}

run waiting_run() { return fixture_run(1); }

/// Made by the schedule's instant at day_zero.
run failed_run() {
  run r = fixture_run(2);
  r.state = run_state::failed;
  r.reason = "exit_code";
  r.instant = day_zero;
  r.started_at = day_zero + 1s;
  r.finished_at = day_zero + 1min;
  r.attempts = r.failures = 1;
  r.deciding_lease = lease_id{2};
  return r;
}

/// Since schema 3: waits for the end of waiting_run.
run following_run() {
  run r = fixture_run(3);
  r.job = "report";
  r.job_version = 0;
  r.after = {{id_number(1), after_condition::any}};
  return r;
}

attempt failed_attempt() {
  attempt a = sample_attempt(2, failed_run());
  a.state = attempt_state::failed;
  a.number = 1;
  a.reason = "exit_code";
  a.exit_code = 3;
  a.started_at = day_zero + 1s;
  a.finished_at = day_zero + 1min;
  a.duration_seconds = 59;
  a.output_bytes = {{"stdout", 5}};
  return a;
}

/// Since schema 4. Its secret is nobody's.
stored_token fixture_token() {
  stored_token t;
  t.id = "0123456789ab";
  t.name = "ci";
  t.role = "operator";
  t.hash.fill(0xfe);
  t.created_at = day_zero;
  t.last_used_at = day_zero + 1h;
  return t;
}

void write_fixture(const fs::path& to) {
  const temporary_directory base;
  {
    progress_monitor monitor;
    auto opened = open_sqlite_store(base.path() / "data", day_zero, monitor.events());
    REQUIRE(opened.has_value());
    job j;
    j.name = "nightly";
    j.version = 4;
    j.created_at = j.updated_at = j.schedule_anchor = day_zero;
    j.cursor = day_zero;
    worker w;
    w.worker_id = "worker-1";
    w.labels = {{"gpu", "a100"}};
    audit_entry entry;
    entry.id = 7;
    entry.at = day_zero;
    entry.name = "ci";
    entry.role = "operator";
    entry.address = "127.0.0.1";
    entry.method = "POST";
    entry.path = "/api/v1/runs";
    entry.status = 201;
    opened->access->write(
        {fixture_token(), stored_session{"ba9876543210", "0123456789ab", {}, day_zero, day_zero + 12h, false},
         entry},
        access_records::when::with_next, {});
    opened->store_ptr->commit(
        {1,
         {put_spec{spec_id{1}, spec_text}, put_run{waiting_run()}, put_run{failed_run()},
          put_run{following_run()}, put_attempt{failed_attempt()}, put_job{j, job_text}, put_worker{w},
          put_instant{"nightly", day_zero, instant_outcome::ran, id_number(2), "", 1, std::nullopt},
          put_calendar{"holidays", R"({"name":"holidays","days":["12-25"]})", day_zero},
          put_idempotency{"key", 9, id_number(1)}, put_fact{sample_fact(1)},
          put_lease_hole{lease_id{90}, lease_id{100}}, put_queue{{"etl", true, 2, rate_limit{3, 60s}, 1}}}});
    opened->store_ptr->commit_output({1, {{lease_id{2}, "stdout", 0, "hello"}}});
    REQUIRE(monitor.wait_persisted(1));
    REQUIRE(monitor.wait_output(1));
  }
  for (const auto& [file, half] : {std::pair{main_file, "schema"}, std::pair{output_file, "output"}}) {
    // Small pages keep the file small; they are nothing that a database of ours could not have.
    connection(base.path() / "data" / file, access::read_write)
        .execute("PRAGMA journal_mode=DELETE; PRAGMA page_size=1024; VACUUM");
    fs::copy_file(base.path() / "data" / file, to / name_of(half, schema_version()),
                  fs::copy_options::overwrite_existing);
  }
}

}  // namespace

TEST_CASE("databases of every earlier schema version open with what is in them") {
  if (const char* to = std::getenv("ORCHESTRATOR_WRITE_FIXTURE"); to != nullptr) write_fixture(to);
  for (int version = 1; version <= schema_version(); ++version) {
    CAPTURE(version);
    const temporary_directory base;
    fs::create_directory(base.path() / "data");
    fs::copy_file(fixtures() / name_of("schema", version), base.path() / "data" / main_file);
    fs::copy_file(fixtures() / name_of("output", version), base.path() / "data" / output_file);
    auto opened = open_sqlite_store(base.path() / "data", day_zero, {});
    if (!opened) FAIL(opened.error().message);
    const snapshot& s = opened->snapshot;
    CHECK(s.term == 2);
    CHECK(s.last_number == 1);
    CHECK(s.lease_counter == lease_id{100});
    std::vector<run> unfinished{waiting_run()};
    if (version >= 3) unfinished.push_back(following_run());  // version 3 brought `after`
    CHECK(s.runs == unfinished);
    REQUIRE(s.jobs.size() == 1);
    CHECK(s.jobs[0].text == job_text);
    CHECK(s.jobs[0].job.cursor == day_zero);
    REQUIRE(s.workers.size() == 1);
    CHECK(s.workers[0].labels.at("gpu") == "a100");
    CHECK(s.instants.at("nightly") ==
          std::vector<stored_instant>{{day_zero, instant_outcome::ran, id_number(2), "", 1, day_zero}});
    CHECK(s.calendars.size() == (version == 1 ? 0 : 1));
    CHECK(s.queues.size() == (version < 2 ? 0 : 1));  // version 2 brought queues
    std::vector<stored_token> tokens;
    if (version >= 4)
      tokens.push_back(fixture_token());  // version 4 brought tokens, sessions and the audit trail
    CHECK(opened->access_found.tokens == tokens);
    CHECK(opened->access_found.sessions.size() == tokens.size());
    CHECK(opened->access_found.last_audit_id == (version >= 4 ? 7 : 0));
    std::atomic<bool> asked{false};
    bool checked = false;
    opened->store_ptr->read([&](reader& q) {
      const auto failed = q.find_run(id_number(2));
      checked = failed && failed->run == failed_run() &&
                failed->attempts == std::vector<attempt>{failed_attempt()} &&
                failed->spec_text == spec_text && q.fetch_key("key").key_run == id_number(1) &&
                q.last_facts(1).front().fact == sample_fact(1) &&
                q.read_output(lease_id{2}, "stdout", 0, 10).data == "hello";
      asked = true;
    });
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!asked && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    opened->store_ptr->close();
    CHECK(checked);
    CHECK(connection(base.path() / "data" / main_file, access::read_only).integer("PRAGMA user_version") ==
          schema_version());
  }
}

TEST_CASE("a migration that is cut short leaves the version it found") {
  // The steps and the version go into one transaction; a statement that fails rolls all of it back.
  const temporary_directory base;
  const fs::path file = base.path() / "x.db";
  {
    connection db(file, access::create);
    configure_writer(db, 1024);
    db.execute("BEGIN IMMEDIATE");
    for (const char* step : main_migrations()) db.execute(step);
    db.execute("PRAGMA user_version=7");
    db.execute("PRAGMA application_id=9");
    db.roll_back();
  }
  connection db(file, access::read_only);
  CHECK(db.integer("PRAGMA user_version") == 0);
  CHECK(db.integer("PRAGMA application_id") == 0);
  CHECK(db.integer("SELECT count(*) FROM sqlite_schema") == 0);
}
