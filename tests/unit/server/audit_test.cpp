// Entries of the audit trail on their way to the store.
#include "audit.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace orchestrator;
using namespace orchestrator::server;

namespace {

class recorder final : public store::access_records {
 public:
  void write(std::vector<store::access_change> rows, when w, std::function<void()>) override {
    for (auto& row : rows) {
      if (auto* e = std::get_if<store::audit_entry>(&row)) entries.push_back(*e);
      if (auto* o = std::get_if<store::audit_outcome>(&row)) outcomes.push_back(*o);
    }
    if (w == when::soon) ++commits;
  }
  std::size_t waiting() const override { return backlog; }
  void read_audit(const store::audit_filter&, std::function<void(std::vector<store::audit_entry>)>) override {
  }
  void trim_audit(wall_time, milliseconds, std::uint64_t) override {}
  std::vector<store::audit_entry> entries;
  std::vector<store::audit_outcome> outcomes;
  std::size_t backlog = 0;
  int commits = 0;
};

constexpr wall_time noon = from_unix_ms(1'760'000'000'000);

net::http_request request(const std::string& method, const std::string& path, const std::string& address) {
  net::http_request r;
  r.method = method;
  r.path = path;
  r.peer_address = address + ":40001";
  auto who = std::make_shared<identity>();
  who->name = "ci";
  who->role = role::operate;
  r.from = who;
  return r;
}

}  // namespace

TEST_CASE("a change is entered before it is made, and what became of it behind") {
  recorder disk;
  audit_trail audit;
  audit.attach(disk, 41);
  const auto entry = audit.begin(request("POST", "/api/v1/runs", "10.0.0.9"), noon);
  REQUIRE(entry.has_value());
  REQUIRE(disk.entries.size() == 1);
  store::audit_entry wanted;
  wanted.id = 42;
  wanted.at = noon;
  wanted.name = "ci";
  wanted.role = "operator";
  wanted.address = "10.0.0.9";
  wanted.method = "POST";
  wanted.path = "/api/v1/runs";
  CHECK(disk.entries[0] == wanted);
  net::http_response answer;
  answer.status = 201;
  answer.headers.emplace_back("Location", "/api/v1/runs/1");
  audit.end(*entry, answer);
  REQUIRE(disk.outcomes.size() == 1);
  CHECK(disk.outcomes[0].id == 42);
  CHECK(disk.outcomes[0].status == 201);
  CHECK(disk.outcomes[0].made == "/api/v1/runs/1");
  REQUIRE(audit.begin(request("POST", "/api/v1/runs", "[::1]"), noon).has_value());
  CHECK(disk.entries[1].address == "::1");
}

TEST_CASE("while the disk is behind no change is made, because it could not be entered") {
  recorder disk;
  audit_trail audit;
  audit.attach(disk, 0);
  disk.backlog = limits::audit_rows_waiting;
  const auto entry = audit.begin(request("POST", "/api/v1/runs", "[::1]"), noon);
  REQUIRE(entry.has_error());
  CHECK(entry.error().code == errc::unavailable);
  CHECK(disk.entries.empty());
}

TEST_CASE("refusals of one kind in one minute are two entries: the first, and how many more") {
  recorder disk;
  audit_trail audit;
  audit.attach(disk, 0);
  for (int i = 0; i < 10'000; ++i)
    audit.refused(request("POST", fmt::format("/api/v1/jobs/j{}/run", i), "10.0.0.9"), nullptr, 401, noon);
  REQUIRE(disk.entries.size() == 1);
  CHECK(disk.entries[0].count == 1);
  CHECK(disk.entries[0].status == 401);
  CHECK(disk.entries[0].refused);
  CHECK(disk.entries[0].name.empty());
  audit.flush(noon + std::chrono::seconds{59}, false);
  CHECK(disk.entries.size() == 1);
  audit.flush(noon + std::chrono::seconds{60}, false);
  REQUIRE(disk.entries.size() == 2);
  CHECK(disk.entries[1].count == 9'999);
  CHECK(disk.entries[1].path == "/api/v1/jobs/j9999/run");
  audit.flush(noon + std::chrono::seconds{120}, false);
  CHECK(disk.entries.size() == 2);
}

TEST_CASE("a flood of refusals from everywhere makes few entries a minute, and loses no count") {
  recorder disk;
  audit_trail audit;
  audit.attach(disk, 0);
  identity reader;
  reader.name = "looker";
  for (int i = 0; i < 100'000; ++i) {
    const auto r =
        request("DELETE", "/api/v1/jobs/a", fmt::format("10.{}.{}.{}", i / 65536, i / 256 % 256, i % 256));
    audit.refused(r, i % 2 == 0 ? nullptr : &reader, i % 2 == 0 ? 401 : 403, noon);
  }
  audit.flush(noon, true);
  CHECK(disk.entries.size() <= 2 * (limits::refusal_kinds + 2));
  std::uint64_t total = 0;
  for (const auto& e : disk.entries) total += e.count;
  CHECK(total == 100'000);
}

TEST_CASE("what waits for another commit is given one of its own by the next flush") {
  recorder disk;
  audit_trail audit;
  audit.attach(disk, 0);
  audit.flush(noon, false);
  CHECK(disk.commits == 0);
  disk.backlog = 1;
  audit.flush(noon, false);
  CHECK(disk.commits == 1);
}
