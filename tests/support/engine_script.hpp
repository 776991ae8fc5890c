// A world for tests of the coordinator's core: virtual time, a disk that syncs only when told to, and workers
// that say what the script says. After every step the core's invariants are checked.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/engine/engine.hpp>
#include <orchestrator/protocol/definitions.hpp>

namespace orchestrator::engine::script {

using namespace std::chrono_literals;
using deletion = orchestrator::engine::delete_job;  ///< the request, not the mutation of the same name

/// What is on the disk, and what waits to get there.
class fake_disk {
 public:
  void commit(mutation_batch batch) {
    CHECK(batch.number == issued_ + 1);
    issued_ = batch.number;
    queued_.push_back(std::move(batch));
  }
  void commit_output(output_batch batch) {
    CHECK(batch.number == issued_output_ + 1);
    issued_output_ = batch.number;
    queued_output_.push_back(std::move(batch));
  }
  std::size_t queued() const { return queued_.size(); }
  std::size_t queued_output() const { return queued_output_.size(); }

  /// Makes `batches` of the queued ones durable; the number to report.
  std::uint64_t sync(std::size_t batches = SIZE_MAX) {
    for (; batches > 0 && !queued_.empty(); --batches) {
      for (const mutation& m : queued_.front().mutations) std::visit([&](const auto& row) { put(row); }, m);
      durable_ = queued_.front().number;
      queued_.pop_front();
    }
    for (const auto& [id, r] : runs) check_live(id);
    return durable_;
  }
  std::uint64_t sync_output() {
    for (; !queued_output_.empty(); queued_output_.pop_front()) {
      for (const output_chunk& chunk : queued_output_.front().chunks) {
        auto& text = output[{chunk.lease, chunk.stream}];
        CHECK(chunk.offset >= text.size());
        text.resize(chunk.offset, '.');
        text += chunk.data;
      }
      durable_output_ = queued_output_.front().number;
    }
    return durable_output_;
  }
  void crash() {
    queued_.clear();
    queued_output_.clear();
    issued_ = durable_;
    issued_output_ = 0;
    durable_output_ = 0;
  }

  /// As `server restore` leaves it: what is durable is what the backup had.
  void restored(wall_time at) {
    restored_at = at;
    restored_number = durable_;
  }

  orchestrator::snapshot reopen(wall_time now) {
    orchestrator::snapshot s;
    s.cluster = cluster;
    s.term = ++term;
    s.last_number = durable_;
    s.lease_counter = lease_counter;
    s.lease_holes = lease_holes;
    s.restored_at = restored_at;
    s.restored_now = restored_at && restored_number == durable_;
    s.spec_counter = specs.empty() ? spec_id{} : specs.rbegin()->first;
    std::set<spec_id> used;
    for (const auto& [id, r] : runs) {
      if (is_final(r.state)) continue;
      s.runs.push_back(r);
      used.insert(r.spec);
      for (const dependency& d : r.after) {
        const auto found = runs.find(d.run);
        if (found != runs.end() && is_final(found->second.state))
          s.ended_dependencies.emplace(d.run, found->second.state);
      }
    }
    for (const spec_id id : used) s.specs.push_back({id, specs.at(id)});
    for (const auto& [lease, a] : attempts) {
      const bool unsettled = a.state == attempt_state::lost && a.superseded_status.empty();
      if (!is_final(runs.at(a.run).state) || unsettled) s.attempts.push_back(a);
    }
    for (const auto& [name, stored] : jobs) s.jobs.push_back(stored);
    for (const auto& [key, w] : workers) s.workers.push_back(w);
    for (const auto& [name, q] : queues) s.queues.push_back(q);
    for (const auto& [name, full_at] : buckets)
      if (full_at > now) s.buckets.emplace(name, full_at);
    for (const auto& [key, text] : output) s.outputs.push_back({key.first, key.second, text.size()});
    for (const auto& [key, row] : keys) s.idempotency_hashes.push_back(hash64(key));
    s.instants = instants_after(now - 48h);
    for (const auto& [name, stored] : jobs) {
      if (s.instants.contains(name)) continue;
      for (const auto& [key, row] : instants) {
        if (key.first == name) s.instants[name] = {row};
      }
    }
    for (const auto& [name, row] : calendars) s.calendars.push_back({name, row.text, row.updated_at});
    return s;
  }

