// The queries of store.hpp on two read-only connections. Used by the reader thread alone, which opens a read
// transaction around each callback.
#pragma once

#include <unordered_map>

#include <orchestrator/store/access_records.hpp>
#include <orchestrator/store/store.hpp>

#include "connection.hpp"

namespace orchestrator::store {

class sqlite_reader final : public reader {
 public:
  sqlite_reader(connection main, connection output);
  /// One view of both databases from here to `end`.
  void begin();
  void end();

  std::uint64_t revision() override;
  std::vector<run_with_attempts> list_runs(const run_filter& filter) override;
  std::optional<run_with_attempts> find_run(const run_id& id) override;
  std::vector<run_id> match_run_ids(std::string_view text, std::size_t limit) override;
  std::set<run_id> retried(const std::vector<run_id>& runs) override;
  std::optional<run_id> last_run() override;
  std::optional<run_id> last_run_of(const std::string& job) override;
  run_counts count_runs() override;
  std::vector<stored_job> list_jobs() override;
  std::optional<stored_job> find_job(const std::string& name) override;
  std::vector<worker> list_workers() override;
  recent_instants instants_after(wall_time after) override;
  std::vector<stored_calendar> list_calendars() override;
  std::vector<stored_instant> list_instants(const std::string& job, std::optional<wall_time> before,
                                            std::size_t limit) override;
  std::vector<stored_fact> list_facts(std::uint64_t after, std::size_t limit) override;
  std::vector<stored_fact> last_facts(std::size_t limit) override;
  output_page read_output(lease_id lease, const std::string& stream, std::uint64_t offset,
                          std::size_t limit) override;
  fetched_rows fetch_run(const run_id& id) override;
  fetched_rows fetch_lease(lease_id lease) override;
  fetched_rows fetch_key(const std::string& idempotency_key) override;
  /// For access_records.
  std::vector<audit_entry> audit(const audit_filter& filter);

 private:
  using tag_verdicts = std::unordered_map<spec_id, bool>;  // whether a specification has the wanted tag
  bool state_index_serves(const run_filter& filter);
  bool matches(const run_filter& filter, const statement& row, tag_verdicts& verdicts);
  void select_runs(const run_filter& filter, const char* index, const char* condition,
                   std::optional<run_state> state, std::vector<run>& out);
  std::vector<run> runs_of_worker(const run_filter& filter);
  void match_ends(const std::string& digits, std::size_t limit, std::vector<run_id>& out);

  connection main_, output_;
};

}  // namespace orchestrator::store
