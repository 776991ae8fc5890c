// All state of the coordinator's core in one place: the records, the indexes over them, and what one step has
// gathered so far. Private to the engine; every on_*.cpp works on a `core&`. Containers that are walked are
// ordered, so that a replay makes the same effects byte for byte; unordered ones are only looked up.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/random.hpp>
#include <orchestrator/engine/commit_gate.hpp>
#include <orchestrator/engine/effect.hpp>
#include <orchestrator/engine/input.hpp>
#include <orchestrator/engine/timetable.hpp>
#include <orchestrator/protocol/ack_window.hpp>

#include "dispatcher.hpp"
#include "key_filter.hpp"

namespace orchestrator::engine {

struct attempt_entry;
struct job_entry;
struct run_entry;
struct session_entry;
struct worker_entry;

/// One run specification, shared by all runs that pin it.
struct spec_entry {
  spec_id id;
  run_spec spec;
  std::string group;  ///< the runs' name, if the specification limits runs of one name; else empty
  std::uint64_t text_hash = 0;
  std::string first_text;        ///< as it was found by; gone when its row has been written once
  std::uint32_t runs = 0;        ///< runs in memory that refer to it
  std::uint32_t holders = 0;     ///< job versions that refer to it
  std::uint32_t idle_marks = 0;  ///< its places in core::idle_specs
  double average_seconds = -1;   ///< how long its processes took lately; negative: not known yet
  requirement_class* classes[2] = {nullptr, nullptr};  ///< without and with arguments
};

/// Where a run stands in the line of its job (overlap.hpp). Who is not outside occupies the job; the smaller
/// goes first.
enum class line_place : std::uint8_t {
  under_way,  ///< active, or its end is not known
  begun,      ///< it was offered once and is to be tried again: it keeps its place
  ready,      ///< nothing of its own keeps it
  outside,    ///< it is held, paused, too early, waits for other runs, or has ended
};
struct by_line_place {
  bool operator()(const run_entry* a, const run_entry* b) const;
};
using run_line = std::set<run_entry*, by_line_place>;

/// Everything known by one job name: shared by its runs so that a queued run carries a pointer, not a string.
struct name_entry {
  std::string text;
  std::uint32_t references = 0;
  job_entry* job = nullptr;         ///< the stored job of that name, if there is one
  run_set live;                     ///< not final runs that came from a stored job of that name
  run_line line;                    ///< of these, the ones that occupy the job, in the order in which they go
  std::optional<run_id> successor;  ///< cancel_old: it has come, and the others are being ended
};

/// What most queued runs do not need, kept apart so that a million of them stay small.
struct run_details {
  std::string args;
  bool has_args = false;
  std::string reason;
  std::optional<wall_time> instant, not_before, started_at, finished_at;
  std::optional<run_id> retry_of;
  std::vector<dependency> after;
  std::uint32_t waits_for = 0;  ///< of those, the runs whose end has not been settled here
  lease_id deciding_lease{};
  std::vector<attempt_entry*> attempts;    ///< by lease, rising
  std::optional<mono_time> backoff_until;  ///< retry_wait only; a backoff is never measured on the wall clock
  std::optional<mono_time> start_by;       ///< start_within, once it may start by its own time
  std::uint64_t avoid = 0;  ///< order of the worker that refused, or never got, the last attempt
};

struct run_entry {
  run_id id;
  name_entry* name = nullptr;
  spec_entry* spec = nullptr;
  std::unique_ptr<run_details> details;
  wall_time submitted_at{};
  std::uint32_t job_version = 0;
  std::uint32_t attempts = 0;
  std::uint32_t rejections = 0;
  std::uint16_t failures = 0;
  std::uint16_t losses = 0;
  run_state state = run_state::queued;
  line_place place = line_place::outside;
  bool cancel_requested : 1 = false;
  bool held : 1 = false;
  bool ready : 1 = false;      ///< is in the dispatcher's queue
  bool delayed : 1 = false;    ///< is in core::delayed
  bool dirty : 1 = false;      ///< changed in this step
  bool announced : 1 = false;  ///< in this step
};

/// One try on one worker.
struct attempt_entry {
  orchestrator::attempt row;
  run_entry* run = nullptr;
  worker_entry* holder = nullptr;
  bool brief = false;  ///< was expected to be short when it was filed
  bool sent = false;   ///< its execute_job left the gate, or may have before a restart
  int line_moves =
      0;  ///< how often the end of another may still renew its time: those ahead of it at the offer
  int revivals = 0;  ///< how often it was lost and heard of again, since this start
  std::optional<mono_time> sent_at;
  std::optional<mono_time>
      deadline_base;          ///< where its own deadline counts from: accepted, started or offered
  mono_time renewed_until{};  ///< restart grace: not lost by silence before
  std::map<std::string, std::uint64_t> ends;  ///< of its output, per stream
  std::uint64_t output_number = 0;            ///< the output batch with its newest chunk
  std::uint64_t written = 0;                  ///< the batch with its newest row
  bool dirty = false;
};

/// One instance of a worker, connected or not. `row.worker_id` is only its name.
struct worker_entry {
  worker row;
  std::uint64_t order = 0;  ///< rises with first sight; ties in the dispatcher go to the older one
  session_entry* session = nullptr;
  bool leases_only = false;  ///< let in for its leases; another instance holds the name
  std::int64_t opened = 0;   ///< when its present connection was begun, by its own clock
  mono_time last_end{};      ///< when an attempt of it ended last: those waiting behind moved up
  std::size_t attempts = 0;  ///< entries in memory that point here; it is not forgotten before they are
  std::map<lease_id, attempt_entry*> live;  ///< offered, accepted, running: each takes a slot or credit
  std::map<lease_id, attempt_entry*> lost;  ///< of runs that are not final; may still be heard of
  mono_time last_received{};                ///< on the core's own clock
  std::optional<wall_time> seen_wall;
  nanoseconds stall_at_last{0};
  bool ever_received = false;         ///< since this start
  std::optional<mono_time> check_at;  ///< the armed timer
  std::optional<mono_time>
      probe_until;           ///< silent too long: pinged, and lost unless something is read until then
  int brief = 0;             ///< of `live`, those expected to be short
  worker_capacity capacity;  ///< what the dispatcher knows of it
  std::set<lease_id> unknown_results;  ///< leases of results that we know nothing of, and said so
  bool dirty = false;
};

/// Identity: the instance, or for a legacy worker (nil instance) its name.
using worker_key = std::pair<uuid, std::string>;

/// A message of ours that the worker acknowledges by seq.
struct sent_message {
  std::uint64_t seq = 0;
  lease_id execute{};  ///< 0: cancel_job or drain
};

struct session_entry {
  session_id id;
  std::string peer;
  worker_entry* worker = nullptr;  ///< set while registered and not replaced
  std::string worker_name;
  bool dead = false;  ///< we closed it: nothing it says counts any more
  bool registered = false;
  bool registration_sent = false;  ///< its registration ack left the gate (or none is owed)
  bool protocol = false;
  bool batch = false;
  bool legacy = false;
  bool implicit = false;  ///< registered by its first message, so no registration ack is owed
  bool uses_seq = false;
  protocol::sequence_check incoming;
  protocol::ack_window window;
  std::map<std::uint64_t, disposition> dispositions;  ///< settled, not yet told, other than accepted
  std::uint64_t out_seq = 0;
  std::deque<sent_message> sent;
  int bad_in_a_row = 0;
  std::optional<mono_time> timer;       ///< registration deadline, or the end of a challenge
  std::optional<fetch_id> waits_fetch;  ///< the first parked message waits for rows
  std::uint64_t waits_output = 0;       ///< the first parked message waits for this output batch
  std::deque<protocol::worker_message> parked;
  std::size_t parked_bytes = 0;          ///< of their data, roughly
  std::optional<session_id> challenges;  ///< a newcomer: waits whether that session still lives
  std::set<session_id> challengers;
  int legacy_acks = 0;               ///< written since its attempt began
  std::size_t legacy_held_acks = 0;  ///< owed, and written when its result came
  milliseconds ping_interval{0};
  bool unread = false;         ///< the shell does not read it at present, so its silence says nothing
  bool drains_itself = false;  ///< its heartbeat says draining
  bool blocked() const { return waits_fetch.has_value() || waits_output != 0; }
};

struct job_entry {
  orchestrator::job job;
  std::string text;
  spec_entry* spec = nullptr;
  name_entry* name = nullptr;
  std::unique_ptr<calendar> times;  ///< empty while its zone is loading, or without a schedule
  std::optional<wall_time> due;     ///< its place in core::due
  milliseconds delay{0};            ///< by its schedule's jitter: its clock runs so much late
};

/// The newest part of the ledger of one job name.
struct ledger_memory {
  std::set<wall_time> fired;                  ///< instants with a run
  std::map<wall_time, stored_instant> quiet;  ///< rows without one, by their first instant
};

struct zone_entry {
  bool loading = false;
  std::shared_ptr<const zone_table> table;  ///< empty: loading, or no such zone
};

/// Deadlines on the monotonic clock (the core's own, which stops during stalls).
enum class timer_kind : std::uint8_t {
  session,  ///< registration deadline, end of a challenge
  worker,   ///< silence and deadlines of its attempts
  backoff,  ///< a retry_wait run becomes queued
  start,    ///< a run that was not started in time expires
};
struct timer {
  mono_time at;
  timer_kind kind;
  std::uint64_t number = 0;  ///< session id or worker order
  run_id run{};
  auto operator<=>(const timer&) const = default;
};

/// The runs in memory, by id. Nodes do not move, so pointers stay good until erase.
class run_table {
 public:
  run_entry* find(const run_id& id) const;
  run_entry& add(const run_id& id);
  void erase(const run_id& id);
  std::size_t size() const { return runs_.size(); }
  template <class F>
  void each_unordered(F f) const {  // for order-free folds only: counting, checking
    for (const run_entry& r : runs_) f(const_cast<run_entry&>(r));
  }
  void reserve(std::size_t n) { runs_.reserve(n); }