  recent_instants instants_after(wall_time after) const {
    recent_instants found;
    for (const auto& [key, row] : instants) {
      const auto j = jobs.find(key.first);
      const bool ahead = j != jobs.end() && j->second.job.cursor && row.instant > *j->second.job.cursor;
      if (ahead || row.until > after) found[key.first].push_back(row);
    }
    return found;
  }
  std::vector<stored_instant> rows_of(const load_window& window) const {
    std::vector<stored_instant> found;
    for (const auto& [key, row] : instants) {
      if (key.first == window.job && window.from <= row.until && row.instant <= window.to)
        found.push_back(row);
    }
    return found;
  }

  fetched_rows find(const std::variant<run_id, lease_id, std::string>& key) const {
    fetched_rows rows;
    std::optional<run_id> id;
    if (const auto* run = std::get_if<run_id>(&key)) id = *run;
    if (const auto* lease = std::get_if<lease_id>(&key)) {
      const auto found = attempts.find(*lease);
      if (found != attempts.end()) id = found->second.run;
    }
    if (const auto* text = std::get_if<std::string>(&key)) {
      const auto found = keys.find(*text);
      if (found == keys.end()) return rows;
      rows.key_found = true;
      rows.key_fingerprint = found->second.fingerprint;
      rows.key_run = found->second.run;
      id = found->second.run;
    }
    if (!id || !runs.contains(*id)) return rows;
    rows.run = runs.at(*id);
    rows.spec_text = specs.at(rows.run->spec);
    for (const auto& [lease, a] : attempts) {
      if (a.run == *id) rows.attempts.push_back(a);
    }
    return rows;
  }
  void purge_run(const run_id& id) {
    runs.erase(id);
    std::erase_if(attempts, [&](const auto& row) { return row.second.run == id; });
  }

  uuid cluster{{1, 2, 3}};
  std::uint64_t term = 0;
  lease_id lease_counter{};
  std::map<lease_id, lease_id> lease_holes;
  std::map<spec_id, std::string> specs;
  std::map<run_id, orchestrator::run> runs;
  std::map<lease_id, attempt> attempts;
  std::map<std::string, stored_job> jobs;
  std::map<std::pair<std::string, uuid>, worker> workers;
  std::map<std::pair<std::string, wall_time>, stored_instant> instants;
  std::map<std::string, put_calendar> calendars;
  std::map<std::string, queue> queues;
  std::map<std::string, wall_time> buckets;
  std::map<std::string, put_idempotency> keys;
  std::vector<fact> facts;
  std::map<std::pair<lease_id, std::string>, std::string> output;

 private:
  void put(const put_spec& m) { specs[m.id] = m.text; }
  void put(const put_job& m) {
    jobs[m.job.name] = {m.job, m.text};
    jobs[m.job.name].job.definition = {};
  }
  void put(const orchestrator::delete_job& m) { jobs.erase(m.name); }
  void put(const put_cursor& m) { jobs.at(m.job).job.cursor = m.cursor; }
  void put(const put_run& m) {
    REQUIRE(specs.contains(m.run.spec));
    const auto old = runs.find(m.run.id);
    if (old != runs.end() && is_final(old->second.state)) CHECK(old->second.state == m.run.state);  // I2
    runs[m.run.id] = m.run;
  }
  void put(const put_attempt& m) {
    REQUIRE(runs.contains(m.attempt.run));
    attempts[m.attempt.lease] = m.attempt;
    lease_counter = std::max(lease_counter, m.attempt.lease);
  }
  void put(const put_worker& m) { workers[{m.worker.worker_id, m.worker.instance}] = m.worker; }
  void put(const forget_worker& m) { workers.erase({m.worker_id, m.instance}); }
  void put(const put_instant& m) {
    const stored_instant row{m.instant, m.outcome, m.run, m.rule, m.count, m.until.value_or(m.instant)};
    const auto [old, fresh] = instants.emplace(std::pair{m.job, m.instant}, row);
    const stored_instant& was = old->second;
    const bool goes_on = !was.run && !m.run && was.outcome == m.outcome && was.rule == m.rule;
    CHECK((fresh || goes_on));  // I15
    old->second = row;
    // No two rows share an instant, and none reaches over another.
    const auto later = std::next(old);
    if (later != instants.end() && later->first.first == m.job) CHECK(row.until < later->second.instant);
    if (old != instants.begin() && std::prev(old)->first.first == m.job)
      CHECK(std::prev(old)->second.until < m.instant);
  }
  void put(const withdraw_instants& m) {
    std::erase_if(instants, [&](const auto& row) {
      return row.first.first == m.job && row.first.second > m.after && !row.second.run;
    });
  }
  void put(const backfill_instant& m) {
    if (m.shared) {
      const auto row = instants.find({m.job, *m.shared});
      REQUIRE(row != instants.end());
      CHECK_FALSE(row->second.run);
      instants.erase(row);
    }
    for (const stored_instant& row : m.parts)
      put(put_instant{m.job, row.instant, row.outcome, std::nullopt, row.rule, row.count, row.until});
    put(put_instant{m.job, m.instant, instant_outcome::late, m.run, "backfill", 1, {}});
  }
  void put(const put_calendar& m) { calendars[m.name] = m; }
  void put(const delete_calendar& m) { calendars.erase(m.name); }
  void put(const put_idempotency& m) {
    const bool fresh = keys.emplace(m.key, m).second;
    CHECK(fresh);
  }
  void put(const orchestrator::put_fact& m) { facts.push_back(m.fact); }
  void put(const put_queue& m) { queues[m.queue.name] = m.queue; }
  void put(const delete_queue& m) { queues.erase(m.name); }
  void put(const put_bucket& m) { buckets[m.name] = m.full_at; }
  void put(const raise_term& m) { term = m.term; }
  void put(const put_lease_hole& m) {
    lease_counter = std::max(lease_counter, m.last);
    lease_holes[m.first] = m.last;
  }
  void check_live(const run_id& id) const {
    int live = 0;
    for (const auto& [lease, a] : attempts) live += a.run == id && is_live(a.state) ? 1 : 0;
    CHECK(live <= 1);  // I3
  }

