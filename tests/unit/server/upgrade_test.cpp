// A coordinator's core starts on the database of every schema that was ever landed, and carries on with what
// is in it: the store's migrations, its snapshot and the engine's restore in one.
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <orchestrator/engine/engine.hpp>
#include <orchestrator/server/zones.hpp>
#include <orchestrator/store/sqlite_store.hpp>

#include "support/store_support.hpp"
#include "support/tests_dir.hpp"

using namespace orchestrator;
using namespace orchestrator::store::testing;
namespace fs = std::filesystem;

namespace {

fs::path copy_of_fixture(const fs::path& base, int version) {
  const fs::path fixtures = orchestrator::testing::tests_dir() / "support" / "fixtures";
  const std::string suffix = "_v" + std::to_string(version) + ".db";
  const fs::path data = base / "data";
  fs::create_directory(data);
  fs::copy_file(fixtures / ("schema" + suffix), data / "orchestrator.db");
  fs::copy_file(fixtures / ("output" + suffix), data / "output.db");
  return data;
}

/// The core, its disk, and the zones that it asks for.
class started_core {
 public:
  started_core(store::store& disk, progress_monitor& monitor, snapshot found)
      : disk_(disk), monitor_(monitor), number_(found.last_number) {
    give(engine::started{std::move(found), 1});
  }
  void give(const engine::input& in) {
    engine::effects e = core_.step({mono_time{std::chrono::hours{1}}, now_}, in);
    REQUIRE_FALSE(e.cannot_start.has_value());
    if (e.commit) {
      number_ = e.commit->number;
      disk_.commit(*std::move(e.commit));
      REQUIRE(monitor_.wait_persisted(number_));
      give(engine::persisted{number_});
    }
    for (const engine::lookup& l : e.lookups) {
      const auto* zone = std::get_if<engine::load_zone>(&l);
      REQUIRE(zone != nullptr);
      give(engine::zone_loaded{zone->name, server::load_zone_table(zone->name).value()});
    }
    const auto broken = core_.check_invariants();
    INFO(broken.value_or(""));
    CHECK_FALSE(broken.has_value());
  }
  std::vector<engine::blocking_code> why(const run_id& id) const {
    std::vector<engine::blocking_code> codes;
    const auto reasons = core_.view().why(id, {mono_time{std::chrono::hours{1}}, now_});
    REQUIRE(reasons.has_value());
    for (const engine::blocking_reason& r : *reasons) codes.push_back(r.code);
    return codes;
  }
  const engine::engine_view& view() const { return core_.view(); }
  wall_time now() const { return now_; }

 private:
  store::store& disk_;
  progress_monitor& monitor_;
  std::uint64_t number_;
  wall_time now_ = day_zero + std::chrono::hours{24 * 200};
  engine::engine core_{engine::config{}};
};

std::optional<store::run_with_attempts> stored_run(store::store& disk, const run_id& id) {
  std::promise<std::optional<store::run_with_attempts>> found;
  disk.read([&](store::reader& r) { found.set_value(r.find_run(id)); });
  return found.get_future().get();
}

}  // namespace

TEST_CASE("a core starts on the database of every landed schema, and its runs and its job go on") {
  for (int version = 1; version <= store::schema_version(); ++version) {
    CAPTURE(version);
    const temporary_directory base;
    progress_monitor monitor;
    auto opened = store::open_sqlite_store(copy_of_fixture(base.path(), version), day_zero, monitor.events());
    if (!opened) FAIL(opened.error().message);
    store::store& disk = *opened->store_ptr;
    {
      started_core core(disk, monitor, std::move(opened->snapshot));
      core.give(engine::tick{});  // instants passed since: they are missed
      core.give(engine::turn_end{});
      using engine::blocking_code;
      CHECK(core.why(id_number(1)) == std::vector{blocking_code::no_worker});
      if (version >= 3) CHECK(core.why(id_number(3)).front() == blocking_code::dependency);
      CHECK(core.view().count().queued == (version >= 3 ? 2 : 1));
      const auto next = core.view().next_instants("nightly", core.now(), 1);
      REQUIRE(next.has_value());
      REQUIRE(next->size() == 1);
      CHECK(to_rfc3339(next->front().instant) == "2026-01-01T02:00:00.000Z");  // 03:00 in Berlin
    }
    const auto failed = stored_run(disk, id_number(2));
    REQUIRE(failed.has_value());
    CHECK(failed->run.state == run_state::failed);
    REQUIRE(failed->attempts.size() == 1);
    CHECK(failed->attempts[0].exit_code == 3);
    disk.close();
  }
}
