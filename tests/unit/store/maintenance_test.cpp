// Checking, backing up and restoring a data directory, beside a running store and without one.
#include <fstream>
#include <set>

#include <sys/stat.h>

#include <doctest/doctest.h>

#include <orchestrator/store/maintenance.hpp>

#include "open.hpp"
#include "support/store_support.hpp"

using namespace orchestrator;
using namespace orchestrator::store;
using namespace orchestrator::store::testing;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

/// As the coordinator's core judges them: some text is damaged, and its place tells which.
std::optional<std::string> texts(std::string_view table, std::string_view name, std::string_view text) {
  if (text != "damaged") return std::nullopt;
  return "what " + std::string(table) + " holds for \"" + std::string(name) + "\" makes no sense";
}

/// A sound little history: one run that succeeded with output, one that is queued.
void fill(store_driver& d) {
  run done = sample_run(1), waiting = sample_run(2);
  done.state = run_state::succeeded;
  done.finished_at = day_zero + 1min;
  done.attempts = 1;
  done.deciding_lease = lease_id{1};
  attempt a = sample_attempt(1, done);
  a.state = attempt_state::succeeded;
  a.exit_code = 0;
  d.commit_output({{lease_id{1}, "stdout", 0, "hello"}});
  d.commit({put_spec{spec_id{1}, R"({"command":["true"]})"}, put_run{done}, put_run{waiting}, put_attempt{a},
            put_fact{{"run.succeeded", "run/" + to_string(done.id), day_zero, "{}"}}});
}

std::set<std::string> broken(const fs::path& dir) {
  const auto findings = check_data_dir(dir, texts);
  if (!findings) FAIL(findings.error().message);
  std::set<std::string> ids;
  for (const check_finding& f : *findings)
    if (!f.ok()) ids.insert(f.id);
  return ids;
}

void change(const fs::path& dir, const char* file, const std::string& sql) {
  connection(dir / file, access::read_write).execute(sql);
}

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What a start finds in `dir`.
snapshot open_once(const fs::path& dir) {
  auto opened = open_sqlite_store(dir, day_zero, {});
  if (!opened) FAIL(opened.error().message);
  return opened->snapshot;
}

}  // namespace

TEST_CASE("a sound directory passes every check, beside a running store and without one") {
  sqlite_driver d;
  fill(d);
  CHECK(broken(d.data()).empty());
  d.get().close();
  CHECK(broken(d.data()).empty());
}

TEST_CASE("each broken invariant is found under its number") {
  sqlite_driver d;
  fill(d);
  d.get().close();
  const auto check = [&](const char* file, const std::string& sql, const char* id) {
    CAPTURE(sql);
    const temporary_directory copy;
    fs::copy(d.data(), copy.path() / "data", fs::copy_options::recursive);
    change(copy.path() / "data", file, sql);
    CHECK(broken(copy.path() / "data").contains(id));
  };
  const std::string attempt_like_1 =
      "INSERT INTO attempts SELECT "
      "9,run,0,number,term,worker_id,instance,'',offered_at,NULL,NULL,NULL,NULL,NULL,"
      "NULL,NULL,output_bytes,'',0,'',0,0 FROM attempts WHERE lease=1;UPDATE progress SET lease_counter=9;";
  check(main_file, "UPDATE runs SET finished_at=NULL WHERE state=4", "I2");
  check(main_file, "UPDATE runs SET state=1 WHERE state=0;UPDATE run_counts SET count=1-state WHERE state<2",
        "I3");
  check(main_file, "UPDATE progress SET lease_counter=0", "I4");
  check(main_file, attempt_like_1, "I4");
  check(main_file, attempt_like_1 + "UPDATE attempts SET number=2 WHERE lease=9", "I5");
  check(main_file,
        "UPDATE specs SET text='{\"at_most_once\":true}';UPDATE runs SET attempts=2 WHERE state=4;" +
            attempt_like_1,
        "I8");
  check(main_file, "UPDATE attempts SET exit_code=1", "I10");
  check(main_file, "UPDATE runs SET cancel_requested=1", "I14");
  check(main_file, "INSERT INTO instants SELECT 'other',5,0,id,'',1,5 FROM runs WHERE state=0", "I15");
  check(main_file, "UPDATE run_counts SET count=count+1 WHERE state=5", "I19");
  check(main_file, "DELETE FROM specs", "I19");
  check(main_file, "UPDATE attempts SET run=x'00' WHERE lease=1", "I19");
  check(main_file, "UPDATE runs SET after=CAST(id||x'00' AS BLOB) WHERE state=0", "after");
  check(main_file,
        "UPDATE runs SET after=CAST((SELECT id FROM runs WHERE state=0)||x'00' AS BLOB) WHERE attempts>0",
        "after");
  const std::string job =
      "INSERT INTO jobs VALUES('j',1,0,0,0,0,0,NULL);INSERT INTO job_versions VALUES('j',1,";
  check(main_file, job + R"('{"schedule":{"exclude":["gone"]}}'))", "I19");
  check(main_file, job + R"('{"schedule":{"include":["gone"]}}'))", "I19");
  check(main_file, "UPDATE facts SET first=first+3", "I19");
  check(main_file, "INSERT INTO facts SELECT first+1,count,newest_at,body FROM facts", "I2");
  check(output_file, "UPDATE streams SET bytes=4", "I11");
  check(output_file, "INSERT INTO chunks VALUES(1,2,x'7878')", "I11");
  check(output_file, "UPDATE meta SET value=x'00' WHERE key='cluster'", "schema");
}

