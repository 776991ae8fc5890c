// The writer of orchestrator.db; see main_writer.hpp.
#include "main_writer.hpp"

#include <iterator>
#include <utility>

#include <orchestrator/base/check.hpp>

namespace orchestrator::store {

main_writer::main_writer(connection connected, space_signal& space, writer_settings settings, reports to)
    : commit_thread(std::move(connected), "orchestrator.db", space, std::move(settings)),
      applier_(db()),
      to_(std::move(to)) {
  last_queued_ = applier_.durable().last_number;
}

void main_writer::commit(mutation_batch batch) {
  const std::size_t bytes = estimated_bytes(batch);
  queued_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  enqueue([&] {
    ORC_CHECK(batch.number == last_queued_ + 1, "batches are numbered without gaps");
    last_queued_ = batch.number;
    queue_.push_back({std::move(batch), bytes});
  });
}

void main_writer::retain(const retention_request& request) {
  enqueue([&] { request_ = request; });
}

void main_writer::output_dropped(std::vector<lease_id> leases) {
  enqueue([&] { forgotten_.insert(forgotten_.end(), leases.begin(), leases.end()); });
}

void main_writer::write(std::vector<access_change> rows, access_records::when w, std::function<void()> done) {
  waiting_rows_.fetch_add(rows.size(), std::memory_order_relaxed);
  enqueue([&] {
    std::move(rows.begin(), rows.end(), std::back_inserter(rows_.changes));
    if (done) rows_.done.push_back(std::move(done));
    rows_.urgent = rows_.urgent || w == access_records::when::soon;
  });
}

void main_writer::trim(const audit_trim& wanted) {
  enqueue([&] { trim_ = wanted; });
}

void main_writer::take_group() {
  group_.clear();
  group_rows_ = std::exchange(rows_, {});
  group_bytes_ = 0;
  std::size_t mutations = 0;
  while (!queue_.empty()) {
    const queued_batch& next = queue_.front();
    const bool fits = mutations + next.batch.mutations.size() <= limits::commit_mutations &&
                      group_bytes_ + next.bytes <= limits::commit_bytes;
    // A batch is never split, so one that exceeds the limits by itself makes a group of its own.
    if (!fits && !group_.empty()) break;
    mutations += next.batch.mutations.size();
    group_bytes_ += next.bytes;
    group_.push_back(std::move(queue_.front().batch));
    queue_.pop_front();
  }
}

void main_writer::apply_group() {
  expect_own_term();
  if (!group_.empty()) applier_.apply(group_);
  for (const access_change& row : group_rows_.changes) apply_access(db(), row);
}

/// The lock of the data directory keeps others out. Where it did not hold (its file was removed, or the file
/// system has no locks worth the name), whoever started last has raised the term, and what we decided is
/// void.
void main_writer::expect_own_term() {
  statement& query = db().prepared(term_query).with();
  const std::uint64_t ours = applier_.durable().term;
  std::uint64_t now = 0;
  while (query.next()) now = query.number(0);
  if (now != ours)
    fail_stop("orchestrator.db", "our term " + std::to_string(ours) + " is over, the database is in term " +
                                     std::to_string(now) +
                                     ": another coordinator works on it. Stop one of the two");
}

void main_writer::group_committed() {
  waiting_rows_.fetch_sub(group_rows_.changes.size(), std::memory_order_relaxed);
  for (const auto& done : std::exchange(group_rows_, {}).done) done();
  if (group_.empty()) return;
  applier_.committed();
  const std::uint64_t last = group_.back().number;
  group_.clear();
  queued_bytes_.fetch_sub(group_bytes_, std::memory_order_relaxed);
  if (to_.persisted) to_.persisted(last);
}

bool main_writer::background_step() {
  std::vector<lease_id> forgotten;
  std::optional<audit_trim> trimming;
  bool trimmed = false;
  enqueue([&] {
    // A pass under way is finished first; of the requests that come meanwhile the newest counts.
    if (!pass_ && request_) pass_.emplace(*std::exchange(request_, std::nullopt));
    forgotten.swap(forgotten_);
    trimming = trim_;
  });
  std::optional<retention_pass> after = pass_;
  std::vector<lease_id> dropped;
  const outcome result = transact([&] {
    expect_own_term();
    after = pass_;
    dropped.clear();
    for (const lease_id lease : forgotten)
      db().prepared("DELETE FROM dropped_output WHERE lease=?1").with(lease).run();
    if (after) after->step(db(), dropped);
    if (trimming) trimmed = trim_audit(db(), *trimming);
  });
  if (result != outcome::committed) {
    output_dropped(std::move(forgotten));
    return false;
  }
  enqueue([&] {
    pass_ = after;
    if (pass_ && pass_->done()) pass_.reset();
    if (trimmed) trim_.reset();
  });
  if (!dropped.empty()) to_.drop_output(std::move(dropped));
  return true;
}

}  // namespace orchestrator::store