 private:
  struct hash {
    using is_transparent = void;
    std::size_t operator()(const run_entry& r) const { return std::hash<uuid>{}(r.id); }
    std::size_t operator()(const run_id& id) const { return std::hash<uuid>{}(id); }
  };
  struct equal {
    using is_transparent = void;
    static const run_id& key(const run_entry& r) { return r.id; }
    static const run_id& key(const run_id& id) { return id; }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return key(a) == key(b);
    }
  };
  std::unordered_set<run_entry, hash, equal> runs_;
};

/// A key whose put_idempotency may not be durable yet, so that a look-up in the store could miss it.
struct recent_key {
  std::uint64_t fingerprint = 0;
  run_id run{};
  std::uint64_t number = 0;
};

/// The row of an attempt that left memory, and the batch it was last written in: until that is durable a
/// look-up could find an older one.
struct loose_attempt {
  orchestrator::attempt row;
  std::uint64_t number = 0;
};

/// A run that waits for another one.
struct dependent {
  run_id run;
  after_condition on = after_condition::ok;
};

/// A request that makes one run, however often it is sent.
using keyed_request = std::variant<submit_run, retry_run>;
/// A request that waits for rows or zones.
using parked_request = std::variant<submit_run, cancel_run, retry_run, hold_run, resolve_run>;
struct parked_apply {
  apply_jobs what;
  std::set<std::string> zones;
};

