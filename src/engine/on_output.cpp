// Events and output of attempts: numbered events are stored once, output is handed to the output database
// once, by its position in the stream. See on_worker.hpp.
#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>

#include "attempt_output.hpp"
#include "leases.hpp"
#include "on_worker.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "space.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t event_name = 128;

void put_event(core& c, const protocol::event& e, std::string subject) {
  put_fact(c, "event." + printable(e.name, event_name), std::move(subject), e.text);
}

// An event of an attempt that left memory: its row says whether it is stored already.
void put_late_event(core& c, const session_entry& s, const protocol::event& e, const fetched_rows& rows,
                    lease_id lease) {
  const attempt* row = loose_row(c, s.worker, rows, lease);
  if (row == nullptr || (e.n && *e.n <= row->last_event)) return;
  put_event(c, e, "run/" + to_string(row->run));
  if (!e.n) return;
  attempt changed = *row;
  changed.last_event = *e.n;
  put_loose(c, std::move(changed));
}

// While room is scarce output is not kept: what is left of a piece moves its stream's end, so that a reader
// sees the gap.
void drop_for_room(std::uint64_t& offset, std::string_view& data) {
  offset += data.size();
  data = {};
}

// True if this event was not seen before; remembers its number.
bool take_number(core& c, attempt_entry& a, const protocol::event& e) {
  if (!e.n) return true;
  if (*e.n <= a.row.last_event) return false;
  a.row.last_event = *e.n;
  touch(c, a);
  return true;
}

}  // namespace

bool on_event(core& c, session_entry& s, const protocol::worker_message& m, const fetched_rows* rows) {
  const auto& e = std::get<protocol::event>(m.body);
  const lease_id lease = lease_of(e.lease, e.job_id, s.legacy);
  attempt_entry* a = lease ? find_attempt(c, lease) : nullptr;
  if (a != nullptr && a->holder == s.worker) {
    if (take_number(c, *a, e)) {
      if (e.name == "job_started") {
        start_attempt(c, *a);
      } else {
        put_event(c, e, subject_of(*a->run));
      }
    }
  } else if (!lease) {
    put_event(c, e, "worker/" + s.worker_name);
  } else if (a == nullptr && was_issued(c, lease) && e.name != "job_started") {
    if (rows == nullptr) return wait_for_rows(c, s, lease), false;
    put_late_event(c, s, e, *rows, lease);
  }
  acknowledge(c, s, m);
  return true;
}

void store_output(core& c, attempt_entry& a, const std::string& stream, std::uint64_t offset,
                  std::string_view data) {
  std::uint64_t& end = a.ends[stream];
  if (planted(defect::output_offset_ignored)) offset = end;
  if (offset + data.size() <= end) return;
  // Rule 13: bytes below the stored end are ignored. A jump marks what lies between as dropped by the worker;
  // a gap at the very end comes without data, and its chunk only moves the end.
  const std::uint64_t skip = end > offset ? end - offset : 0;
  std::uint64_t from = offset + skip;
  std::string_view rest = data.substr(skip);
  if (space_of(c) != space_level::ample) drop_for_room(from, rest);
  do {
    const std::string_view piece = rest.substr(0, limits::output_chunk);
    c.step.chunks.push_back({a.row.lease, stream, from, std::string(piece), a.run->spec->spec.output_limit});
    from += piece.size();
    rest.remove_prefix(piece.size());
  } while (!rest.empty());
  end = from;
  a.output_number = c.issued_output + 1;  // the batch this step will issue
  c.step.output_of.push_back(a.row.lease);
}

bool on_job_output(core& c, session_entry& s, const protocol::worker_message& m, const fetched_rows* rows) {
  const auto& o = std::get<protocol::job_output>(m.body);
  if (o.stream != "stdout" && o.stream != "stderr") {
    reject_message(c, s, m, refuse(errc::bad_field, "stream must be stdout or stderr.", "/stream"), true);
    return true;
  }
  attempt_entry* a = find_attempt(c, o.lease);
  if (a != nullptr && a->holder == s.worker) {
    store_output(c, *a, o.stream, o.offset, o.data);
  } else if (a == nullptr && was_issued(c, o.lease)) {
    // Its run ended without it. Output is delivered all the same; the store knows where its stream ended.
    if (rows == nullptr) return wait_for_rows(c, s, o.lease), false;
    if (loose_row(c, s.worker, *rows, o.lease) != nullptr) {
      std::uint64_t from = o.offset;
      std::string_view data = o.data;
      if (space_of(c) != space_level::ample) drop_for_room(from, data);
      c.step.chunks.push_back({o.lease, o.stream, from, std::string(data), limits::output_default});
      c.step.output_of.push_back(o.lease);
    }
  }
  acknowledge(c, s, m, std::nullopt, true);
  return true;
}

}  // namespace orchestrator::engine
