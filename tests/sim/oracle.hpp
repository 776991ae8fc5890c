// When schedules must fire (I15), worked out a second time: instants by walking the clock minute by minute,
// and the catch-up rule read off the page once more. Compared with every move of a schedule's cursor.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <orchestrator/model/day_calendar.hpp>
#include <orchestrator/model/fact.hpp>
#include <orchestrator/model/schedule.hpp>
#include <orchestrator/store/store.hpp>

#include "reading_book.hpp"

namespace orchestrator::sim {

/// The simulated zones: they jump every two minutes, one by an hour and one by two minutes, so that a short
/// run meets times that do not exist and times that come twice.
zone_table zone_named(const std::string& name);

class timetable_oracle {
 public:
  /// What the batch of one step decided, at that time. A sentence if it is not what it must be.
  std::optional<std::string> observe(const mutation_batch& batch, wall_time now);
  /// A coordinator has started: what it knows is what is on the disk.
  void reload(store::reader& r, reading_book& book);
  /// Retention ran by a wrong clock, so the ledger of instants is not whole any more.
  void ledger_was_cut() { whole_ = false; }
  /// Everything that was due by then has been decided.
  std::optional<std::string> nothing_is_overdue(wall_time now) const;

 private:
  struct entry {
    schedule rule;
    wall_time anchor{};
    std::optional<wall_time> cursor;
  };
  /// A row of the ledger, by its first instant.
  struct row {
    wall_time last{};
    bool has_run = false;
    std::uint64_t count = 1;
  };
  using ledger = std::map<wall_time, row>;

  bool is_decided(const std::string& job, wall_time t) const;
  /// A named calendar leaves out its day, which is read off the zone's clock here.
  bool is_excluded(const schedule& s, wall_time t) const;
  std::set<wall_time> may_run(const schedule& s, wall_time anchor, wall_time cursor, wall_time now) const;
  std::optional<std::string> judge_move(const std::string& name, const entry& e, wall_time to, wall_time now,
                                        const ledger& fresh) const;
  std::optional<std::string> judge_backfill(const backfill_instant& m) const;
  std::optional<std::string> judge_row(const mutation& m) const;
  void take(const mutation& m);

  std::map<std::string, entry> jobs_;
  std::map<std::string, ledger> ledgers_;
  std::map<std::string, day_calendar> calendars_;
  bool whole_ = true;
};

}  // namespace orchestrator::sim
