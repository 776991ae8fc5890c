// Who may start now, worked out a second time: queues, locks, rates, resources, labels, holds and the overlap
// rule, from the rows that the core issues and from what people were told. Asked at every offer; the engine's
// own counts are never read.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <orchestrator/model/fact.hpp>
#include <orchestrator/model/snapshot.hpp>

#include "reading_book.hpp"
#include "timeline.hpp"

namespace orchestrator::sim {

/// What a machine has to offer, as it was built.
struct machine_traits {
  resource_amounts resources;
  std::map<std::string, std::string> labels;
};

class admission_oracle {
 public:
  using finding = std::optional<std::string>;

  explicit admission_oracle(reading_book& book) : book_(book) {}
  /// A worker that can be offered work; those it does not know have nothing but a slot.
  void knows(const uuid& instance, machine_traits traits) { machines_[instance] = std::move(traits); }
  /// What the batch of one step offers and makes. A sentence if it had to wait.
  finding observe(const mutation_batch& batch, nanoseconds now, wall_time wall);
  /// What occurred since the last call, by the words of situations.hpp.
  std::vector<const char*> take_seen() { return std::exchange(seen_, {}); }
  /// The runs of the last batch that were ended because another one of their job succeeds them.
  const std::set<run_id>& succeeded() const { return succeeded_; }
  /// A coordinator starts: it knows what is on the disk. `buckets_hold`: its clock goes on from that of the
  /// one before, so that no bucket is fuller than it was.
  void reload(const snapshot& from, bool buckets_hold, nanoseconds now);

  /// Somebody asked for a change of a queue. Until the answer both the old and the new settings are possible.
  void queue_asked(std::uint64_t number, const queue& change, bool sets_rate, nanoseconds now);
  void queue_answered(std::uint64_t number, const std::string& name);
  /// What was promised is void, and nobody knows what holds now.
  void forget_promises() { queues_.clear(); }

 private:
  struct run_facts {
    std::string name;
    spec_id spec{};
    bool held = false, stored_job = false, cancel_requested = false, has_instant = false;
    run_state state = run_state::queued;
    int attempts = 0;
    std::optional<wall_time> not_before;
    std::vector<dependency> after;
    bool was_held = false;
  };
  /// What the rows do not tell: whether a time has come by the core's clock, and how far it is with settling
  /// the ends of runs that others wait for. Then a run may occupy its job, or may not.
  enum class certainty : std::uint8_t { no, perhaps, yes };
  /// One setting that a queue may have at present.
  struct possibility {
    std::uint64_t number = 0;  ///< of the change that led to it
    queue settings;
    nanoseconds since{0};  ///< since when its rate holds
  };
  struct job_facts {
    bool paused = false;
    std::optional<overlap_policy> overlap;
    bool changes = false;  ///< in the batch at hand: until somewhere in its step the rule was another one
  };
  struct start {
    nanoseconds at;
    lease_id lease;
    rate_limit rate;  ///< of a job; a queue's is not known
  };

  void take(const put_run& m);
  void take(const put_job& m);
  finding take(const put_attempt& m, nanoseconds now);
  finding judge_start(const attempt& a, const run_facts& r, const run_spec& s, nanoseconds now);
  finding judge_limits(const attempt& a, const run_facts& r, const run_spec& s, nanoseconds now);
  finding judge_queue(const std::string& name) const;
  finding judge_locks(const attempt& a, const run_spec& s) const;
  finding judge_machine(const attempt& a, const run_spec& s) const;
  // The overlap rule
  certainty occupies(const run_facts& r) const;
  /// The runs of a job that occupy it for sure, or that may.
  std::vector<std::pair<run_id, const run_facts*>> occupants(const std::string& job, certainty least) const;
  std::optional<overlap_policy> rule_of(const run_facts& r) const;
  finding judge_overlap(const attempt& a, const run_facts& r);
  finding judge_revival(const attempt& a, const run_facts& r) const;
  finding judge_instant(const put_instant& m);
  finding judge_drop(const put_instant& m);
  finding judge_successor(const run_id& id) const;
  finding judge_end(const run_id& id, const std::string& job);
  const run_spec* spec_of(const attempt& a) const;

  reading_book& book_;
  std::map<uuid, machine_traits> machines_;
  std::map<spec_id, run_spec> specs_;
  std::map<run_id, run_facts> runs_;  ///< not final
  std::map<lease_id, attempt> live_;  ///< offered, accepted or running
  std::map<std::string, job_facts> jobs_;
  std::map<std::string, std::vector<possibility>> queues_;  ///< those that somebody asked to change
  std::map<std::string, std::deque<start>> queue_starts_, job_starts_;
  wall_time latest_{};  ///< the latest time of day that was seen
  std::set<run_id> succeeded_;
  std::vector<const char*> seen_;
};

}  // namespace orchestrator::sim
