// Runs in memory. See runs.hpp.
#include "runs.hpp"

#include <algorithm>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "admission.hpp"
#include "dependencies.hpp"
#include "overlap.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t idle_specs_kept = 64;
// Above this a run is not handed out ahead of a free slot: waiting there would cost more than a round trip.
constexpr double credit_seconds = 0.05;

std::size_t& count_of(core& c, run_state s) {
  static std::size_t nowhere;
  switch (s) {
    case run_state::queued: return c.counts.queued;
    case run_state::active: return c.counts.active;
    case run_state::retry_wait: return c.counts.retry_wait;
    case run_state::unknown: return c.counts.unknown;
    default:
      nowhere = 1;  // final runs are not counted
      return nowhere;
  }
}

void forget_spec(core& c, spec_entry& s) {
  for (requirement_class* cached : s.classes) {
    if (cached != nullptr) c.places.release(cached);
  }
  if (c.last_ad_hoc == &s) c.last_ad_hoc = nullptr;
  const auto [first, last] = c.specs_by_hash.equal_range(s.text_hash);
  c.specs_by_hash.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == &s; }));
  c.specs.erase(spec_id(s.id));
}

legacy_fit legacy_fit_of(const run_spec& s, bool with_args) {
  if (s.script.empty() || !s.env.empty() || !s.cwd.empty() || !s.stdin_text.empty() || s.at_most_once) {
    return legacy_fit::never;
  }
  return with_args ? legacy_fit::with_args : legacy_fit::without_args;
}

bool has_args(const run_entry& r) {
  return r.details && r.details->has_args ? !r.details->args.empty() : !r.spec->spec.args.empty();
}

void stop_waiting(core& c, run_entry& r) {
  if (r.ready) c.places.remove(class_of(c, r), r);
  if (r.delayed) {
    c.delayed.erase({*r.details->not_before, r.id});
    r.delayed = false;
  }
  if (r.details && r.details->backoff_until) {
    c.timers.erase({*r.details->backoff_until, timer_kind::backoff, 0, r.id});
    r.details->backoff_until.reset();
  }
}

}  // namespace

run_entry* run_table::find(const run_id& id) const {
  const auto found = runs_.find(id);
  return found == runs_.end() ? nullptr : const_cast<run_entry*>(&*found);
}

run_entry& run_table::add(const run_id& id) {
  run_entry fresh;
  fresh.id = id;
  const auto [at, inserted] = runs_.insert(std::move(fresh));
  ORC_CHECK(inserted, "a run id was used twice");
  return const_cast<run_entry&>(*at);
}

void run_table::erase(const run_id& id) {
  const auto found = runs_.find(id);
  ORC_CHECK(found != runs_.end(), "a run to forget is not in memory");
  runs_.erase(found);
}

orchestrator::run to_row(const run_entry& r) {
  orchestrator::run row;
  row.id = r.id;
  row.job = r.name->text;
  row.job_version = r.job_version;
  row.spec = r.spec->id;
  row.state = r.state;
  row.submitted_at = r.submitted_at;
  row.failures = r.failures;
  row.losses = r.losses;
  row.rejections = static_cast<int>(r.rejections);
  row.attempts = static_cast<int>(r.attempts);
  row.cancel_requested = r.cancel_requested && !planted(defect::cancel_not_durable);
  row.held = r.held;
  if (!r.details) return row;
  const run_details& d = *r.details;
  row.args = d.args;
  row.has_args = d.has_args;
  row.reason = d.reason;
  row.instant = d.instant;
  row.not_before = d.not_before;
  row.started_at = d.started_at;
  row.finished_at = d.finished_at;
  row.retry_of = d.retry_of;
  row.after = d.after;
  row.deciding_lease = d.deciding_lease;
  return row;
}

run_details& details(run_entry& r) {
  if (!r.details) r.details = std::make_unique<run_details>();
  return *r.details;
}

std::string group_of(const run_spec& spec, std::string_view name) {
  return spec.max_running > 0 || spec.rate ? std::string(name) : std::string();
}