/// What one step gathered; turned into effects by finish_step.
struct step_work {
  std::vector<mutation> first;  ///< specs, jobs, counters: what the rest refers to
  std::vector<run_entry*> runs;
  std::vector<attempt_entry*> attempts;
  std::vector<worker_entry*> workers;
  std::vector<mutation> rest;   ///< instants, keys, cursors, facts, removals
  std::vector<lease_id> loose;  ///< of core::loose, written in this step
  std::vector<output_chunk> chunks;
  std::vector<std::pair<output, bool>> gated;  ///< true: also waits for all output issued so far
  std::vector<output> direct;                  ///< exempt from the gate
  std::vector<lookup> lookups;
  std::optional<std::uint64_t> ballast;
  std::optional<unusable_row> cannot_start;
  std::vector<run_id> changed;
  std::vector<lease_id> output_of;
  bool facts = false;
  /// Empties it for the next step; the room it has taken stays.
  void clear();
};

struct core {
  explicit core(config s) : settings(s) {}

  config settings;
  bool running = false;  ///< `started` came
  bool stopping = false;
  bool disk_full = false;  ///< a commit found no room
  bool disk_low = false;   ///< by the last measurement
  bool ballast_held = false;
  std::uint64_t disk_free = 0;
  uuid cluster;
  std::uint64_t term = 0;
  random_source random;
  engine_time now{};  ///< of this step
  mono_time clock{};  ///< now.mono less all stalls
  nanoseconds stalls{0};
  wall_time last_wall{};
  mono_time started_at{};

