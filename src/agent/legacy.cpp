// The original Python coordinator: no leases, no sessions, acks without numbers, and in its published form
// none at all but for registrations and heartbeats. Every execute_job is an attempt of its own under a lease
// of our making; one message at a time is on the way, and a heartbeat's ack proves that the one before it was
// handled.
#include <algorithm>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

constexpr std::uint64_t log_bytes = 1024 * 1024;  ///< of both streams in log_output
constexpr std::size_t read_bytes = 256 * 1024;
constexpr const char* replacement = "\xEF\xBF\xBD";  ///< U+FFFD

void append_gap(std::string& text, std::uint64_t bytes) {
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  text += fmt::format("[... {} bytes left out ...]\n", bytes);
}

/// All of it if it fits; else of each stream the first fifth and the last four of its share.
collection plan_collection(const attempt& a) {
  collection plan;
  const auto size_of = [&](const char* name) {
    const auto it = a.streams.find(name);
    return it == a.streams.end() ? std::uint64_t{0} : it->second.end;
  };
  const std::uint64_t sizes[] = {size_of("stdout"), size_of("stderr")};
  const char* names[] = {"stdout", "stderr"};
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t end = sizes[i];
    if (end == 0) continue;
    const std::uint64_t share = log_bytes - std::min(sizes[1 - i], log_bytes / 2);
    if (end <= share) {
      plan.parts.push_back({names[i], end, end, end});
    } else {
      plan.parts.push_back({names[i], share / 5, end - share / 5 * 4, end});
    }
  }
  return plan;
}

void read_on(core& c, attempt& a, collection& plan) {
  while (plan.at_part < plan.parts.size()) {
    const collection::part& part = plan.parts[plan.at_part];
    if (plan.at == part.head_end && part.tail_begin > part.head_end) {
      append_gap(plan.text, part.tail_begin - part.head_end);
      plan.at = part.tail_begin;
    }
    if (plan.at < part.end) {
      const std::uint64_t stop = plan.at < part.head_end ? part.head_end : part.end;
      request_read(c, a.lease, part.stream, plan.at, std::min<std::uint64_t>(stop - plan.at, read_bytes));
      return;
    }
    ++plan.at_part;
    plan.at = 0;
  }
  std::string text = readable_text(plan.text);
  finish_ended(c, a, std::move(text));
}

protocol::event started_event(const core& c, const attempt& a) {
  protocol::event e;
  e.name = "job_started";
  e.worker_id = c.settings.worker_id;
  e.job_id = a.job_id;
  return e;
}

/// False if there is nothing to send any more.
bool send_one(core& c, message_kind kind, std::uint64_t lease) {
  if (kind == message_kind::heartbeat) {
    send_heartbeat(c);
    return true;
  }
  const auto it = c.attempts.find(lease);
  if (it == c.attempts.end()) return false;
  attempt& a = it->second;
  if (kind == message_kind::started_event) {
    send_message(c, started_event(c, a), about(kind, lease));
    return true;
  }
  if (a.phase != attempt_phase::finished || !a.stored) return false;
  a.due = false;
  a.sent = true;
  send_message(c, *a.result, about(kind, lease));
  return true;
}

void handled(core& c, const legacy_message& m) {
  if (m.kind == message_kind::result) settle_result(c, m.lease, disposition::accepted);
  if (m.kind != message_kind::started_event) return;
  if (const auto it = c.attempts.find(m.lease); it != c.attempts.end()) it->second.start_acked = true;
}

/// Asks by a heartbeat, or stops waiting for a second ack.
void watch_outstanding(core& c, legacy_message& m) {
  if (m.kind == message_kind::heartbeat) return;
  if (!m.asked_at) {
    if (c.legacy.habit != legacy_habit::acks_heartbeats && c.now.boot < m.sent_at + legacy_patience) return;
    m.asked_at = c.now.boot;
    send_heartbeat(c);
  } else if (m.handled && c.now.boot >= *m.asked_at + legacy_patience) {
    // One ack for two messages: it was the heartbeat's, this server acknowledges nothing else.
    if (c.legacy.habit == legacy_habit::unknown) c.legacy.habit = legacy_habit::acks_heartbeats;
    c.legacy.outstanding.reset();
  }
}

}  // namespace

