// The first input: from what the store found to a state that carries on. Every live lease is renewed, so that
// no worker is declared lost for the time we were away. A row that cannot be used, damaged or of a later
// version, ends the start: it would otherwise be half of what was accepted.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/engine/stored_texts.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "admission.hpp"
#include "dependencies.hpp"
#include "leases.hpp"
#include "ledger.hpp"
#include "on_tick.hpp"
#include "on_worker.hpp"
#include "overlap.hpp"
#include "runs.hpp"
#include "schedules.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

// The row is written when a connection begins and when it ends: one that still says when it began had not
// ended, and its worker was heard until we were gone.
bool was_connected(const worker& row) { return row.last_seen && row.last_seen == row.registered_at; }

// Its silence goes on, so that people see what they would have seen without a restart.
mono_time heard_before(const core& c, const worker& row) {
  if (!row.last_seen || was_connected(row)) return c.clock;
  const milliseconds longest = c.settings.offline_after + milliseconds{1};
  return c.clock - std::clamp(c.now.wall - *row.last_seen, milliseconds{0}, longest);
}

void restore_workers(core& c, const snapshot& from) {
  for (const worker& row : from.workers) {
    const worker_key key =
        row.instance.is_nil() ? worker_key{uuid{}, row.worker_id} : worker_key{row.instance, {}};
    const auto [at, fresh] = c.workers.try_emplace(key);
    worker_entry& w = at->second;
    const std::string before = w.row.worker_id;
    w.row = row;
    w.seen_wall = row.last_seen;
    w.last_received = heard_before(c, row);
    if (was_connected(row)) {
      w.row.last_seen = *row.last_seen + milliseconds{1};  // for the next start that connection has ended
      touch(c, w);
    }
    if (fresh) {
      w.order = ++c.worker_order;
      c.workers_by_order.emplace(w.order, &w);
    }
    list_under_name(c, w, before);
    // Two instances may have had one name; the one seen last holds it until somebody connects.
    worker_entry*& holder = c.worker_names[row.worker_id];
    if (holder == nullptr || holder->row.last_seen <= row.last_seen) holder = &w;
  }
}

worker_entry& worker_of(core& c, const attempt& row) {
  const worker_key key =
      row.instance.is_nil() ? worker_key{uuid{}, row.worker_id} : worker_key{row.instance, {}};
  const auto [at, fresh] = c.workers.try_emplace(key);
  if (fresh) {
    worker_entry& w = at->second;
    w.row.worker_id = row.worker_id;
    w.row.instance = row.instance;
    w.row.legacy = row.instance.is_nil();
    w.order = ++c.worker_order;
    c.workers_by_order.emplace(w.order, &w);
    list_under_name(c, w, "");
    c.worker_names.try_emplace(row.worker_id, &w);
  }
  return at->second;
}

using objection = std::optional<unusable_row>;

objection object_to(std::string_view table, std::string row, std::string why) {
  return unusable_row{std::string(table), std::move(row), std::move(why)};
}

/// The same complaint that `server check` makes of this text.
objection object_to(std::string_view table, std::string row, std::string_view name, std::string_view text) {
  return object_to(table, std::move(row), judge_stored_text(table, name, text).value_or("it cannot be read"));
}

objection restore_specs(core& c, const snapshot& from) {
  c.spec_counter = from.spec_counter;
  std::map<spec_id, spec_entry*> limited;  // those shared within one name only
  for (const stored_spec& stored : from.specs) {
    auto spec = read_stored_spec(stored.text);
    if (!spec) return object_to(specs_table, std::to_string(stored.id.value), "", stored.text);
    auto entry = std::make_unique<spec_entry>();
    entry->id = stored.id;
    entry->spec = std::move(*spec);
    entry->text_hash = hash64(protocol::encode_spec(entry->spec));
    if (!entry->spec.builtin.empty()) entry->average_seconds = 0;
    if (entry->spec.max_running > 0 || entry->spec.rate) limited.emplace(stored.id, entry.get());
    c.specs_by_hash.emplace(entry->text_hash, entry.get());
    c.spec_counter = std::max(c.spec_counter, stored.id);
    c.specs.emplace(stored.id, std::move(entry));
  }
  if (limited.empty()) return std::nullopt;
  for (const run& row : from.runs) {
    const auto found = limited.find(row.spec);
    if (found != limited.end()) found->second->group = row.job;
  }
  return std::nullopt;
}

void restore_limits(core& c, const snapshot& from) {
  for (const queue& q : from.queues) c.places.queue_of(q.name).settings = q;
  for (const auto& [name, full_at] : from.buckets) {
    const bool of_queue = name.starts_with("queue/");
    const std::string_view rest = std::string_view(name).substr(name.find('/') + 1);
    const limiter_key key{of_queue ? limiter_kind::queue : limiter_kind::job, std::string(rest)};
    if (planted(defect::bucket_full_after_restart)) continue;
    c.places.restore_bucket(key, c.clock + (full_at - c.now.wall));
    if (of_queue) c.places.reconsider(c.places.queue_of(key.second));
  }
}

