// What both stores promise, as one set of tests over each of them.
#include <algorithm>
#include <set>
#include <thread>

#include <doctest/doctest.h>

#include <orchestrator/base/random.hpp>
#include <orchestrator/base/text.hpp>

#include "support/store_support.hpp"

using namespace orchestrator;
using namespace orchestrator::store;
using namespace orchestrator::store::testing;
using namespace std::chrono_literals;

namespace {

std::vector<run_id> ids_of(const std::vector<run_with_attempts>& rows) {
  std::vector<run_id> ids;
  for (const auto& row : rows) ids.push_back(row.run.id);
  return ids;
}

std::vector<wall_time> instants_of(const std::vector<stored_instant>& rows) {
  std::vector<wall_time> out;
  for (const stored_instant& row : rows) out.push_back(row.instant);
  return out;
}

run full_run() {
  run r = sample_run(5);
  r.args = "a 'b c'";
  r.has_args = true;
  r.state = run_state::retry_wait;
  r.reason = "exit_code";
  r.instant = day_zero - 1h;
  r.not_before = day_zero + 10s;
  r.started_at = day_zero + 1s;
  r.failures = 1;
  r.losses = 2;
  r.rejections = 3;
  r.attempts = 6;
  r.cancel_requested = true;
  r.held = true;
  r.retry_of = id_number(99);
  r.after = {{id_number(1), after_condition::failed}, {id_number(2), after_condition::ok}};
  r.deciding_lease = lease_id{7};
  return r;
}

attempt full_attempt(const run& r) {
  attempt a = sample_attempt(7, r);
  a.number = 6;
  a.state = attempt_state::failed;
  a.reason = "exit_code";
  a.started_at = day_zero + 1s;
  a.finished_at = day_zero + 2s;
  a.exit_code = 3;
  a.signal = 9;
  a.max_rss_bytes = 1 << 30;
  a.cpu_seconds = 0.25;
  a.duration_seconds = 1.5;
  a.output_bytes = {{"stderr", 12}, {"stdout", std::uint64_t{1} << 40}};
  a.error = std::string{"NUL\0 and \xff", 10};
  a.late = true;
  a.superseded_status = "SUCCESS";
  a.result_crc = 0xdeadbeef;
  a.last_event = std::uint64_t{1} << 63;
  return a;
}

worker full_worker() {
  worker w;
  w.worker_id = "worker-1";
  w.instance = make_uuid_v4(1, 2);
  w.boot_id = "boot";
  w.process = "process";
  w.hostname = "host";
  w.platform = "linux";
  w.version = "1.0";
  w.python_version = "3.11";
  w.pid = 4242;
  w.slots = 8;
  w.credit = 16;
  w.draining = true;
  w.labels = {{"gpu", ""}, {"zone", "a"}};
  w.highest_acked = lease_id{77};
  w.registered_at = day_zero;
  w.last_seen = day_zero + 1s;
  w.status = "busy";
  w.jobs_processed = 12;
  w.uptime_seconds = 1.25;
  w.load = 0.5;
  w.memory_bytes = 1 << 20;
  return w;
}

std::string tagged_spec(const std::string& key, const std::string& value) {
  return R"({"command":["true"],"tags":{")" + key + R"(":")" + value + R"("}})";
}

}  // namespace

TEST_CASE_TEMPLATE("every field of every row comes back as it was put", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  const run r = full_run();
  const attempt a = full_attempt(r);
  const worker w = full_worker();
  job j;
  j.name = "nightly";
  j.version = 3;
  j.paused = true;
  j.created_at = day_zero;
  j.updated_at = day_zero + 1s;
  j.schedule_anchor = day_zero + 2s;
  j.cursor = day_zero + 3s;
  d.commit({put_spec{spec_id{1}, "{\"x\":1}"}, put_run{r}, put_attempt{a}, put_worker{w}, put_job{j, "{}"}});
  const auto check = [&] {
    d.read([&](reader& q) {
      const auto row = q.find_run(r.id);
      REQUIRE(row);
      CHECK(row->run == r);
      CHECK(row->attempts == std::vector<attempt>{a});
      CHECK(row->spec_text == "{\"x\":1}");
      CHECK(q.list_workers() == std::vector<worker>{w});
      const auto job_row = q.find_job("nightly");
      REQUIRE(job_row);
      CHECK(job_row->job == j);
      CHECK(job_row->text == "{}");
      CHECK(q.list_jobs().size() == 1);
      CHECK_FALSE(q.find_job("other"));
      CHECK_FALSE(q.find_run(id_number(6)));
      CHECK(q.revision() == 1);
    });
  };
  check();
  const snapshot s = d.restart(day_zero);
  CHECK(s.runs == std::vector<run>{r});
  CHECK(s.attempts == std::vector<attempt>{a});
  CHECK(s.workers == std::vector<worker>{w});
  REQUIRE(s.jobs.size() == 1);
  CHECK(s.jobs[0].job == j);
  REQUIRE(s.specs.size() == 1);
  CHECK(s.specs[0].text == "{\"x\":1}");
  check();
}

TEST_CASE_TEMPLATE("a restart raises the term and keeps the cluster and the counters", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  d.commit(
      {put_spec{spec_id{41}, "{}"}, put_run{sample_run(1)}, put_attempt{sample_attempt(6, sample_run(1))}});
  const snapshot first = d.restart(day_zero);
  d.commit({put_lease_hole{lease_id{7}, lease_id{std::uint64_t{1} << 33}}});
  const snapshot second = d.restart(day_zero);
  CHECK_FALSE(first.cluster.is_nil());
  CHECK(second.cluster == first.cluster);
  CHECK(second.term == first.term + 1);
  CHECK(first.last_number == 1);
  CHECK(second.last_number == 2);
  CHECK(first.lease_counter == lease_id{6});
  CHECK(second.lease_counter == lease_id{std::uint64_t{1} << 33});
  CHECK(first.lease_holes.empty());
  CHECK(second.lease_holes == std::map<lease_id, lease_id>{{lease_id{7}, second.lease_counter}});
  CHECK(second.spec_counter == spec_id{41});
}

TEST_CASE_TEMPLATE("a term that is raised holds for what follows and over restarts", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  const std::uint64_t before = d.restart(day_zero).term;
  d.commit({raise_term{before + 40}});
  d.commit({put_fact{sample_fact(1)}});  // its writer goes on in the new term
  CHECK(d.restart(day_zero).term == before + 41);
}

TEST_CASE_TEMPLATE("a late message about an attempt that was purged meanwhile does not bring its row back",
                   Driver, sqlite_driver, memory_driver) {
  Driver d;
  run old = sample_run(1);
  old.state = run_state::failed;
  old.finished_at = day_zero;
  attempt a = sample_attempt(1, old);
  a.state = attempt_state::failed;
  a.finished_at = day_zero;
  d.commit({put_spec{spec_id{1}, "{}"}, put_run{old}, put_attempt{a}});
  d.retain(day_zero + 24h * 40, 24h * 30, 1'000'000);
  a.last_event = 7;
  run next = sample_run(2, day_zero + 24h * 40);
  next.state = run_state::active;
  next.attempts = 1;
  attempt live = sample_attempt(2, next);
  d.commit({put_attempt{a}, put_run{next}, put_attempt{live}});
  d.read([&](reader& q) {
    CHECK(q.fetch_lease(lease_id{1}).attempts.empty());
    CHECK_FALSE(q.find_run(old.id));
    CHECK(q.fetch_lease(lease_id{2}).attempts == std::vector{live});
  });
  const snapshot s = d.restart(day_zero + 24h * 40);
  CHECK(s.attempts == std::vector{live});
}

