// The writer of output.db: pieces of the jobs' output, kept as head and tail, on a thread and a disk queue of
// their own so that a flood of output delays no acknowledgement.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <orchestrator/model/fact.hpp>

#include "commit_thread.hpp"

namespace orchestrator::store {

class output_writer final : public commit_thread {
 public:
  struct reports {
    std::function<void(std::uint64_t number)> persisted;
    std::function<void(std::vector<lease_id>)> dropped;  ///< the output of these leases is gone
  };
  output_writer(connection connected, space_signal& space, writer_settings settings, reports to);

  void commit(output_batch batch);
  void drop(std::vector<lease_id> leases);
  std::size_t queued_bytes() const { return queued_bytes_.load(std::memory_order_relaxed); }

 private:
  using stream_key = std::pair<lease_id, std::string>;
  struct stream_state {
    std::int64_t id = 0;
    std::uint64_t end = 0;    // as a reader will find it
    std::uint64_t bytes = 0;  // stored
    std::uint64_t limit = 0;
    bool changed = false;
    // Bytes that follow each other are gathered into one row.
    std::uint64_t gathered_at = 0;
    std::string gathered;
  };
  struct queued_batch {
    output_batch batch;
    std::size_t bytes;
  };

  bool has_group() const override { return !queue_.empty(); }
  bool has_background() const override { return !to_drop_.empty(); }
  void take_group() override;
  void apply_group() override;
  void group_committed() override;
  bool background_step() override;

  stream_state& find_stream(const output_chunk& chunk);
  void append(const output_chunk& chunk);
  void flush(stream_state& stream);
  void trim(stream_state& stream);
  void delete_output_of(lease_id lease);

  // Guarded by the lock of commit_thread:
  std::deque<queued_batch> queue_;
  std::optional<std::uint64_t> last_queued_;
  std::deque<lease_id> to_drop_;

  // Of the thread alone:
  std::vector<output_batch> group_;
  std::size_t group_bytes_ = 0;
  std::map<stream_key, stream_state> streams_;  // a cache of rows of the table streams
  std::vector<stream_state*> touched_;
  bool unfinished_ = false;  // a group was applied and is not committed
  reports to_;
  std::atomic<std::size_t> queued_bytes_{0};
};

}  // namespace orchestrator::store
