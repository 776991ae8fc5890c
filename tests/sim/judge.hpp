// Who watches the cluster: ledgers of what was acknowledged and of what processes did, kept beside the
// product, and the invariants I1 to I21 of the reliability page judged against them after every step. The
// first broken one ends the seed.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <orchestrator/engine/engine.hpp>
#include <orchestrator/store/memory_store.hpp>

#include "admission_oracle.hpp"
#include "oracle.hpp"
#include "timeline.hpp"

namespace orchestrator::sim {

struct world;
struct peer;
class machine;

/// A broken promise; `what()` names it.
struct broken_promise : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class judge {
 public:
  explicit judge(world& w) : world_(w) {}

  [[noreturn]] void broken(const std::string& what) const;

  // The coordinator
  void engine_stepped(engine::engine& core, const engine::effects& e);
  void became_durable(const mutation_batch& batch);
  void leaves(const peer& to, session_id over, const protocol::coordinator_message& m);
  bool rolled_back() const { return rolled_back_; }
  void answered(const engine::answer& a);
  void arrives(const peer& from, const std::vector<protocol::worker_message>& messages);
  /// Who speaks in the core's next steps.
  struct speaker {
    const sim::peer* peer = nullptr;  ///< nobody
    bool replaced = false;            ///< over a connection that another one has replaced
    bool repeats = false;             ///< what was delivered before
  };
  void listens_to(speaker who) { speaker_ = who; }
  void coordinator_dies(engine::engine& core);
  void coordinator_starts(const snapshot& found);
  void coordinator_started(engine::engine& core);
  void database_rolled_back();
  /// How many databases there were: what was promised by an earlier one holds no longer.
  int databases() const { return databases_; }
  /// Retention runs after the clock was days behind: what was dated then looks old, and may be cut.
  void history_was_cut();

  // Clients
  void submission_sent(const std::string& key) { keys_.insert(key); }
  void submission_answered(const std::string& key, const run_id& run);
  void cancel_answered(const run_id& run);
  admission_oracle& admission() { return admission_; }
  reading_book& book() { return book_; }

  // Machines
  void process_starts(const machine& m, lease_id lease, const std::string& run);
  void legacy_starts(lease_id lease);
  void process_ends(lease_id lease, int exit_code, int signal);
  /// Its supervisor is dead, and the disk holds this much of what it printed.
  void spool_left(lease_id lease, const std::string& stream, std::uint64_t end) {
    spools_left_[lease][stream] = end;
  }
  /// A machine drops what its outbox has of a lease, as told over a connection to the database of now, or by
  /// itself (`kept`: the result was kept for people, and its time is over).
  void worker_forgets(const machine& m, lease_id lease, bool kept);

  /// Everything has come to rest: the ledgers against the database.
  void at_the_end();
  bool has_result(lease_id lease) const;
  /// Some lease that was offered once, and its run.
  std::pair<lease_id, run_id> any_lease(dice& chance) const;
  std::uint64_t trace() const { return trace_; }

 private:
  struct run_record {
    run_state state = run_state::queued;
    std::string job;
    bool at_most_once = false, cancel_seen = false;
    bool builtin = false;
    lease_id newest{};
    int starts = 0;
  };
  struct attempt_record {
    attempt_state state = attempt_state::offered;
    run_id run;
    uuid instance;
  };
  struct spec_facts {
    bool at_most_once = false, builtin = false;
  };
  template <class... Part>
  void note(const Part&... parts);
  void mix(std::string_view text);
  void mix(std::uint64_t number);
  void mix(std::int64_t number) { mix(static_cast<std::uint64_t>(number)); }
  void mix(const uuid& id);
  void durable(const put_run& m);
  void durable(const put_attempt& m);
  void durable(const put_instant& m);
  void durable(const withdraw_instants& m);
  void durable(const backfill_instant& m);
  void durable(const put_calendar& m);
  template <class Other>
  void durable(const Other&) {}
  void judge_speaker(const engine::effects& e) const;
  void judge_change_by_stranger(const mutation& m) const;
  void issued(const put_run& m);
  void issued(const put_attempt& m);
  void judge_order(const run_id& run);
  void judge_loss(const attempt& a) const;
  void judge_offer(const peer& to, session_id over, lease_id lease) const;
  void judge_term(const peer& to, const protocol::execute_job& offer) const;
  int places_of(const uuid& instance) const;
  void judge_end(const attempt& a) const;
  void remember(const peer& from, const protocol::worker_register& r);
  void only_the_disk_is_left();
  void check_output(lease_id lease, const std::string& stream);
  void check_spool(const attempt& a, store::reader& r);

  world& world_;
  std::map<run_id, run_record> runs_;  ///< durable, as the batches told it
  std::map<spec_id, spec_facts> specs_;
  std::map<lease_id, attempt_record> attempts_;
  // As the living core sees it, durable or not
  std::set<lease_id> lost_;
  std::map<uuid, std::set<lease_id>> live_;          ///< by instance
  std::map<run_id, nanoseconds> backs_off_;          ///< in retry_wait since
  std::map<lease_id, session_id> made_over_;         ///< the connection an offer was made for
  std::map<run_id, std::vector<dependency>> waits_;  ///< as their newest rows say
  std::map<run_id, run_state> finals_;               ///< issued, if perhaps not durable yet
  std::map<run_id, uuid> newest_holder_;             ///< of its newest attempt
  std::set<std::pair<uuid, run_id>> ever_held_;
  reading_book book_;
  timetable_oracle timetable_;
  admission_oracle admission_{book_};

  std::set<lease_id> offered_;                                  ///< by this database
  std::map<std::pair<uuid, lease_id>, run_id> offered_to_;      ///< across roll-backs too
  std::map<std::pair<std::string, wall_time>, bool> instants_;  ///< whether the row has a run
  std::map<std::pair<std::string, wall_time>, run_id> fired_;   ///< the run of an instant
  std::map<uuid, std::set<lease_id>> waiting_results_;          ///< named `unacked` at the last registration
  std::map<uuid, lease_id> seen_;            ///< the highest lease that an instance has reported
  std::map<uuid, std::uint64_t> seen_term_;  ///< likewise, of our cluster
  std::set<run_id> acknowledged_, cancelled_;
  std::set<std::string> keys_;
  std::map<std::string, run_id> key_runs_, made_for_;
  std::set<lease_id> starts_;                          ///< of this database's leases
  std::set<std::pair<int, lease_id>> machine_starts_;  ///< across roll-backs too
  std::map<lease_id, std::pair<int, int>> ends_;       ///< exit code and signal of processes
  std::map<lease_id, std::map<std::string, std::uint64_t>> spools_left_;
  std::set<lease_id> resulted_;  ///< their results came to the coordinator
  lease_id newest_lease_{};
  std::uint64_t durable_ = 0, shown_ = 0, steps_ = 0, trace_ = 1469598103934665603ull;
  std::optional<engine::engine_view::totals> before_;  ///< of a core that died with nothing in flight
  bool rolled_back_ = false;
  speaker speaker_;
  int databases_ = 1;
};

}  // namespace orchestrator::sim
