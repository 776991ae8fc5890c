// The writer of orchestrator.db: mutation batches in groups, retention in between.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include <orchestrator/model/fact.hpp>

#include "access_rows.hpp"
#include "apply.hpp"
#include "commit_thread.hpp"
#include "retention.hpp"

namespace orchestrator::store {

class main_writer final : public commit_thread {
 public:
  struct reports {
    std::function<void(std::uint64_t number)> persisted;
    /// The attempts of these leases are gone for good: their output can go too.
    std::function<void(std::vector<lease_id>)> drop_output;
  };
  main_writer(connection connected, space_signal& space, writer_settings settings, reports to);

  void commit(mutation_batch batch);
  void retain(const retention_request& request);
  /// The output of these leases is deleted, durably.
  void output_dropped(std::vector<lease_id> leases);
  /// Rows of access_records.hpp: with every batch that is queued after them, or before.
  void write(std::vector<access_change> rows, access_records::when w, std::function<void()> done);
  std::size_t waiting_rows() const { return waiting_rows_.load(std::memory_order_relaxed); }
  void trim(const audit_trim& wanted);
  std::size_t queued_bytes() const { return queued_bytes_.load(std::memory_order_relaxed); }

 private:
  struct queued_batch {
    mutation_batch batch;
    std::size_t bytes;
  };
  bool has_group() const override { return !queue_.empty() || rows_.urgent; }
  bool has_background() const override {
    return pass_.has_value() || request_.has_value() || !forgotten_.empty() || trim_.has_value();
  }
  void take_group() override;
  void apply_group() override;
  void group_committed() override;
  bool background_step() override;

  void expect_own_term();

  struct access_rows {
    std::vector<access_change> changes;
    std::vector<std::function<void()>> done;
    bool urgent = false;
  };

  // Guarded by the lock of commit_thread:
  std::deque<queued_batch> queue_;
  std::uint64_t last_queued_;
  std::optional<retention_request> request_;
  std::vector<lease_id> forgotten_;  // rows of dropped_output that have done their duty
  access_rows rows_;
  std::optional<audit_trim> trim_;

  // Of the thread alone:
  std::optional<retention_pass> pass_;
  std::vector<mutation_batch> group_;
  access_rows group_rows_;
  std::size_t group_bytes_ = 0;
  batch_applier applier_;
  reports to_;
  std::atomic<std::size_t> queued_bytes_{0};
  std::atomic<std::size_t> waiting_rows_{0};
};

}  // namespace orchestrator::store
