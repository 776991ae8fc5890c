// The writer of output.db; see output_writer.hpp. What is kept of a stream is decided in output_window.hpp.
#include "output_writer.hpp"

#include <algorithm>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/limits.hpp>

#include "output_window.hpp"

namespace orchestrator::store {
namespace {

constexpr std::size_t cached_streams = 10'000;
constexpr std::size_t drops_per_step = 64;

std::size_t estimated_bytes(const output_batch& batch) {
  std::size_t total = 64;
  for (const output_chunk& chunk : batch.chunks) total += 64 + chunk.data.size();
  return total;
}

}  // namespace

output_writer::output_writer(connection connected, space_signal& space, writer_settings settings, reports to)
    : commit_thread(std::move(connected), "output.db", space, std::move(settings)), to_(std::move(to)) {}

void output_writer::commit(output_batch batch) {
  const std::size_t bytes = estimated_bytes(batch);
  queued_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  enqueue([&] {
    ORC_CHECK(!last_queued_ || batch.number == *last_queued_ + 1, "output batches are numbered without gaps");
    last_queued_ = batch.number;
    queue_.push_back({std::move(batch), bytes});
  });
}

void output_writer::drop(std::vector<lease_id> leases) {
  enqueue([&] { to_drop_.insert(to_drop_.end(), leases.begin(), leases.end()); });
}

void output_writer::take_group() {
  group_.clear();
  group_bytes_ = 0;
  while (!queue_.empty()) {
    if (!group_.empty() && group_bytes_ + queue_.front().bytes > limits::commit_bytes) break;
    group_bytes_ += queue_.front().bytes;
    group_.push_back(std::move(queue_.front().batch));
    queue_.pop_front();
  }
}

void output_writer::apply_group() {
  // After a rollback the cache may be ahead of the database, so a group that is tried again begins without
  // one.
  if (unfinished_) streams_.clear();
  unfinished_ = true;
  touched_.clear();
  for (const output_batch& batch : group_)
    for (const output_chunk& chunk : batch.chunks) append(chunk);
  for (stream_state* stream : touched_) {
    flush(*stream);
    trim(*stream);
    db().prepared("UPDATE streams SET end=?2,bytes=?3 WHERE id=?1")
        .with(stream->id, stream->end, stream->bytes)
        .run();
  }
}

void output_writer::group_committed() {
  for (stream_state* stream : touched_) stream->changed = false;
  touched_.clear();
  unfinished_ = false;
  if (streams_.size() > cached_streams) streams_.clear();
  const std::uint64_t last = group_.back().number;
  group_.clear();
  queued_bytes_.fetch_sub(group_bytes_, std::memory_order_relaxed);
  if (to_.persisted) to_.persisted(last);
}

output_writer::stream_state& output_writer::find_stream(const output_chunk& chunk) {
  const auto [entry, fresh] = streams_.try_emplace({chunk.lease, chunk.stream});
  stream_state& stream = entry->second;
  if (!fresh) return stream;
  statement& query = db().prepared("SELECT id,end,bytes FROM streams WHERE lease=?1 AND name=?2");
  if (query.with(chunk.lease, chunk.stream).next()) {
    stream.id = query.integer(0);
    stream.end = query.number(1);
    stream.bytes = query.number(2);
    query.reset();
    return stream;
  }
  db().prepared("INSERT INTO streams(lease,name,end,bytes) VALUES(?1,?2,0,0)")
      .with(chunk.lease, chunk.stream)
      .run();
  stream.id = sqlite3_last_insert_rowid(db().handle());
  return stream;
}

void output_writer::append(const output_chunk& chunk) {
  stream_state& stream = find_stream(chunk);
  if (!stream.changed) {
    stream.changed = true;
    touched_.push_back(&stream);
  }
  stream.limit = chunk.limit;
  const auto fresh = beyond(stream.end, chunk.offset, chunk.data);
  if (!fresh) return;
  const bool follows = stream.gathered_at + stream.gathered.size() == fresh->offset;
  if (!follows || stream.gathered.size() + fresh->data.size() > output_piece) flush(stream);
  if (stream.gathered.empty()) stream.gathered_at = fresh->offset;
  stream.gathered.append(fresh->data);
  stream.end = fresh->offset + fresh->data.size();
}

void output_writer::flush(stream_state& stream) {
  const std::string data = std::exchange(stream.gathered, {});
  for (std::size_t at = 0; at < data.size(); at += output_piece) {
    const std::string_view piece = std::string_view{data}.substr(at, output_piece);
    statement& insert = db().prepared("INSERT INTO chunks(stream,offset,data) VALUES(?1,?2,?3)");
    insert.with(stream.id, stream.gathered_at + at);
    insert.bind_blob(3, piece);
    insert.run();
    stream.bytes += piece.size();
  }
}

void output_writer::trim(stream_state& stream) {
  while (stream.bytes > stream.limit) {
    statement& oldest = db().prepared(
        "SELECT offset,length(data) FROM chunks WHERE stream=?1 AND offset>=?2 ORDER BY offset LIMIT 1");
    if (!oldest.with(stream.id, head_end(stream.limit)).next()) return;
    const std::uint64_t offset = oldest.number(0), size = oldest.number(1);
    oldest.reset();
    if (!may_drop(stream.bytes, size, stream.limit)) return;
    db().prepared("DELETE FROM chunks WHERE stream=?1 AND offset=?2").with(stream.id, offset).run();
    stream.bytes -= size;
  }
}

void output_writer::delete_output_of(lease_id lease) {
  db().prepared("DELETE FROM chunks WHERE stream IN (SELECT id FROM streams WHERE lease=?1)")
      .with(lease)
      .run();
  db().prepared("DELETE FROM streams WHERE lease=?1").with(lease).run();
}

bool output_writer::background_step() {
  std::vector<lease_id> leases;
  enqueue([&] {
    const auto count = static_cast<std::ptrdiff_t>(std::min(to_drop_.size(), drops_per_step));
    leases.assign(to_drop_.begin(), to_drop_.begin() + count);
    to_drop_.erase(to_drop_.begin(), to_drop_.begin() + count);
  });
  streams_.clear();
  const outcome result = transact([&] {
    for (const lease_id lease : leases) delete_output_of(lease);
  });
  if (result != outcome::committed) {
    drop(std::move(leases));
    return false;
  }
  to_.dropped(std::move(leases));
  return true;
}

}  // namespace orchestrator::store
