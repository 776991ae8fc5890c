// Defects planted on purpose, each breaking one rule of the promises, to prove that the simulator finds it
// (or the storage sweep: those of the SQLite store). Only their own copies of the pure layers and of the
// store are compiled with ORCHESTRATOR_PLANTED; everywhere else `planted` is the constant false and the
// planted line does not exist.
#pragma once

#include <cstdint>

namespace orchestrator {

enum class defect : std::uint8_t {
  none,
  no_gate_for_unchanged,      ///< output freed by an input without mutations of its own
  ack_before_commit,          ///< acks leave before the fsync
  offer_before_commit,        ///< an offer leaves before its row is on disk
  gate_opens_early,           ///< the gate opens for one batch more than is durable
  gate_opens_after_failure,   ///< a failed commit is reported as done
  batch_split_in_input,       ///< what one input made is stored in two transactions
  unacked_ignored,            ///< results named at a registration do not keep their leases
  cumulative_ack_too_far,     ///< a cumulative ack covers a result that is not committed
  ack_across_connections,     ///< a worker applies acks of an earlier connection
  offer_redirected,           ///< an offer made for a closed session goes to its successor
  lease_on_wall_clock,        ///< deadlines move with the wall clock
  no_stall_rule,              ///< a stall of the coordinator counts as silence
  silence_while_not_reading,  ///< silence counts on a socket that nobody reads
  no_tombstone,               ///< a worker forgets which leases it has seen
  cancel_not_durable,         ///< the flag of a cancel is not written
  cursor_not_durable,         ///< a schedule's instants are not recorded as decided
  key_in_other_transaction,   ///< the idempotency row follows in the next batch
  retry_after_end,            ///< a run that ended is queued again
  counter_not_raised,         ///< after a roll-back leases are issued again
  term_not_raised,            ///< after a roll-back offers carry a term that their worker refuses
  anothers_result_settled,    ///< a result whose lease is another's since a roll-back counts as superseded
  late_result_always_counts,  ///< a late result decides although a newer lease was offered
  duplicate_result_recorded,  ///< a result that is recorded is recorded again
  lost_at_once,               ///< a closed connection ends its leases
  at_most_once_retried,       ///< an at_most_once run is offered again after a loss
  absent_is_not_started,      ///< a lease missing at a registration never ran, whatever the evidence
  replaced_session_counts,    ///< a replaced connection is still listened to
  result_before_output,       ///< a result's ack does not wait for its output
  output_offset_ignored,      ///< output sent again is stored again
  outbox_dropped_on_send,     ///< a worker drops a result when it has sent it
  no_restart_grace,           ///< leases are not renewed at a start
  overlapping_slots,          ///< a full worker is offered more
  commit_error_passed_over,   ///< the writer goes on with the next group after a failed write or fsync
  full_group_dropped,         ///< a group that met a full disk is not tried again
  commit_not_synced,          ///< the writer's connection does not fsync at COMMIT
  start_without_checks,       ///< a start neither checkpoints nor commits its term under FULL
  clock_step_ignored,         ///< instants that left memory are decided again after a step of the clock
  drain_outlives_connection,  ///< a drain that was lifted while the worker was away holds for ever
  greeting_in_batch,          ///< the answer to a registration comes in an array, which no worker reads yet
  backoff_forgotten,          ///< a run that waits for its backoff is not found again after a restart
  lock_ignored_by_readers,    ///< who shares a lock does not ask whether somebody has it alone
  queue_one_too_many,         ///< a limit of runs lets one more go
  bucket_full_after_restart,  ///< a restart fills the buckets of rates
  resources_not_asked,        ///< what a run requires may be in use where it goes
  resources_kept_on_loss,     ///< a lost attempt does not give back what it took
  queue_hold_not_durable,     ///< the pause of a queue is not written
  calendar_change_ignored,    ///< schedules go on with the days a calendar had when they were armed
  overlap_not_asked,          ///< a run does not wait for the earlier one of its job
  overlap_of_instants_only,   ///< only runs of instants wait for another one of their job
  held_run_occupies,          ///< a run that is held counts in the overlap rule
  held_run_replaces,          ///< cancel_old ends the old run at a submission, though the new one is held
  any_end_is_met,             ///< a run that others wait for lets them go however it ended
  waits_forgotten,            ///< what a run waits for is not found again after a restart
  retention_by_wall_clock,    ///< a clock that stepped ahead lets retention delete what is young
};

#ifdef ORCHESTRATOR_PLANTED
inline defect planted_defect = defect::none;
inline bool planted(defect d) { return planted_defect == d; }
#else
constexpr bool planted(defect) { return false; }
#endif

}  // namespace orchestrator
