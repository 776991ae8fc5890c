// The words of the outcomes of instants, as the API shows them.
#include <orchestrator/model/fact.hpp>

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

}  // namespace orchestrator