objection restore_calendars(core& c, const snapshot& from) {
  for (const stored_calendar& stored : from.calendars) {
    auto days = read_stored_calendar(stored.name, stored.text);
    if (!days) return object_to(calendars_table, stored.name, stored.name, stored.text);
    c.calendars[stored.name] = std::make_shared<const day_calendar>(std::move(*days));
  }
  return std::nullopt;
}

/// A calendar that a schedule names and that is not there.
const std::string* missing_calendar(const core& c, const schedule& s) {
  for (const auto* names : {&s.include, &s.exclude}) {
    for (const std::string& name : *names)
      if (!c.calendars.contains(name)) return &name;
  }
  return nullptr;
}

objection restore_jobs(core& c, const snapshot& from) {
  for (const stored_job& stored : from.jobs) {
    const std::string row = fmt::format("{} version {}", stored.job.name, stored.job.version);
    auto definition = read_stored_job(stored.job.name, stored.text);
    if (!definition) return object_to(jobs_table, row, stored.job.name, stored.text);
    if (definition->schedule) {
      if (const std::string* name = missing_calendar(c, *definition->schedule))
        return object_to(jobs_table, row, fmt::format("the calendar {} that it names is not there", *name));
    }
    job_entry& j = c.jobs[stored.job.name];
    j.job = stored.job;
    j.job.definition = std::move(*definition);
    j.text = stored.text;
    j.name = &hold_name(c, j.job.name);
    j.name->job = &j;
    j.spec = &intern_spec(c, j.job.definition.spec, j.job.name);
    ++j.spec->holders;
    const auto& s = j.job.definition.schedule;
    if (s && s->kind != schedule_kind::manual) ++c.schedules;
  }
  remember_rows(c, from.instants);
  return std::nullopt;
}

bool needs_details(const run& row) {
  return row.has_args || !row.reason.empty() || row.instant || row.not_before || row.started_at ||
         row.retry_of || !row.after.empty();
}

objection restore_run(core& c, const run& row) {
  const auto spec = c.specs.find(row.spec);
  if (spec == c.specs.end())
    return object_to(specs_table, std::to_string(row.spec.value),
                     fmt::format("it is missing, and run {} needs it", to_string(row.id)));
  run_entry& r = c.runs.add(row.id);
  r.submitted_at = row.submitted_at;
  r.job_version = row.job_version;
  r.attempts = static_cast<std::uint32_t>(row.attempts);
  r.rejections = static_cast<std::uint32_t>(row.rejections);
  r.failures = static_cast<std::uint16_t>(row.failures);
  r.losses = static_cast<std::uint16_t>(row.losses);
  r.state = row.state;
  r.cancel_requested = row.cancel_requested;
  r.held = row.held;
  if (needs_details(row)) {
    run_details& d = details(r);
    d.args = row.args;
    d.has_args = row.has_args;
    d.reason = row.reason;
    d.instant = row.instant;
    d.not_before = row.not_before;
    d.started_at = row.started_at;
    d.retry_of = row.retry_of;
    d.after = row.after;
  }
  ++spec->second->runs;
  attach_run(c, r, hold_name(c, row.job), *spec->second);
  c.last_run_id = std::max(c.last_run_id, row.id);
  return std::nullopt;
}

// Rule 7: a deadline that outlives a restart goes on from its wall-clock start, and never takes longer than
// anew.
void restore_deadline(core& c, attempt_entry& a) {
  const wall_time start =
      a.holder->row.legacy ? a.row.offered_at : a.row.started_at.value_or(a.row.offered_at);
  const milliseconds passed = std::max(c.now.wall - start, milliseconds{0});
  if (a.row.state != attempt_state::offered || a.holder->row.legacy) a.deadline_base = c.clock - passed;
}

void restore_attempt(core& c, const attempt& row) {
  run_entry* r = c.runs.find(row.run);
  // Lost without a result, and its run has ended: when the result comes, its row is looked up.
  if (r == nullptr) return;
  worker_entry& w = worker_of(c, row);
  attempt_entry& a = file_attempt(c, *r, w, row);
  a.sent = true;  // it may have been, as far as anybody can know now
  c.lease_counter = std::max(c.lease_counter, row.lease);
  if (!is_live(row.state)) return;
  const run_spec& s = r->spec->spec;
  const milliseconds kill = is_killed_when_lost(s) ? s.kill_grace : milliseconds{0};
  const milliseconds grace = std::max<milliseconds>(ttl_of(c, s), limits::restart_grace_min);
  a.renewed_until = c.clock + grace + limits::restart_grace_extra + kill;
  if (planted(defect::no_restart_grace)) a.renewed_until = c.clock;
  restore_deadline(c, a);
  hold_limits(c, *r, w);
  refresh_capacity(c, w);
  arm_worker(c, w, a.renewed_until);
}

