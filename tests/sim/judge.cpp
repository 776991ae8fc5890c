// Who watches the cluster. See judge.hpp.
#include "judge.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "world.hpp"

namespace orchestrator::sim {
namespace {

const store::run_filter every_run = [] {
  store::run_filter q;
  q.limit = 100'000;
  return q;
}();

constexpr std::uint64_t fnv_prime = 1099511628211ull;

template <class Part>
const Part& shown(const Part& part) {
  return part;
}
std::string shown(const uuid& id) { return to_string(id); }

}  // namespace

void judge::broken(const std::string& what) const { throw broken_promise(what); }

/// The trace is a running hash (FNV-1a) of everything that happened, by which two runs of a seed are
/// compared.
template <class... Part>
void judge::note(const Part&... parts) {
  (mix(parts), ...);
  trace_ ^= static_cast<std::uint64_t>(world_.time.now().count());
  world_.say([&] {
    std::string line;
    ((line += (line.empty() ? "" : " ") + fmt::format("{}", shown(parts))), ...);
    return line;
  });
}

void judge::mix(std::string_view text) {
  for (const char c : text) trace_ = (trace_ ^ static_cast<unsigned char>(c)) * fnv_prime;
}
void judge::mix(std::uint64_t number) { trace_ = (trace_ ^ number) * fnv_prime; }
void judge::mix(const uuid& id) {
  mix(std::string_view(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()));
}

// ---- the coordinator

void judge::engine_stepped(engine::engine& core, const engine::effects& e) {
  ++steps_;
  if (e.commit || world_.look_inside()) {
    if (const auto wrong = core.check_invariants()) broken(*wrong);
  }
  if (!e.commit) return;
  const wall_time wall = world_.server.clock().wall;
  if (const auto wrong = timetable_.observe(*e.commit, wall)) broken(*wrong);
  if (const auto wrong = admission_.observe(*e.commit, world_.time.now(), wall)) broken(*wrong);
  for (const char* what : admission_.take_seen()) world_.saw(what);
  judge_speaker(e);
  if (e.commit->mutations.size() > limits::commit_mutations)
    broken("rule 3: one input made more than a batch may hold");
  for (const mutation& m : e.commit->mutations) {
    if (const auto* r = std::get_if<put_run>(&m)) issued(*r);
    if (const auto* a = std::get_if<put_attempt>(&m)) issued(*a);
    if (const auto* f = std::get_if<put_fact>(&m); f && f->fact.type == "worker.disconnected") {
      const std::size_t at = f->fact.data.find(R"("instance":")");
      if (at == std::string::npos) broken("a fact about the end of a connection does not say whose");
      if (const auto whose = parse_uuid(f->fact.data.substr(at + 12, 36))) world_.server.parted(*whose);
    }
  }
}

/// I7: a backoff is waited for. A restart measures it by the wall clock again, so the list ends with a life.
void judge::issued(const put_run& m) {
  if (m.run.state == run_state::retry_wait)
    backs_off_.emplace(m.run.id, world_.time.now());
  else if (m.run.state != run_state::queued)
    backs_off_.erase(m.run.id);
  waits_[m.run.id] = m.run.after;
  if (!is_final(m.run.state)) return;
  finals_[m.run.id] = m.run.state;
  if (m.run.state != run_state::skipped || m.run.reason != "dependency" || rolled_back_) return;
  const bool in_vain = std::any_of(m.run.after.begin(), m.run.after.end(), [&](const dependency& d) {
    const auto end = finals_.find(d.run);
    return end != finals_.end() && !is_met(d.on, end->second);
  });
  if (!in_vain)
    broken(fmt::format("I6: run {} was skipped, and waited for nothing in vain", to_string(m.run.id)));
}

/// What a run waits for comes first, whatever happened in between.
void judge::judge_order(const run_id& run) {
  const auto waits = waits_.find(run);
  if (waits == waits_.end() || rolled_back_) return;
  for (const dependency& d : waits->second) {
    const auto end = finals_.find(d.run);
    if (end == finals_.end() || !is_met(d.on, end->second))
      broken(fmt::format("I6: run {} was offered, and {} has not ended as it asks", to_string(run),
                         to_string(d.run)));
    world_.saw("a run started after another one");
  }
}

void judge::issued(const put_attempt& m) {
  const attempt& row = m.attempt;
  std::set<lease_id>& live = live_[row.instance];
  const auto newest = newest_holder_.find(row.run);
  const bool fresh = row.state == attempt_state::offered && !live.contains(row.lease);
  if (fresh) {
    if (static_cast<int>(live.size()) >= places_of(row.instance))
      broken(fmt::format("I16: {} was offered lease {} beyond its {} places", row.worker_id, row.lease.value,
                         places_of(row.instance)));
    const auto waits = backs_off_.find(row.run);
    // The shortest backoff is a second, and its jitter a tenth.
    if (waits != backs_off_.end() && world_.time.now() - waits->second < 900ms)
      broken(fmt::format("I7: run {} was offered again before its backoff was over", to_string(row.run)));
    judge_order(row.run);
    made_over_[row.lease] = world_.server.speaks_for(row.instance);
    newest_holder_[row.run] = row.instance;
    ever_held_.emplace(row.instance, row.run);
  }
  if (newest == newest_holder_.end()) newest_holder_.emplace(row.run, row.instance);
  if (is_live(row.state))
    live.insert(row.lease);
  else
    live.erase(row.lease);
  if (row.state != attempt_state::lost)
    lost_.erase(row.lease);
  else if (lost_.insert(row.lease).second)
    judge_loss(row);
}

int judge::places_of(const uuid& instance) const {
  for (const auto& m : world_.machines) {
    if (m->instance() == instance) return m->places();
  }
  return 1;  // a legacy worker's, and a stranger's
}

/// I12 and I18: what may follow from a message by who said it. When it shows that its connection lives, a
/// newcomer that waited may be let in; then others' rows change by right.
void judge::judge_speaker(const engine::effects& e) const {
  if (speaker_.replaced) broken("I17: a connection that was replaced changed something");
  const bool somebody_came = std::any_of(e.outputs.begin(), e.outputs.end(), [](const engine::output& o) {
    return std::holds_alternative<engine::session_registered>(o);
  });
  if (somebody_came || speaker_.peer == nullptr) return;
  for (const mutation& m : e.commit->mutations) {
    if (speaker_.repeats && !std::holds_alternative<put_worker>(m))
      broken("I12: a message that was delivered before changed something");
    if (speaker_.peer->kind == peer_kind::rogue) judge_change_by_stranger(m);
  }
}

void judge::judge_change_by_stranger(const mutation& m) const {
  const uuid& who = speaker_.peer->instance;
  const auto other = [&](const std::string& what) { broken("I18: a stranger changed " + what); };
  if (const auto* a = std::get_if<put_attempt>(&m)) {
    if (a->attempt.instance != who) other(fmt::format("lease {} of another", a->attempt.lease.value));
  } else if (const auto* r = std::get_if<put_run>(&m)) {
    const auto holder = newest_holder_.find(r->run.id);
    // Its own run's end may be what another one waited for, which may end a third one by the overlap rule.
    const bool waited = (r->run.state == run_state::skipped && r->run.reason == "dependency") ||
                        admission_.succeeded().contains(r->run.id);
    if (!waited && (holder == newest_holder_.end() || holder->second != who))
      other("run " + to_string(r->run.id));
  } else if (const auto* w = std::get_if<put_worker>(&m)) {
    if (w->worker.instance != who) other("worker " + w->worker.worker_id);
  } else if (const auto* f = std::get_if<put_fact>(&m)) {
    const std::string& subject = f->fact.subject;
    const auto run = subject.starts_with("run/") ? parse_uuid(subject.substr(4)) : std::nullopt;
    const bool about_itself = subject.starts_with("worker/") || (run && ever_held_.contains({who, *run})) ||
                              f->fact.type == "run.skipped" || (run && admission_.succeeded().contains(*run));
    if (!about_itself) other("the history of " + subject);
  } else if (!std::holds_alternative<forget_worker>(m) && !std::holds_alternative<put_lease_hole>(m) &&
             !std::holds_alternative<raise_term>(m)) {
    other("what no worker may change");
  }
}

/// I13: by silence an attempt is lost only after TTL + 10 s in which its worker could be heard, and was not.
void judge::judge_loss(const attempt& a) const {
  if (rolled_back_ || world_.cloned) return;
  const bool gave_up =
      a.reason == "not_in_outbox" || a.reason == "boot_changed" || a.reason == "process_gone";
  const auto waiting = waiting_results_.find(a.instance);
  if (gave_up && waiting != waiting_results_.end() && waiting->second.contains(a.lease))
    broken(fmt::format("I13: lease {} was given up although its result waits", a.lease.value));
  if (a.reason != "silence") return;
  const coordinator& c = world_.server;
  if (c.unread(a.instance))
    broken(fmt::format("I13: lease {} was lost while its worker was not read", a.lease.value));
  const nanoseconds clock = world_.time.now() - c.stopped_for();
  const nanoseconds heard = c.last_heard(a.instance);
  const nanoseconds silent = heard.count() < 0 ? clock : clock - heard;
  const nanoseconds shortest = std::min<nanoseconds>(world_.draw.lease_ttl, world_.shortest_lost_after) + 10s;
  if (heard.count() >= 0 && silent < shortest - 1s)
    broken(fmt::format("I13: lease {} was lost after {} of silence", a.lease.value,
                       format_duration(std::chrono::duration_cast<milliseconds>(silent))));
  const nanoseconds up_for = world_.time.now() - c.started_at();
  if (heard.count() < 0 && up_for < 60s)
    broken(fmt::format("I13: lease {} was lost in the restart grace", a.lease.value));
}

void judge::became_durable(const mutation_batch& batch) {
  if (batch.number != durable_ + 1) broken("I19: batches became durable out of order");
  durable_ = batch.number;
  for (const mutation& m : batch.mutations) {
    if (const auto* spec = std::get_if<put_spec>(&m)) {
      const run_spec* read = book_.spec(spec->text);
      if (read != nullptr) specs_[spec->id] = {read->at_most_once, !read->builtin.empty()};
    }
    std::visit([this](const auto& row) { durable(row); }, m);
  }
}

void judge::durable(const put_run& m) {
  const run& r = m.run;
  run_record& known = runs_[r.id];
  note("run", r.id, to_string(r.state), r.reason);
  if (is_final(known.state) && known.state != r.state)
    broken(fmt::format("I2: run {} was {} and is {} now", to_string(r.id), to_string(known.state),
                       to_string(r.state)));
  if (r.cancel_requested) known.cancel_seen = true;
  if (known.cancel_seen && !r.cancel_requested && !rolled_back_)
    broken(fmt::format("I14: the cancel of run {} was forgotten", to_string(r.id)));
  if (known.job.empty()) {
    if (r.instant && !fired_.emplace(std::pair(r.job, *r.instant), r.id).second)
      broken(fmt::format("I15: {} made two runs for one instant", r.job));
    known.at_most_once = specs_[r.spec].at_most_once;
    known.builtin = specs_[r.spec].builtin;
    if (r.job.starts_with("key-") && !r.retry_of) {
      const auto [at, fresh] = made_for_.emplace(r.job, r.id);
      if (!fresh && at->second != r.id)
        broken(fmt::format("I21: two runs were made of one submission, {} and {}", to_string(at->second),
                           to_string(r.id)));
      if (!keys_.contains(r.job)) broken("I21: a run that nobody submitted");
    }
  }
  const bool waited = known.state == run_state::queued || known.state == run_state::retry_wait;
  if (r.state == run_state::cancelled && waited) world_.saw("a waiting run was cancelled");
  if (known.state == run_state::unknown && is_final(r.state) && r.reason != "resolved")
    world_.saw("a late result settled an unknown run");
  known.state = r.state;
  known.job = r.job;
  if (!r.reason.empty()) world_.saw("run ", to_string(r.state), ": ", r.reason);
  world_.saw("run ", to_string(r.state));
  if (r.state == run_state::succeeded && r.deciding_lease && !rolled_back_) {
    const auto end = ends_.find(r.deciding_lease);
    const auto by = attempts_.find(r.deciding_lease);
    const bool honest = by != attempts_.end() &&
                        std::any_of(world_.machines.begin(), world_.machines.end(),
                                    [&](const auto& m) { return m->instance() == by->second.instance; });
    if (honest && !known.builtin && (end == ends_.end() || end->second != std::pair{0, 0}))
      broken(fmt::format("I10: run {} succeeded, and its process did not", to_string(r.id)));
  }
}

void judge::durable(const put_attempt& m) {
  const attempt& a = m.attempt;
  const auto known = attempts_.find(a.lease);
  note("lease", a.lease.value, to_string(a.state), a.reason);
  if (known == attempts_.end()) {
    if (a.lease <= newest_lease_) broken(fmt::format("I4: lease {} does not rise", a.lease.value));
    newest_lease_ = a.lease;
    run_record& r = runs_[a.run];
    if (is_final(r.state)) broken(fmt::format("I5: run {} was offered after its end", to_string(a.run)));
    if (r.cancel_seen)
      broken(fmt::format("I14: run {} was offered after it was cancelled", to_string(a.run)));
    r.newest = a.lease;
  }
  judge_end(a);
  const bool was_lost = known != attempts_.end() && known->second.state == attempt_state::lost;
  if (was_lost && a.state == attempt_state::running) world_.saw("a lost attempt was heard of again");
  if (a.state == attempt_state::succeeded && runs_[a.run].state == run_state::cancelled)
    world_.saw("a cancelled run's process had ended well");
  attempts_[a.lease] = {a.state, a.run, a.instance};
  world_.saw("attempt ", to_string(a.state), a.reason.empty() ? "" : ": ", a.reason);
  if (a.late) world_.saw("a late result was adopted");
  if (!a.superseded_status.empty()) world_.saw("a late result was superseded");
}

/// What the row of an attempt may say, given what its machine has done.
void judge::judge_end(const attempt& a) const {
  if (rolled_back_) return;
  if (a.state == attempt_state::not_started && starts_.contains(a.lease))
    broken(fmt::format("I12: lease {} counts as not started, and its process ran", a.lease.value));
  const bool may_be_superseded = a.state == attempt_state::lost || a.state == attempt_state::not_started;
  if (!a.superseded_status.empty() && !may_be_superseded)
    broken(fmt::format("I3: the result of lease {} was recorded twice", a.lease.value));
}

void judge::durable(const put_instant& m) {
  note("instant", m.job, to_unix_ms(m.instant), to_string(m.outcome));
  // A row without a run may go on to later instants; one with a run is there once and never changes.
  const auto [known, fresh] = instants_.emplace(std::pair(m.job, m.instant), m.run.has_value());
  if (!fresh && (known->second || m.run)) broken(fmt::format("I15: {} fired twice for one instant", m.job));
  world_.saw("instant ", to_string(m.outcome));
  if (!m.rule.empty()) world_.saw("instant ", to_string(m.outcome), " by ", m.rule);
}

void judge::durable(const backfill_instant& m) {
  note("backfilled is", m.job, to_unix_ms(m.instant));
  if (std::exchange(instants_[{m.job, m.instant}], true))
    broken(fmt::format("I15: {} fired twice for one instant, by a backfill", m.job));
  world_.saw("an instant was backfilled");
  if (m.parts.size() == 2) world_.saw("a backfill split a row in two");
}

void judge::durable(const put_calendar& m) {
  note("calendar", m.name, m.text);
  world_.saw("a calendar was changed");
}

void judge::durable(const withdraw_instants& m) {
  note("withdrawn are the instants of", m.job, "after", to_unix_ms(m.after));
  world_.saw("decisions of a wrong clock were withdrawn");
  std::erase_if(instants_, [&](const auto& row) {
    return row.first.first == m.job && row.first.second > m.after && !row.second;
  });
}

/// A worker refuses every offer of a term below the highest it has seen, so it must not be made.
void judge::judge_term(const peer& to, const protocol::execute_job& offer) const {
  const auto seen = seen_term_.find(to.instance);
  if (seen != seen_term_.end() && offer.term && *offer.term < seen->second)
    broken(fmt::format("I4: lease {} was offered in term {} to a worker that has seen {}", offer.lease->value,
                       *offer.term, seen->second));
}

/// I5, I19 and "nothing is shown that can be taken back": an offer leaves behind its row.
void judge::judge_offer(const peer& to, session_id over, lease_id lease) const {
  const auto row = attempts_.find(lease);
  if (row == attempts_.end())
    broken(fmt::format("I1: lease {} was offered before it was on disk", lease.value));
  if (row->second.instance != to.instance)
    broken(fmt::format("I3: lease {} was offered to another than its row says", lease.value));
  if (const auto made = made_over_.find(lease); made == made_over_.end() || made->second != over)
    broken(fmt::format("rule 4: lease {} was offered over another connection than it was made for",
                       lease.value));
  if (const auto seen = seen_.find(to.instance); seen != seen_.end() && lease <= seen->second)
    broken(fmt::format("I4: lease {} was offered to a worker that has seen {}", lease.value,
                       seen->second.value));
}

void judge::leaves(const peer& to, session_id over, const protocol::coordinator_message& m) {
  if (const auto* offer = std::get_if<protocol::execute_job>(&m.body)) {
    const auto* number = std::get_if<std::int64_t>(&offer->job_id.id);
    if ((number != nullptr) != (to.kind == peer_kind::legacy))
      broken("an offer is not in its worker's language");
    const lease_id lease = number != nullptr ? lease_id{static_cast<std::uint64_t>(*number)} : *offer->lease;
    judge_offer(to, over, lease);
    judge_term(to, *offer);
    offered_to_[{to.instance, lease}] = attempts_.at(lease).run;
    if (!offered_.insert(lease).second) broken(fmt::format("I4: lease {} was offered twice", lease.value));
    if (number != nullptr) world_.saw("an offer went to a legacy worker");
  } else if (const auto* a = std::get_if<protocol::ack>(&m.body)) {
    for (const auto& [seq, what] : a->dispositions) world_.saw("disposition ", to_string(what));
    if (a->disposition) world_.saw("disposition ", to_string(*a->disposition));
  } else if (const auto* greeting = std::get_if<protocol::registration>(&m.body)) {
    if (!greeting->keep.empty()) world_.saw("a lease was kept at a registration");
    if (!greeting->abandon.empty()) world_.saw("a lease was abandoned at a registration");
  } else if (std::holds_alternative<protocol::cancel_job>(m.body)) {
    world_.saw("a cancel was sent");
  } else if (std::holds_alternative<protocol::drain>(m.body)) {
    world_.saw("a drain was sent");
  }
}

void judge::answered(const engine::answer& a) {
  if (const auto* run = std::get_if<engine::run_answer>(&a.body)) {
    if (!runs_.contains(run->run.id))
      broken(fmt::format("I1: run {} was answered before it was on disk", to_string(run->run.id)));
    if (run->replayed) world_.saw("a submission was replayed");
  } else if (const auto* wrong = std::get_if<refusal>(&a.body)) {
    world_.saw("refused: ", to_string(wrong->code));
  } else if (std::holds_alternative<engine::purged_answer>(a.body)) {
    world_.saw("a replay of a purged run");
  }
}

void judge::arrives(const peer& from, const std::vector<protocol::worker_message>& messages) {
  for (const protocol::worker_message& m : messages) {
    if (const auto* r = std::get_if<protocol::job_result>(&m.body)) {
      if (r->lease && !resulted_.insert(*r->lease).second) world_.saw("a result came twice");
      world_.saw("result ", protocol::to_string(r->status));
    } else if (const auto* o = std::get_if<protocol::job_output>(&m.body)) {
      if (o->gap_from) world_.saw("output came with a gap");
    } else if (const auto* r2 = std::get_if<protocol::worker_register>(&m.body)) {
      if (!r2->unacked.empty()) world_.saw("a worker came back with results");
      if (from.kind != peer_kind::legacy) remember(from, *r2);
      if (!r2->running.empty()) world_.saw("a worker came back with running jobs");
      if (!r2->lost.empty()) world_.saw("a worker came back with losses");
    }
  }
}

/// What a worker says about itself holds until its next registration.
void judge::remember(const peer& from, const protocol::worker_register& r) {
  if (from.kind == peer_kind::rogue) return;  // which lies
  // Of two machines with one identity the other one may wait to be let in, and is offered nothing.
  if (r.highest_lease && !world_.cloned) seen_[from.instance] = *r.highest_lease;
  if (r.term && !world_.cloned) seen_term_[from.instance] = *r.term;
  std::set<lease_id>& results = waiting_results_[from.instance];
  results.clear();
  for (const auto& ref : r.unacked) results.insert(ref.lease);
}

void judge::only_the_disk_is_left() {
  lost_.clear();
  live_.clear();
  backs_off_.clear();
  newest_holder_.clear();
  for (const auto& [lease, a] : attempts_) {
    newest_holder_[a.run] = a.instance;  // leases rise
    if (a.state == attempt_state::lost) lost_.insert(lease);
    if (is_live(a.state)) live_[a.instance].insert(lease);
  }
}

void judge::coordinator_dies(engine::engine& core) {
  const engine::engine_view& v = core.view();
  only_the_disk_is_left();
  before_.reset();
  if (v.issued() == v.durable()) {
    before_ = v.count();
    world_.saw("coordinator killed with nothing in flight");
  } else {
    world_.saw("coordinator killed before a commit");
  }
  shown_ = std::max(shown_, v.durable());
}

/// Before its first step: what it will know of schedules is what is on the disk.
void judge::coordinator_starts(const snapshot& found) {
  world_.server.disk().read([this](store::reader& r) { timetable_.reload(r, book_); });
  // Buckets are kept by the time of day; by one that was changed they may be full again.
  admission_.reload(found, !world_.draw.wall_steps && !rolled_back_, world_.time.now());
}

/// I19: what is rebuilt from the disk is what lived. I20: what was shown does not go back.
void judge::coordinator_started(engine::engine& core) {
  const engine::engine_view& v = core.view();
  if (!rolled_back_ && v.durable() < shown_) broken("I20: the revision went back over a restart");
  if (v.count().active > 0) world_.saw("the coordinator came back to active runs");
  if (!before_) return;
  const auto was = *std::exchange(before_, std::nullopt), is = v.count();
  // Starting may move runs whose time has come; nothing may be lost or made.
  const auto live = [](const engine::engine_view::totals& t) {
    return t.queued + t.active + t.retry_wait + t.unknown;
  };
  if (live(was) != live(is) || was.active != is.active || was.unknown != is.unknown)
    broken("I19: the state after a restart is not the one before it");
}

void judge::history_was_cut() {
  timetable_.ledger_was_cut();
  instants_.clear();
  fired_.clear();
  made_for_.clear();
  key_runs_.clear();
}

void judge::database_rolled_back() {
  rolled_back_ = true;
  ++databases_;
  world_.saw("database rolled back");
  admission_.forget_promises();
  before_.reset();
  shown_ = 0;
  acknowledged_.clear();
  cancelled_.clear();
  key_runs_.clear();
  made_for_.clear();
  runs_.clear();
  attempts_.clear();
  instants_.clear();
  fired_.clear();
  newest_lease_ = {};
  offered_.clear();
  starts_.clear();
  world_.server.disk().read([this](store::reader& r) {
    durable_ = r.revision();
    for (const auto& row : r.list_runs(every_run)) {
      run_record& known = runs_[row.run.id];
      known.state = row.run.state;
      known.job = row.run.job;
      known.cancel_seen = row.run.cancel_requested;
      if (row.run.job.starts_with("key-") && !row.run.retry_of) made_for_.emplace(row.run.job, row.run.id);
      for (const attempt& a : row.attempts) {
        attempts_[a.lease] = {a.state, a.run, a.instance};
        ever_held_.emplace(a.instance, a.run);
        newest_lease_ = std::max(newest_lease_, a.lease);
      }
    }
  });
  only_the_disk_is_left();
}

// ---- clients

void judge::submission_answered(const std::string& key, const run_id& run) {
  acknowledged_.insert(run);
  const auto [at, fresh] = key_runs_.emplace(key, run);
  if (!fresh && at->second != run) broken("I1: one key was answered with two runs");
}

void judge::cancel_answered(const run_id& run) {
  const auto known = runs_.find(run);
  if (known == runs_.end()) return;  // purged meanwhile
  if (!known->second.cancel_seen && !is_final(known->second.state))
    broken(fmt::format("I1: the cancel of run {} was acknowledged and is not on disk", to_string(run)));
  if (!is_final(known->second.state)) cancelled_.insert(run);
}

// ---- machines

void judge::process_starts(const machine& m, lease_id lease, const std::string& run) {
  note("a process starts for lease", lease.value);
  const bool twice = !starts_.insert(lease).second;
  if (!machine_starts_.emplace(m.number(), lease).second || (twice && !rolled_back_))
    broken(fmt::format("I9: lease {} was started twice", lease.value));
  const auto id = parse_uuid(run);
  if (!id) broken("a process does not know its run");
  if (const auto offered = offered_to_.find({m.instance(), lease});
      offered == offered_to_.end() || offered->second != *id)
    broken(fmt::format("I9: lease {} was started for a run it was not offered for", lease.value));
  run_record& r = runs_[*id];
  if (++r.starts > 1 && r.at_most_once && !rolled_back_)
    broken(fmt::format("I8: at_most_once run {} was started twice", run));
}

void judge::legacy_starts(lease_id lease) {
  note("a legacy worker starts lease", lease.value);
  if (!offered_to_.contains({uuid{}, lease})) broken("I9: a legacy worker started what it was not offered");
  starts_.insert(lease);
}

bool judge::has_result(lease_id lease) const {
  const auto found = attempts_.find(lease);
  if (found == attempts_.end() || rolled_back_) return false;
  const attempt_state s = found->second.state;
  return s == attempt_state::succeeded || s == attempt_state::failed || s == attempt_state::timed_out;
}

std::pair<lease_id, run_id> judge::any_lease(dice& chance) const {
  if (attempts_.empty()) return {lease_id{1}, run_id{}};
  auto at = attempts_.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(chance.below(attempts_.size())));
  return {at->first, at->second.run};
}

