// The ledger of instants. See ledger.hpp.
#include <orchestrator/base/planted.hpp>

#include "ledger.hpp"

#include <algorithm>

#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t spans_counted = 10'000;
constexpr milliseconds tick{1};

/// The row without a run that the instant lies in, or null.
stored_instant* quiet_row_of(ledger_memory& l, wall_time instant) {
  auto at = l.quiet.upper_bound(instant);
  if (at == l.quiet.begin()) return nullptr;
  --at;
  return instant <= at->second.until ? &at->second : nullptr;
}

void write(core& c, const std::string& job, const stored_instant& row) {
  if (planted(defect::cursor_not_durable)) return;
  put_instant m{job, row.instant, row.outcome, row.run, row.rule, row.count, std::nullopt};
  if (row.until != row.instant) m.until = row.until;
  c.step.rest.emplace_back(std::move(m));
}

void tell(core& c, const char* type, const std::string& job, const stored_instant& row) {
  if (planted(defect::cursor_not_durable)) return;
  fact_data data;
  data.add("instant", to_rfc3339(row.instant))
      .add("outcome", to_string(row.outcome))
      .add_if("rule", row.rule);
  if (row.count > 1) data.add("count", row.count).add("until", to_rfc3339(row.until));
  if (row.run) data.add("run", to_string(*row.run));
  put_fact(c, type, "job/" + job, data.take());
}

/// The newest row, if the span may go on in it.
stored_instant* row_to_extend(ledger_memory& l, wall_time from, instant_outcome outcome,
                              const std::string& rule) {
  if (l.quiet.empty()) return nullptr;
  stored_instant& newest = l.quiet.rbegin()->second;
  const bool run_between = l.fired.upper_bound(newest.until) != l.fired.end();
  const bool same = newest.outcome == outcome && newest.rule == rule && newest.until < from;
  return same && !run_between ? &newest : nullptr;
}

/// The part of a row later than `after` and not later than `until`. The row's own ends were instants, also
/// by an older version of the schedule.
std::optional<stored_instant> part_of(const stored_instant& row, wall_time after, wall_time until,
                                      const calendar& times) {
  if (until <= after) return std::nullopt;
  const std::vector<instant_span> spans = times.account(after, until, spans_counted);
  const bool begins = after < row.instant, ends = until == row.until;
  if (spans.empty() && !begins && !ends) return std::nullopt;
  stored_instant part = row;
  if (!begins) part.instant = spans.empty() ? row.until : spans.front().first;
  if (!ends) part.until = spans.empty() ? row.instant : spans.back().last;
  part.count = 0;
  for (const instant_span& s : spans) part.count += s.count;
  part.count = std::max<std::uint64_t>(part.count, 1);
  return part;
}

/// The row's count is what was decided, also by an older version of the schedule; the parts share it.
void keep_count(std::vector<stored_instant>& parts, std::uint64_t count) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t later = parts.size() - 1 - i;
    const std::uint64_t most = count > later ? count - later : 1;
    parts[i].count = later == 0 ? most : std::min(parts[i].count, most);
    count -= std::min(count, parts[i].count);
  }
}

/// What is left of a row where instants in it have runs.
std::vector<stored_instant> parts_of(const stored_instant& row, const std::set<wall_time>& fired,
                                     const calendar& times) {
  std::vector<stored_instant> parts;
  wall_time after = row.instant - tick;
  for (auto cut = fired.lower_bound(row.instant); cut != fired.end() && *cut <= row.until; ++cut) {
    if (auto part = part_of(row, after, *cut - tick, times)) parts.push_back(std::move(*part));
    after = *cut;
  }
  if (auto part = part_of(row, after, row.until, times)) parts.push_back(std::move(*part));
  keep_count(parts, row.count - 1);
  return parts;
}

}  // namespace

