// What the ledger says of a time or a window, read over its pages. The rows of a job do not overlap, but for
// those that an older version wrote: with it an instant that was filled in later had its row inside the one
// it left, which still reached over it. Used by the server and the simulator.
#include <algorithm>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/store/store.hpp>

namespace orchestrator::store {
namespace {

constexpr milliseconds tick{1};
constexpr std::size_t page = 1'000;

/// Adds the rows that begin from `from` to `to`, newest first.
void add_rows(reader& r, const std::string& job, wall_time from, wall_time to,
              std::vector<stored_instant>& rows) {
  std::optional<wall_time> before = to + tick;
  while (true) {
    const auto some = r.list_instants(job, before, page);
    for (const stored_instant& row : some) {
      if (row.instant < from) return;
      rows.push_back(row);
    }
    if (some.size() < page) return;
    before = some.back().instant;
  }
}

}  // namespace

std::vector<stored_instant> ledger_window(reader& r, const std::string& job, wall_time from, wall_time to) {
  std::vector<stored_instant> rows;
  add_rows(r, job, from, to, rows);
  const auto first = decided_at(r, job, from - tick);
  if (first && first->until >= from) add_rows(r, job, first->instant, from - tick, rows);
  wall_time end = to;
  for (const stored_instant& row : rows) end = std::max(end, row.until);
  if (end > to) add_rows(r, job, to + tick, end, rows);
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.instant < b.instant; });
  return rows;
}

// Where rows overlap, the one that reaches furthest towards it of those that begin by then; no further back
// than one backfill can have made rows inside another.
std::optional<stored_instant> decided_at(reader& r, const std::string& job, wall_time at) {
  std::optional<stored_instant> best;
  for (stored_instant& row : r.list_instants(job, at + tick, limits::backfill_runs + 1)) {
    const bool quiet = !row.run;
    if (!best || std::min(row.until, at) > best->until) best = std::move(row);
    if (quiet || best->until >= at) break;
  }
  return best;
}

}  // namespace orchestrator::store