spec_entry& intern_spec(core& c, const run_spec& spec, std::string_view name) {
  const std::string group = group_of(spec, name);
  const auto is_same = [&](const spec_entry& s) { return s.group == group && s.spec == spec; };
  if (c.last_ad_hoc != nullptr && is_same(*c.last_ad_hoc)) return *c.last_ad_hoc;
  std::string text = protocol::encode_spec(spec);
  const std::uint64_t hash = hash64(text);
  const auto [first, last] = c.specs_by_hash.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    if (is_same(*at->second)) return *(c.last_ad_hoc = at->second);
  }
  auto fresh = std::make_unique<spec_entry>();
  fresh->id = spec_id{++c.spec_counter.value};
  fresh->spec = spec;
  fresh->group = group;
  fresh->text_hash = hash;
  fresh->first_text = std::move(text);
  if (!spec.builtin.empty()) fresh->average_seconds = 0;
  spec_entry& s = *fresh;
  c.specs_by_hash.emplace(hash, &s);
  c.specs.emplace(s.id, std::move(fresh));
  return *(c.last_ad_hoc = &s);
}

void hold_spec(core& c, spec_entry& s) {
  // Written again whenever the first run in memory refers to it: retention may have removed the row
  // meanwhile.
  if (s.runs++ != 0) return;
  std::string text = std::exchange(s.first_text, {});
  if (text.empty()) text = protocol::encode_spec(s.spec);
  c.step.first.emplace_back(put_spec{s.id, std::move(text)});
}

void drop_spec(core& c, spec_entry& s) {
  if (s.runs != 0 || s.holders != 0) return;
  ++s.idle_marks;
  c.idle_specs.push_back(s.id);
  while (c.idle_specs.size() > idle_specs_kept) {
    const spec_id oldest = c.idle_specs.front();
    c.idle_specs.pop_front();
    spec_entry& old = *c.specs.at(oldest);
    if (--old.idle_marks == 0 && old.runs == 0 && old.holders == 0) forget_spec(c, old);
  }
}

name_entry& hold_name(core& c, std::string_view name) {
  auto at = c.names.find(name);
  if (at == c.names.end()) {
    at = c.names.emplace(std::string(name), name_entry{}).first;
    at->second.text = at->first;
  }
  ++at->second.references;
  return at->second;
}

void drop_name(core& c, name_entry& n) {
  ORC_CHECK(n.references > 0, "a name was released once too often");
  if (--n.references == 0) c.names.erase(c.names.find(n.text));
}

void attach_run(core& c, run_entry& r, name_entry& name, spec_entry& spec) {
  r.name = &name;
  r.spec = &spec;
  if (r.job_version != 0) name.live.insert(name.live.end(), &r);
  ++count_of(c, r.state);
}

run_id new_run_id(core& c) {
  // The clock may step back, and two runs may share a millisecond: ids rise all the same, since age is read
  // off them.
  run_id id = make_uuid_v7(c.now.wall, c.random.next(), c.random.next());
  if (id <= c.last_run_id) {
    id = c.last_run_id;
    std::uint64_t tail = 0;
    for (int i = 8; i < 16; ++i) tail = tail << 8 | id.bytes[i];
    constexpr std::uint64_t mask = (std::uint64_t{1} << 62) - 1;  // below the variant bits
    const std::uint64_t next = (tail & mask) + 1 + c.random.below(std::uint64_t{1} << 32);
    if (next > mask) {
      std::uint64_t ms = 0;
      for (int i = 0; i < 6; ++i) ms = ms << 8 | id.bytes[i];
      id = make_uuid_v7(from_unix_ms(static_cast<std::int64_t>(ms + 1)), 0, c.random.next());
    } else {
      const std::uint64_t whole = (tail & ~mask) | next;
      for (int i = 8; i < 16; ++i) id.bytes[i] = static_cast<std::uint8_t>(whole >> 8 * (15 - i));
    }
  }
  c.last_run_id = id;
  return id;
}

run_entry& create_run(core& c, const run_origin& from) {
  run_entry& r = c.runs.add(new_run_id(c));
  r.job_version = from.job_version;
  r.submitted_at = c.now.wall;
  r.held = from.held;
  if (from.args || from.instant || from.not_before || from.retry_of || !from.after.empty()) {
    run_details& d = details(r);
    d.has_args = from.args.has_value();
    if (from.args) d.args = *from.args;
    d.instant = from.instant;
    d.not_before = from.not_before;
    d.retry_of = from.retry_of;
    d.after = from.after;
  }
  hold_spec(c, *from.spec);
  attach_run(c, r, hold_name(c, from.name), *from.spec);
  announce(c, r);
  put_fact(c, "run.queued", subject_of(r), fact_data().add("job", r.name->text).take());
  if (from.in_vain) {
    finish_run(c, r, run_state::skipped, "dependency");
    return r;
  }
  wait_for_others(c, r);
  place_run(c, r);
  watch_start(c, r);
  if (planted(defect::held_run_replaces) && r.held) succeed(c, r);
  return r;
}