TEST_CASE_TEMPLATE(
    "a start knows how late it surely is: by the last retention, before that by the newest fact", Driver,
    sqlite_driver, memory_driver) {
  Driver d;
  CHECK_FALSE(d.restart(day_zero).retained_at);
  d.commit({put_fact{sample_fact(1, day_zero + 5s)}});
  CHECK(d.restart(day_zero + 24h * 400).retained_at == day_zero + 5s);
  d.retain(day_zero + 1h, 24h * 30, 1'000'000);
  d.commit({put_fact{sample_fact(2, day_zero + 24h * 400)}});
  CHECK(d.restart(day_zero).retained_at == day_zero + 1h);
  d.retain(day_zero, 24h * 30, 1'000'000);  // by a clock that went back
  CHECK(d.restart(day_zero).retained_at == day_zero + 1h);
}

TEST_CASE_TEMPLATE("the last value of a run counts, within a batch and across batches", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  run r = sample_run(1);
  r.after = {{id_number(0), after_condition::any}};
  const run queued = r;
  r.state = run_state::active;
  r.attempts = 1;
  r.after = {};  // a person let it go
  attempt a = sample_attempt(1, r);
  d.commit({put_run{queued}, put_attempt{a}, put_run{r}});
  d.read([&](reader& q) { CHECK(q.find_run(r.id)->run == r); });
  r.state = run_state::succeeded;
  r.finished_at = day_zero + 5s;
  a.state = attempt_state::succeeded;
  d.commit({put_attempt{a}, put_run{r}});
  d.read([&](reader& q) {
    CHECK(q.find_run(r.id)->run == r);
    CHECK(q.find_run(r.id)->attempts == std::vector<attempt>{a});
    const run_counts counts = q.count_runs();
    CHECK(counts.by_state[static_cast<int>(run_state::succeeded)] == 1);
    CHECK(counts.by_state[static_cast<int>(run_state::active)] == 0);
    CHECK(counts.by_state[static_cast<int>(run_state::queued)] == 0);
  });
}

TEST_CASE_TEMPLATE("an attempt may end and the next one begin in one batch, in either order", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  const run r = sample_run(1);
  attempt one = sample_attempt(1, r), two = sample_attempt(2, r);
  d.commit({put_run{r}, put_attempt{one}});
  one.state = attempt_state::lost;
  d.commit({put_attempt{two}, put_attempt{one}});
  // The lost one comes back while the second is withdrawn.
  one.state = attempt_state::running;
  two.state = attempt_state::not_started;
  d.commit({put_attempt{one}, put_attempt{two}});
  d.read([&](reader& q) { CHECK(q.find_run(r.id)->attempts == std::vector<attempt>{one, two}); });
}

TEST_CASE_TEMPLATE("lists go newest first and continue after a key", Driver, sqlite_driver, memory_driver) {
  Driver d;
  std::vector<run_id> expected;
  std::vector<mutation> batch{put_spec{spec_id{1}, "{}"}};
  for (std::uint64_t n = 1; n <= 25; ++n) {
    const run r = sample_run(n, day_zero + seconds{n});
    expected.insert(expected.begin(), r.id);
    batch.push_back(put_run{r});
  }
  d.commit(std::move(batch));
  d.read([&](reader& q) {
    run_filter filter;
    filter.limit = 10;
    std::vector<run_id> found;
    for (;;) {
      const auto page = ids_of(q.list_runs(filter));
      if (page.empty()) break;
      CHECK(page.size() <= 10);
      found.insert(found.end(), page.begin(), page.end());
      filter.before = page.back();
    }
    CHECK(found == expected);
    CHECK(q.last_run() == expected.front());
    CHECK(q.last_run_of("job-1") == expected.front());  // 25 % 3
    CHECK(q.last_run_of("job-2") == expected[2]);
    CHECK_FALSE(q.last_run_of("job-9"));
    run_filter since;
    since.since = day_zero + 20s;
    CHECK(ids_of(q.list_runs(since)) == std::vector<run_id>(expected.begin(), expected.begin() + 6));
  });
}

TEST_CASE_TEMPLATE("lists can be narrowed by state, job, worker and tag, alone and together", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  std::vector<mutation> batch{put_spec{spec_id{1}, tagged_spec("team", "blue")},
                              put_spec{spec_id{2}, tagged_spec("team", "red")}};
  std::vector<run> runs;
  for (std::uint64_t n = 1; n <= 40; ++n) {
    run r = sample_run(n, day_zero + seconds{n});
    r.state = static_cast<run_state>(n % 9);
    r.spec = spec_id{1 + n % 2};
    attempt a = sample_attempt(n, r);
    a.state = attempt_state::failed;
    if (n % 4 != 0) batch.push_back(put_attempt{a});
    batch.push_back(put_run{r});
    runs.insert(runs.begin(), r);
  }
  d.commit(std::move(batch));
  const auto lease_of = [](const run& r) {
    return static_cast<std::uint64_t>((r.submitted_at - day_zero) / 1s);
  };
  for (int which = 1; which < 16; ++which) {
    run_filter filter;
    if (which & 1) filter.states = {run_state::queued, run_state::failed, run_state::succeeded};
    if (which & 2) filter.job = "job-1";
    if (which & 4) filter.worker_id = "worker-1";
    if (which & 8) filter.tag_key = "team", filter.tag_value = "blue";
    std::vector<run_id> expected;
    for (const run& r : runs) {
      const std::uint64_t lease = lease_of(r);
      const bool in_state =
          r.state == run_state::queued || r.state == run_state::failed || r.state == run_state::succeeded;
      if ((which & 1) && !in_state) continue;
      if ((which & 2) && r.job != "job-1") continue;
      if ((which & 4) && (lease % 4 == 0 || lease % 2 != 1)) continue;
      if ((which & 8) && r.spec != spec_id{1}) continue;
      expected.push_back(r.id);
    }
    CAPTURE(which);
    d.read([&](reader& q) {
      CHECK(ids_of(q.list_runs(filter)) == expected);
      filter.limit = 2;
      filter.states.erase(std::remove(filter.states.begin(), filter.states.end(), run_state::succeeded),
                          filter.states.end());
      const auto page = q.list_runs(filter);
      CHECK(page.size() <= 2);
      if (!(which & 1) && expected.size() >= 2)
        CHECK(ids_of(page) == std::vector<run_id>(expected.begin(), expected.begin() + 2));
      if (which & 1)
        for (const auto& row : page) CHECK(row.run.state != run_state::succeeded);
    });
  }
}

