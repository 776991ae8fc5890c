// The store in memory; see memory_store.hpp. It follows the rules of the SQLite store closely enough that one
// set of tests runs over both, and stops at the same bugs: a final run that changes, two live attempts of a
// run, an instant decided twice. Everything is ordered, so that a simulation replays.
#include <orchestrator/base/planted.hpp>
#include <orchestrator/store/memory_store.hpp>

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>

#include "id_match.hpp"
#include "output_window.hpp"
#include "retention_rules.hpp"
#include "spec_tags.hpp"

namespace orchestrator::store {
namespace {

struct idempotency_row {
  std::uint64_t fingerprint = 0;
  run_id run;
  std::optional<wall_time> ended;  // set when the run is purged
};

struct stream_row {
  std::uint64_t end = 0;
  std::uint64_t bytes = 0;
  std::map<std::uint64_t, std::string> pieces;
};

/// What is on the simulated disk.
struct tables {
  uuid cluster;
  std::uint64_t term = 0;
  std::uint64_t last_number = 0, lease_counter = 0, spec_counter = 0, fact_sequence = 0;
  std::map<lease_id, lease_id> lease_holes;
  std::optional<wall_time> retained_at;
  std::map<spec_id, std::string> specs;
  std::map<spec_id, wall_time> spent_specs;
  std::map<run_id, run> runs;
  std::map<lease_id, attempt> attempts;
  std::map<run_id, std::set<lease_id>> leases_of;
  std::map<std::string, job> jobs;
  std::map<std::pair<std::string, std::uint32_t>, std::string> job_versions;
  std::map<std::pair<std::string, wall_time>, stored_instant> instants;
  std::map<std::string, idempotency_row> keys;
  std::map<std::string, stored_calendar> calendars;
  std::map<std::pair<std::string, uuid>, worker> workers;
  std::map<std::string, queue> queues;
  std::map<std::string, wall_time> buckets;
  std::deque<stored_fact> facts;
  std::map<std::pair<lease_id, std::string>, stream_row> streams;
  std::vector<put_idempotency> late_keys;  ///< only with a planted defect
};

recent_instants rows_after(const tables& t, wall_time after) {
  recent_instants found;
  for (const auto& [key, row] : t.instants) {
    const auto j = t.jobs.find(key.first);
    const bool ahead = j != t.jobs.end() && j->second.cursor && row.instant > *j->second.cursor;
    if (ahead || row.until > after) found[key.first].push_back(row);
  }
  return found;
}

class applier {
 public:
  explicit applier(tables& t) : t_(t) {}

  void apply(const mutation_batch& batch) {
    number_ = batch.number;
    for (const put_idempotency& late : std::exchange(t_.late_keys, {})) put_key(late);
    for (const mutation& m : batch.mutations) std::visit([this](const auto& value) { put(value); }, m);
    for (const run_id& id : touched_runs_) check_live(id);
    t_.last_number = batch.number;
  }

  /// Only with a planted defect: the first of two transactions that should have been one.
  void apply_half(const mutation_batch& batch) {
    const std::size_t half = (batch.mutations.size() + 1) / 2;
    for (std::size_t i = 0; i < half; ++i)
      std::visit([this](const auto& value) { put(value); }, batch.mutations[i]);
  }

