// Events and output of attempts: numbered events are stored once, output is handed to the output database
// once, by its position in the stream. See on_worker.hpp.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "attempt_output.hpp"
#include "leases.hpp"
#include "on_worker.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t event_name = 128;

void put_event(core& c, const protocol::event& e, std::string subject) {
  put_fact(c, "event." + printable(e.name, event_name), std::move(subject), e.text);
}

// The attempt of a fetched row set that this message speaks of, if it is this worker's.
const attempt* owned_row(const session_entry& s, const fetched_rows& rows, lease_id lease) {
  const auto found = std::find_if(rows.attempts.begin(), rows.attempts.end(),
                                  [&](const attempt& a) { return a.lease == lease; });
  if (found == rows.attempts.end() || s.worker == nullptr || !owns(*s.worker, *found)) return nullptr;
  return &*found;
}

// An event of an attempt that left memory: its row says whether it is stored already.
void put_late_event(core& c, const session_entry& s, const protocol::event& e, const fetched_rows& rows,
                    lease_id lease) {
  const attempt* row = owned_row(s, rows, lease);
  if (row == nullptr || (e.n && *e.n <= row->last_event)) return;
  if (e.n) {
    attempt changed = *row;
    changed.last_event = *e.n;
    c.step.loose_attempts.push_back(std::move(changed));
  }
  put_event(c, e, "run/" + to_string(row->run));
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
  } else if (a == nullptr && lease <= c.lease_counter && e.name != "job_started") {
    if (rows == nullptr) return wait_for_rows(c, s, lease), false;
    put_late_event(c, s, e, *rows, lease);
  }
  acknowledge(c, s, m);
  return true;
}

void store_output(core& c, attempt_entry& a, const std::string& stream, std::uint64_t offset,
                  std::string_view data) {
  std::uint64_t& end = a.ends[stream];
  if (offset + data.size() <= end) return;
  // Rule 13: bytes below the stored end are ignored. A jump marks what lies between as dropped by the worker.
  const std::uint64_t skip = end > offset ? end - offset : 0;
  std::uint64_t from = offset + skip;
  std::uint64_t gap_from = end;
  for (std::string_view rest = data.substr(skip); !rest.empty();) {
    const std::string_view piece = rest.substr(0, limits::output_chunk);
    c.step.chunks.push_back(
        {a.row.lease, stream, from, gap_from, std::string(piece), a.run->spec->spec.output_limit});
    from += piece.size();
    gap_from = from;
    rest.remove_prefix(piece.size());
  }
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
  } else if (a == nullptr && o.lease && o.lease <= c.lease_counter) {
    // Its run ended without it. Output is delivered all the same; the store knows where its stream ended.
    if (rows == nullptr) return wait_for_rows(c, s, o.lease), false;
    if (owned_row(s, *rows, o.lease) != nullptr && !o.data.empty()) {
      c.step.chunks.push_back(
          {o.lease, o.stream, o.offset, o.gap_from.value_or(o.offset), o.data, limits::output_default});
      c.step.output_of.push_back(o.lease);
    }
  }
  acknowledge(c, s, m, std::nullopt, true);
  return true;
}

}  // namespace orchestrator::engine
