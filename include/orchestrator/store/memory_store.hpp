// The store in memory, with the split between synced and unsynced data that a disk has: commit() queues,
// sync() makes durable and reports, crash() forgets what was not synced. For the simulator and tests.
#pragma once

#include <memory>

#include <orchestrator/store/store.hpp>

namespace orchestrator::store {

class memory_store final : public store {
 public:
  explicit memory_store(store_events events);
  ~memory_store() override;
  void commit(mutation_batch batch) override;
  void commit_output(output_batch batch) override;
  /// Runs at once, on the caller's thread, on synced data only.
  void read(std::function<void(reader&)> query) override;
  std::size_t queued_bytes() const override;
  void retain(wall_time now, milliseconds age, std::uint64_t count) override;
  /// Memory has none.
  void hold_ballast(std::uint64_t) override {}
  void close() override;

  /// Makes up to `batches` queued batches durable and fires `persisted`. Returns how many it took.
  std::size_t sync(std::size_t batches = SIZE_MAX);
  std::size_t sync_output(std::size_t batches = SIZE_MAX);
  /// Drops everything unsynced, as a kill -9 or a power cut would.
  void crash();
  /// Keeps a copy of what is durable, and puts it back: a database restored from a backup.
  void save();
  void roll_back();
  /// What a start would find: raises and stores the term, as open_sqlite_store does.
  orchestrator::snapshot reopen(wall_time now);

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace orchestrator::store