TEST_CASE_TEMPLATE("an id is found by its first and by its last characters", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  std::vector<mutation> batch;
  for (std::uint64_t n = 1; n <= 50; ++n) batch.push_back(put_run{sample_run(n, day_zero + seconds{n})});
  d.commit(std::move(batch));
  const run_id wanted = id_number(17, day_zero + 17s);
  const std::string text = to_string(wanted);
  d.read([&](reader& q) {
    CHECK(q.match_run_ids(text, 10) == std::vector<run_id>{wanted});
    CHECK(q.match_run_ids(text.substr(0, 13), 10) == std::vector<run_id>{wanted});
    CHECK(q.match_run_ids(text.substr(28), 10) == std::vector<run_id>{wanted});
    CHECK(q.match_run_ids(text.substr(22), 10) == std::vector<run_id>{wanted});
    CHECK(q.match_run_ids(text.substr(0, 8), 5).size() == 5);
    CHECK(q.match_run_ids(text.substr(33), 10).size() <= 10);
    CHECK(q.match_run_ids("zzzz", 10).empty());
    CHECK(q.match_run_ids("", 10).empty());
    CHECK(q.match_run_ids(text + "0", 10).empty());
    std::string upper = text;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](char c) { return static_cast<char>(std::toupper(c)); });
    CHECK(q.match_run_ids(upper, 10) == std::vector<run_id>{wanted});
  });
}

