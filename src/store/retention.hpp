// Deletes what has grown old from orchestrator.db, a few hundred rows at a time, so that it fits between two
// group commits. main_writer runs it; the rules are numbers 11 and 12 of the design's guarantees.
#pragma once

#include <cstdint>
#include <vector>

#include <orchestrator/model/run.hpp>

#include "connection.hpp"
#include "retention_rules.hpp"

namespace orchestrator::store {

/// One walk over the database. A value: the writer steps a copy and keeps it if the transaction committed.
class retention_pass {
 public:
  explicit retention_pass(const retention_request& request) : request_(request) {}
  /// Does a part of the work in the open transaction. Leases whose output has to go are added to `dropped`.
  void step(connection& db, std::vector<lease_id>& dropped);
  bool done() const { return phase_ == phase::done; }

 private:
  enum class phase { start, runs, keys, instants, facts, specs, buckets, done };
  struct candidate {
    run_id id;
    run_state state;
    wall_time ended;
    spec_id spec;
    std::string job;
    std::uint32_t job_version;
  };
  void start(connection& db);
  void purge_runs(connection& db, std::vector<lease_id>& dropped);
  std::vector<candidate> next_candidates(connection& db);
  bool may_purge(connection& db, const candidate& c, bool beyond_count) const;
  std::size_t purge_run(connection& db, const candidate& c, std::vector<lease_id>& dropped);
  void purge_keys(connection& db);
  void purge_instants(connection& db);
  void purge_facts(connection& db);
  void purge_specs(connection& db);
  void purge_buckets(connection& db);

  retention_request request_;
  phase phase_ = phase::start;
  run_id cursor_;               // runs up to this one were looked at
  std::uint64_t position_ = 0;  // how many of them
  std::uint64_t excess_ = 0;    // how many of the oldest runs are beyond the newest `count`
};

}  // namespace orchestrator::store
