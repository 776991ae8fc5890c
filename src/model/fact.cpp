// Rows of the ledger of instants: the words of their outcomes, as the API shows them, and how one is left.
#include <algorithm>

#include <orchestrator/model/fact.hpp>
#include <orchestrator/model/snapshot.hpp>

namespace orchestrator {

const char* to_string(instant_outcome o) {
  switch (o) {
    case instant_outcome::ran: return "ran";
    case instant_outcome::late: return "late";
    case instant_outcome::skipped_overlap: return "skipped_overlap";
    case instant_outcome::paused: return "paused";
    case instant_outcome::gap_shifted: return "gap_shifted";
    case instant_outcome::fold_merged: return "fold_merged";
    case instant_outcome::missed: return "missed";
    case instant_outcome::rejected: return "rejected";
    case instant_outcome::skipped_calendar: return "skipped_calendar";
  }
  return "invalid";
}

bool leave_row(stored_instant& row, wall_time instant, wall_time before, wall_time after) {
  if (row.count <= 1 || row.instant == row.until) return false;
  --row.count;
  if (row.instant == instant) {
    row.instant = std::min(after, row.until);
  } else if (row.until == instant) {
    row.until = std::max(before, row.instant);
  }
  return true;
}

void step_over(stored_instant& row) {
  row.instant += milliseconds{1};
  row.until = std::max(row.until, row.instant);
}

}  // namespace orchestrator