  std::optional<wall_time> restored_at;
  std::uint64_t restored_number = 0;
  std::deque<mutation_batch> queued_;
  std::deque<output_batch> queued_output_;
  std::uint64_t issued_ = 0, durable_ = 0, issued_output_ = 0, durable_output_ = 0;
};

class world {
 public:
  explicit world(config settings = {}, std::uint64_t seed = 7) : settings_(settings), seed_(seed) { start(); }

  /// One step: effects are carried out at once, but nothing becomes durable by itself.
  effects give(input in) {
    effects e = core_->step({mono_, wall_}, in);
    if (checks_each_step) check();
    if (e.commit) disk.commit(*e.commit);
    if (e.commit_output) disk.commit_output(*e.commit_output);
    for (const output& o : e.outputs) std::visit([&](const auto& what) { take(what); }, o);
    for (const lookup& l : e.lookups) lookups.push_back(l);
    return e;
  }
  void check() const {
    const auto broken = core_->check_invariants();
    INFO(broken.value_or(""));
    REQUIRE_FALSE(broken.has_value());
  }
  void turn() { give(turn_end{}); }
  void sync(std::size_t batches = SIZE_MAX) { give(persisted{disk.sync(batches)}); }
  void sync_output() { give(output_persisted{disk.sync_output()}); }
  void answer_lookups() {
    while (!lookups.empty()) {
      const lookup l = lookups.front();
      lookups.pop_front();
      if (const auto* f = std::get_if<fetch>(&l)) {
        give(fetched{f->id, disk.find(f->key)});
      } else if (const auto* past = std::get_if<load_instants>(&l)) {
        give(instants_loaded{past->after, disk.instants_after(past->after)});
      } else if (const auto* window = std::get_if<load_window>(&l)) {
        give(window_loaded{window->request, disk.rows_of(*window)});
      } else {
        const auto& zone = std::get<load_zone>(l).name;
        const auto known = zones.find(zone);
        give(zone_loaded{zone, known == zones.end() ? std::nullopt : std::optional(known->second)});
      }
    }
  }
  /// Everything that can happen without time passing has happened when this returns.
  void settle() {
    for (int round = 0; round < 100; ++round) {
      turn();
      if (disk.queued() == 0 && disk.queued_output() == 0 && lookups.empty()) return;
      if (disk.queued_output() > 0) sync_output();
      if (disk.queued() > 0) sync();
      answer_lookups();
    }
    FAIL("the world does not come to rest");
  }
  /// Lets time pass, firing every deadline on its way; `durable` false leaves the disk alone.
  void advance(nanoseconds by, bool durable = true) {
    const mono_time end = mono_ + by;
    for (int ticks = 0; core_->next_deadline() && *core_->next_deadline() <= end; ++ticks) {
      REQUIRE(ticks < 100'000);
      move_to(std::max(mono_, *core_->next_deadline()));
      give(tick{});
      if (durable) settle();
    }
    move_to(end);
    give(tick{});
    if (durable) settle();
  }
  void jump_wall(milliseconds by) { wall_ += by; }
  void skip_mono(nanoseconds by) { move_to(mono_ + by); }

  /// kill -9 and start: what was not durable is gone, every connection too.
  void restart(nanoseconds away = 0ns) {
    disk.crash();
    lookups.clear();
    answers.clear();
    inbox.clear();
    closed.clear();
    move_to(mono_ + away);
    start();
  }

  request_id ask() { return request_id{++requests_}; }
  const answer* answer_to(request_id id) const {
    const auto found = answers.find(id);
    return found == answers.end() ? nullptr : &found->second;
  }
  template <class Body>
  const Body* answered(request_id id) const {
    const answer* a = answer_to(id);
    return a == nullptr ? nullptr : std::get_if<Body>(&a->body);
  }

  request_id submit(run_spec spec, std::string key = "", std::uint64_t fingerprint = 1) {
    submit_run in;
    in.request = ask();
    in.what.name = "adhoc";
    in.what.spec = std::move(spec);
    in.idempotency_key = std::move(key);
    in.fingerprint = fingerprint;
    give(in);
    return in.request;
  }
  /// Submits and makes it durable; the run's id.
  run_id run(run_spec spec) {
    const request_id id = submit(std::move(spec));
    settle();
    const auto* a = answered<run_answer>(id);
    REQUIRE(a != nullptr);
    return a->run.id;
  }
  run_id run_job(const std::string& name) {
    submit_run in;
    in.request = ask();
    in.what.job = name;
    give(in);
    settle();
    REQUIRE(answered<run_answer>(in.request) != nullptr);
    return answered<run_answer>(in.request)->run.id;
  }
  request_id apply(job_definition job) {
    apply_jobs in;
    in.request = ask();
    in.jobs.push_back(std::move(job));
    give(in);
    settle();
    return in.request;
  }
  request_id cancel(const run_id& id) {
    const cancel_run in{ask(), id};
    give(in);
    return in.request;
  }
  orchestrator::run stored(const run_id& id) const { return disk.runs.at(id); }
  std::vector<attempt> attempts_of(const run_id& id) const { return disk.find(id).attempts; }
  std::vector<std::string> why(const run_id& id) const {
    std::vector<std::string> codes;
    const auto list = core_->view().why(id, {mono_, wall_});
    if (!list) return {"not in memory"};
    for (const blocking_reason& r : *list) codes.push_back(to_string(r.code));
    return codes;
  }
  std::size_t facts(std::string_view type) const {
    return static_cast<std::size_t>(
        std::count_if(disk.facts.begin(), disk.facts.end(), [&](const fact& f) { return f.type == type; }));
  }
  bool noted(std::string_view text) const {
    return std::any_of(notes.begin(), notes.end(),
                       [&](const note& n) { return n.text.find(text) != std::string::npos; });
  }
  const engine_view& view() const { return core_->view(); }
  std::optional<mono_time> next_deadline() const { return core_->next_deadline(); }
  mono_time mono() const { return mono_; }
  wall_time wall() const { return wall_; }
  session_id new_session() { return session_id{++sessions_}; }

  bool checks_each_step = true;  ///< off for thousands of runs: a check looks at all of them
  fake_disk disk;
  std::deque<lookup> lookups;
  std::map<request_id, answer> answers;
  std::map<session_id, std::vector<protocol::coordinator_message>> inbox;
  std::map<session_id, close_session> closed;
  std::vector<note> notes;
  std::vector<notify> notifications;
  std::vector<session_id> pings;
  std::map<session_id, milliseconds> ping_intervals;
  std::map<std::string, zone_table> zones;

 private:
  void start() {
    core_ = std::make_unique<engine>(settings_);
    give(started{disk.reopen(wall_), seed_});
  }
  void move_to(mono_time at) {
    wall_ += std::chrono::duration_cast<milliseconds>(at.time_since_epoch()) -
             std::chrono::duration_cast<milliseconds>(mono_.time_since_epoch());
    mono_ = at;
  }
  void take(const send& o) {
    CHECK_FALSE(closed.contains(o.session));
    inbox[o.session].push_back(o.message);
  }
  void take(const close_session& o) { closed[o.session] = o; }
  void take(const set_ping_interval& o) { ping_intervals[o.session] = o.interval; }
  void take(const session_registered&) {}
  void take(const ping_session& o) { pings.push_back(o.session); }
  void take(const answer& o) {
    const bool first = answers.emplace(o.request, o).second;
    CHECK(first);
  }
  void take(const notify& o) { notifications.push_back(o); }
  void take(const note& o) {
    CHECK(o.level != note_level::error);
    notes.push_back(o);
  }

  config settings_;
  std::uint64_t seed_;
  std::unique_ptr<engine> core_;
  mono_time mono_{std::chrono::hours{1}};
  wall_time wall_{std::chrono::sys_days{std::chrono::year{2026} / 3 / 2}.time_since_epoch()};
  std::uint64_t requests_ = 0, sessions_ = 0;
};

inline run_spec script_spec(std::string path = "jobs/a.sh") {
  run_spec s;
  s.script = std::move(path);
  return s;
}
inline run_spec command_spec() {
  run_spec s;
  s.command = {"true"};
  return s;
}
inline run_spec noop_spec() {
  run_spec s;
  s.builtin = "noop";
  return s;
}
inline uuid instance_number(std::uint8_t n) { return uuid{{9, 9, n}}; }

/// A worker that speaks the protocol, as far as the script makes it.
class test_worker {
 public:
  explicit test_worker(world& w, std::string name = "w1", std::uint8_t instance = 1) : world_(&w) {
    form.worker_id = std::move(name);
    form.hostname = "host";
    form.platform = "linux";
    form.protocol = 1;
    form.features = {"batch"};
    form.slots = 1;
    form.credit = 0;
    form.instance = instance_number(instance);
    form.boot_id = "boot-1";
    form.process = "process-1";
    form.highest_lease = lease_id{0};
  }