 private:
  void put(const put_spec& m) {
    t_.specs[m.id] = m.text;
    t_.spec_counter = std::max(t_.spec_counter, m.id.value);
  }
  void put(const put_job& m) {
    job j = m.job;
    j.definition = {};
    t_.jobs[j.name] = j;
    t_.job_versions[{j.name, j.version}] = m.text;
  }
  void put(const delete_job& m) { t_.jobs.erase(m.name); }
  void put(const put_cursor& m) {
    const auto found = t_.jobs.find(m.job);
    if (found != t_.jobs.end()) found->second.cursor = m.cursor;
  }
  void put(const put_run& m) {
    const auto [entry, fresh] = t_.runs.try_emplace(m.run.id, m.run);
    if (fresh) return;
    run& old = entry->second;
    ORC_CHECK(!is_final(old.state) || old.state == m.run.state,
              "a run that is final was given another state");
    ORC_CHECK(old.job == m.run.job && old.job_version == m.run.job_version && old.spec == m.run.spec &&
                  old.args == m.run.args && old.has_args == m.run.has_args && old.instant == m.run.instant &&
                  old.submitted_at == m.run.submitted_at && old.retry_of == m.run.retry_of,
              "what a run is made with never changes");
    old = m.run;
  }
  void put(const put_attempt& m) {
    // Purged with its run while a late message about it was on its way.
    if (!t_.runs.contains(m.attempt.run) && m.attempt.lease.value <= t_.lease_counter) return;
    t_.attempts[m.attempt.lease] = m.attempt;
    t_.leases_of[m.attempt.run].insert(m.attempt.lease);
    t_.lease_counter = std::max(t_.lease_counter, m.attempt.lease.value);
    touched_runs_.insert(m.attempt.run);
  }
  void put(const put_worker& m) { t_.workers[{m.worker.worker_id, m.worker.instance}] = m.worker; }
  void put(const forget_worker& m) { t_.workers.erase({m.worker_id, m.instance}); }
  void put(const put_instant& m) {
    const stored_instant row{m.instant, m.outcome, m.run, m.rule, m.count, m.until.value_or(m.instant)};
    const auto [entry, fresh] = t_.instants.try_emplace({m.job, m.instant}, row);
    stored_instant& old = entry->second;
    ORC_CHECK(fresh || (old.outcome == m.outcome && old.run == m.run && old.rule == m.rule),
              "an instant of a job was decided twice");
    if (!m.run) old = row;
  }
  void put(const withdraw_instants& m) {
    std::erase_if(t_.instants, [&](const auto& row) {
      return row.first.first == m.job && row.first.second > m.after && !row.second.run;
    });
  }
  void put(const backfill_instant& m) {
    if (m.shared) {
      const auto row = t_.instants.find({m.job, *m.shared});
      if (row != t_.instants.end() && !row->second.run) t_.instants.erase(row);
    }
    for (const stored_instant& row : m.parts)
      put(put_instant{m.job, row.instant, row.outcome, std::nullopt, row.rule, row.count, row.until});
    put(put_instant{m.job, m.instant, instant_outcome::late, m.run, "backfill", 1, std::nullopt});
  }
  void put(const put_calendar& m) { t_.calendars[m.name] = {m.name, m.text, m.updated_at}; }
  void put(const delete_calendar& m) { t_.calendars.erase(m.name); }
  void put(const put_idempotency& m) {
    if (planted(defect::key_in_other_transaction))
      t_.late_keys.push_back(m);
    else
      put_key(m);
  }
  void put_key(const put_idempotency& m) {
    const bool fresh = t_.keys.try_emplace(m.key, idempotency_row{m.fingerprint, m.run, std::nullopt}).second;
    ORC_CHECK(fresh, "an idempotency key was stored twice");
  }
  void put(const put_fact& m) { t_.facts.push_back({++t_.fact_sequence, number_, m.fact}); }
  void put(const raise_term& m) { t_.term = m.term; }
  void put(const put_lease_hole& m) {
    t_.lease_counter = std::max(t_.lease_counter, m.last.value);
    t_.lease_holes[m.first] = m.last;
  }

  void put(const put_queue& m) { t_.queues[m.queue.name] = m.queue; }
  void put(const delete_queue& m) { t_.queues.erase(m.name); }
  void put(const put_bucket& m) { t_.buckets[m.name] = m.full_at; }

  void check_live(const run_id& id) const {
    int live = 0;
    for (const lease_id lease : t_.leases_of[id]) live += is_live(t_.attempts.at(lease).state) ? 1 : 0;
    ORC_CHECK(live <= 1, "a run has two live attempts");
  }

  tables& t_;
  std::uint64_t number_ = 0;
  std::set<run_id> touched_runs_;
};

void append(stream_row& stream, const output_chunk& chunk) {
  const auto fresh = beyond(stream.end, chunk.offset, chunk.data);
  if (!fresh) return;
  for (std::size_t at = 0; at < fresh->data.size(); at += output_piece)
    stream.pieces.emplace(fresh->offset + at, fresh->data.substr(at, output_piece));
  stream.bytes += fresh->data.size();
  stream.end = fresh->offset + fresh->data.size();
  while (stream.bytes > chunk.limit) {
    const auto oldest = stream.pieces.lower_bound(head_end(chunk.limit));
    if (oldest == stream.pieces.end() || !may_drop(stream.bytes, oldest->second.size(), chunk.limit)) return;
    stream.bytes -= oldest->second.size();
    stream.pieces.erase(oldest);
  }
}

/// The whole retention at once; the rules are those of retention.cpp.
class purge {
 public:
  purge(tables& t, const retention_request& request) : t_(t), request_(request) {}