TEST_CASE(
    "a text that its owner cannot read is found by its table and row, and neither copied nor put back") {
  sqlite_driver d;
  fill(d);
  job j;
  j.name = "nightly";
  j.version = 4;
  d.commit({put_job{j, "{}"}, put_calendar{"holidays", "{}", day_zero}});
  const temporary_directory to;
  REQUIRE(back_up(d.data(), to.path() / "sound", day_zero, texts).has_value());
  d.get().close();
  const auto check = [&](const std::string& sql, const std::string& table, const std::string& row) {
    CAPTURE(sql);
    const temporary_directory copy;
    fs::copy(d.data(), copy.path() / "data", fs::copy_options::recursive);
    fs::copy(to.path() / "sound", copy.path() / "backup", fs::copy_options::recursive);
    for (const char* dir : {"data", "backup"}) change(copy.path() / dir, main_file, sql);
    CHECK(broken(copy.path() / "data") == std::set<std::string>{"texts"});
    const auto findings = check_data_dir(copy.path() / "data", texts).value();
    const auto found = std::find_if(findings.begin(), findings.end(), [](const auto& f) { return !f.ok(); });
    CHECK(found->offenders.front().find("table " + table + " row " + row + ": ") == 0);
    const auto made = back_up(copy.path() / "data", copy.path() / "copy", day_zero, texts);
    const auto done = restore(copy.path() / "backup", copy.path() / "fresh", false, day_zero, texts);
    for (const open_failure& f : {made.error(), done.error()}) {
      CHECK(f.exit_code == 65);
      CHECK(f.message.find("in table " + table + " the row " + row + " cannot be read") != std::string::npos);
      CHECK(f.message.find("orchestrator server restore") != std::string::npos);
    }
    CHECK_FALSE(fs::exists(copy.path() / "copy"));
    CHECK_FALSE(fs::exists(copy.path() / "fresh" / main_file));
  };
  check("UPDATE specs SET text='damaged'", "specs", "1");
  check("UPDATE specs SET text='damaged';UPDATE runs SET attempts=2", "specs", "1");  // I7 reads it too
  check("UPDATE job_versions SET text='damaged'", "job_versions", "nightly version 4");
  check("UPDATE calendars SET text='damaged'", "calendars", "holidays");
}