  /// Opens a connection and sends the registration; nothing is made durable.
  void open() {
    session = world_->new_session();
    seq_ = 0;
    form.opened = form.opened.value_or(0) + 1;
    world_->give(session_opened{session, "peer"});
    say(form);
  }
  void connect() {
    open();
    world_->settle();
  }
  void drop(std::uint16_t code = 1006) { world_->give(session_closed{session, code, ""}); }

  std::uint64_t say(decltype(protocol::worker_message::body) body, std::uint32_t crc = 0) {
    return say_all({protocol::worker_message{std::nullopt, std::move(body), crc}});
  }
  std::uint64_t say_all(std::vector<protocol::worker_message> messages) {
    for (auto& m : messages) {
      if (!std::holds_alternative<protocol::worker_ack>(m.body)) m.seq = ++seq_;
    }
    world_->give(session_frame{session, std::move(messages)});
    return seq_;
  }
  std::vector<protocol::coordinator_message>& inbox() { return world_->inbox[session]; }

  template <class Message>
  std::vector<Message> received() {
    std::vector<Message> list;
    for (const auto& m : inbox()) {
      if (const auto* found = std::get_if<Message>(&m.body)) list.push_back(*found);
    }
    return list;
  }
  /// Takes the offers out of the inbox, puts them into its outbox and acknowledges them.
  std::vector<protocol::execute_job> take_offers(bool acknowledge = true) {
    std::vector<protocol::execute_job> offers;
    std::uint64_t last = 0;
    std::erase_if(inbox(), [&](const auto& m) {
      const auto* offer = std::get_if<protocol::execute_job>(&m.body);
      if (offer == nullptr) return false;
      offers.push_back(*offer);
      last = m.seq.value();
      form.highest_lease = std::max(*form.highest_lease, *offer->lease);
      return true;
    });
    if (acknowledge && last != 0) say(protocol::worker_ack{last, true});
    return offers;
  }
  protocol::execute_job take_offer(bool acknowledge = true) {
    auto offers = take_offers(acknowledge);
    REQUIRE(offers.size() == 1);
    return offers.front();
  }
  void start(const protocol::execute_job& offer, std::optional<std::uint64_t> n = std::nullopt) {
    protocol::event e;
    e.name = "job_started";
    e.job_id = offer.job_id;
    e.lease = offer.lease;
    e.n = n;
    e.text = "{}";
    say(e);
  }
  protocol::job_result result_for(const protocol::execute_job& offer, protocol::result_status status,
                                  int exit_code = 0) {
    protocol::job_result r;
    r.job_id = offer.job_id;
    r.worker_id = form.worker_id;
    r.status = status;
    r.lease = offer.lease;
    r.duration_seconds = 2;
    if (status == protocol::result_status::success || status == protocol::result_status::failure) {
      r.exit_code = exit_code;
    }
    return r;
  }
  std::uint64_t finish(const protocol::execute_job& offer,
                       protocol::result_status status = protocol::result_status::success,
                       std::uint32_t crc = 0xabc) {
    return say(result_for(offer, status, status == protocol::result_status::failure ? 3 : 0), crc);
  }
  void output(const protocol::execute_job& offer, std::uint64_t offset, std::string data,
              std::optional<std::uint64_t> gap_from = std::nullopt) {
    protocol::job_output o;
    o.worker_id = form.worker_id;
    o.job_id = offer.job_id;
    o.lease = *offer.lease;
    o.stream = "stdout";
    o.offset = offset;
    o.data = std::move(data);
    o.gap_from = gap_from;
    say(o);
  }
  void beat(std::string status = "idle") {
    protocol::heartbeat h;
    h.worker_id = form.worker_id;
    h.status = std::move(status);
    say(h);
  }
  /// How far the cumulative acks of this connection reach.
  std::uint64_t acked() {
    std::uint64_t reach = 0;
    for (const auto& a : received<protocol::ack>()) {
      if (a.cumulative) reach = std::max(reach, a.seq.value());
    }
    return reach;
  }
  /// What the ack of message `seq` said; nothing if it was not acknowledged.
  std::optional<disposition> verdict(std::uint64_t seq) {
    for (const auto& a : received<protocol::ack>()) {
      if (a.cumulative && a.dispositions.contains(seq)) return a.dispositions.at(seq);
      if (!a.cumulative && a.seq == seq && a.disposition) return a.disposition;
    }
    return acked() >= seq ? std::optional(disposition::accepted) : std::nullopt;
  }
  protocol::registration registration() {
    const auto list = received<protocol::registration>();
    REQUIRE(list.size() == 1);
    return list.front();
  }
  bool closed(std::uint16_t code) const {
    const auto found = world_->closed.find(session);
    return found != world_->closed.end() && found->second.code == code;
  }
  static protocol::lease_ref ref(const protocol::execute_job& offer) { return {offer.job_id, *offer.lease}; }