  void run_all() {
    purge_runs();
    purge_keys();
    const wall_time instants_before = request_.now - std::max(request_.age, instant_kept);
    std::erase_if(t_.instants, [&](const auto& row) { return row.second.until < instants_before; });
    while (!t_.facts.empty() && t_.facts.front().fact.at < request_.now - request_.age) t_.facts.pop_front();
    purge_specs();
    std::erase_if(t_.buckets, [&](const auto& row) { return row.second < request_.now; });
  }

 private:
  void purge_runs() {
    const std::uint64_t total = t_.runs.size();
    const std::uint64_t excess = total > request_.count ? total - request_.count : 0;
    std::uint64_t position = 0;
    for (auto at = t_.runs.begin(); at != t_.runs.end();) {
      const bool beyond_count = position++ < excess;
      if (may_purge(at->second, beyond_count)) {
        purge_run(at->second);
        at = t_.runs.erase(at);
      } else {
        ++at;
      }
    }
  }

  bool may_purge(const run& r, bool beyond_count) const {
    if (!is_final(r.state)) return false;
    const wall_time ended = r.finished_at.value_or(r.submitted_at);
    if (!is_old_enough(request_, ended, beyond_count)) return false;
    const auto leases = t_.leases_of.find(r.id);
    if (leases == t_.leases_of.end()) return true;
    return std::none_of(leases->second.begin(), leases->second.end(), [&](lease_id lease) {
      const attempt& a = t_.attempts.at(lease);
      return spares_its_run(request_, a.state, a.finished_at.value_or(ended), !a.superseded_status.empty());
    });
  }

  void purge_run(const run& r) {
    for (const lease_id lease : t_.leases_of[r.id]) {
      t_.attempts.erase(lease);
      std::erase_if(t_.streams, [&](const auto& row) { return row.first.first == lease; });
    }
    t_.leases_of.erase(r.id);
    for (auto& [key, row] : t_.keys)
      if (row.run == r.id) row.ended = r.finished_at.value_or(r.submitted_at);
    const auto present = t_.jobs.find(r.job);
    const bool current =
        r.job_version > 0 && present != t_.jobs.end() && present->second.version == r.job_version;
    if (!current) t_.spent_specs.try_emplace(r.spec, request_.now);
  }

  void purge_keys() {
    const wall_time bound = request_.now - key_kept;
    std::erase_if(t_.keys, [&](const auto& entry) {
      const idempotency_row& row = entry.second;
      const auto found = t_.runs.find(row.run);
      if (found == t_.runs.end()) return row.ended.value_or(wall_time{}) < bound;
      return is_final(found->second.state) &&
             found->second.finished_at.value_or(found->second.submitted_at) < bound;
    });
  }

  void purge_specs() {
    for (auto at = t_.spent_specs.begin(); at != t_.spent_specs.end();) {
      if (at->second >= request_.now - spent_spec_kept) {
        ++at;
        continue;
      }
      const bool used = std::any_of(t_.runs.begin(), t_.runs.end(),
                                    [&](const auto& row) { return row.second.spec == at->first; });
      if (!used) t_.specs.erase(at->first);
      at = t_.spent_specs.erase(at);
    }
  }

  tables& t_;
  const retention_request& request_;
};

class memory_reader final : public reader {
 public:
  explicit memory_reader(const tables& t) : t_(t) {}

  std::uint64_t revision() override { return t_.last_number; }

  std::vector<run_with_attempts> list_runs(const run_filter& filter) override {
    std::vector<run_with_attempts> result;
    auto at = filter.before ? t_.runs.lower_bound(*filter.before) : t_.runs.end();
    while (at != t_.runs.begin() && result.size() < filter.limit) {
      --at;
      if (filter.since && at->first < first_id_at(*filter.since)) break;
      if (matches(filter, at->second)) result.push_back(whole(at->second));
    }
    return result;
  }

  std::optional<run_with_attempts> find_run(const run_id& id) override {
    const auto found = t_.runs.find(id);
    if (found == t_.runs.end()) return std::nullopt;
    return whole(found->second);
  }

