// Where queued runs meet free capacity. Asked once per turn by on_tick.cpp; it reads only its own indexes,
// and what it yields is a plan: the caller makes the offers. The cost of a plan follows the placements made
// and the capacity that appeared since the last one, never the length of the queue times the number of
// workers. A class of runs stands in exactly one place: open (its head may find a worker), at the limiter
// that is closed to it, or blocked until a worker has more to offer.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/model/queue.hpp>

#include "limiter.hpp"

namespace orchestrator::engine {

struct run_entry;
struct worker_entry;

/// Age order: run ids are UUIDv7 and rise, so the smaller id was submitted earlier.
struct by_run_id {
  bool operator()(const run_entry* a, const run_entry* b) const;
};
using run_set = std::set<run_entry*, by_run_id>;

/// Whether a legacy worker can do it: what the original protocol could not say must not be asked of one.
enum class legacy_fit : std::uint8_t {
  never,         ///< needs something of ours: a command, env, cwd, stdin, at_most_once
  without_args,  ///< a script alone: any legacy worker
  with_args,     ///< only one that sent python_version: the older original ignores arguments
};

/// What a run asks for; runs that ask the same share a queue.
struct requirement {
  // Of a worker
  std::map<std::string, std::string> labels;
  legacy_fit legacy = legacy_fit::never;
  resource_amounts resources{};
  // Of the limits beside the workers
  std::string queue{};
  std::string group{};  ///< the name of its runs, if one of the next two is set
  int max_running = 0;
  std::optional<rate_limit> rate{};
  std::vector<lock_request> locks{};
  auto operator<=>(const requirement&) const = default;
};

/// What a worker has to offer; workers that offer the same share one answer to "does it fit".
struct worker_traits {
  std::map<std::string, std::string> labels;
  bool legacy = false;
  bool takes_args = true;
  resource_amounts resources{};
  auto operator<=>(const worker_traits&) const = default;
};
/// 0 if it is not named.
std::int64_t amount_of(const resource_amounts& amounts, const std::string& name);
/// Whether it could be done there, the worker being idle: the parts of it, which `why` asks one by one.
bool has_labels(const requirement& what, const worker_traits& who);
bool speaks_enough(const requirement& what, const worker_traits& who);
bool has_resources(const requirement& what, const worker_traits& who);
bool fits(const requirement& what, const worker_traits& who);

/// The queue of one requirement, and where its head stands among all queues.
struct requirement_class {
  requirement what;
  std::vector<limit_use> uses;                    ///< its queue, its job and its locks
  std::map<int, run_set, std::greater<>> queues;  ///< by priority, larger first
  std::size_t size = 0;
  std::uint32_t references = 0;                   ///< spec entries that cache this pointer
  std::vector<signed char> fit_of;                ///< by kind of worker: 1 yes, -1 no, 0 not asked yet
  std::optional<std::pair<int, run_id>> open_at;  ///< its head, while it stands in the line of open classes
  limiter* waits_at = nullptr;                    ///< closed to its head, which stands in its line
  rank waits_as{};                                ///< its place there
  bool blocked = false;                           ///< no capacity for its head; waits for new capacity
};

/// A worker's place in the line of free capacity.
struct capacity_place {
  bool ahead = false;  ///< slots are full, only credit is left
  int load = 0;        ///< used per slot, in 1/1024
  std::uint64_t order = 0;
  auto operator<=>(const capacity_place&) const = default;
};

struct worker_capacity {
  bool accepting = false;  ///< connected, not draining, let in for more than its leases
  int slots = 1;
  int credit = 0;
  int used = 0;
  int brief = 0;  ///< of those used: by runs that were expected to be short when they were handed out
  resource_amounts taken;        ///< by the attempts it holds
  bool resources_freed = false;  ///< since the last update
  std::optional<std::size_t> kind;
  std::optional<capacity_place> place;
};

struct placement {
  run_entry* run = nullptr;
  worker_entry* worker = nullptr;
};

class dispatcher {
 public:
  dispatcher() = default;
  dispatcher(const dispatcher&) = delete;
  dispatcher& operator=(const dispatcher&) = delete;

  /// The class of a requirement; counted, so give it back with release.
  requirement_class* hold(const requirement& what);
  void release(requirement_class* c);
  void enqueue(requirement_class& c, run_entry& r);
  void remove(requirement_class& c, run_entry& r);

