// The names of the planted defects, for the command line.
#pragma once

#include <utility>

#include <orchestrator/base/planted.hpp>

namespace orchestrator::sim {

inline constexpr std::pair<defect, const char*> plants[] = {
    {defect::no_gate_for_unchanged, "no_gate_for_unchanged"},
    {defect::ack_before_commit, "ack_before_commit"},
    {defect::offer_before_commit, "offer_before_commit"},
    {defect::gate_opens_early, "gate_opens_early"},
    {defect::gate_opens_after_failure, "gate_opens_after_failure"},
    {defect::batch_split_in_input, "batch_split_in_input"},
    {defect::unacked_ignored, "unacked_ignored"},
    {defect::cumulative_ack_too_far, "cumulative_ack_too_far"},
    {defect::ack_across_connections, "ack_across_connections"},
    {defect::offer_redirected, "offer_redirected"},
    {defect::lease_on_wall_clock, "lease_on_wall_clock"},
    {defect::no_stall_rule, "no_stall_rule"},
    {defect::silence_while_not_reading, "silence_while_not_reading"},
    {defect::no_tombstone, "no_tombstone"},
    {defect::cancel_not_durable, "cancel_not_durable"},
    {defect::cursor_not_durable, "cursor_not_durable"},
    {defect::key_in_other_transaction, "key_in_other_transaction"},
    {defect::retry_after_end, "retry_after_end"},
    {defect::counter_not_raised, "counter_not_raised"},
    {defect::term_not_raised, "term_not_raised"},
    {defect::anothers_result_settled, "anothers_result_settled"},
    {defect::late_result_always_counts, "late_result_always_counts"},
    {defect::duplicate_result_recorded, "duplicate_result_recorded"},
    {defect::lost_at_once, "lost_at_once"},
    {defect::at_most_once_retried, "at_most_once_retried"},
    {defect::absent_is_not_started, "absent_is_not_started"},
    {defect::replaced_session_counts, "replaced_session_counts"},
    {defect::result_before_output, "result_before_output"},
    {defect::output_offset_ignored, "output_offset_ignored"},
    {defect::outbox_dropped_on_send, "outbox_dropped_on_send"},
    {defect::no_restart_grace, "no_restart_grace"},
    {defect::overlapping_slots, "overlapping_slots"},
    {defect::clock_step_ignored, "clock_step_ignored"},
    {defect::drain_outlives_connection, "drain_outlives_connection"},
    {defect::greeting_in_batch, "greeting_in_batch"},
    {defect::backoff_forgotten, "backoff_forgotten"},
    {defect::lock_ignored_by_readers, "lock_ignored_by_readers"},
    {defect::queue_one_too_many, "queue_one_too_many"},
    {defect::bucket_full_after_restart, "bucket_full_after_restart"},
    {defect::resources_not_asked, "resources_not_asked"},
    {defect::resources_kept_on_loss, "resources_kept_on_loss"},
    {defect::queue_hold_not_durable, "queue_hold_not_durable"},
    {defect::calendar_change_ignored, "calendar_change_ignored"},
    {defect::overlap_not_asked, "overlap_not_asked"},
    {defect::overlap_of_instants_only, "overlap_of_instants_only"},
    {defect::held_run_occupies, "held_run_occupies"},
    {defect::held_run_replaces, "held_run_replaces"},
    {defect::any_end_is_met, "any_end_is_met"},
    {defect::waits_forgotten, "waits_forgotten"},
    {defect::retention_by_wall_clock, "retention_by_wall_clock"},
};

}  // namespace orchestrator::sim