  std::vector<run_id> match_run_ids(std::string_view text, std::size_t limit) override {
    std::vector<run_id> result;
    const auto digits = hex_digits(text);
    if (!digits) return result;
    const auto [low, high] = ids_starting_with(*digits);
    for (auto at = t_.runs.rbegin(); at != t_.runs.rend() && result.size() < limit; ++at)
      if (low <= at->first && at->first <= high) result.push_back(at->first);
    if (digits->size() >= id_end_min) {
      const id_end end(*digits);
      for (auto at = t_.runs.rbegin(); at != t_.runs.rend() && result.size() < limit; ++at)
        if (end.matches(at->first) && !(low <= at->first && at->first <= high)) result.push_back(at->first);
    }
    std::sort(result.begin(), result.end(), std::greater<>{});
    return result;
  }

  std::set<run_id> retried(const std::vector<run_id>& runs) override {
    const std::set<run_id> wanted(runs.begin(), runs.end());
    std::set<run_id> found;
    for (const auto& [id, r] : t_.runs)
      if (r.retry_of && wanted.contains(*r.retry_of)) found.insert(*r.retry_of);
    return found;
  }

  std::optional<run_id> last_run() override {
    if (t_.runs.empty()) return std::nullopt;
    return t_.runs.rbegin()->first;
  }

  std::optional<run_id> last_run_of(const std::string& job) override {
    for (auto at = t_.runs.rbegin(); at != t_.runs.rend(); ++at)
      if (at->second.job == job) return at->first;
    return std::nullopt;
  }

  run_counts count_runs() override {
    run_counts counts;
    for (const auto& [id, r] : t_.runs) ++counts.by_state[static_cast<std::size_t>(r.state)];
    return counts;
  }

  std::vector<stored_job> list_jobs() override {
    std::vector<stored_job> result;
    result.reserve(t_.jobs.size());
    for (const auto& [name, j] : t_.jobs) result.push_back({j, t_.job_versions.at({name, j.version})});
    return result;
  }

  std::optional<stored_job> find_job(const std::string& name) override {
    const auto found = t_.jobs.find(name);
    if (found == t_.jobs.end()) return std::nullopt;
    return stored_job{found->second, t_.job_versions.at({name, found->second.version})};
  }

  std::vector<worker> list_workers() override {
    std::vector<worker> result;
    result.reserve(t_.workers.size());
    for (const auto& [key, w] : t_.workers) result.push_back(w);
    return result;
  }

  std::vector<stored_instant> list_instants(const std::string& job, std::optional<wall_time> before,
                                            std::size_t limit) override {
    std::vector<stored_instant> result;
    auto at = t_.instants.lower_bound({job, before.value_or(wall_time::max())});
    while (at != t_.instants.begin() && result.size() < limit) {
      --at;
      if (at->first.first != job) break;
      result.push_back(at->second);
    }
    return result;
  }

  recent_instants instants_after(wall_time after) override { return rows_after(t_, after); }

  std::vector<stored_calendar> list_calendars() override {
    std::vector<stored_calendar> found;
    found.reserve(t_.calendars.size());
    for (const auto& [name, row] : t_.calendars) found.push_back(row);
    return found;
  }

  std::vector<stored_fact> list_facts(std::uint64_t after, std::size_t limit) override {
    auto at = std::upper_bound(t_.facts.begin(), t_.facts.end(), after,
                               [](std::uint64_t bound, const stored_fact& f) { return bound < f.sequence; });
    std::vector<stored_fact> result;
    for (; at != t_.facts.end() && result.size() < limit; ++at) result.push_back(*at);
    return result;
  }

  std::vector<stored_fact> last_facts(std::size_t limit) override {
    const std::size_t count = std::min(limit, t_.facts.size());
    return {t_.facts.end() - static_cast<std::ptrdiff_t>(count), t_.facts.end()};
  }

  output_page read_output(lease_id lease, const std::string& stream, std::uint64_t offset,
                          std::size_t limit) override {
    output_page page;
    page.offset = offset;
    const auto found = t_.streams.find({lease, stream});
    if (found == t_.streams.end()) return page;
    page.end = found->second.end;
    if (offset >= page.end) return page;
    const auto& pieces = found->second.pieces;
    auto at = pieces.upper_bound(offset);
    if (at != pieces.begin() && std::prev(at)->first + std::prev(at)->second.size() > offset) --at;
    page.offset = at == pieces.end() ? page.end : std::max(at->first, offset);
    for (; at != pieces.end() && page.data.size() < limit; ++at) {
      const std::uint64_t next = page.offset + page.data.size();
      if (at->first > next) break;  // a gap: the next page begins behind it
      page.data.append(at->second, next - at->first, limit - page.data.size());
    }
    if (page.offset > offset) page.gaps.push_back({offset, page.offset});
    return page;
  }