  /// Time passes: tokens come back.
  void advance(mono_time clock);
  std::optional<mono_time> next_refill() const;
  /// The limiter of a queue; made if there is none.
  limiter& queue_of(const std::string& name);
  /// Its settings were changed.
  void reconsider(limiter& queue);
  /// An attempt of such a run ended: what it held is free.
  void give_back(const requirement_class& c);
  /// An attempt of such a run lives, and was not planned here: it ran before a restart, or was thought lost.
  void take_again(const requirement_class& c);
  /// False if a lock of it is somebody else's by now.
  bool may_take_again(const requirement_class& c) const;
  /// A bucket as it was before a restart.
  void restore_bucket(const limiter_key& key, mono_time full_at);
  /// Limiters whose buckets were taken from since the last call.
  std::vector<limiter*> take_spent();
  const std::map<limiter_key, limiter>& limiters() const { return limiters_; }

  /// A worker registered (again) with these traits.
  void describe(worker_entry& w, const worker_traits& traits);
  /// Its capacity changed: call after every change of accepting, slots, credit or used.
  void update(worker_entry& w);
  void drop(worker_entry& w);

  /// Takes up to `most` runs off the queues, best first: priority, then age. A worker that just refused a run
  /// is avoided as long as another fits. Never beyond slots + credit; credit only for short runs, and only
  /// as much as is behind slots that short runs have: behind a long one it would keep them for good.
  std::vector<placement> plan(std::size_t most);
  bool has_work() const { return !open_.empty(); }

  const worker_traits* traits_of(const worker_entry& w) const;
  std::size_t queued() const;
  /// What such a run requires is not in use there.
  bool is_free_on(const requirement_class& c, const worker_entry& w) const;
  /// Where a run of this class stands among all that wait.
  rank rank_of(const requirement_class& c, const run_entry& r) const;
  /// No waiting run stands before it.
  bool is_first(const rank& place) const;
  /// Waiting runs that stand before it, of the classes that compete with it; at most so many, in no order.
  std::vector<const run_entry*> waiting_before(const rank& place,
                                               const std::function<bool(const requirement_class&)>& competes,
                                               std::size_t most) const;
  /// For each queue, its runs that wait for nothing of their own. One walk over the classes for all of them.
  struct ready_runs {
    std::size_t count = 0;
    const run_entry* oldest = nullptr;
  };
  std::unordered_map<const limiter*, ready_runs> ready_by_queue() const;
  /// The first broken invariant of the indexes, or nothing.
  std::optional<std::string> check() const;

 private:
  struct kind_entry {
    const worker_traits* traits = nullptr;
    std::uint32_t workers = 0;
  };

  void use(requirement_class& c, limit_use what);
  limiter& open_limiter(limiter_kind kind, const std::string& name);
  void drop_idle_limiters();
  std::optional<rank> head_rank(const requirement_class& c) const;
  limiter* closed_to(const requirement_class& c) const;
  void queue_up(requirement_class& c, limiter& l);
  void leave_line(requirement_class& c);
  void wake(limiter& l);
  void unblock(requirement_class& c);
  /// What the classes say of one limit.
  struct users_of_limit {
    std::uint32_t all = 0;
    std::size_t waiting = 0;
    bool tries = false;  ///< one of them is about to be looked at, and wakes the next
  };
  std::optional<std::string> check_limiter(const limiter& l, const users_of_limit& seen) const;
  /// Asked once for each kind of worker, then remembered.
  bool fits_kind(requirement_class& c, std::size_t kind);
  bool class_fits(requirement_class& c, const worker_entry& w);
  bool fits_somewhere(requirement_class& c);
  run_entry* head(const requirement_class& c) const;
  void refresh(requirement_class& c);
  std::optional<placement> place(requirement_class& c);
  void book(requirement_class& c, const placement& p);
  bool may_wait_there(const requirement_class& c) const;
  void release_kind(worker_entry& w);

  std::map<requirement, std::unique_ptr<requirement_class>> classes_;
  std::map<limiter_key, limiter> limiters_;  // nodes do not move
  std::size_t limiters_swept_at_ = 64;
  std::set<std::pair<mono_time, limiter*>> refills_;  // order-free: all that are due are served
  std::vector<limiter*> spent_;
  mono_time clock_{};
  std::set<ranked_class> open_;           ///< classes whose head may find a place
  std::set<requirement_class*> blocked_;  // order-free: every member gets the same treatment
  std::map<capacity_place, worker_entry*>
      free_;  ///< a slot or credit is free; slots first, then least loaded
  std::map<worker_traits, std::size_t> kinds_;
  std::vector<kind_entry> kind_list_;
  std::vector<std::size_t> unused_kinds_;
};

}  // namespace orchestrator::engine