void restore_waiting(core& c, const run& row, const std::map<run_id, run_state>& ended) {
  run_entry& r = *c.runs.find(row.id);
  if (r.state == run_state::queued) {
    wait_again(c, r, ended);
    if (!r.details || !r.details->not_before) return place_run(c, r);
    // Also if its time came while we were away: the first tick lets it go, behind all that was there before.
    class_of(c, r);
    c.delayed.insert({*r.details->not_before, r.id});
    r.delayed = true;
    return;
  }
  file_in_line(c, r);
  if (r.state != run_state::retry_wait || planted(defect::backoff_forgotten)) return;
  const milliseconds longest =
      std::max<milliseconds>(r.spec->spec.retry.max_backoff, std::chrono::minutes{2}) * 11 / 10;
  const milliseconds left = row.not_before.value_or(c.now.wall) - c.now.wall;
  class_of(c, r);
  run_details& d = details(r);
  d.backoff_until = c.clock + std::clamp(left, milliseconds{0}, longest);
  c.timers.insert({*d.backoff_until, timer_kind::backoff, 0, r.id});
}

void restore_outputs(core& c, const snapshot& from) {
  for (const output_end& end : from.outputs) {
    if (attempt_entry* a = find_attempt(c, end.lease)) a->ends[end.stream] = end.end;
  }
}

// Rule 10: what a backup cannot know. The lost database may have issued leases and started runs since.
void settle_restored(core& c, const std::vector<const run*>& runs) {
  jump_lease_counter(c, c.lease_counter);
  std::size_t unknown = 0;
  for (const run* row : runs) {
    run_entry& r = *c.runs.find(row->id);
    if (!r.spec->spec.at_most_once || r.state == run_state::unknown) continue;
    if (attempt_entry* a = live_attempt(r))
      lose_attempt(c, *a, "restored");
    else
      make_unknown(c, r, "restored", {});
    ++unknown;
  }
  put_fact(c, "server.restored", "server",
           fact_data().add("lease_counter", c.lease_counter).add("unknown", unknown).take());
  log(c, note_level::warning,
      fmt::format(
          "The database was restored from a backup: leases go on at {}, and {} at_most_once runs that "
          "had not ended are unknown until `run resolve` or a late result settles them.",
          c.lease_counter.value, unknown));
}

void report_lost_output(core& c) {
  put_fact(c, "server.output_lost", "server", "{}");
  log(c, note_level::warning,
      "The output database was missing, and this start accepted that: what runs printed until now is gone.");
}

void restore_identity(core& c, const started& in) {
  const snapshot& from = in.snapshot;
  c.random = random_source(in.seed);
  c.cluster = from.cluster;
  c.term = from.term;
  c.issued_number = from.last_number;
  c.lease_counter = from.lease_counter;
  c.lease_holes = from.lease_holes;
  c.restored_at = from.restored_at;
  c.started_at = c.clock;
  c.last_wall = c.now.wall;
  c.instants_offset = wall_offset(c);
  std::vector<output> none;
  c.gate.persisted(from.last_number, none);
  for (const std::uint64_t hash : from.idempotency_hashes) c.keys.insert(hash);
}

/// By id, so that sets are filled at their end.
std::vector<const run*> sorted_runs(const snapshot& from) {
  std::vector<const run*> runs;
  runs.reserve(from.runs.size());
  for (const run& row : from.runs) runs.push_back(&row);
  std::sort(runs.begin(), runs.end(), [](const run* a, const run* b) { return a->id < b->id; });
  return runs;
}

/// Whatever is kept as text, and what refers to it.
objection restore_definitions(core& c, const snapshot& from, const std::vector<const run*>& runs) {
  if (auto wrong = restore_specs(c, from)) return wrong;
  if (auto wrong = restore_calendars(c, from)) return wrong;
  if (auto wrong = restore_jobs(c, from)) return wrong;
  c.runs.reserve(runs.size());
  for (const run* row : runs) {
    if (auto wrong = restore_run(c, *row)) return wrong;
  }
  return std::nullopt;
}

/// By lease, as each run lists them.
void restore_attempts(core& c, const snapshot& from) {
  std::vector<const attempt*> attempts;
  attempts.reserve(from.attempts.size());
  for (const attempt& row : from.attempts) attempts.push_back(&row);
  std::sort(attempts.begin(), attempts.end(),
            [](const attempt* a, const attempt* b) { return a->lease < b->lease; });
  for (const attempt* row : attempts) restore_attempt(c, *row);
  restore_outputs(c, from);
}

}  // namespace

void on(core& c, const started& in) {
  ORC_CHECK(!c.running, "the engine was started twice");
  const snapshot& from = in.snapshot;
  restore_identity(c, in);
  restore_workers(c, from);
  restore_limits(c, from);
  const std::vector<const run*> runs = sorted_runs(from);
  if (auto wrong = restore_definitions(c, from, runs)) {
    c.step.cannot_start = std::move(*wrong);
    return;
  }
  c.running = true;
  restore_attempts(c, from);
  for (const run* row : runs) {
    restore_waiting(c, *row, from.ended_dependencies);
    watch_start(c, *c.runs.find(row->id));
  }
  if (from.restored_now) settle_restored(c, runs);
  if (from.output_lost_now) report_lost_output(c);
  for (auto& [name, j] : c.jobs) arm_schedule(c, j);
}

}  // namespace orchestrator::engine