  fetched_rows fetch_run(const run_id& id) override {
    fetched_rows rows;
    if (auto found = find_run(id)) {
      rows.run = std::move(found->run);
      rows.attempts = std::move(found->attempts);
      rows.spec_text = std::move(found->spec_text);
    }
    return rows;
  }

  fetched_rows fetch_lease(lease_id lease) override {
    const auto found = t_.attempts.find(lease);
    return found == t_.attempts.end() ? fetched_rows{} : fetch_run(found->second.run);
  }

  fetched_rows fetch_key(const std::string& idempotency_key) override {
    const auto found = t_.keys.find(idempotency_key);
    if (found == t_.keys.end()) return {};
    fetched_rows rows = fetch_run(found->second.run);
    rows.key_found = true;
    rows.key_fingerprint = found->second.fingerprint;
    rows.key_run = found->second.run;
    return rows;
  }

 private:
  bool matches(const run_filter& filter, const run& r) const {
    const auto& states = filter.states;
    if (!states.empty() && std::find(states.begin(), states.end(), r.state) == states.end()) return false;
    if (!filter.job.empty() && r.job != filter.job) return false;
    if (!filter.worker_id.empty() && !was_on(filter.worker_id, r.id)) return false;
    return filter.tag_key.empty() || spec_has_tag(spec_of(r), filter.tag_key, filter.tag_value);
  }

  bool was_on(const std::string& worker_id, const run_id& id) const {
    const auto leases = t_.leases_of.find(id);
    return leases != t_.leases_of.end() &&
           std::any_of(leases->second.begin(), leases->second.end(),
                       [&](lease_id lease) { return t_.attempts.at(lease).worker_id == worker_id; });
  }

  std::string spec_of(const run& r) const {
    const auto found = t_.specs.find(r.spec);
    return found == t_.specs.end() ? std::string{} : found->second;
  }

  run_with_attempts whole(const run& r) const {
    run_with_attempts result{r, {}, spec_of(r)};
    const auto leases = t_.leases_of.find(r.id);
    if (leases != t_.leases_of.end())
      for (const lease_id lease : leases->second) result.attempts.push_back(t_.attempts.at(lease));
    return result;
  }

