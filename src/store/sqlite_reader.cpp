// The store's queries; see sqlite_reader.hpp. Lists go newest first by id and continue from a key, never from
// an offset, so that a page costs the same wherever it is.
#include "sqlite_reader.hpp"

#include <algorithm>
#include <map>
#include <set>

#include <orchestrator/base/text.hpp>

#include "access_rows.hpp"
#include "fact_pages.hpp"
#include "id_match.hpp"
#include "retention_rules.hpp"
#include "rows.hpp"
#include "spec_tags.hpp"

namespace orchestrator::store {
namespace {

// Up to here the runs of some states are few enough to look at them one by one for their job. Also bounds
// what a scan remembers about specifications.
constexpr std::uint64_t few_runs = 20'000;

std::string select(const char* columns, const char* rest) { return std::string{"SELECT "} + columns + rest; }

run_id largest_id() {
  run_id id;
  id.bytes.fill(0xff);
  return id;
}

}  // namespace

sqlite_reader::sqlite_reader(connection main, connection output)
    : main_(std::move(main)), output_(std::move(output)) {}

void sqlite_reader::begin() {
  main_.prepared("BEGIN").run();
  output_.prepared("BEGIN").run();
}

void sqlite_reader::end() {
  main_.prepared("COMMIT").run();
  output_.prepared("COMMIT").run();
}

std::uint64_t sqlite_reader::revision() {
  statement& query = main_.prepared("SELECT last_number FROM progress").with();
  const std::uint64_t number = query.next() ? query.number(0) : 0;
  query.reset();
  return number;
}

std::vector<run_with_attempts> sqlite_reader::list_runs(const run_filter& filter) {
  std::vector<run> runs;
  if (!filter.worker_id.empty()) {
    runs = runs_of_worker(filter);
  } else if (state_index_serves(filter)) {
    for (const run_state state : std::set<run_state>(filter.states.begin(), filter.states.end()))
      select_runs(filter, "INDEXED BY runs_unsuccessful", "AND runs.state=?3 AND runs.state<>4", state, runs);
    std::sort(runs.begin(), runs.end(), [](const run& a, const run& b) { return a.id > b.id; });
  } else if (!filter.job.empty()) {
    select_runs(filter, "INDEXED BY runs_job", "AND runs.job=?4", std::nullopt, runs);
  } else {
    select_runs(filter, "", "", std::nullopt, runs);
  }
  if (runs.size() > filter.limit) runs.resize(filter.limit);
  std::vector<run_with_attempts> result;
  std::map<spec_id, std::string> specs;  // the runs of a page mostly share a few
  for (run& r : runs) {
    const auto [spec, fresh] = specs.try_emplace(r.spec);
    if (fresh) spec->second = load_spec(main_, r.spec);
    auto attempts = load_attempts(main_, r.id);
    result.push_back({std::move(r), std::move(attempts), spec->second});
  }
  return result;
}

// All states but `succeeded` have an index. With a job besides it is the better one if these runs are few.
bool sqlite_reader::state_index_serves(const run_filter& filter) {
  if (filter.states.empty()) return false;
  const run_counts counts = count_runs();
  std::uint64_t total = 0;
  for (const run_state state : filter.states) {
    if (state == run_state::succeeded) return false;
    total += counts.by_state[static_cast<std::size_t>(state)];
  }
  return filter.job.empty() || total <= few_runs;
}

// Looks at the row before it is decoded: most rows of a long scan do not match.
bool sqlite_reader::matches(const run_filter& filter, const statement& row, tag_verdicts& verdicts) {
  const auto state = static_cast<run_state>(row.integer(1));
  const auto& states = filter.states;
  if (!states.empty() && std::find(states.begin(), states.end(), state) == states.end()) return false;
  if (!filter.job.empty() && row.bytes(2) != filter.job) return false;
  if (filter.tag_key.empty()) return true;
  const spec_id spec{row.number(4)};
  if (const auto known = verdicts.find(spec); known != verdicts.end()) return known->second;
  if (verdicts.size() >= few_runs) verdicts.clear();
  return verdicts[spec] = spec_has_tag(load_spec(main_, spec), filter.tag_key, filter.tag_value);
}

void sqlite_reader::select_runs(const run_filter& filter, const char* index, const char* condition,
                                std::optional<run_state> state, std::vector<run>& out) {
  const std::string sql = std::string{"SELECT "} + run_columns + " FROM runs " + index +
                          " WHERE runs.id<?1 AND runs.id>=?2 " + condition + " ORDER BY runs.id DESC";
  statement& query = main_.prepared(sql);
  query.reset();
  const run_id before = filter.before.value_or(largest_id());
  const run_id since = filter.since ? first_id_at(*filter.since) : run_id{};
  query.bind(1, before);
  query.bind(2, since);
  if (state)
    query.bind(3, static_cast<int>(*state));
  else if (*condition != '\0')
    query.bind(4, filter.job);
  tag_verdicts verdicts;
  std::size_t found = 0;
  for (std::size_t seen = 0; found < filter.limit && seen < scan_limit && query.next(); ++seen) {
    if (!matches(filter, query, verdicts)) continue;
    out.push_back(read_run(query));
    ++found;
  }
  query.reset();
}

std::vector<run> sqlite_reader::runs_of_worker(const run_filter& filter) {
  static const std::string sql = select(run_columns, " FROM runs WHERE id=?1");
  const run_id before = filter.before.value_or(largest_id());
  const run_id since = filter.since ? first_id_at(*filter.since) : run_id{};
  statement& placed = main_
                          .prepared(
                              "SELECT DISTINCT run FROM attempts INDEXED BY attempts_worker "
                              "WHERE worker_id=?1 AND run<?2 AND run>=?3 ORDER BY run DESC")
                          .with(filter.worker_id, before, since);
  tag_verdicts verdicts;
  std::vector<run> result;
  for (std::size_t seen = 0; result.size() < filter.limit && seen < scan_limit && placed.next(); ++seen) {
    const run_id id = placed.id(0);
    statement& query = main_.prepared(sql).with(id);
    if (!query.next()) continue;
    if (matches(filter, query, verdicts)) result.push_back(read_run(query));
    query.reset();
  }
  placed.reset();
  return result;
}

std::optional<run_with_attempts> sqlite_reader::find_run(const run_id& id) {
  static const std::string sql = select(run_columns, " FROM runs WHERE id=?1");
  statement& query = main_.prepared(sql).with(id);
  if (!query.next()) return std::nullopt;
  run_with_attempts found;
  found.run = read_run(query);
  query.reset();
  found.attempts = load_attempts(main_, id);
  found.spec_text = load_spec(main_, found.run.spec);
  return found;
}

std::vector<run_id> sqlite_reader::match_run_ids(std::string_view text, std::size_t limit) {
  std::vector<run_id> result;
  const auto digits = hex_digits(text);
  if (!digits) return result;
  const auto [low, high] = ids_starting_with(*digits);
  statement& query = main_.prepared("SELECT id FROM runs WHERE id>=?1 AND id<=?2 ORDER BY id DESC LIMIT ?3")
                         .with(low, high, static_cast<std::uint64_t>(limit));
  while (query.next()) result.push_back(query.id(0));
  if (digits->size() >= id_end_min && result.size() < limit) match_ends(*digits, limit, result);
  std::sort(result.begin(), result.end(), std::greater<>{});
  return result;
}

void sqlite_reader::match_ends(const std::string& digits, std::size_t limit, std::vector<run_id>& out) {
  const id_end end(digits);
  const std::set<run_id> known(out.begin(), out.end());
  statement& query = main_.prepared("SELECT id FROM runs ORDER BY id DESC LIMIT ?1")
                         .with(static_cast<std::uint64_t>(scan_limit));
  while (out.size() < limit && query.next()) {
    const run_id id = query.id(0);
    if (end.matches(id) && !known.contains(id)) out.push_back(id);
  }
  query.reset();
}

std::set<run_id> sqlite_reader::retried(const std::vector<run_id>& runs) {
  std::set<run_id> found;
  for (const run_id& id : runs) {
    statement& query =
        main_.prepared("SELECT 1 FROM runs INDEXED BY runs_retry WHERE retry_of=?1 LIMIT 1").with(id);
    if (query.next()) found.insert(id);
    query.reset();
  }
  return found;
}

std::optional<run_id> sqlite_reader::last_run() {
  statement& query = main_.prepared("SELECT id FROM runs ORDER BY id DESC LIMIT 1").with();
  if (!query.next()) return std::nullopt;
  const run_id id = query.id(0);
  query.reset();
  return id;
}

std::optional<run_id> sqlite_reader::last_run_of(const std::string& job) {
  statement& query = main_.prepared("SELECT id FROM runs WHERE job=?1 ORDER BY id DESC LIMIT 1").with(job);
  if (!query.next()) return std::nullopt;
  const run_id id = query.id(0);
  query.reset();
  return id;
}

run_counts sqlite_reader::count_runs() {
  run_counts counts;
  statement& query = main_.prepared("SELECT state,count FROM run_counts").with();
  while (query.next())
    if (query.number(0) < std::size(counts.by_state)) counts.by_state[query.number(0)] = query.number(1);
  return counts;
}

std::vector<stored_job> sqlite_reader::list_jobs() {
  static const std::string sql = select(job_columns, job_source) + "ORDER BY jobs.name";
  std::vector<stored_job> result;
  statement& query = main_.prepared(sql).with();
  while (query.next()) result.push_back(read_job(query));
  return result;
}

std::optional<stored_job> sqlite_reader::find_job(const std::string& name) {
  static const std::string sql = select(job_columns, job_source) + "WHERE jobs.name=?1";
  statement& query = main_.prepared(sql).with(name);
  if (!query.next()) return std::nullopt;
  stored_job found = read_job(query);
  query.reset();
  return found;
}

std::vector<worker> sqlite_reader::list_workers() {
  static const std::string sql = select(worker_columns, " FROM workers ORDER BY worker_id,instance");
  std::vector<worker> result;
  statement& query = main_.prepared(sql).with();
  while (query.next()) result.push_back(read_worker(query));
  return result;
}

recent_instants sqlite_reader::instants_after(wall_time after) { return load_instants(main_, after); }

std::vector<stored_calendar> sqlite_reader::list_calendars() { return load_calendars(main_); }

std::vector<stored_instant> sqlite_reader::list_instants(const std::string& job,
                                                         std::optional<wall_time> before, std::size_t limit) {
  std::vector<stored_instant> result;
  statement& query = main_.prepared(
      "SELECT instant,outcome,run,rule,count,until FROM instants WHERE job=?1 AND instant<?2 "
      "ORDER BY instant DESC LIMIT ?3");
  query.with(job, before ? to_unix_ms(*before) : INT64_MAX, static_cast<std::uint64_t>(limit));
  while (query.next()) result.push_back(read_instant(query));
  return result;
}

std::vector<stored_fact> sqlite_reader::list_facts(std::uint64_t after, std::size_t limit) {
  std::vector<stored_fact> result;
  // The page with the fact after `after` is the last one that begins at or before it.
  statement& query = main_.prepared(
      "SELECT first,body FROM facts WHERE first>=coalesce((SELECT max(first) FROM facts WHERE first<=?1),0) "
      "ORDER BY first");
  query.with(after + 1);
  while (result.size() < limit && query.next()) unpack_facts(query.number(0), query.bytes(1), after, result);
  query.reset();
  if (result.size() > limit) result.resize(limit);
  return result;
}

std::vector<stored_fact> sqlite_reader::last_facts(std::size_t limit) {
  statement& newest = main_.prepared("SELECT first,count FROM facts ORDER BY first DESC LIMIT 1").with();
  if (!newest.next()) return {};
  const std::uint64_t last = newest.number(0) + newest.number(1) - 1;
  newest.reset();
  return list_facts(last > limit ? last - limit : 0, limit);
}

output_page sqlite_reader::read_output(lease_id lease, const std::string& stream, std::uint64_t offset,
                                       std::size_t limit) {
  output_page page;
  page.offset = offset;
  statement& entry =
      output_.prepared("SELECT id,end FROM streams WHERE lease=?1 AND name=?2").with(lease, stream);
  if (!entry.next()) return page;
  const std::int64_t id = entry.integer(0);
  page.end = entry.number(1);
  entry.reset();
  if (offset >= page.end) return page;

  // Begins with the piece that may hold `offset`: the last one that starts at or before it.
  statement& pieces = output_.prepared(
      "SELECT offset,data FROM chunks WHERE stream=?1 AND offset>=coalesce("
      "(SELECT max(offset) FROM chunks WHERE stream=?1 AND offset<=?2),?2) ORDER BY offset");
  pieces.with(id, offset);
  bool found = false;
  while (page.data.size() < limit && pieces.next()) {
    const std::uint64_t start = pieces.number(0);
    std::string_view data = pieces.bytes(1);
    if (start + data.size() <= offset) continue;
    if (start < offset) data.remove_prefix(offset - start);
    const std::uint64_t at = std::max(start, offset);
    if (!found)
      page.offset = at;
    else if (at != page.offset + page.data.size())
      break;  // a gap: the next page begins behind it
    found = true;
    page.data.append(data.substr(0, limit - page.data.size()));
  }
  pieces.reset();
  if (!found) page.offset = page.end;
  if (page.offset > offset) page.gaps.push_back({offset, page.offset});
  return page;
}

fetched_rows sqlite_reader::fetch_run(const run_id& id) {
  fetched_rows rows;
  if (auto found = find_run(id)) {
    rows.run = std::move(found->run);
    rows.attempts = std::move(found->attempts);
    rows.spec_text = std::move(found->spec_text);
  }
  return rows;
}

fetched_rows sqlite_reader::fetch_lease(lease_id lease) {
  statement& query = main_.prepared("SELECT run FROM attempts WHERE lease=?1").with(lease);
  if (!query.next()) return {};
  const run_id id = query.id(0);
  query.reset();
  return fetch_run(id);
}

fetched_rows sqlite_reader::fetch_key(const std::string& idempotency_key) {
  // The index has a part for each group of rows that were stored one after the other (schema.cpp).
  statement& range = main_.prepared("SELECT min(id)>>12,max(id)>>12 FROM idempotency").with();
  range.next();
  const std::int64_t oldest = range.is_null(0) ? 1 : range.integer(0), newest = range.integer(1);
  range.reset();
  statement& query = main_.prepared(
      "SELECT fingerprint,run FROM idempotency INDEXED BY idempotency_hash WHERE id>>12=?1 AND hash=?2 AND "
      "key=?3");
  for (std::int64_t group = newest; group >= oldest; --group) {
    if (!query.with(group, hash64(idempotency_key), idempotency_key).next()) continue;
    const std::uint64_t fingerprint = query.number(0);
    const run_id id = query.id(1);
    query.reset();
    fetched_rows rows = fetch_run(id);
    rows.key_found = true;
    rows.key_fingerprint = fingerprint;
    rows.key_run = id;
    return rows;
  }
  return {};
}

std::vector<audit_entry> sqlite_reader::audit(const audit_filter& filter) {
  return list_audit(main_, filter);
}

}  // namespace orchestrator::store