std::string readable_text(std::string_view bytes) {
  if (is_utf8(bytes) && bytes.find('\0') == std::string_view::npos) return std::string{bytes};
  std::string out;
  while (!bytes.empty()) {
    const auto first = static_cast<unsigned char>(bytes.front());
    const std::size_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    const std::string_view one = bytes.substr(0, length);
    if (first != 0 && one.size() == length && is_utf8(one)) {
      out += one;
      bytes.remove_prefix(length);
    } else {
      out += replacement;
      bytes.remove_prefix(1);
    }
  }
  return out;
}

void on_legacy_execute(core& c, const protocol::execute_job& offer) {
  // Above what is in memory too: a job the outbox could not take has left no record.
  const std::uint64_t in_memory = c.attempts.empty() ? 0 : c.attempts.rbegin()->first;
  const std::uint64_t lease = std::max(c.highest, in_memory) + 1;
  attempt& a = c.attempts[lease];
  a.lease = lease;
  a.job_id = offer.job_id;
  a.admitted = true;
  if (c.waiting.size() >= limits::legacy_waiting_jobs) {
    finish_with(c, a, protocol::result_status::error,
                fmt::format("{} jobs wait on this worker already", c.waiting.size()));
  } else if (const auto plan = plan_launch(c.settings, offer, lease); plan.has_error()) {
    finish_with(c, a, protocol::result_status::error, plan.error().detail);
  } else {
    a.offer = offer;
    take_into_queue(c, a);
  }
}

void on_legacy_ack(core& c) {
  if (!c.registered() || !c.legacy.outstanding) return;
  legacy_message& m = *c.legacy.outstanding;
  if (m.kind == message_kind::heartbeat) {
    c.legacy.outstanding.reset();
    return;
  }
  if (!m.asked_at) {
    c.legacy.habit = legacy_habit::acks_all;  // nothing else was on the way
  } else if (m.handled) {
    c.legacy.habit = legacy_habit::acks_all;  // both of two
    c.legacy.outstanding.reset();
    return;
  }
  const legacy_message done = m;
  if (!m.asked_at || c.legacy.habit == legacy_habit::acks_heartbeats) {
    c.legacy.outstanding.reset();
  } else {
    m.handled = true;
  }
  handled(c, done);
}

void legacy_say(core& c, message_kind kind, std::uint64_t lease) {
  const bool heartbeat = kind == message_kind::heartbeat;
  if (heartbeat && (c.legacy.outstanding || !c.legacy.queue.empty()))
    return;  // what is on the way says it all
  c.legacy.queue.emplace_back(kind, lease);
}

void send_legacy(core& c) {
  if (!c.registered() || !c.link.legacy) return;
  if (c.legacy.outstanding) watch_outstanding(c, *c.legacy.outstanding);
  while (!c.legacy.outstanding && !c.legacy.queue.empty()) {
    const auto [kind, lease] = c.legacy.queue.front();
    c.legacy.queue.pop_front();
    if (!send_one(c, kind, lease)) continue;
    c.legacy.outstanding = legacy_message{kind, lease, c.now.boot, std::nullopt, false};
    watch_outstanding(c, *c.legacy.outstanding);
  }
}

void collect_output(core& c, attempt& a) {
  collection& plan = c.collections[a.lease] = plan_collection(a);
  --c.running;  // its slot is free
  a.phase = attempt_phase::collecting;
  read_on(c, a, plan);
}

void on_collected(core& c, attempt& a, const spool_data& in) {
  const auto it = c.collections.find(a.lease);
  ORC_CHECK(it != c.collections.end(), "a collecting attempt has its plan");
  collection& plan = it->second;
  if (plan.at_part >= plan.parts.size()) return;
  const collection::part& part = plan.parts[plan.at_part];
  if (in.stream != part.stream || in.asked != plan.at) return;
  const std::uint64_t stop = plan.at < part.head_end ? part.head_end : part.end;
  const std::uint64_t found = in.data.empty() ? stop : std::min(in.offset, stop);
  if (found > plan.at) append_gap(plan.text, found - plan.at);
  const std::uint64_t taken = std::min<std::uint64_t>(in.data.size(), stop - found);
  plan.text.append(in.data, 0, taken);
  plan.at = found + taken;
  read_on(c, a, plan);
}

std::optional<boot_time> next_legacy_deadline(const core& c) {
  if (!c.registered() || !c.link.legacy || !c.legacy.outstanding) return std::nullopt;
  const legacy_message& m = *c.legacy.outstanding;
  if (m.kind == message_kind::heartbeat) return std::nullopt;
  if (!m.asked_at) return m.sent_at + legacy_patience;
  if (m.handled) return *m.asked_at + legacy_patience;
  return std::nullopt;
}

}  // namespace orchestrator::agent
