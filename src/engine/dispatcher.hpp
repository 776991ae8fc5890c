// Where queued runs meet free capacity. Asked once per turn by on_tick.cpp; it reads only its own indexes,
// and what it yields is a plan: the caller makes the offers. The cost of a plan follows the placements made
// and the capacity that appeared since the last one, never the length of the queue times the number of
// workers.
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
#include <vector>

#include <orchestrator/base/ids.hpp>

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

/// What a run asks of a worker; runs that ask the same share a queue.
struct requirement {
  std::map<std::string, std::string> labels;
  legacy_fit legacy = legacy_fit::never;
  auto operator<=>(const requirement&) const = default;
};

/// What a worker has to offer; workers that offer the same share one answer to "does it fit".
struct worker_traits {
  std::map<std::string, std::string> labels;
  bool legacy = false;
  bool takes_args = true;
  auto operator<=>(const worker_traits&) const = default;
};
bool fits(const requirement& what, const worker_traits& who);

/// The queue of one requirement, and where its head stands among all queues.
struct requirement_class {
  requirement what;
  std::map<int, run_set, std::greater<>> queues;  ///< by priority, larger first
  std::size_t size = 0;
  std::uint32_t references = 0;                   ///< spec entries that cache this pointer
  std::vector<signed char> fit_of;                ///< by kind of worker: 1 yes, -1 no, 0 not asked yet
  std::optional<std::pair<int, run_id>> open_at;  ///< its head, while it stands in the line of open classes
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

  /// A worker registered (again) with these traits.
  void describe(worker_entry& w, const worker_traits& traits);
  /// Its capacity changed: call after every change of accepting, slots, credit or used.
  void update(worker_entry& w);
  void drop(worker_entry& w);

  /// Takes up to `most` runs off the queues, best first: priority, then age. A worker that just refused a run
  /// is avoided as long as another fits. Never beyond slots + credit; credit only for short runs.
  std::vector<placement> plan(std::size_t most);
  bool has_work() const { return !open_.empty(); }

  const worker_traits* traits_of(const worker_entry& w) const;
  std::size_t queued() const;
  /// The first broken invariant of the indexes, or nothing.
  std::optional<std::string> check() const;

 private:
  struct kind_entry {
    const worker_traits* traits = nullptr;
    std::uint32_t workers = 0;
  };
  using open_key = std::tuple<int, run_id, requirement_class*>;  // minus priority, oldest id

  bool class_fits(requirement_class& c, const worker_entry& w);
  run_entry* head(const requirement_class& c) const;
  void refresh(requirement_class& c);
  std::optional<placement> place(requirement_class& c);
  void release_kind(worker_entry& w);

  std::map<requirement, std::unique_ptr<requirement_class>> classes_;
  std::set<open_key> open_;               ///< classes whose head may find a place
  std::set<requirement_class*> blocked_;  // order-free: every member gets the same treatment
  std::map<capacity_place, worker_entry*>
      free_;  ///< a slot or credit is free; slots first, then least loaded
  std::map<worker_traits, std::size_t> kinds_;
  std::vector<kind_entry> kind_list_;
  std::vector<std::size_t> unused_kinds_;
};

}  // namespace orchestrator::engine
