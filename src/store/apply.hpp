// Carries batches of mutations into orchestrator.db, inside a transaction that the writer thread opened. One
// object lives as long as the writer's connection.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include <orchestrator/model/fact.hpp>

#include "connection.hpp"
#include "fact_pages.hpp"

namespace orchestrator::store {

/// What the row of table `progress` says, and two marks that tell new rows from old ones without a look-up.
struct progress {
  std::uint64_t last_number = 0;
  std::uint64_t lease_counter = 0;
  std::uint64_t spec_counter = 0;
  std::uint64_t fact_sequence = 0;
  std::uint64_t term = 0;          ///< the coordinator's own; it is over if the database says another
  run_id newest_run;               ///< no stored run has a larger id
  std::uint64_t newest_lease = 0;  ///< no stored attempt has a larger lease
};
progress load_progress(connection& db);
inline constexpr const char* term_query = "SELECT value FROM meta WHERE key='term'";

class batch_applier {
 public:
  explicit batch_applier(connection& db);
  /// Applies a group of batches. May be called again with the same group after a rollback.
  void apply(const std::vector<mutation_batch>& group);
  /// To be called after COMMIT: the next group builds on this one.
  void committed() { durable_ = next_; }
  const progress& durable() const { return durable_; }

 private:
  void one(const mutation& m);
  void put(const put_spec& m);
  void put(const put_job& m);
  void put(const delete_job& m);
  void put(const put_cursor& m);
  void put(const put_run& m);
  void put(const put_attempt& m);
  void put(const put_worker& m);
  void put(const forget_worker& m);
  void put(const put_instant& m);
  void put(const withdraw_instants& m);
  void put(const backfill_instant& m);
  void put(const put_calendar& m);
  void put(const delete_calendar& m);
  void put(const put_idempotency& m);
  void put(const put_fact& m);
  void put(const put_lease_hole& m);
  void put(const raise_term& m);
  void put(const put_queue& m);
  void put(const delete_queue& m);
  void put(const put_bucket& m);

  void write_run(const run& r);
  void write_attempt(const attempt& a);
  bool update_attempt(const attempt& a);
  void write_runs_and_attempts();
  void flush_facts();
  void write_progress();

  connection& db_;
  progress durable_, next_;
  std::uint64_t batch_ = 0;
  fact_page page_{0};
  std::array<std::int64_t, 10> count_changes_{};
  // The last value of each run and attempt of the group, in order of first appearance.
  std::vector<const run*> runs_;
  std::vector<const attempt*> attempts_;
  std::unordered_map<run_id, std::size_t> run_index_;
  std::unordered_map<lease_id, std::size_t> attempt_index_;
  statement insert_run_, find_run_, update_run_, insert_attempt_, update_attempt_, insert_facts_,
      set_progress_;
};

/// An estimate of what a batch adds to a commit, for the limit of a group.
std::size_t estimated_bytes(const mutation_batch& batch);

}  // namespace orchestrator::store