  // Runs and what they pin
  run_table runs;
  std::map<spec_id, std::unique_ptr<spec_entry>> specs;
  std::multimap<std::uint64_t, spec_entry*> specs_by_hash;
  std::deque<spec_id> idle_specs;  ///< nobody refers to them now; kept a while for the next one
  spec_entry* last_ad_hoc = nullptr;
  spec_id spec_counter{};
  std::map<std::string, name_entry, std::less<>> names;
  std::set<std::string> successions;  ///< names with a successor
  run_id last_run_id{};
  std::set<std::pair<wall_time, run_id>> delayed;                 ///< queued, not before a wall time
  std::unordered_map<run_id, std::vector<dependent>> dependents;  ///< by the run they wait for
  std::deque<std::pair<run_id, run_state>> ended;  ///< those whose dependents are to be settled
  std::deque<std::pair<std::uint64_t, run_id>>
      departures;  ///< final; leave memory when that batch is durable
  engine_view::totals counts;

  // Leases and workers
  std::unordered_map<lease_id, std::unique_ptr<attempt_entry>> attempts;
  lease_id lease_counter{};
  std::map<lease_id, lease_id> lease_holes;  ///< first and last; never issued by this database (rule 10)
  std::map<lease_id, loose_attempt> loose;   ///< rows newer than what a look-up may find
  std::map<worker_key, worker_entry> workers;
  std::map<std::uint64_t, worker_entry*> workers_by_order;
  std::map<std::string, worker_entry*, std::less<>> worker_names;  ///< who holds a name now
  std::map<std::string, std::map<std::uint64_t, worker_entry*>, std::less<>>
      instances;  ///< by name and order
  std::uint64_t worker_order = 0;
  std::map<session_id, session_entry> sessions;
  dispatcher places;

  // Jobs and schedules
  std::map<std::string, job_entry, std::less<>> jobs;
  std::size_t schedules = 0;
  std::map<std::string, zone_entry> zones;
  std::deque<parked_apply> parked_applies;
  std::set<std::pair<wall_time, std::string>> due;
  std::map<std::string, ledger_memory> ledgers;  ///< outlive their jobs
  std::map<std::string, std::shared_ptr<const day_calendar>, std::less<>> calendars;
  std::deque<backfill_schedule> backfills;      ///< the first is under way
  std::optional<std::uint64_t> backfill_waits;  ///< until this batch is durable, then its look-up is made
  nanoseconds instants_offset{0};  ///< wall less monotonic time when the ledgers were read from the store
  std::optional<wall_time> restored_at;  ///< instants up to here were decided by a database that is gone
  std::optional<std::uint64_t> instants_wanted;  ///< schedules wait: they are read again behind this batch
  std::optional<wall_time> instants_asked;       ///< the `after` of the look-up under way

  // Idempotency and look-ups
  key_filter keys;
  std::map<std::string, recent_key> recent_keys;
  std::map<std::uint64_t, std::vector<std::string>> recent_keys_by_number;
  std::map<std::string, std::deque<keyed_request>> keys_in_flight;  ///< one look-up per key at a time
  std::map<fetch_id, std::variant<session_id, std::string, parked_request>> fetches;  ///< string: a key
  std::uint64_t fetch_counter = 0;

  // Time
  std::set<timer> timers;
  std::optional<mono_time> next_deadline;
  bool more_work = false;  ///< a step stopped at its bound: tick again at once

  // The gate and the step
  std::uint64_t issued_number = 0;
  std::uint64_t issued_output = 0;
  commit_gate gate;
  std::set<std::pair<std::uint64_t, session_id>> output_waits;
  step_work step;
};

/// The read-only face of it (view.cpp, why.cpp).
class live_view final : public engine_view {
 public:
  explicit live_view(const core& c) : core_(c) {}
  std::uint64_t issued() const override { return core_.issued_number; }
  std::uint64_t durable() const override { return core_.gate.durable(); }
  std::uint64_t term() const override { return core_.term; }
  uuid cluster() const override { return core_.cluster; }
  std::vector<protocol::worker_status> workers(mono_time now) const override;
  std::optional<std::vector<blocking_reason>> why(const run_id& id, engine_time now) const override;
  std::optional<run_standing> standing(const run_id& id) const override;
  std::optional<std::string> worker_of(const uuid& instance) const override;
  result<std::vector<upcoming_instant>> next_instants(const std::string& job, wall_time from,
                                                      std::size_t count) const override;
  totals count() const override;
  std::vector<queue_status> queues() const override;
  space_level space() const override;

 private:
  const core& core_;
};

}  // namespace orchestrator::engine