TEST_CASE("a directory without databases, and a damaged one, cannot be checked and say so") {
  const temporary_directory base;
  CHECK(check_data_dir(base.path(), texts).error().exit_code == 73);
  sqlite_driver d;
  d.get().close();
  std::ofstream(d.data() / main_file, std::ios::binary | std::ios::trunc) << std::string(10'000, 'x');
  CHECK(check_data_dir(d.data(), texts).error().exit_code == 65);
}

TEST_CASE("a backup made beside a running store holds what was committed and is never written over") {
  sqlite_driver d;
  fill(d);
  const temporary_directory to;
  const auto made = back_up(d.data(), to.path() / "copy", day_zero, texts);
  if (!made) FAIL(made.error().message);
  CHECK(made->path == to.path() / "copy");
  CHECK(made->runs == 2);
  CHECK(made->last_number == d.number());
  CHECK(broken(to.path() / "copy").empty());
  CHECK_FALSE(fs::exists(to.path() / "copy" / (std::string{main_file} + "-wal")));
  CHECK(back_up(d.data(), to.path() / "copy" / main_file, day_zero, texts).error().exit_code == 73);
  const auto second = back_up(d.data(), to.path(), day_zero, texts);
  if (!second) FAIL(second.error().message);
  CHECK(second->path == to.path() / "orchestrator-20241004T000000Z");
  CHECK(back_up(d.data(), to.path(), day_zero, texts).error().exit_code == 73);
  d.commit({put_run{sample_run(3)}});
  CHECK(back_up(d.data(), to.path(), day_zero + 1s, texts)->runs == 3);
}

TEST_CASE("a backup of a directory whose server was killed has what is in the log") {
  sqlite_driver d;
  fill(d);
  const temporary_directory copy;
  // As a kill leaves it: the log is still there, and nobody has the lock.
  fs::copy(d.data(), copy.path() / "data", fs::copy_options::recursive);
  const std::string before = bytes_of(copy.path() / "data" / main_file);
  const auto made = back_up(copy.path() / "data", copy.path() / "backup", day_zero, texts);
  if (!made) FAIL(made.error().message);
  CHECK(made->runs == 2);
  CHECK(bytes_of(copy.path() / "data" / main_file) == before);
}

TEST_CASE("a backup that fails leaves nothing") {
  sqlite_driver d;
  fill(d);
  const temporary_directory to;
  CHECK(back_up(d.data(), to.path() / "missing" / "copy", day_zero, texts).error().exit_code == 73);
  d.get().close();
  fs::resize_file(d.data() / output_file, 4096);
  CHECK_FALSE(back_up(d.data(), to.path() / "copy", day_zero, texts).has_value());
  CHECK(fs::is_empty(to.path()));
}

TEST_CASE("a restored backup starts where it was, and says so once") {
  sqlite_driver d;
  fill(d);
  const temporary_directory base;
  REQUIRE(back_up(d.data(), base.path() / "copy", day_zero, texts).has_value());
  const auto done = restore(base.path() / "copy", base.path() / "data", false, day_zero + 5min, texts);
  if (!done) FAIL(done.error().message);
  CHECK(done->runs == 2);
  CHECK(done->backed_up_at == day_zero);
  CHECK(done->replaced.empty());
  {
    progress_monitor monitor;
    auto opened = open_sqlite_store(base.path() / "data", day_zero + 6min, monitor.events());
    if (!opened) FAIL(opened.error().message);
    const snapshot& s = opened->snapshot;
    CHECK(s.last_number == d.number());
    CHECK(s.term == (std::uint64_t{1} << 32) + 2);
    CHECK(s.runs.size() == 1);
    CHECK(s.restored_now);
    CHECK(s.restored_at == day_zero + 5min);
    opened->store_ptr->close();
  }
  {
    progress_monitor monitor;
    auto opened = open_sqlite_store(base.path() / "data", day_zero + 6min, monitor.events());
    REQUIRE(opened.has_value());
    CHECK(opened->snapshot.restored_now);  // nothing was committed yet, so nothing is settled
    opened->store_ptr->commit({d.number() + 1, {put_lease_hole{lease_id{2}, lease_id{100}}}});
    REQUIRE(monitor.wait_persisted(d.number() + 1));
  }
  const snapshot later = open_once(base.path() / "data");
  CHECK_FALSE(later.restored_now);
  CHECK(later.restored_at == day_zero + 5min);
}

TEST_CASE(
    "a restore leaves a running server alone, and existing databases unless it is told to replace them") {
  sqlite_driver d;
  fill(d);
  const temporary_directory to;
  REQUIRE(back_up(d.data(), to.path() / "copy", day_zero, texts).has_value());
  d.commit({put_run{sample_run(3)}});
  CHECK(restore(to.path() / "copy", d.data(), true, day_zero, texts).error().exit_code == 75);
  d.get().close();
  // The store keeps its lock until it goes; a copy of the directory has none.
  fs::copy(d.data(), to.path() / "data", fs::copy_options::recursive);
  CHECK(restore(to.path() / "copy", to.path() / "data", false, day_zero, texts).error().exit_code == 73);
  CHECK(open_once(to.path() / "data").runs.size() == 2);
  const auto done = restore(to.path() / "copy", to.path() / "data", true, day_zero, texts);
  if (!done) FAIL(done.error().message);
  CHECK(open_once(to.path() / "data").runs.size() == 1);
  CHECK(open_once(done->replaced).runs.size() == 2);
}

TEST_CASE("a damaged backup is refused before anything is touched") {
  sqlite_driver d;
  fill(d);
  const temporary_directory to;
  REQUIRE(back_up(d.data(), to.path() / "copy", day_zero, texts).has_value());
  fs::resize_file(to.path() / "copy" / main_file, 3 * 4096);
  CHECK(restore(to.path() / "copy", to.path() / "data", false, day_zero, texts).error().exit_code == 65);
  fs::remove(to.path() / "copy" / output_file);
  CHECK_FALSE(restore(to.path() / "copy", to.path() / "data", false, day_zero, texts).has_value());
  CHECK_FALSE(fs::exists(to.path() / "data" / main_file));
}

TEST_CASE("a restore that was cut short keeps every start away until it is run again") {
  sqlite_driver d;
  fill(d);
  const temporary_directory to;
  REQUIRE(back_up(d.data(), to.path() / "copy", day_zero, texts).has_value());
  d.get().close();
  fs::copy(d.data(), to.path() / "data", fs::copy_options::recursive);
  fs::copy_file(to.path() / "copy" / main_file, to.path() / "data" / restoring_file);
  auto opened = open_sqlite_store(to.path() / "data", day_zero, {});
  REQUIRE_FALSE(opened.has_value());
  CHECK(opened.error().exit_code == 65);
  CHECK(opened.error().message.find("server restore") != std::string::npos);
  REQUIRE(restore(to.path() / "copy", to.path() / "data", false, day_zero, texts).has_value());
  CHECK(open_once(to.path() / "data").runs.size() == 1);
}
