// Tokens, sessions and the audit trail in the database: beside the engine's batches, in their commits.
#include <atomic>
#include <future>

#include <doctest/doctest.h>

#include "support/store_support.hpp"

using namespace orchestrator;
using namespace orchestrator::store;
using namespace orchestrator::store::testing;
using namespace std::chrono_literals;

namespace {

using when = access_records::when;

opened_store open(const temporary_directory& base, progress_monitor& monitor) {
  auto opened = open_sqlite_store(base.path() / "data", day_zero, monitor.events());
  if (!opened) FAIL(opened.error().message);
  return std::move(*opened);
}

void write(opened_store& s, std::vector<access_change> rows) {
  std::promise<void> done;
  s.access->write(std::move(rows), when::soon, [&done] { done.set_value(); });
  REQUIRE(done.get_future().wait_for(30s) == std::future_status::ready);
}

std::vector<audit_entry> read(opened_store& s, const audit_filter& filter = {}) {
  std::promise<std::vector<audit_entry>> found;
  s.access->read_audit(filter, [&found](std::vector<audit_entry> e) { found.set_value(std::move(e)); });
  return found.get_future().get();
}

audit_entry entry(std::uint64_t id, bool refused = false) {
  audit_entry e;
  e.id = id;
  e.at = day_zero + std::chrono::minutes{id};
  e.name = id % 2 == 0 ? "even" : "odd";
  e.role = "admin";
  e.address = "::1";
  e.method = "POST";
  e.path = "/api/v1/runs";
  e.refused = refused;
  if (refused) e.status = 403;
  return e;
}

}  // namespace

TEST_CASE("a start finds tokens and sessions as they were written last") {
  const temporary_directory base;
  stored_token t;
  t.id = "0123456789ab";
  t.name = "ci";
  t.role = "operator";
  t.worker_id = "w";
  t.hash.fill(0xfe);
  t.hash[3] = 0;
  t.created_at = day_zero;
  t.expires_at = day_zero + 24h;
  stored_token other = t;
  other.id = "ba9876543210";
  stored_session s{"ffffffffffff", t.id, t.hash, day_zero, day_zero + 12h, true};
  {
    progress_monitor monitor;
    opened_store opened = open(base, monitor);
    write(opened, {t, other, s});
    t.revoked_at = day_zero + 1h;
    t.last_used_at = day_zero + 2h;
    s.expires_at += 1h;
    write(opened, {t, delete_token{other.id}, s, entry(7)});
  }
  progress_monitor monitor;
  const opened_store opened = open(base, monitor);
  CHECK(opened.access_found.tokens == std::vector{t});
  CHECK(opened.access_found.sessions == std::vector{s});
  CHECK(opened.access_found.last_audit_id == 7);
}

TEST_CASE("rows are on disk no later than a batch that was handed over after them") {
  const temporary_directory base;
  {
    progress_monitor monitor;
    opened_store opened = open(base, monitor);
    opened.access->write({entry(1)}, when::with_next, {});
    CHECK(opened.access->waiting() == 1);
    opened.store_ptr->commit({1, {put_fact{sample_fact(1)}}});
    REQUIRE(monitor.wait_persisted(1));
    CHECK(opened.access->waiting() == 0);
    CHECK(read(opened).size() == 1);
    opened.access->write({audit_outcome{1, 201, "/made"}}, when::with_next, {});
  }  // a close leaves nothing behind
  progress_monitor monitor;
  opened_store opened = open(base, monitor);
  audit_entry wanted = entry(1);
  wanted.status = 201;
  wanted.made = "/made";
  CHECK(read(opened) == std::vector{wanted});
  write(opened, {audit_outcome{1, 500, "/other"}});
  CHECK(read(opened) == std::vector{wanted});  // an outcome is entered once
}

TEST_CASE("entries are listed newest first, by page, name, kind and time") {
  const temporary_directory base;
  progress_monitor monitor;
  opened_store opened = open(base, monitor);
  std::vector<access_change> rows;
  for (std::uint64_t id = 1; id <= 20; ++id) rows.push_back(entry(id, id % 5 == 0));
  write(opened, rows);
  const auto ids = [&](const audit_filter& f) {
    std::vector<std::uint64_t> out;
    for (const audit_entry& e : read(opened, f)) out.push_back(e.id);
    return out;
  };
  audit_filter f;
  f.limit = 3;
  CHECK(ids(f) == std::vector<std::uint64_t>{20, 19, 18});
  f.before = 18;
  CHECK(ids(f) == std::vector<std::uint64_t>{17, 16, 15});
  f.name = "odd";
  CHECK(ids(f) == std::vector<std::uint64_t>{17, 15, 13});
  f.refused_only = true;
  CHECK(ids(f) == std::vector<std::uint64_t>{15, 5});
  f.since = day_zero + 10min;
  CHECK(ids(f) == std::vector<std::uint64_t>{15});
}

TEST_CASE("old entries go by age and by count, refusals counted apart") {
  const temporary_directory base;
  progress_monitor monitor;
  opened_store opened = open(base, monitor);
  std::vector<access_change> rows;
  for (std::uint64_t id = 1; id <= 3000; ++id) rows.push_back(entry(id, id % 2 == 0));
  write(opened, rows);
  opened.access->trim_audit(day_zero + 3000min, 2900min, 1000);
  audit_filter f;
  f.limit = 5000;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (read(opened, f).size() != 1100 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  const auto left = read(opened, f);
  CHECK(left.size() == 1100);  // 1,000 changes, 100 refusals
  CHECK(left.front().id == 3000);
  opened.access->trim_audit(day_zero + 3000min, 50min, 1000);
  while (read(opened, f).size() != 51 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  CHECK(read(opened, f).back().id == 2950);
}
