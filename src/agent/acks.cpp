// What the coordinator says about our messages: acks, one by one or cumulative, and errors. They speak only
// of messages of their own connection, whose numbers are in link.unacked. Called by link.cpp.
#include <algorithm>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

unacked_message* find_unacked(core& c, std::uint64_t seq) {
  auto& list = c.link.unacked;
  if (list.empty() || seq < list.front().seq || seq > list.back().seq) return nullptr;
  unacked_message& m = list[static_cast<std::size_t>(seq - list.front().seq)];
  return m.settled ? nullptr : &m;
}

void close_entry(core& c, unacked_message& m) {
  m.settled = true;
  c.link.unacked_bytes -= m.bytes;
  auto& list = c.link.unacked;
  while (!list.empty() && list.front().settled) list.pop_front();
}

void settle(core& c, unacked_message& entry, disposition d) {
  const unacked_message m = entry;
  close_entry(c, entry);
  note_contact(c, m.sent_at);
  switch (m.kind) {
    case message_kind::registration:
    case message_kind::heartbeat: break;
    case message_kind::started_event:
      if (const auto it = c.attempts.find(m.lease); it != c.attempts.end()) it->second.start_acked = true;
      break;
    case message_kind::output: output_acked(c, m); break;
    case message_kind::result: settle_result(c, m.lease, d); break;
  }
}

/// The coordinator does not know this lease: a person may still want the result, so it is kept a week.
void park(core& c, attempt& a) {
  a.due = a.sent = false;
  if (!a.parked_since) {
    a.parked_since = c.now.wall;
    c.parked.insert(a.lease);
    write_record(c, a, record::parked, std::to_string(to_unix_ms(c.now.wall)));
  }
  a.sent = true;  // not again on this connection
  say(c, note_level::warning,
      "The coordinator knows nothing of lease {}, whose result is {}: it is kept in the outbox for {} days",
      a.lease, protocol::to_string(a.result->status), limits::unknown_results_kept_days);
}

/// The smallest result that says how it ended: if the coordinator does not take that either, nothing will
/// help.
void replace_by_minimal(core& c, attempt& a) {
  const protocol::job_result& full = *a.result;
  protocol::job_result minimal;
  minimal.job_id = full.job_id;
  minimal.worker_id = full.worker_id;
  minimal.status = full.status;
  minimal.run_time = full.run_time;
  minimal.lease = full.lease;
  minimal.exit_code = full.exit_code;
  minimal.signal = full.signal;
  minimal.output_lost = true;
  if (minimal == full) {
    say(c, note_level::error, "The coordinator refuses even the smallest result of lease {}; it is dropped",
        a.lease);
    forget_attempt(c, a.lease);
    return;
  }
  a.result = std::move(minimal);
  a.sent = false;
  lose_output(c, a);
  store_result(c, a);
}

void refused_for_good(core& c, const unacked_message& m) {
  const auto it = c.attempts.find(m.lease);
  if (it == c.attempts.end()) return;
  attempt& a = it->second;
  switch (m.kind) {
    case message_kind::started_event: a.start_acked = true; break;
    case message_kind::output:
      a.unacked_bytes -= std::min(a.unacked_bytes, m.bytes);
      lose_output(c, a);
      break;
    case message_kind::result: replace_by_minimal(c, a); break;
    default: break;
  }
}

void refused_for_now(core& c, const unacked_message& m) {
  const auto it = c.attempts.find(m.lease);
  if (it == c.attempts.end()) return;
  attempt& a = it->second;
  if (m.kind == message_kind::started_event) a.start_told = false;
  if (m.kind == message_kind::output) {
    stream_state& s = a.streams[m.stream];
    a.unacked_bytes -= std::min(a.unacked_bytes, m.bytes);
    s.sent = s.acked;
  }
  a.sent = false;
  a.not_before = c.now.boot + refused_retry;
  c.delayed.insert(a.lease);
}

}  // namespace

void on_ack(core& c, const protocol::ack& ack) {
  if (!c.registered() || !ack.seq) return;
  const auto of = [&](std::uint64_t seq) {
    if (ack.disposition) return *ack.disposition;
    const auto it = ack.dispositions.find(seq);
    return it == ack.dispositions.end() ? disposition::accepted : it->second;
  };
  if (!ack.cumulative) {
    if (unacked_message* m = find_unacked(c, *ack.seq)) settle(c, *m, of(*ack.seq));
    return;
  }
  while (!c.link.unacked.empty() && c.link.unacked.front().seq <= *ack.seq) {
    unacked_message& front = c.link.unacked.front();
    settle(c, front, of(front.seq));  // takes it off the list
  }
}

void on_error(core& c, const protocol::error_message& error) {
  say(c, note_level::warning, "The coordinator refused a message: {}{}{}", error.code,
      error.detail.empty() ? "" : ": ", error.detail);
  if (!c.registered() || c.link.legacy || !error.seq) return;
  unacked_message* found = find_unacked(c, *error.seq);
  if (found == nullptr) return;
  const unacked_message m = *found;
  close_entry(c, *found);
  if (error.final) {
    refused_for_good(c, m);
  } else {
    refused_for_now(c, m);
  }
}

void settle_result(core& c, std::uint64_t lease, disposition d) {
  const auto it = c.attempts.find(lease);
  if (it == c.attempts.end()) return;
  attempt& a = it->second;
  if (a.phase != attempt_phase::finished) return;
  if (d == disposition::unknown_lease && a.records > 0) {
    park(c, a);
    return;
  }
  if (d == disposition::duplicate_conflict) {
    say(c, note_level::warning,
        "The coordinator has another result of lease {} than this worker; it keeps the first", lease);
  }
  forget_attempt(c, lease);
}

}  // namespace orchestrator::agent
