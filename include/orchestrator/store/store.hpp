// The durable store as the coordinator's shell sees it. Two implementations: SQLite (sqlite_store.hpp) and
// memory (memory_store.hpp, for the simulator and tests). The engine never sees this: it makes batches, the
// shell carries them here, and `persisted` comes back as an input.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <orchestrator/base/result.hpp>
#include <orchestrator/model/fact.hpp>
#include <orchestrator/model/snapshot.hpp>

namespace orchestrator::store {

/// What the store tells its owner. Called on the store's own threads: the owner posts them to its loop.
struct store_events {
  std::function<void(std::uint64_t number)> persisted;         ///< all batches up to `number` are on disk
  std::function<void(std::uint64_t number)> output_persisted;  ///< likewise for output batches
  std::function<void(bool full)> space;                        ///< the disk became full, or has room again
};

struct run_filter {
  std::vector<run_state> states;  ///< empty: any
  std::string job, worker_id;
  std::string tag_key, tag_value;
  std::optional<wall_time> since;  ///< runs made at or after this, by the time in their id
  std::optional<run_id> before;    ///< keyset cursor: runs with a smaller id (older), newest first
  std::size_t limit = limits::page_default;
};

struct run_with_attempts {
  orchestrator::run run;
  std::vector<attempt> attempts;
  std::string spec_text;
};

struct stored_fact {
  std::uint64_t sequence = 0;  ///< rises without gaps visible to a reader
  std::uint64_t batch = 0;     ///< number of the batch that carried it
  orchestrator::fact fact;
};

struct output_page {
  std::uint64_t offset = 0;  ///< of the first byte of `data` in the stream
  std::string data;
  std::uint64_t end = 0;  ///< end of what is stored of this stream
  struct gap {
    std::uint64_t from, to;
  };
  std::vector<gap> gaps;  ///< bytes before `data` that were dropped (limit, or by the worker)
};

struct run_counts {
  std::uint64_t by_state[10] = {};  ///< indexed by run_state
};

/// Read-only queries, valid only inside the callback given to store::read. They see committed state only.
class reader {
 public:
  virtual ~reader() = default;
  /// The number of the last batch this reader's view contains.
  virtual std::uint64_t revision() = 0;
  /// A filter that no index serves (a tag, a rare state of a busy job) looks at the newest two million
  /// candidates only.
  virtual std::vector<run_with_attempts> list_runs(const run_filter& filter) = 0;
  virtual std::optional<run_with_attempts> find_run(const run_id& id) = 0;
  /// Runs whose id as text starts with `text`, or (4 or more characters) ends with it; newest first, at most
  /// `limit`. Ends are looked for among the newest two million runs.
  virtual std::vector<run_id> match_run_ids(std::string_view text, std::size_t limit) = 0;
  /// Those of the runs that have been tried again: a run with that retry_of exists.
  virtual std::set<run_id> retried(const std::vector<run_id>& runs) = 0;
  virtual std::optional<run_id> last_run() = 0;
  virtual std::optional<run_id> last_run_of(const std::string& job) = 0;
  virtual run_counts count_runs() = 0;
  virtual std::vector<stored_job> list_jobs() = 0;
  virtual std::optional<stored_job> find_job(const std::string& name) = 0;
  virtual std::vector<worker> list_workers() = 0;
  /// Newest first, those that begin before `before`.
  virtual std::vector<stored_instant> list_instants(const std::string& job, std::optional<wall_time> before,
                                                    std::size_t limit) = 0;
  /// Of every job the rows that reach later than `after` or lie ahead of its cursor: for the engine's
  /// load_instants.
  virtual recent_instants instants_after(wall_time after) = 0;
  virtual std::vector<stored_calendar> list_calendars() = 0;
  /// Facts with a sequence above `after`, ascending.
  virtual std::vector<stored_fact> list_facts(std::uint64_t after, std::size_t limit) = 0;
  /// The newest `limit` facts, ascending.
  virtual std::vector<stored_fact> last_facts(std::size_t limit) = 0;
  /// Stored bytes of one stream from `offset` on, at most `limit` bytes. `data` has no gap inside: a page
  /// ends at one, and the next page names it and starts behind it.
  virtual output_page read_output(lease_id lease, const std::string& stream, std::uint64_t offset,
                                  std::size_t limit) = 0;
  /// For the engine's fetch effects.
  virtual fetched_rows fetch_run(const run_id& id) = 0;
  virtual fetched_rows fetch_lease(lease_id lease) = 0;
  virtual fetched_rows fetch_key(const std::string& idempotency_key) = 0;
};

/// The rows of a job's ledger that tell of instants from `from` to `to`, and all that lie in their spans;
/// oldest first. For the engine's load_window.
std::vector<stored_instant> ledger_window(reader& r, const std::string& job, wall_time from, wall_time to);
/// The row that decided the last instant at or before `at`.
std::optional<stored_instant> decided_at(reader& r, const std::string& job, wall_time at);

class store {
 public:
  virtual ~store() = default;
  /// Queues a batch for the next group commit. Numbers must rise by one. Never blocks.
  virtual void commit(mutation_batch batch) = 0;
  /// Queues output for the output database. Numbers must rise by one. Never blocks.
  virtual void commit_output(output_batch batch) = 0;
  /// Runs `query` on a reader thread, in one read transaction, soon. A query that waits at close() is
  /// dropped.
  virtual void read(std::function<void(reader&)> query) = 0;
  /// Bytes waiting for a commit: the shell stops reading sockets above its limit.
  virtual std::size_t queued_bytes() const = 0;
  /// Deletes final runs older than `age` or beyond the newest `count`, in small steps between commits. Spares
  /// what guarantees.md rules 11 and 12 name.
  virtual void retain(wall_time now, milliseconds age, std::uint64_t count) = 0;
  /// Soon keeps that much of the disk taken, to be let go when a commit meets a full disk. To be asked for
  /// again after that.
  virtual void hold_ballast(std::uint64_t bytes) = 0;
  /// Commits what is queued and stops the threads. No event fires after this returns.
  virtual void close() = 0;
};

}  // namespace orchestrator::store