  const tables& t_;
};

snapshot make_snapshot(const tables& t, wall_time now) {
  snapshot s;
  s.cluster = t.cluster;
  s.term = t.term;
  s.last_number = t.last_number;
  s.lease_counter = lease_id{t.lease_counter};
  s.lease_holes = t.lease_holes;
  s.retained_at = t.retained_at;
  if (!s.retained_at && !t.facts.empty()) s.retained_at = t.facts.back().fact.at;
  s.spec_counter = spec_id{t.spec_counter};
  std::set<spec_id> specs;
  std::set<run_id> unfinished;
  for (const auto& [id, r] : t.runs) {
    if (is_final(r.state)) continue;
    s.runs.push_back(r);
    specs.insert(r.spec);
    unfinished.insert(id);
    if (r.state != run_state::queued) continue;
    for (const dependency& d : r.after) {
      const auto found = t.runs.find(d.run);
      if (found != t.runs.end() && is_final(found->second.state))
        s.ended_dependencies.emplace(d.run, found->second.state);
    }
  }
  for (const spec_id id : specs)
    if (const auto found = t.specs.find(id); found != t.specs.end()) s.specs.push_back({id, found->second});
  for (const auto& [lease, a] : t.attempts) {
    if (unfinished.contains(a.run) || is_unsettled(a)) s.attempts.push_back(a);
    if (!is_unsettled(a)) continue;
    for (auto at = t.streams.lower_bound({lease, ""}); at != t.streams.end() && at->first.first == lease;
         ++at)
      s.outputs.push_back({lease, at->first.second, at->second.end});
  }
  for (const auto& [name, j] : t.jobs) s.jobs.push_back({j, t.job_versions.at({name, j.version})});
  for (const auto& [key, w] : t.workers) s.workers.push_back(w);
  for (const auto& [name, q] : t.queues) s.queues.push_back(q);
  for (const auto& [name, full_at] : t.buckets)
    if (full_at > now) s.buckets.emplace(name, full_at);
  for (const auto& [key, row] : t.keys) s.idempotency_hashes.push_back(hash64(key));
  s.instants = rows_after(t, now - instant_kept);
  for (const auto& [name, j] : t.jobs) {
    const auto later = t.instants.upper_bound({name, wall_time::max()});
    const bool has_rows = later != t.instants.begin() && std::prev(later)->first.first == name;
    if (has_rows && !s.instants.contains(name)) s.instants[name].push_back(std::prev(later)->second);
  }
  for (const auto& [name, row] : t.calendars) s.calendars.push_back(row);
  return s;
}

std::size_t bytes_of(const mutation_batch& batch) { return 64 + 256 * batch.mutations.size(); }
std::size_t bytes_of(const output_batch& batch) {
  std::size_t total = 64;
  for (const output_chunk& chunk : batch.chunks) total += chunk.data.size();
  return total;
}

}  // namespace

struct memory_store::state {
  store_events events;
  tables disk;
  std::unique_ptr<tables> saved;
  std::deque<mutation_batch> queue;
  std::deque<output_batch> output_queue;
  std::uint64_t last_queued = 0;
  std::optional<std::uint64_t> last_output_queued;
};

memory_store::memory_store(store_events events) : state_(std::make_unique<state>()) {
  state_->events = std::move(events);
  state_->disk.cluster = make_uuid_v4(0x6d656d6f72790000, 1);  // one disk, always the same: runs replay
}

memory_store::~memory_store() = default;

void memory_store::commit(mutation_batch batch) {
  ORC_CHECK(batch.number == state_->last_queued + 1, "batches are numbered without gaps");
  state_->last_queued = batch.number;
  state_->queue.push_back(std::move(batch));
}

void memory_store::commit_output(output_batch batch) {
  const auto& last = state_->last_output_queued;
  ORC_CHECK(!last || batch.number == *last + 1, "output batches are numbered without gaps");
  state_->last_output_queued = batch.number;
  state_->output_queue.push_back(std::move(batch));
}

void memory_store::read(std::function<void(reader&)> query) {
  memory_reader view(state_->disk);
  query(view);
}

std::size_t memory_store::queued_bytes() const {
  std::size_t total = 0;
  for (const mutation_batch& batch : state_->queue) total += bytes_of(batch);
  for (const output_batch& batch : state_->output_queue) total += bytes_of(batch);
  return total;
}

void memory_store::retain(wall_time now, milliseconds age, std::uint64_t count) {
  std::optional<wall_time>& last = state_->disk.retained_at;
  last = std::max(last.value_or(now), now);
  purge(state_->disk, {now, age, count}).run_all();
}

std::size_t memory_store::sync(std::size_t batches) {
  std::size_t taken = 0;
  for (; taken < batches && !state_->queue.empty(); ++taken) {
    applier(state_->disk).apply(state_->queue.front());
    state_->queue.pop_front();
  }
  if (taken > 0 && state_->events.persisted) state_->events.persisted(state_->disk.last_number);
  return taken;
}

std::size_t memory_store::sync_output(std::size_t batches) {
  std::size_t taken = 0;
  std::uint64_t last = 0;
  for (; taken < batches && !state_->output_queue.empty(); ++taken) {
    const output_batch& batch = state_->output_queue.front();
    for (const output_chunk& chunk : batch.chunks)
      append(state_->disk.streams[{chunk.lease, chunk.stream}], chunk);
    last = batch.number;
    state_->output_queue.pop_front();
  }
  if (taken > 0 && state_->events.output_persisted) state_->events.output_persisted(last);
  return taken;
}

void memory_store::crash() {
  if (planted(defect::batch_split_in_input) && !state_->queue.empty())
    applier(state_->disk).apply_half(state_->queue.front());
  state_->queue.clear();
  state_->output_queue.clear();
  state_->last_queued = state_->disk.last_number;
  state_->last_output_queued.reset();
}

void memory_store::save() { state_->saved = std::make_unique<tables>(state_->disk); }

void memory_store::roll_back() {
  ORC_CHECK(state_->saved != nullptr, "there is nothing to go back to");
  state_->disk = *state_->saved;
  crash();
}

snapshot memory_store::reopen(wall_time now) {
  crash();
  ++state_->disk.term;
  return make_snapshot(state_->disk, now);
}

void memory_store::close() {
  sync();
  sync_output();
}

}  // namespace orchestrator::store