void remember_rows(core& c, const recent_instants& rows) {
  for (const auto& [job, list] : rows) {
    ledger_memory& l = c.ledgers[job];
    for (const stored_instant& row : list) {
      if (row.run) {
        l.fired.insert(row.instant);
      } else {
        l.quiet.try_emplace(row.instant, row);
      }
    }
  }
}

bool is_decided(const core& c, const std::string& job, wall_time instant) {
  const auto known = c.ledgers.find(job);
  if (known == c.ledgers.end()) return false;
  if (known->second.fired.contains(instant)) return true;
  const auto& quiet = known->second.quiet;
  const auto later = quiet.upper_bound(instant);
  return later != quiet.begin() && instant <= std::prev(later)->second.until;
}

std::optional<wall_time> next_fired(const core& c, const std::string& job, wall_time after) {
  const auto known = c.ledgers.find(job);
  if (known == c.ledgers.end()) return std::nullopt;
  const auto next = known->second.fired.upper_bound(after);
  if (next == known->second.fired.end()) return std::nullopt;
  return *next;
}

void record_run(core& c, const std::string& job, wall_time instant, instant_outcome outcome,
                const run_id& run, const std::string& rule) {
  c.ledgers[job].fired.insert(instant);
  const stored_instant row{instant, outcome, run, rule, 1, instant};
  write(c, job, row);
  tell(c, "schedule.fired", job, row);
}

void record_quiet(core& c, const std::string& job, const instant_span& span, instant_outcome outcome,
                  const std::string& rule) {
  ledger_memory& l = c.ledgers[job];
  if (stored_instant* row = row_to_extend(l, span.first, outcome, rule)) {
    row->until = span.last;
    row->count += span.count;
    return write(c, job, *row);
  }
  const stored_instant row{span.first, outcome, std::nullopt, rule, span.count, span.last};
  l.quiet[span.first] = row;
  write(c, job, row);
  tell(c, "schedule.skipped", job, row);
}

void withdraw_after(core& c, const std::string& job, wall_time after, const calendar& times) {
  const auto known = c.ledgers.find(job);
  if (known == c.ledgers.end()) return;
  ledger_memory& l = known->second;
  l.quiet.erase(l.quiet.upper_bound(after), l.quiet.end());
  c.step.rest.emplace_back(withdraw_instants{job, after});
  stored_instant* cut = quiet_row_of(l, after);
  if (cut == nullptr || cut->until == after) return;
  const std::vector<instant_span> left = times.account(cut->instant, after, spans_counted);
  cut->count = 1;
  cut->until = cut->instant;
  for (const instant_span& s : left) {
    cut->count += s.count;
    cut->until = s.last;
  }
  write(c, job, *cut);
}

void record_backfill(core& c, const std::string& job, wall_time instant, const calendar& times,
                     const run_id& run) {
  ledger_memory& l = c.ledgers[job];
  l.fired.insert(instant);
  backfill_instant m{job, instant, run, std::nullopt, {}};
  if (const stored_instant* found = quiet_row_of(l, instant)) {
    const stored_instant row = *found;
    m.shared = row.instant;
    m.parts = parts_of(row, l.fired, times);
    l.quiet.erase(row.instant);
    for (const stored_instant& part : m.parts) l.quiet[part.instant] = part;
  }
  c.step.rest.emplace_back(std::move(m));
  tell(c, "schedule.fired", job, {instant, instant_outcome::late, run, "backfill", 1, instant});
}

void forget_old_rows(core& c, const std::string& job, wall_time cursor) {
  const auto known = c.ledgers.find(job);
  if (known == c.ledgers.end()) return;
  ledger_memory& l = known->second;
  const wall_time bound = std::min<wall_time>(c.now.wall - instants_kept, cursor);
  l.fired.erase(l.fired.begin(), l.fired.upper_bound(bound));
  while (l.quiet.size() > 1 && l.quiet.begin()->second.until <= bound) l.quiet.erase(l.quiet.begin());
  if (l.fired.empty() && l.quiet.empty()) c.ledgers.erase(known);
}

}  // namespace orchestrator::engine