TEST_CASE_TEMPLATE("facts are numbered without gaps, across batches and restarts", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  std::vector<mutation> many;
  for (std::uint64_t n = 1; n <= 700; ++n) many.push_back(put_fact{sample_fact(n)});
  d.commit(std::move(many));
  d.commit({put_fact{sample_fact(701)}, put_fact{sample_fact(702)}});
  d.restart(day_zero);
  d.commit({put_fact{sample_fact(703)}});
  d.read([&](reader& q) {
    const auto all = q.list_facts(0, 10'000);
    REQUIRE(all.size() == 703);
    for (std::uint64_t n = 1; n <= 703; ++n) {
      CHECK(all[n - 1].sequence == n);
      CHECK(all[n - 1].fact == sample_fact(n));
    }
    CHECK(all[699].batch == 1);
    CHECK(all[701].batch == 2);
    CHECK(all[702].batch == 3);
    const auto middle = q.list_facts(256, 3);
    REQUIRE(middle.size() == 3);
    CHECK(middle[0].sequence == 257);
    CHECK(middle[2].sequence == 259);
    CHECK(q.list_facts(703, 10).empty());
    CHECK(q.list_facts(5'000, 10).empty());
    const auto last = q.last_facts(4);
    REQUIRE(last.size() == 4);
    CHECK(last[0].sequence == 700);
    CHECK(last[3].sequence == 703);
    CHECK(q.last_facts(5'000).size() == 703);
  });
}

TEST_CASE_TEMPLATE("the row of an instant can be put again only as it is", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  const put_instant row{"nightly",   day_zero, instant_outcome::ran, id_number(1),
                        "0 3 * * *", 1,        std::nullopt};
  d.commit({row});
  d.commit({row,
            put_instant{"nightly", day_zero + 1h, instant_outcome::missed, std::nullopt, "", 1, std::nullopt},
            put_instant{"nightly", day_zero - 72h, instant_outcome::ran, id_number(2), "", 1, std::nullopt},
            put_instant{"other", day_zero, instant_outcome::paused, std::nullopt, "", 1, std::nullopt}});
  d.read([&](reader& q) {
    const auto all = q.list_instants("nightly", std::nullopt, 10);
    REQUIRE(all.size() == 3);
    CHECK(all[0].instant == day_zero + 1h);
    CHECK(all[1].run == id_number(1));
    CHECK(all[1].rule == "0 3 * * *");
    CHECK(all[1].outcome == instant_outcome::ran);
    const auto older = q.list_instants("nightly", day_zero, 10);
    REQUIRE(older.size() == 1);
    CHECK(older[0].instant == day_zero - 72h);
    CHECK(q.list_instants("nightly", std::nullopt, 1).size() == 1);
    CHECK(instants_of(q.instants_after(day_zero - 72h).at("nightly")) ==
          std::vector<wall_time>{day_zero, day_zero + 1h});
    CHECK(instants_of(q.instants_after(day_zero - 72h).at("other")) == std::vector<wall_time>{day_zero});
    CHECK(q.instants_after(day_zero + 1h).empty());
    CHECK(instants_of(ledger_window(q, "nightly", day_zero - 72h, day_zero)) ==
          std::vector<wall_time>{day_zero - 72h, day_zero});
    CHECK(instants_of(ledger_window(q, "nightly", day_zero - 71h, day_zero + 2h)) ==
          std::vector<wall_time>{day_zero, day_zero + 1h});
  });
  const snapshot s = d.restart(day_zero);
  CHECK(instants_of(s.instants.at("nightly")) == std::vector<wall_time>{day_zero, day_zero + 1h});
  CHECK(instants_of(s.instants.at("other")) == std::vector<wall_time>{day_zero});
}

TEST_CASE_TEMPLATE("a row without a run goes on to later instants, and is kept while it does", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  put_instant row{"j", day_zero, instant_outcome::paused, std::nullopt, "paused", 1, std::nullopt};
  job j;
  j.name = "j";
  d.commit({put_job{j, "{}"}, row});
  row.count = 3;
  row.until = day_zero + 2h;
  d.commit({row});
  d.commit({put_instant{"j", day_zero + 3h, instant_outcome::ran, id_number(1), "", 1, std::nullopt}});
  d.read([&](reader& q) {
    const auto all = q.list_instants("j", std::nullopt, 10);
    REQUIRE(all.size() == 2);
    CHECK(all[1] ==
          stored_instant{day_zero, instant_outcome::paused, std::nullopt, "paused", 3, day_zero + 2h});
    CHECK(q.instants_after(day_zero + 1h).at("j").size() == 2);
    CHECK(q.instants_after(day_zero + 2h).at("j").size() == 1);
  });
  // Long after, only the newest row of a job is read at a start.
  const snapshot s = d.restart(day_zero + 24h * 400);
  REQUIRE(s.instants.at("j").size() == 1);
  CHECK(s.instants.at("j").front().instant == day_zero + 3h);
  d.retain(day_zero + 24h * 30 + 1h, 24h * 30, 1'000'000);
  d.read([&](reader& q) { CHECK(q.list_instants("j", std::nullopt, 10).size() == 2); });
  d.retain(day_zero + 24h * 30 + 2h + 1ms, 24h * 30, 1'000'000);
  d.read([&](reader& q) { CHECK(q.list_instants("j", std::nullopt, 10).size() == 1); });
}

TEST_CASE_TEMPLATE(
    "what was decided ahead of a schedule's cursor is read at a start, however long ago that was", Driver,
    sqlite_driver, memory_driver) {
  Driver d;
  job behind;  // a clock that was wrong decided ahead of it
  behind.name = "behind";
  behind.cursor = day_zero + 1h;
  job passed = behind;
  passed.name = "passed";
  passed.cursor = day_zero + 100h;
  std::vector<mutation> rows{put_job{behind, "{}"}, put_job{passed, "{}"}};
  for (const char* name : {"behind", "passed"}) {
    for (int hour = 0; hour < 4; ++hour)
      rows.push_back(put_instant{name,
                                 day_zero + std::chrono::hours{hour},
                                 instant_outcome::ran,
                                 id_number(static_cast<std::uint64_t>(hour + 1)),
                                 "",
                                 1,
                                 {}});
  }
  d.commit(std::move(rows));
  const snapshot s = d.restart(day_zero + 24h * 400);
  CHECK(instants_of(s.instants.at("behind")) == std::vector<wall_time>{day_zero + 2h, day_zero + 3h});
  CHECK(instants_of(s.instants.at("passed")) == std::vector<wall_time>{day_zero + 3h});  // the newest
}

TEST_CASE_TEMPLATE("what a wrong clock decided is withdrawn, but for the runs", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  d.commit({put_instant{"j", day_zero, instant_outcome::missed, std::nullopt, "", 5, day_zero + 4h},
            put_instant{"j", day_zero + 5h, instant_outcome::ran, id_number(1), "", 1, std::nullopt},
            put_instant{"j", day_zero + 6h, instant_outcome::missed, std::nullopt, "", 2, day_zero + 7h},
            put_instant{"k", day_zero + 6h, instant_outcome::missed, std::nullopt, "", 1, std::nullopt}});
  d.commit({withdraw_instants{"j", day_zero + 2h},
            put_instant{"j", day_zero, instant_outcome::missed, std::nullopt, "", 3, day_zero + 2h}});
  d.read([&](reader& q) {
    const auto all = q.list_instants("j", std::nullopt, 10);
    REQUIRE(all.size() == 2);
    CHECK(all[0].run == id_number(1));
    CHECK(all[1].count == 3);
    CHECK(all[1].until == day_zero + 2h);
    CHECK(q.list_instants("k", std::nullopt, 10).size() == 1);
  });
}

TEST_CASE_TEMPLATE("a backfilled instant leaves the row it shared", Driver, sqlite_driver, memory_driver) {
  Driver d;
  const auto row = [](int first, int last) {
    return stored_instant{day_zero + first * 1h,           instant_outcome::missed, std::nullopt, "r",
                          std::uint64_t(last - first + 1), day_zero + last * 1h};
  };
  const auto run_row = [](int hour, std::uint64_t run) {
    const wall_time at = day_zero + hour * 1h;
    return stored_instant{at, instant_outcome::late, id_number(run), "backfill", 1, at};
  };
  const auto fill = [](int hour, std::uint64_t run, std::optional<int> shared,
                       std::vector<stored_instant> parts) {
    backfill_instant m{"j", day_zero + hour * 1h, id_number(run), std::nullopt, std::move(parts)};
    if (shared) m.shared = day_zero + *shared * 1h;
    return m;
  };
  const auto rows = [&] {
    std::vector<stored_instant> all;
    d.read([&](reader& q) { all = ledger_window(q, "j", day_zero, day_zero + 24h); });
    return all;
  };
  using list = std::vector<stored_instant>;
  d.commit({put_instant{"j", day_zero, instant_outcome::missed, std::nullopt, "r", 6, day_zero + 5h}});
  d.commit({fill(2, 1, 0, {row(0, 1), row(3, 5)})});  // inside: two rows are left
  CHECK(rows() == list{row(0, 1), run_row(2, 1), row(3, 5)});
  d.commit({fill(0, 2, 0, {row(1, 1)}), fill(5, 3, 3, {row(3, 4)})});  // the first of one, the last of one
  CHECK(rows() == list{run_row(0, 2), row(1, 1), run_row(2, 1), row(3, 4), run_row(5, 3)});
  d.commit(
      {fill(1, 4, 1, {}), fill(7, 5, std::nullopt, {})});  // all of one, and one of which nothing was known
  CHECK(rows() == list{run_row(0, 2), run_row(1, 4), run_row(2, 1), row(3, 4), run_row(5, 3), run_row(7, 5)});
}

TEST_CASE_TEMPLATE("what decided an instant is found on both sides of a run, also where rows overlap", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  const auto quiet = [](const char* job, int first, int last) {
    return put_instant{job, day_zero + first * 1h,           instant_outcome::paused, std::nullopt,
                       "p", std::uint64_t(last - first + 1), day_zero + last * 1h};
  };
  const auto run = [](const char* job, int hour) {
    return put_instant{
        job, day_zero + hour * 1h, instant_outcome::late, id_number(std::uint64_t(hour)), "backfill",
        1,   std::nullopt};
  };
  d.commit({quiet("new", 1, 2), run("new", 3), quiet("new", 4, 6), run("new", 9)});
  d.commit({quiet("old", 1, 6), run("old", 3), run("old", 4), run("old", 9)});  // as an older version left it
  d.read([&](reader& q) {
    const auto begins = [&](const char* job, milliseconds at) -> std::optional<std::int64_t> {
      const auto found = decided_at(q, job, day_zero + at);
      if (!found) return std::nullopt;
      return (found->instant - day_zero) / 1h;
    };
    for (const auto& [job, behind] : {std::pair{"new", 4}, std::pair{"old", 1}}) {
      CHECK_FALSE(begins(job, 59min));
      CHECK(begins(job, 1h) == 1);
      CHECK(begins(job, 2h) == 1);
      CHECK(begins(job, 3h) == 3);
      CHECK(begins(job, 5h) == behind);
      CHECK(begins(job, 6h) == behind);
      CHECK(begins(job, 8h) == behind);
      CHECK(begins(job, 9h) == 9);
      CHECK(begins(job, 99h) == 9);
    }
    using times = std::vector<wall_time>;
    CHECK(instants_of(ledger_window(q, "new", day_zero + 5h, day_zero + 5h)) == times{day_zero + 4h});
    CHECK(instants_of(ledger_window(q, "old", day_zero + 5h, day_zero + 5h)) ==
          times{day_zero + 1h, day_zero + 3h, day_zero + 4h});
  });
}

TEST_CASE_TEMPLATE("calendars are stored, replaced and deleted by name", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  d.commit(
      {put_calendar{"b", "1", day_zero}, put_calendar{"a", "2", day_zero}, put_calendar{"c", "3", day_zero}});
  d.commit({put_calendar{"b", "4", day_zero + 1h}, delete_calendar{"c"}});
  d.read([&](reader& q) {
    const auto all = q.list_calendars();
    REQUIRE(all.size() == 2);
    CHECK(all[0].name == "a");
    CHECK(all[1].text == "4");
    CHECK(all[1].updated_at == day_zero + 1h);
  });
  CHECK(d.restart(day_zero).calendars.size() == 2);
}

TEST_CASE_TEMPLATE("rows that left the engine's memory are found by run, by lease and by key", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  run r = sample_run(1);
  r.state = run_state::failed;
  attempt one = sample_attempt(4, r), two = sample_attempt(9, r);
  one.state = two.state = attempt_state::failed;
  d.commit({put_spec{spec_id{1}, "{\"s\":1}"}, put_run{r}, put_attempt{two}, put_attempt{one},
            put_idempotency{"key-1", std::uint64_t{0xffffffffffffffff}, r.id}});
  d.commit({put_idempotency{"key-2", 5, id_number(77)}});
  d.read([&](reader& q) {
    for (const fetched_rows& rows :
         {q.fetch_run(r.id), q.fetch_lease(lease_id{4}), q.fetch_lease(lease_id{9}), q.fetch_key("key-1")}) {
      REQUIRE(rows.run);
      CHECK(*rows.run == r);
      CHECK(rows.attempts == std::vector<attempt>{one, two});
      CHECK(rows.spec_text == "{\"s\":1}");
    }
    CHECK(q.fetch_key("key-1").key_found);
    CHECK(q.fetch_key("key-1").key_fingerprint == 0xffffffffffffffff);
    CHECK(q.fetch_key("key-1").key_run == r.id);
    CHECK(q.fetch_key("key-2").key_found);
    CHECK_FALSE(q.fetch_key("key-2").run);
    CHECK(q.fetch_key("key-2").key_run == id_number(77));
    CHECK_FALSE(q.fetch_key("key-3").key_found);
    CHECK_FALSE(q.fetch_run(id_number(3)).run);
    CHECK_FALSE(q.fetch_lease(lease_id{5}).run);
  });
  auto hashes = d.restart(day_zero).idempotency_hashes;
  std::vector<std::uint64_t> expected{hash64("key-1"), hash64("key-2")};
  std::sort(hashes.begin(), hashes.end());
  std::sort(expected.begin(), expected.end());
  CHECK(hashes == expected);
}

TEST_CASE_TEMPLATE("a job made again after its deletion has its new definition", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  job j;
  j.name = "nightly";
  d.commit({put_job{j, "first"}});
  d.commit({put_cursor{"nightly", day_zero + 1h}});
  d.read([&](reader& q) { CHECK(q.find_job("nightly")->job.cursor == day_zero + 1h); });
  d.commit({delete_job{"nightly"}});
  d.read([&](reader& q) { CHECK_FALSE(q.find_job("nightly")); });
  d.commit({put_job{j, "second"}});
  d.read([&](reader& q) {
    CHECK(q.find_job("nightly")->text == "second");
    CHECK_FALSE(q.find_job("nightly")->job.cursor);
  });
}

TEST_CASE_TEMPLATE("queues, buckets and what workers offer come back after a restart", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  const queue limited{"etl", true, 4, rate_limit{10, 60s}, -3};
  const queue plain_rate{"mail", false, 0, std::nullopt, 1};
  worker w = full_worker();
  w.resources = {{"gpu", 500}, {"memory", std::int64_t{8} << 40}};
  d.commit({put_queue{limited}, put_queue{plain_rate}, put_queue{{"gone", true, 0, {}, 0}}, put_worker{w},
            put_bucket{"queue/etl", day_zero + 5s}, put_bucket{"job/full", day_zero - 1s}});
  d.commit({delete_queue{"gone"}, put_bucket{"queue/etl", day_zero + 6s}});
  const snapshot s = d.restart(day_zero);
  CHECK(s.queues == std::vector<queue>{limited, plain_rate});
  CHECK(s.buckets == std::map<std::string, wall_time>{{"queue/etl", day_zero + 6s}});
  REQUIRE(s.workers.size() == 1);
  CHECK(s.workers[0] == w);
}

TEST_CASE_TEMPLATE("a bucket that is full again leaves no row", Driver, sqlite_driver, memory_driver) {
  Driver d;
  d.commit({put_bucket{"job/a", day_zero + 5s}, put_bucket{"job/b", day_zero + 24h * 50}});
  d.retain(day_zero + 24h * 40, 24h * 30, 1'000);
  const snapshot s = d.restart(day_zero);
  CHECK(s.buckets == std::map<std::string, wall_time>{{"job/b", day_zero + 24h * 50}});
}

TEST_CASE_TEMPLATE("runs that were tried again are told from those that were not", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  run again = sample_run(3);
  again.retry_of = id_number(1);
  d.commit({put_run{sample_run(1)}, put_run{sample_run(2)}, put_run{again}});
  d.read([&](reader& q) {
    CHECK(q.retried({id_number(1), id_number(2), id_number(3)}) == std::set<run_id>{id_number(1)});
  });
}

TEST_CASE_TEMPLATE("a worker is its name and its instance", Driver, sqlite_driver, memory_driver) {
  Driver d;
  worker one = full_worker(), two = full_worker();
  two.instance = make_uuid_v4(9, 9);
  d.commit({put_worker{one}, put_worker{two}});
  one.slots = 3;
  d.commit({put_worker{one}, forget_worker{two.worker_id, two.instance}});
  d.read([&](reader& q) { CHECK(q.list_workers() == std::vector<worker>{one}); });
}

TEST_CASE_TEMPLATE("a start finds how those ended that queued runs wait for", Driver, sqlite_driver,
                   memory_driver) {
  Driver d;
  run good = sample_run(1), bad = sample_run(2), open = sample_run(3), unneeded = sample_run(4);
  good.state = run_state::succeeded;
  bad.state = run_state::skipped;
  unneeded.state = run_state::failed;
  run waiting = sample_run(5), tried = sample_run(6), over = sample_run(7);
  waiting.after = {
      {good.id, after_condition::ok}, {bad.id, after_condition::any}, {open.id, after_condition::ok}};
  tried.after = over.after = {{unneeded.id, after_condition::failed}};
  tried.state = run_state::retry_wait;
  over.state = run_state::cancelled;
  d.commit({put_spec{spec_id{1}, "one"}, put_run{good}, put_run{bad}, put_run{open}, put_run{unneeded},
            put_run{waiting}, put_run{tried}, put_run{over}});
  CHECK(d.restart(day_zero).ended_dependencies ==
        std::map<run_id, run_state>{{good.id, run_state::succeeded}, {bad.id, run_state::skipped}});
}

TEST_CASE_TEMPLATE("a start finds unfinished runs, their attempts, and every attempt that is not settled",
                   Driver, sqlite_driver, memory_driver) {
  Driver d;
  run queued = sample_run(1), waiting = sample_run(2), unknown = sample_run(3), done = sample_run(4),
      failed = sample_run(5);
  queued.spec = spec_id{2};
  waiting.state = run_state::retry_wait;
  waiting.attempts = 1;
  unknown.state = run_state::unknown;
  unknown.attempts = 1;
  done.state = run_state::succeeded;
  done.attempts = 2;
  failed.state = run_state::failed;
  failed.attempts = 2;
  attempt ended = sample_attempt(1, waiting), lost = sample_attempt(2, unknown),
          won = sample_attempt(3, done), away = sample_attempt(4, failed), heard = sample_attempt(5, failed);
  ended.state = attempt_state::failed;
  lost.state = attempt_state::lost;
  won.state = attempt_state::succeeded;
  away.state = attempt_state::lost;
  heard.state = attempt_state::lost;
  heard.superseded_status = "SUCCESS";
  d.commit({put_spec{spec_id{1}, "one"}, put_spec{spec_id{2}, "two"}, put_spec{spec_id{3}, "three"},
            put_run{queued}, put_run{waiting}, put_run{unknown}, put_run{done}, put_run{failed},
            put_attempt{ended}, put_attempt{lost}, put_attempt{won}, put_attempt{away}, put_attempt{heard}});
  d.commit_output({{lease_id{2}, "stdout", 0, "abc"}, {lease_id{3}, "stdout", 0, "xyz"}});
  const snapshot s = d.restart(day_zero);
  std::vector<run> expected{queued, waiting, unknown};
  std::sort(expected.begin(), expected.end(), [](const run& a, const run& b) { return a.id < b.id; });
  CHECK(s.runs == expected);
  CHECK(s.attempts == std::vector<attempt>{ended, lost, away});
  REQUIRE(s.specs.size() == 2);
  CHECK(s.specs[0].text == "one");
  CHECK(s.specs[1].text == "two");
  CHECK(s.outputs == std::vector<output_end>{{lease_id{2}, "stdout", 3}});
}

TEST_CASE_TEMPLATE("output is read in pages that end at a gap", Driver, sqlite_driver, memory_driver) {
  Driver d;
  const lease_id lease{1};
  d.commit_output({{lease, "stdout", 0, "hello "}, {lease, "stdout", 6, "world"}, {lease, "stderr", 0, "!"}});
  d.commit_output({{lease, "stdout", 20, "later"}});
  d.read([&](reader& q) {
    output_page page = q.read_output(lease, "stdout", 0, 8);
    CHECK(page.data == "hello wo");
    CHECK(page.offset == 0);
    CHECK(page.end == 25);
    CHECK(page.gaps.empty());
    page = q.read_output(lease, "stdout", 8, 100);
    CHECK(page.data == "rld");
    CHECK(page.offset == 8);
    page = q.read_output(lease, "stdout", 11, 100);
    CHECK(page.data == "later");
    CHECK(page.offset == 20);
    REQUIRE(page.gaps.size() == 1);
    CHECK(page.gaps[0].from == 11);
    CHECK(page.gaps[0].to == 20);
    page = q.read_output(lease, "stdout", 25, 100);
    CHECK(page.data.empty());
    CHECK(page.gaps.empty());
    CHECK(page.end == 25);
    CHECK(q.read_output(lease, "stderr", 0, 100).data == "!");
    CHECK(q.read_output(lease_id{2}, "stdout", 0, 100).end == 0);
  });
}

TEST_CASE_TEMPLATE("bytes below the stored end are ignored", Driver, sqlite_driver, memory_driver) {
  Driver d;
  const lease_id lease{1};
  d.commit_output({{lease, "stdout", 0, "abcdef"}});
  d.restart(day_zero);
  d.commit_output({{lease, "stdout", 0, "ABCDEF"}, {lease, "stdout", 4, "XXgh"}, {lease, "stdout", 2, "??"}});
  d.commit_output({{lease, "stdout", 12, ""}});  // four bytes were dropped by the worker, nothing follows yet
  d.read([&](reader& q) {
    const output_page page = q.read_output(lease, "stdout", 0, 100);
    CHECK(page.data == "abcdefgh");
    CHECK(page.end == 12);
    CHECK(q.read_output(lease, "stdout", 8, 100).offset == 12);
  });
}

TEST_CASE_TEMPLATE("of a long stream the head and the tail are kept", Driver, sqlite_driver, memory_driver) {
  Driver d;
  const lease_id lease{1};
  const std::uint64_t limit = 3 * 1024 * 1024, head = limits::output_head, total = 6 * 1024 * 1024;
  const auto byte_at = [](std::uint64_t offset) { return static_cast<char>('a' + offset / 1000 % 26); };
  for (std::uint64_t offset = 0; offset < total;) {
    std::string data;
    const std::uint64_t size = std::min<std::uint64_t>(total - offset, offset % 3 == 0 ? 50'000 : 200'000);
    for (std::uint64_t i = 0; i < size; ++i) data.push_back(byte_at(offset + i));
    d.commit_output({{lease, "stdout", offset, data, limit}});
    offset += size;
  }
  std::uint64_t stored = 0, gap = 0, offset = 0;
  d.read([&](reader& q) {
    while (offset < total) {
      const output_page page = q.read_output(lease, "stdout", offset, 100'000);
      CHECK(page.end == total);
      for (const auto& g : page.gaps) gap += g.to - g.from;
      for (std::uint64_t i = 0; i < page.data.size(); i += 501)
        REQUIRE(page.data[i] == byte_at(page.offset + i));
      stored += page.data.size();
      offset = page.offset + page.data.size();
    }
    CHECK(q.read_output(lease, "stdout", head - 1, 1).gaps.empty());
    CHECK(q.read_output(lease, "stdout", total - (limit - head - 64 * 1024), 1).gaps.empty());
  });
  CHECK(stored + gap == total);
  CHECK(stored >= limit);
  CHECK(stored <= limit + limits::output_chunk);
}

TEST_CASE_TEMPLATE("retention deletes old final runs with everything that hangs on them", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  const auto finished = [](std::uint64_t n, wall_time at) {
    run r = sample_run(n, at);
    r.job_version = 0;
    r.spec = spec_id{n};
    r.state = run_state::failed;
    r.finished_at = at;
    return r;
  };
  const wall_time now = day_zero + 24h * 100;
  const run old = finished(1, day_zero), lately = finished(2, now - 24h),
            lost_long_ago = finished(3, day_zero + 1s);
  run waiting = sample_run(4, day_zero), unknown = sample_run(5, day_zero);
  unknown.state = run_state::unknown;
  const run lost_lately = finished(6, now - 24h * 31);
  attempt a1 = sample_attempt(1, old), a3 = sample_attempt(3, lost_long_ago),
          a6 = sample_attempt(6, lost_lately);
  a1.state = attempt_state::failed;
  a3.state = a6.state = attempt_state::lost;
  a3.finished_at = day_zero + 1s;
  a6.finished_at = now - 24h * 2;
  d.commit({put_spec{spec_id{1}, "1"}, put_spec{spec_id{2}, "2"}, put_spec{spec_id{3}, "3"}, put_run{old},
            put_run{lately}, put_run{lost_long_ago}, put_run{waiting}, put_run{unknown}, put_run{lost_lately},
            put_attempt{a1}, put_attempt{a3}, put_attempt{a6}, put_idempotency{"old", 1, old.id},
            put_idempotency{"lately", 2, lately.id}, put_idempotency{"waiting", 3, waiting.id},
            put_instant{"j", day_zero, instant_outcome::ran, old.id, "", 1, std::nullopt},
            put_instant{"j", now - 47h, instant_outcome::ran, lately.id, "", 1, std::nullopt},
            put_fact{sample_fact(8)}});
  d.commit({put_fact{sample_fact(9, now)}});
  d.commit_output({{lease_id{1}, "stdout", 0, "old"}, {lease_id{6}, "stdout", 0, "kept"}});
  d.retain(now, 24h * 30, 1'000'000);
  d.read([&](reader& q) {
    CHECK_FALSE(q.find_run(old.id));
    CHECK_FALSE(q.find_run(lost_long_ago.id));
    CHECK(q.find_run(lately.id));
    CHECK(q.find_run(waiting.id));
    CHECK(q.find_run(unknown.id));
    CHECK(q.find_run(lost_lately.id));
    CHECK_FALSE(q.fetch_lease(lease_id{1}).run);
    CHECK_FALSE(q.fetch_key("old").key_found);
    CHECK(q.fetch_key("lately").key_found);
    CHECK(q.fetch_key("waiting").key_found);
    CHECK(q.count_runs().by_state[static_cast<int>(run_state::failed)] == 2);
    CHECK(q.list_instants("j", std::nullopt, 10).size() == 1);
    REQUIRE(q.list_facts(0, 10).size() == 1);
    CHECK(q.list_facts(0, 10).front().fact == sample_fact(9, now));
    CHECK(q.read_output(lease_id{6}, "stdout", 0, 10).data == "kept");
  });
  // Output goes after the rows are gone for good; a restart finishes what was left.
  const auto deadline = std::chrono::steady_clock::now() + patience;
  bool gone = false;
  while (!gone && std::chrono::steady_clock::now() < deadline)
    d.read([&](reader& q) { gone = q.read_output(lease_id{1}, "stdout", 0, 10).end == 0; });
  CHECK(gone);
  CHECK(d.restart(now).lease_counter == lease_id{6});
  d.commit({put_fact{sample_fact(10, now)}});
  d.read([&](reader& q) { CHECK(q.last_facts(1).front().sequence == 3); });
}

TEST_CASE_TEMPLATE("retention by count spares the young, and keys outlive their runs by a week", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  const wall_time now = day_zero + 24h * 3;
  std::vector<mutation> batch;
  for (std::uint64_t n = 1; n <= 1'200; ++n) {
    run r = sample_run(n, day_zero + seconds{n});
    r.state = run_state::succeeded;
    r.finished_at = n <= 1'100 ? r.submitted_at : now - 1h;
    batch.push_back(put_run{r});
    batch.push_back(put_idempotency{"key-" + std::to_string(n), n, r.id});
  }
  d.commit(std::move(batch));
  d.retain(now, 24h * 30, 50);
  d.read([&](reader& q) {
    // The newest 50 are kept by number, 50 more because they ended an hour ago.
    CHECK(q.count_runs().by_state[static_cast<int>(run_state::succeeded)] == 100);
    const fetched_rows rows = q.fetch_key("key-7");
    CHECK(rows.key_found);
    CHECK_FALSE(rows.run);
    CHECK(rows.key_run == id_number(7, day_zero + 7s));
  });
  d.retain(now + 24h * 8, 24h * 30, 50);
  d.read([&](reader& q) {
    CHECK_FALSE(q.fetch_key("key-7").key_found);
    CHECK_FALSE(q.fetch_key("key-1200").key_found);
  });
}

TEST_CASE_TEMPLATE("the row of an instant is kept for 48 hours, however short retention is", Driver,
                   sqlite_driver, memory_driver) {
  Driver d;
  const wall_time now = day_zero + 24h * 3;
  run r = sample_run(1, now - 50h);
  r.state = run_state::succeeded;
  r.finished_at = now - 50h;
  d.commit({put_run{r}, put_instant{"j", now - 49h, instant_outcome::ran, r.id, "", 1, std::nullopt},
            put_instant{"j", now - 47h, instant_outcome::ran, r.id, "", 1, std::nullopt},
            put_instant{"j", now + 1h, instant_outcome::missed, std::nullopt, "", 1, std::nullopt}});
  d.retain(now, 1h, 1'000'000);
  d.read([&](reader& q) {
    CHECK_FALSE(q.find_run(r.id));
    CHECK(q.list_instants("j", std::nullopt, 10).size() == 2);
  });
}

TEST_CASE_TEMPLATE("a specification goes an hour after its last run, unless its job still has that version",
                   Driver, sqlite_driver, memory_driver) {
  Driver d;
  const auto done = [](std::uint64_t n, spec_id spec, const std::string& job, std::uint32_t version) {
    run r = sample_run(n);
    r.job = job;
    r.job_version = version;
    r.spec = spec;
    r.state = run_state::succeeded;
    r.finished_at = day_zero;
    return r;
  };
  job j;
  j.name = "nightly";
  j.version = 2;
  d.commit({put_job{j, ""}, put_spec{spec_id{1}, "ad hoc"}, put_spec{spec_id{2}, "version 1"},
            put_spec{spec_id{3}, "version 2"}, put_run{done(1, spec_id{1}, "x", 0)},
            put_run{done(2, spec_id{2}, "nightly", 1)}, put_run{done(3, spec_id{3}, "nightly", 2)}});
  const auto text_of = [&](std::uint64_t spec, std::uint64_t n, wall_time at) {
    run probe = sample_run(n, at);
    probe.spec = spec_id{spec};
    d.commit({put_run{probe}});
    std::string text;
    d.read([&](reader& q) { text = q.find_run(probe.id)->spec_text; });
    run ended = probe;
    ended.state = run_state::cancelled;
    ended.finished_at = at;
    d.commit({put_run{ended}});
    return text;
  };
  d.retain(day_zero + 24h * 40, 24h * 30, 1'000);
  CHECK(text_of(2, 20, day_zero + 24h * 40) == "version 1");
  d.retain(day_zero + 24h * 40 + 2h, 24h * 30, 1'000);
  CHECK(text_of(1, 30, day_zero + 24h * 41) == "");
  CHECK(text_of(2, 21, day_zero + 24h * 41) == "version 1");  // taken up again in time
  CHECK(text_of(3, 22, day_zero + 24h * 41) == "version 2");
}

namespace {

/// A history that obeys the rules of the engine, made from a seed.
class random_history {
 public:
  explicit random_history(std::uint64_t seed) : random_(seed) {}

  std::vector<mutation> next_batch() {
    std::vector<mutation> batch;
    for (std::uint64_t i = 0, n = 1 + random_.below(6); i < n; ++i) step(batch);
    return batch;
  }

 private:
  struct entry {
    run r;
    std::vector<attempt> attempts;
  };

  void step(std::vector<mutation>& batch) {
    at_ += milliseconds{random_.below(1'000)};
    const std::uint64_t what = random_.below(10);
    if (what < 3 || entries_.empty()) return submit(batch);
    entry& e = entries_[random_.below(entries_.size())];
    if (what < 8)
      advance(e, batch);
    else if (what == 8)
      batch.push_back(put_fact{sample_fact(random_.below(1'000), at_)});
    else
      put_others(batch);
  }

  void submit(std::vector<mutation>& batch) {
    const std::uint64_t n = entries_.size() + 1;
    entry e{sample_run(n, at_), {}};
    e.r.spec = spec_id{1 + n / 3};
    batch.push_back(put_spec{e.r.spec, "spec " + std::to_string(n / 3)});
    batch.push_back(put_run{e.r});
    if (n % 2 == 0) batch.push_back(put_idempotency{"key-" + std::to_string(n), n, e.r.id});
    entries_.push_back(std::move(e));
  }

  void advance(entry& e, std::vector<mutation>& batch) {
    if (is_final(e.r.state)) return;
    if (!e.attempts.empty() && is_live(e.attempts.back().state)) {
      attempt& a = e.attempts.back();
      a.state = static_cast<attempt_state>(random_.below(10));
      e.r.state = is_live(a.state) ? run_state::active
                                   : static_cast<run_state>(random_.below(9) == 1 ? 2 : random_.below(9));
      if (!is_live(a.state) && e.r.state == run_state::active) e.r.state = run_state::retry_wait;
      if (is_final(e.r.state)) e.r.finished_at = at_;
      batch.push_back(put_attempt{a});
    } else {
      attempt a = sample_attempt(++lease_, e.r);
      e.attempts.push_back(a);
      e.r.state = run_state::active;
      ++e.r.attempts;
      batch.push_back(put_attempt{a});
    }
    batch.push_back(put_run{e.r});
  }

  void put_others(std::vector<mutation>& batch) {
    job j;
    j.name = "job-" + std::to_string(random_.below(4));
    j.version = static_cast<std::uint32_t>(1 + random_.below(3));
    worker w;
    w.worker_id = "worker-" + std::to_string(random_.below(4));
    switch (random_.below(8)) {
      case 0: batch.push_back(put_job{j, "text " + std::to_string(random_.below(9))}); break;
      case 1: batch.push_back(delete_job{j.name}); break;
      case 2: batch.push_back(put_cursor{j.name, at_}); break;
      case 3: batch.push_back(put_worker{w}); break;
      case 4:
        batch.push_back(put_queue{{j.name, random_.below(2) == 0, static_cast<int>(j.version), {}, 0}});
        break;
      case 5: batch.push_back(delete_queue{j.name}); break;
      case 6: batch.push_back(put_bucket{"queue/" + j.name, at_ + milliseconds{random_.below(9'000)}}); break;
      default: batch.push_back(forget_worker{w.worker_id, w.instance});
    }
    batch.push_back(put_instant{j.name, at_ + milliseconds{++instants_}, instant_outcome::missed,
                                std::nullopt, "", 1, std::nullopt});
    put_ledger(j.name, batch);
  }

  // Every hour is one job's: a row of ten instants, of which some are filled in and some withdrawn.
  void put_ledger(const std::string& job, std::vector<mutation>& batch) {
    const std::string name = "ledger-" + job;
    const wall_time first = day_zero + std::chrono::hours{++hours_};
    put_instant row{name, first, instant_outcome::paused, std::nullopt, "paused", 1, std::nullopt};
    batch.push_back(row);
    row.count = 10;
    row.until = first + 9min;
    batch.push_back(row);
    if (random_.below(2) == 0) {
      const auto minute = std::chrono::minutes{random_.below(10)};
      backfill_instant m{
          name, first + minute, id_number(1'000'000 + static_cast<std::uint64_t>(hours_)), first, {}};
      const auto part = [&](wall_time from, wall_time to) {
        if (from <= to)
          m.parts.push_back({from, row.outcome, std::nullopt, row.rule,
                             static_cast<std::uint64_t>((to - from) / 1min + 1), to});
      };
      part(first, first + minute - 1min);
      part(first + minute + 1min, first + 9min);
      batch.push_back(std::move(m));
    }
    if (random_.below(4) == 0) batch.push_back(withdraw_instants{name, first - 1ms});
    if (random_.below(4) == 0) batch.push_back(put_calendar{name, std::to_string(hours_), first});
    if (random_.below(8) == 0) batch.push_back(delete_calendar{name});
  }

  random_source random_;
  wall_time at_ = day_zero;
  std::uint64_t lease_ = 0, instants_ = 0;
  int hours_ = 0;
  std::vector<entry> entries_;
};

void check_equal(const snapshot& a, const snapshot& b) {
  CHECK(a.term == b.term);
  CHECK(a.last_number == b.last_number);
  CHECK(a.lease_counter == b.lease_counter);
  CHECK(a.spec_counter == b.spec_counter);
  CHECK(a.runs == b.runs);
  CHECK(a.attempts == b.attempts);
  CHECK(a.workers == b.workers);
  CHECK(a.queues == b.queues);
  CHECK(a.buckets == b.buckets);
  CHECK(a.outputs == b.outputs);
  CHECK(a.instants == b.instants);
  REQUIRE(a.calendars.size() == b.calendars.size());
  for (std::size_t i = 0; i < a.calendars.size(); ++i) CHECK(a.calendars[i].text == b.calendars[i].text);
  const auto sorted = [](auto values) {
    std::sort(values.begin(), values.end());
    return values;
  };
  CHECK(sorted(a.idempotency_hashes) == sorted(b.idempotency_hashes));
  REQUIRE(a.specs.size() == b.specs.size());
  for (std::size_t i = 0; i < a.specs.size(); ++i) {
    CHECK(a.specs[i].id == b.specs[i].id);
    CHECK(a.specs[i].text == b.specs[i].text);
  }
  REQUIRE(a.jobs.size() == b.jobs.size());
  for (std::size_t i = 0; i < a.jobs.size(); ++i) {
    CHECK(a.jobs[i].job == b.jobs[i].job);
    CHECK(a.jobs[i].text == b.jobs[i].text);
  }
}

}  // namespace

TEST_CASE("both stores hold the same after the same random history") {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    CAPTURE(seed);
    sqlite_driver disk;
    memory_driver memory;
    random_history history(seed);
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 100; ++i) {
        const std::vector<mutation> batch = history.next_batch();
        disk.get().commit({disk.count_batch(), batch});
        memory.get().commit({memory.count_batch(), batch});
      }
      disk.wait_persisted(disk.number());
      memory.wait_persisted(memory.number());
      check_equal(disk.restart(day_zero), memory.restart(day_zero));
      std::vector<run_with_attempts> on_disk, in_memory;
      run_counts disk_counts, memory_counts;
      run_filter filter;
      filter.limit = 10'000;
      std::vector<stored_fact> disk_facts, memory_facts;
      disk.read([&](reader& q) {
        on_disk = q.list_runs(filter);
        disk_counts = q.count_runs();
        disk_facts = q.list_facts(0, 10'000);
      });
      memory.read([&](reader& q) {
        in_memory = q.list_runs(filter);
        memory_counts = q.count_runs();
        memory_facts = q.list_facts(0, 10'000);
      });
      REQUIRE(on_disk.size() == in_memory.size());
      for (std::size_t i = 0; i < on_disk.size(); ++i) {
        CHECK(on_disk[i].run == in_memory[i].run);
        CHECK(on_disk[i].attempts == in_memory[i].attempts);
      }
      CHECK(std::equal(std::begin(disk_counts.by_state), std::end(disk_counts.by_state),
                       std::begin(memory_counts.by_state)));
      REQUIRE(disk_facts.size() == memory_facts.size());
      for (std::size_t i = 0; i < disk_facts.size(); ++i) {
        CHECK(disk_facts[i].sequence == memory_facts[i].sequence);
        CHECK(disk_facts[i].batch == memory_facts[i].batch);
        CHECK(disk_facts[i].fact == memory_facts[i].fact);
      }
    }
  }
}
