// Who may start now. See admission_oracle.hpp.
#include "admission_oracle.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/ids.hpp>

namespace orchestrator::sim {
namespace {

constexpr nanoseconds slack = 10ms;  ///< buckets are stored to the millisecond, once a restart

/// Whether the newest of these starts is one more than a bucket could give: it holds `count`, and one comes
/// back each period / count. `since`: the bucket was full then.
bool is_beyond(const std::deque<nanoseconds>& starts, const rate_limit& rate) {
  const nanoseconds token = nanoseconds{rate.period} / rate.count;
  const nanoseconds newest = starts.back();
  std::int64_t count = 0;
  return std::any_of(starts.rbegin(), starts.rend(),
                     [&](nanoseconds at) { return ++count > rate.count + (newest - at + slack) / token; });
}

const char* name_of(overlap_policy p) {
  constexpr const char* names[] = {"skip", "queue", "queue_all", "cancel_old", "allow"};
  return names[static_cast<int>(p)];
}

bool is_grouped(const run_spec& s) { return s.max_running > 0 || s.rate; }

bool is_under_way(run_state s) { return s == run_state::active || s == run_state::unknown; }

std::int64_t amount_in(const resource_amounts& all, const std::string& name) {
  const auto found = all.find(name);
  return found == all.end() ? 0 : found->second;
}

}  // namespace

void admission_oracle::take(const put_run& m) {
  if (is_final(m.run.state)) {
    runs_.erase(m.run.id);
    return;
  }
  run_facts& r = runs_[m.run.id];
  const bool was_held = r.was_held || m.run.held;
  r = {m.run.job,
       m.run.spec,
       m.run.held,
       m.run.job_version != 0,
       m.run.cancel_requested,
       m.run.instant.has_value(),
       m.run.state,
       m.run.attempts,
       m.run.not_before,
       m.run.after,
       was_held};
}

void admission_oracle::take(const put_job& m) {
  const job_definition* definition = book_.job(m.text);
  job_facts& j = jobs_[m.job.name];
  j.paused = m.job.paused;
  j.changes = true;
  j.overlap.reset();
  if (definition != nullptr && definition->schedule) j.overlap = definition->schedule->overlap;
}

admission_oracle::finding admission_oracle::observe(const mutation_batch& batch, nanoseconds now,
                                                    wall_time wall) {
  latest_ = std::max(latest_, wall);
  for (auto& [name, j] : jobs_) j.changes = false;
  succeeded_.clear();
  // Whatever ended in this step is over for those that begin in it.
  for (const mutation& m : batch.mutations) {
    if (const auto* s = std::get_if<put_spec>(&m)) {
      if (const run_spec* read = book_.spec(s->text)) specs_[s->id] = *read;
    } else if (const auto* r = std::get_if<put_run>(&m)) {
      take(*r);
    } else if (const auto* j = std::get_if<put_job>(&m)) {
      take(*j);
    } else if (const auto* gone = std::get_if<delete_job>(&m)) {
      jobs_.erase(gone->name);
    } else if (const auto* a = std::get_if<put_attempt>(&m); a && !is_live(a->attempt.state)) {
      live_.erase(a->attempt.lease);
    }
  }
  for (const mutation& m : batch.mutations) {
    finding wrong;
    if (const auto* a = std::get_if<put_attempt>(&m); a && is_live(a->attempt.state)) wrong = take(*a, now);
    if (const auto* i = std::get_if<put_instant>(&m)) wrong = i->run ? judge_instant(*i) : judge_drop(*i);
    if (const auto* r = std::get_if<put_run>(&m)) wrong = judge_successor(r->run.id);
    if (const auto* r = std::get_if<put_run>(&m); !wrong && r && r->run.reason == "overlap")
      wrong = judge_end(r->run.id, r->run.job);
    if (const auto* f = std::get_if<put_fact>(&m);
        f && f->fact.type == "run.cancel_requested" && f->fact.data.find("overlap") != std::string::npos) {
      const auto id = parse_uuid(f->fact.subject.substr(4));
      wrong = judge_end(*id, runs_.at(*id).name);
    }
    if (wrong) return wrong;
  }
  return std::nullopt;
}

admission_oracle::finding admission_oracle::take(const put_attempt& m, nanoseconds now) {
  const attempt& a = m.attempt;
  if (const auto known = live_.find(a.lease); known != live_.end()) {
    known->second = a;
    return std::nullopt;
  }
  const auto run = runs_.find(a.run);
  const auto spec = run == runs_.end() ? specs_.end() : specs_.find(run->second.spec);
  if (spec == specs_.end()) return fmt::format("lease {} belongs to no run that is known", a.lease.value);
  // What was thought lost and lives after all takes its places again, whatever the limits say; not its locks.
  finding wrong = judge_locks(a, spec->second);
  if (!wrong && a.state == attempt_state::offered) wrong = judge_start(a, run->second, spec->second, now);
  if (!wrong && a.state != attempt_state::offered) wrong = judge_revival(a, run->second);
  live_.emplace(a.lease, a);
  return wrong;
}

admission_oracle::finding admission_oracle::judge_start(const attempt& a, const run_facts& r,
                                                        const run_spec& s, nanoseconds now) {
  const auto job = jobs_.find(r.name);
  if (r.held) return fmt::format("I23: run {} was offered while it is held", to_string(a.run));
  if (r.stored_job && job != jobs_.end() && job->second.paused)
    return fmt::format("I23: run {} was offered while its job is paused", to_string(a.run));
  if (auto wrong = judge_limits(a, r, s, now)) return wrong;
  if (auto wrong = judge_machine(a, s)) return wrong;
  return judge_overlap(a, r);
}

admission_oracle::finding admission_oracle::judge_limits(const attempt& a, const run_facts& r,
                                                         const run_spec& s, nanoseconds now) {
  if (!s.queue.empty()) {
    queue_starts_[s.queue].push_back({now, a.lease, {}});
    if (auto wrong = judge_queue(s.queue)) return wrong;
  }
  if (!is_grouped(s)) return std::nullopt;
  const auto running = std::count_if(live_.begin(), live_.end(), [&](const auto& other) {
    const run_spec* theirs = spec_of(other.second);
    return theirs != nullptr && is_grouped(*theirs) && runs_.at(other.second.run).name == r.name;
  });
  if (s.max_running > 0 && running >= s.max_running)
    return fmt::format("I24: a run of {} was offered beside {}, of {} that may run", r.name, running,
                       s.max_running);
  if (!s.rate) return std::nullopt;
  std::deque<start>& starts = job_starts_[r.name];
  starts.push_back({now, a.lease, *s.rate});
  std::deque<nanoseconds> alike;  // versions of a job may have other rates: from the last one on
  for (auto at = starts.rbegin(); at != starts.rend() && at->rate == *s.rate; ++at) alike.push_front(at->at);
  if (is_beyond(alike, *s.rate))
    return fmt::format("I25: a run of {} was offered although its rate {} is used up", r.name,
                       format_rate(*s.rate));
  return std::nullopt;
}

/// The newest start of this queue, which is not live yet, must be right by one of the settings it may have.
admission_oracle::finding admission_oracle::judge_queue(const std::string& name) const {
  const auto known = queues_.find(name);
  if (known == queues_.end()) return std::nullopt;
  const auto running = std::count_if(live_.begin(), live_.end(), [&](const auto& other) {
    const run_spec* theirs = spec_of(other.second);
    return theirs != nullptr && theirs->queue == name;
  });
  finding wrong;
  for (const possibility& p : known->second) {
    wrong.reset();
    if (p.settings.paused) wrong = fmt::format("I23: a run of the paused queue {} was offered", name);
    if (p.settings.max_running > 0 && running >= p.settings.max_running)
      wrong = fmt::format("I24: a run of queue {} was offered beside {}, of {} that may run", name, running,
                          p.settings.max_running);
    std::deque<nanoseconds> starts;
    for (const start& s : queue_starts_.at(name))
      if (s.at > p.since) starts.push_back(s.at);
    if (p.settings.rate && !starts.empty() && is_beyond(starts, *p.settings.rate))
      wrong = fmt::format("I25: a run of queue {} was offered although its rate {} is used up", name,
                          format_rate(*p.settings.rate));
    if (!wrong) return std::nullopt;
  }
  return wrong;
}

admission_oracle::finding admission_oracle::judge_locks(const attempt& a, const run_spec& s) const {
  for (const lock_request& mine : s.locks) {
    for (const auto& [lease, other] : live_) {
      const run_spec* spec = spec_of(other);
      if (spec == nullptr) continue;
      for (const lock_request& theirs : spec->locks) {
        if (theirs.name == mine.name && !(theirs.shared && mine.shared))
          return fmt::format("I26: leases {} and {} hold the lock {} at once", lease.value, a.lease.value,
                             mine.name);
      }
    }
  }
  return std::nullopt;
}

admission_oracle::finding admission_oracle::judge_machine(const attempt& a, const run_spec& s) const {
  static const machine_traits nothing;
  const auto found = machines_.find(a.instance);
  const machine_traits& there = found == machines_.end() ? nothing : found->second;
  for (const auto& [name, value] : s.required_labels) {
    const auto label = there.labels.find(name);
    if (label == there.labels.end() || label->second != value)
      return fmt::format("I27: lease {} went to {}, which has not the label {}", a.lease.value, a.worker_id,
                         name);
  }
  for (const auto& [name, amount] : s.required_resources) {
    std::int64_t taken = amount;
    for (const auto& [lease, other] : live_) {
      const run_spec* theirs = spec_of(other);
      if (other.instance == a.instance && theirs != nullptr)
        taken += amount_in(theirs->required_resources, name);
    }
    if (taken > amount_in(there.resources, name))
      return fmt::format("I27: with lease {} {} of {} are in use at {}, which offers {}", a.lease.value,
                         format_amount(taken), name, a.worker_id,
                         format_amount(amount_in(there.resources, name)));
  }
  return std::nullopt;
}

admission_oracle::certainty admission_oracle::occupies(const run_facts& r) const {
  if (r.state != run_state::queued || r.attempts > 0) return certainty::yes;
  const auto job = jobs_.find(r.name);
  if (r.held || (job != jobs_.end() && job->second.paused)) return certainty::no;
  const bool waits =
      std::any_of(r.after.begin(), r.after.end(), [&](const dependency& d) { return runs_.contains(d.run); });
  if (waits || (r.not_before && *r.not_before > latest_)) return certainty::no;
  return r.not_before || !r.after.empty() ? certainty::perhaps : certainty::yes;
}

std::vector<std::pair<run_id, const admission_oracle::run_facts*>> admission_oracle::occupants(
    const std::string& job, certainty least) const {
  std::vector<std::pair<run_id, const run_facts*>> found;
  for (const auto& [id, r] : runs_) {
    if (r.stored_job && r.name == job && occupies(r) >= least) found.emplace_back(id, &r);
  }
  return found;
}

/// Nothing: it was another one in the same step, or whatever the runs do is right.
std::optional<overlap_policy> admission_oracle::rule_of(const run_facts& r) const {
  const auto job = jobs_.find(r.name);
  if (!r.stored_job || job == jobs_.end() || job->second.changes) return std::nullopt;
  return job->second.overlap == overlap_policy::allow ? std::nullopt : job->second.overlap;
}

/// Whatever made the run: nobody else of the job is under way, nor begun before, nor ready before.
admission_oracle::finding admission_oracle::judge_overlap(const attempt& a, const run_facts& r) {
  if (!rule_of(r)) return std::nullopt;
  const bool begins = a.number == 1;
  for (const auto& [id, other] : occupants(r.name, certainty::yes)) {
    if (id == a.run) continue;
    const bool begun = other->attempts > 0 || other->state != run_state::queued;
    const bool first = is_under_way(other->state) || (begun ? begins || id < a.run : begins && id < a.run);
    if (first)
      return fmt::format("I28: run {} of {} was offered, and {} goes first ({}, {} attempts)",
                         to_string(a.run), r.name, to_string(id), to_string(other->state), other->attempts);
  }
  return std::nullopt;
}

admission_oracle::finding admission_oracle::judge_revival(const attempt& a, const run_facts& r) const {
  if (!rule_of(r) || r.state == run_state::unknown) return std::nullopt;
  for (const auto& [id, other] : occupants(r.name, certainty::yes)) {
    if (id != a.run && is_under_way(other->state))
      return fmt::format("I28: run {} of {} lives again beside {}", to_string(a.run), r.name, to_string(id));
  }
  return std::nullopt;
}

/// An instant gets its run: one that comes on time only if the rule does not drop it.
admission_oracle::finding admission_oracle::judge_instant(const put_instant& m) {
  const auto made = runs_.find(*m.run);  // it may have been succeeded in the same step
  const auto rule = made == runs_.end() ? std::nullopt : rule_of(made->second);
  if (!rule) return std::nullopt;
  std::size_t before = 0;
  bool one_waits = false;
  for (const auto& [id, other] : occupants(m.job, certainty::yes)) {
    if (id >= *m.run) continue;
    ++before;
    one_waits = one_waits || !is_under_way(other->state);
  }
  if (m.outcome == instant_outcome::late) {
    if (before > 0 && m.rule == "catch_up" && *rule == overlap_policy::skip)
      seen_.push_back("catch-up made a run beside another one, with overlap skip");
    return std::nullopt;
  }
  for (const auto& [id, other] : runs_) {
    if (other.held && other.name == m.job && other.stored_job && *rule != overlap_policy::queue_all)
      seen_.push_back("an instant got its run beside a held one");
  }
  const bool drops = (*rule == overlap_policy::skip && before > 0) ||
                     (*rule == overlap_policy::queue && before > 1 && one_waits);
  if (!drops) return std::nullopt;
  return fmt::format("I28: an instant of {} got a run beside {} others, with overlap {}", m.job, before,
                     name_of(*rule));
}

/// An instant is dropped by the rule: somebody occupies the job.
admission_oracle::finding admission_oracle::judge_drop(const put_instant& m) {
  const auto job = jobs_.find(m.job);
  if (m.outcome != instant_outcome::skipped_overlap || job == jobs_.end() || job->second.changes)
    return std::nullopt;
  const auto others = occupants(m.job, certainty::perhaps);
  for (const auto& [id, other] : others) {
    if (!other->has_instant) seen_.push_back("an instant was dropped because of a run by hand");
  }
  const std::size_t least = job->second.overlap == overlap_policy::skip ? 1 : 2;
  if (others.size() >= least) return std::nullopt;
  return fmt::format("I28: an instant of {} was dropped although {} runs occupy the job", m.job,
                     others.size());
}

/// With cancel_old all others are being ended while one that has not begun is able to start, but for those
/// whose end is not known: that is for somebody else to tell.
admission_oracle::finding admission_oracle::judge_successor(const run_id& id) const {
  const auto found = runs_.find(id);
  if (found == runs_.end() || rule_of(found->second) != overlap_policy::cancel_old) return std::nullopt;
  const run_facts& r = found->second;
  if (r.state != run_state::queued || r.attempts > 0 || occupies(r) != certainty::yes) return std::nullopt;
  for (const auto& [other, facts] : occupants(r.name, certainty::yes)) {
    if (other != id && !facts->cancel_requested && facts->state != run_state::unknown)
      return fmt::format("I28: run {} of {} goes on although {} is able to start, with overlap cancel_old",
                         to_string(other), r.name, to_string(id));
  }
  return std::nullopt;
}

/// A run was ended for another one of its job: that one is able to start.
admission_oracle::finding admission_oracle::judge_end(const run_id& id, const std::string& job) {
  succeeded_.insert(id);
  const auto known = jobs_.find(job);
  if (known == jobs_.end() || known->second.changes) return std::nullopt;
  for (const auto& [other, facts] : occupants(job, certainty::perhaps)) {
    if (other == id || facts->state != run_state::queued || facts->attempts > 0) continue;
    if (facts->was_held) seen_.push_back("a released run ended the old one");
    if (!facts->has_instant) seen_.push_back("a run by hand ended the old one");
    return std::nullopt;
  }
  return fmt::format("I28: run {} of {} was ended, and no other is able to start", to_string(id), job);
}

const run_spec* admission_oracle::spec_of(const attempt& a) const {
  const auto run = runs_.find(a.run);
  const auto spec = run == runs_.end() ? specs_.end() : specs_.find(run->second.spec);
  return spec == specs_.end() ? nullptr : &spec->second;
}

void admission_oracle::reload(const snapshot& from, bool buckets_hold, nanoseconds now) {
  runs_.clear();
  live_.clear();
  jobs_.clear();
  for (const stored_spec& s : from.specs) {
    if (const run_spec* read = book_.spec(s.text)) specs_[s.id] = *read;
  }
  for (const run& r : from.runs) take(put_run{r});
  for (const stored_job& j : from.jobs) take(put_job{j.job, j.text});
  for (const attempt& a : from.attempts) {
    if (is_live(a.state)) live_.emplace(a.lease, a);
  }
  // An offer that was not on the disk was never made.
  const lease_id newest = from.lease_counter;
  for (auto* all : {&queue_starts_, &job_starts_}) {
    for (auto& [name, starts] : *all) {
      std::erase_if(starts, [&](const start& s) { return s.lease > newest || !buckets_hold; });
    }
  }
  if (buckets_hold) return;
  for (auto& [name, list] : queues_) {
    for (possibility& p : list) p.since = now;
  }
}

void admission_oracle::queue_asked(std::uint64_t number, const queue& change, bool sets_rate,
                                   nanoseconds now) {
  auto [at, fresh] = queues_.try_emplace(change.name);
  std::vector<possibility>& list = at->second;
  if (fresh) list.push_back({0, queue{change.name, false, 0, std::nullopt, 0}, now});
  const std::size_t before = list.size();
  for (std::size_t i = 0; i < before; ++i) {
    possibility next{number, change, list[i].since};
    if (sets_rate) next.since = now;
    if (!sets_rate) next.settings.rate = list[i].settings.rate;
    list.push_back(std::move(next));
  }
}

void admission_oracle::queue_answered(std::uint64_t number, const std::string& name) {
  const auto known = queues_.find(name);
  if (known == queues_.end()) return;
  std::erase_if(known->second, [&](const possibility& p) { return p.number < number; });
}

}  // namespace orchestrator::sim