void judge::process_ends(lease_id lease, int exit_code, int signal) { ends_[lease] = {exit_code, signal}; }

/// I1 for results: a worker drops its copy only when the database has it for good. An older database that was
/// put back may know the lease as another's, and has to leave such a result with its worker (promise 6).
void judge::worker_forgets(const machine& m, lease_id lease, bool kept) {
  const auto offered = offered_to_.find({m.instance(), lease});
  const bool ran =
      machine_starts_.contains({m.number(), lease}) || (!rolled_back_ && starts_.contains(lease));
  world_.server.disk().read([&](store::reader& r) {
    const fetched_rows rows = r.fetch_lease(lease);
    for (const attempt& a : rows.attempts) {
      if (a.lease != lease) continue;
      const bool its_own =
          a.instance == m.instance() && offered != offered_to_.end() && offered->second == a.run;
      if (!its_own && ran && !kept)
        broken(fmt::format("I1: {} dropped the result of lease {}, which is another's in the database",
                           m.id(), lease.value));
      const bool settled = !is_live(a.state) && (a.state != attempt_state::lost || a.result_crc != 0);
      if (its_own && ran && !settled && a.superseded_status.empty())
        broken(fmt::format("I1: the worker dropped lease {}, whose result is not on disk", lease.value));
    }
  });
}