  protocol::worker_register form;
  session_id session{};

 private:
  world* world_;
  std::uint64_t seq_ = 0;
};

/// A worker of the original protocol: no seq, no lists, one job at a time.
class legacy_worker {
 public:
  explicit legacy_worker(world& w, std::string name = "old1") : world_(&w) {
    form.worker_id = std::move(name);
    form.python_version = "3.11";
  }
  void connect(bool with_registration = true) {
    session = world_->new_session();
    world_->give(session_opened{session, "peer"});
    if (with_registration) say(form);
    world_->settle();
  }
  void drop() { world_->give(session_closed{session, 1006, ""}); }
  void say(decltype(protocol::worker_message::body) body, std::uint32_t crc = 0) {
    world_->give(session_frame{session, {protocol::worker_message{std::nullopt, std::move(body), crc}}});
  }
  void beat() {
    protocol::heartbeat h;
    h.worker_id = form.worker_id;
    h.status = "busy";
    say(h);
  }
  std::size_t acks() const {
    std::size_t count = 0;
    for (const auto& m : world_->inbox[session]) {
      const auto* a = std::get_if<protocol::ack>(&m.body);
      count += a != nullptr && !a->registered ? 1 : 0;
    }
    return count;
  }
  std::optional<protocol::execute_job> offer() const {
    std::optional<protocol::execute_job> last;
    for (const auto& m : world_->inbox[session]) {
      if (const auto* found = std::get_if<protocol::execute_job>(&m.body)) last = *found;
    }
    return last;
  }
  void finish(const protocol::execute_job& what,
              protocol::result_status status = protocol::result_status::success, std::string log = "") {
    protocol::job_result r;
    r.job_id = what.job_id;
    r.worker_id = form.worker_id;
    r.status = status;
    r.log_output = std::move(log);
    r.duration_seconds = 1;
    say(r, 0x77);
  }
  protocol::worker_register form;
  session_id session{};

 private:
  world* world_;
};

}  // namespace orchestrator::engine::script