void announce(core& c, run_entry& r) {
  if (!r.announced) c.step.changed.push_back(r.id);
  r.announced = true;
  touch(c, r);
}

void set_state(core& c, run_entry& r, run_state to, std::string_view reason) {
  ORC_CHECK(may_change(r.state, to), "a run took a step that the table of states does not have");
  --count_of(c, r.state);
  r.state = to;
  ++count_of(c, r.state);
  file_in_line(c, r);
  if (!reason.empty() || (r.details && !r.details->reason.empty())) details(r).reason = reason;
  announce(c, r);
}

void finish_run(core& c, run_entry& r, run_state to, std::string_view reason, lease_id deciding) {
  ORC_CHECK(live_attempt(r) == nullptr, "a run was to end while an attempt of it is live");
  stop_waiting(c, r);
  set_state(c, r, to, reason);
  run_details& d = details(r);
  // When that was decided, which retention and the life of an idempotency key count from. When the process
  // ended is the attempt's to say, and may be days before.
  d.finished_at = c.now.wall;
  d.deciding_lease = deciding;
  if (d.start_by) c.timers.erase({*d.start_by, timer_kind::start, 0, r.id});
  for (attempt_entry* a : d.attempts) a->holder->lost.erase(a->row.lease);
  fact_data data;
  data.add("job", r.name->text).add_if("reason", reason);
  if (deciding) data.add("lease", deciding);
  put_fact(c, std::string("run.") + to_string(to), subject_of(r), data.take());
  if (c.dependents.contains(r.id)) c.ended.emplace_back(r.id, to);
  if (r.job_version != 0) r.name->live.erase(&r);
}

void make_unknown(core& c, run_entry& r, std::string_view reason, lease_id lease) {
  stop_waiting(c, r);
  set_state(c, r, run_state::unknown, reason);
  fact_data data;
  data.add("job", r.name->text);
  if (lease) data.add("lease", lease);
  put_fact(c, "run.unknown", subject_of(r), data.add("reason", reason).take());
}

void retry_run_later(core& c, run_entry& r, milliseconds delay, std::string_view reason) {
  stop_waiting(c, r);
  set_state(c, r, run_state::retry_wait, reason);
  run_details& d = details(r);
  // The wall time is for people and for a restart; what is waited for is the monotonic one.
  d.not_before = c.now.wall + delay;
  d.backoff_until = c.clock + delay;
  c.timers.insert({*d.backoff_until, timer_kind::backoff, 0, r.id});
  put_fact(c, "run.retry_wait", subject_of(r),
           fact_data().add("job", r.name->text).add("reason", reason).add("delay_ms", delay.count()).take());
}

void requeue(core& c, run_entry& r) {
  stop_waiting(c, r);
  set_state(c, r, run_state::queued, r.details->reason);
  r.details->not_before.reset();
  place_run(c, r);
}

void start_now(core& c, run_entry& r) {
  if (r.state == run_state::retry_wait) {
    put_fact(c, "run.wait_ended", subject_of(r), "{}");
    return requeue(c, r);
  }
  if (!r.delayed) return;
  stop_waiting(c, r);
  r.details->not_before = c.now.wall;  // its start_within counts from here
  announce(c, r);
  put_fact(c, "run.wait_ended", subject_of(r), "{}");
  watch_start(c, r);
  place_run(c, r);
}

void reactivate_run(core& c, run_entry& r) {
  stop_waiting(c, r);
  set_state(c, r, run_state::active, "");
  details(r).not_before.reset();
}

// Counted on the monotonic clock. The wall clock says only how much of it a restart left (rule 7), and how
// late a run leaves its --at. A refused offer overwrote that time: from then on the first offer, which came
// behind it, stands in.
void watch_start(core& c, run_entry& r) {
  const auto& within = r.spec->spec.start_within;
  if (!within || r.delayed || is_final(r.state) || (r.details && r.details->start_by)) return;
  run_details& d = details(r);
  wall_time from = r.submitted_at;
  if (!d.attempts.empty()) {
    from = d.attempts.front()->row.offered_at;
  } else if (d.not_before) {
    from = std::max(from, *d.not_before);
  }
  const milliseconds left = std::clamp<milliseconds>(from + *within - c.now.wall, milliseconds{0}, *within);
  d.start_by = c.clock + left;
  c.timers.insert({*d.start_by, timer_kind::start, 0, r.id});
}