// ---- the end

void judge::check_output(lease_id lease, const std::string& stream) {
  std::uint64_t at = 0;
  world_.server.disk().read([&](store::reader& r) {
    for (;;) {
      const store::output_page page = r.read_output(lease, stream, at, 64 * 1024);
      if (page.data.empty()) break;
      for (std::size_t i = 0; i < page.data.size(); ++i) {
        if (page.data[i] != output_byte(lease.value, stream, page.offset + i))
          broken(fmt::format("I11: the output of lease {} is not what its process wrote", lease.value));
      }
      at = page.offset + page.data.size();
    }
  });
}

/// Of an attempt whose supervisor died: what was on the disk then is stored, or marked where it is not.
void judge::check_spool(const attempt& a, store::reader& r) {
  const auto left = spools_left_.find(a.lease);
  if (left == spools_left_.end() || world_.cloned || !a.superseded_status.empty()) return;
  for (const auto& [stream, bytes] : left->second) {
    const std::uint64_t end = r.read_output(a.lease, stream, bytes, 1).end;
    if (end < bytes)
      broken(fmt::format("I11: of {} bytes that lease {} left in the spool of {} {} are stored", bytes,
                         a.lease.value, stream, end));
  }
}

void judge::at_the_end() {
  std::map<run_id, run> rows;
  world_.server.disk().read([&](store::reader& r) {
    for (auto& row : r.list_runs(every_run)) {
      if (!is_final(row.run.state))
        broken(fmt::format("I6: run {} of {} is still {} ({})", to_string(row.run.id), row.run.job,
                           to_string(row.run.state), row.run.reason));
      rows.emplace(row.run.id, row.run);
      for (const attempt& a : row.attempts) {
        if (a.result_crc == 0 || rolled_back_) continue;
        for (const auto& [stream, bytes] : a.output_bytes) {
          check_output(a.lease, stream);
          const std::uint64_t end = r.read_output(a.lease, stream, bytes, 1).end;
          if (a.superseded_status.empty() && end < bytes)
            broken(fmt::format("I11: of {} bytes that lease {} wrote to {} {} are stored", bytes,
                               a.lease.value, stream, end));
        }
        check_spool(a, r);
      }
    }
  });
  for (const auto& m : world_.machines) {
    if (!rolled_back_ && !m->gone() && !m->settled())
      broken(fmt::format("I22: {} still holds {} records and {} processes", m->id(), m->records(),
                         m->processes().size()));
  }
  if (world_.time.now() - world_.server.started_at() > 20s) {
    if (const auto wrong = timetable_.nothing_is_overdue(world_.server.clock().wall)) broken(*wrong);
  }
  for (const run_id& id : acknowledged_) {
    if (!rows.contains(id) && !world_.draw.retention)
      broken(fmt::format("I1: acknowledged run {} is gone", to_string(id)));
  }
  for (const run_id& id : cancelled_) {
    const auto row = rows.find(id);
    if (row != rows.end() && row->second.state != run_state::cancelled)
      broken(
          fmt::format("I14: run {} was cancelled and ended {}", to_string(id), to_string(row->second.state)));
  }
}

}  // namespace orchestrator::sim