bool is_unstarted(const run_entry& r) { return r.attempts == r.rejections; }

void expire_if_due(core& c, run_entry& r) {
  if (r.state != run_state::queued && r.state != run_state::retry_wait) return;
  if (!is_unstarted(r) || !r.details || !r.details->start_by || *r.details->start_by > c.clock) return;
  finish_run(c, r, run_state::expired, "start_within");
}

bool is_paused(const run_entry& r) {
  return r.job_version != 0 && r.name->job != nullptr && r.name->job->job.paused;
}

void place_run(core& c, run_entry& r) {
  if (r.state != run_state::queued) return;
  const bool early = r.details && r.details->not_before && *r.details->not_before > c.now.wall;
  if (early != r.delayed) {
    const std::pair key{r.details->not_before.value_or(wall_time{}), r.id};
    if (early) c.delayed.insert(key);
    if (!early) c.delayed.erase(key);
    r.delayed = early;
    watch_start(c, r);
  }
  file_in_line(c, r);
  let_in_or_out(c, r);
}

void let_in_or_out(core& c, run_entry& r) {
  if (r.state != run_state::queued) return;
  const bool ready = is_admitted(c, r);
  requirement_class& what = class_of(c, r);
  if (ready == r.ready) return;
  if (ready) {
    c.places.enqueue(what, r);
  } else {
    c.places.remove(what, r);
  }
}

void place_runs_of(core& c, name_entry& n) {
  for (run_entry* r : n.live) place_run(c, *r);
}

void let_depart(core& c) {
  while (!c.departures.empty() && c.departures.front().first <= c.gate.durable()) {
    run_entry* r = c.runs.find(c.departures.front().second);
    c.departures.pop_front();
    // A final run may be written once more (a superseded result), and then stands here twice.
    if (r == nullptr) continue;
    for (attempt_entry* a : details(*r).attempts) {
      --a->holder->attempts;
      if (a->written > c.gate.durable()) c.loose[a->row.lease] = {a->row, a->written};
      c.attempts.erase(lease_id(a->row.lease));
    }
    spec_entry& spec = *r->spec;
    name_entry& name = *r->name;
    c.runs.erase(run_id(r->id));
    --spec.runs;
    drop_spec(c, spec);
    drop_name(c, name);
  }
}

attempt_entry* newest_attempt(const run_entry& r) {
  return r.details && !r.details->attempts.empty() ? r.details->attempts.back() : nullptr;
}

attempt_entry* live_attempt(const run_entry& r) {
  attempt_entry* a = newest_attempt(r);
  return a != nullptr && is_live(a->row.state) ? a : nullptr;
}

bool is_brief(const run_entry& r) {
  const double average = r.spec->average_seconds;
  return average >= 0 && average <= credit_seconds;
}

bool creditable(const run_entry& r) { return !r.spec->spec.at_most_once && is_brief(r); }

requirement_class& class_of(core& c, run_entry& r) {
  const run_spec& s = r.spec->spec;
  const bool with_args = has_args(r);
  requirement_class*& cached = r.spec->classes[with_args ? 1 : 0];
  if (cached == nullptr) {
    cached = c.places.hold({s.required_labels, legacy_fit_of(s, with_args), s.required_resources, s.queue,
                            r.spec->group, s.max_running, s.rate, s.locks});
  }
  return *cached;
}

const requirement_class& known_class(const run_entry& r) {
  const requirement_class* known = r.spec->classes[has_args(r) ? 1 : 0];
  ORC_CHECK(known != nullptr, "a run waits or is active and has no class");
  return *known;
}

void hold_limits(core& c, run_entry& r, worker_entry& w) {
  const requirement_class& what = class_of(c, r);
  c.places.take_again(what);
  for (const auto& [name, amount] : what.what.resources) w.capacity.taken[name] += amount;
}

void free_limits(core& c, run_entry& r, worker_entry& w) {
  const requirement_class& what = class_of(c, r);
  c.places.give_back(what);
  const attempt_entry* a = newest_attempt(r);
  if (planted(defect::resources_kept_on_loss) && a != nullptr && a->row.state == attempt_state::lost) return;
  for (const auto& [name, amount] : what.what.resources) {
    std::int64_t& taken = w.capacity.taken[name];
    taken -= amount;
    if (taken == 0) w.capacity.taken.erase(name);
    w.capacity.resources_freed = true;
  }
}

}  // namespace orchestrator::engine
