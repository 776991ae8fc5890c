// How attempts end, and their results from the outbox to the coordinator. A result is written before it is
// sent, follows its output, is sent again on every connection, and goes away when it is acknowledged. Called
// by agent.cpp for what the supervisor says, and by every part that ends an attempt.
#include <algorithm>
#include <cerrno>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

using protocol::result_status;

constexpr std::size_t error_text_bytes = 64 * 1024;
constexpr std::size_t result_bytes = 320;  ///< of its JSON without log_output, about

/// As a shell reports it, so that the command line can pass it on.
std::optional<int> exit_code_of_failed_start(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR: return 127;
    case EACCES:
    case EPERM:
    case EISDIR:
    case ENOEXEC: return 126;
    default: return std::nullopt;
  }
}

/// The original server knows only three words.
result_status for_peer(const core& c, result_status s) {
  const bool original = s == result_status::success || s == result_status::failure;
  return !c.is_legacy() || original ? s : result_status::error;
}

protocol::job_result base_result(const core& c, const attempt& a, result_status status, std::string text) {
  protocol::job_result r;
  r.job_id = a.job_id;
  r.worker_id = c.settings.worker_id;
  r.status = for_peer(c, status);
  r.log_output = std::move(text);
  r.run_time = to_rfc3339(a.started_at.value_or(c.now.wall), seconds{0});
  if (!c.is_legacy()) r.lease = lease_id{a.lease};
  r.output_lost = a.output_lost;
  return r;
}

void leave_phase(core& c, attempt& a) {
  switch (a.phase) {
    case attempt_phase::waiting: c.waiting.erase(a.lease); break;
    case attempt_phase::running:
      --c.running;
      c.kill_on_loss.erase(a.lease);
      break;
    case attempt_phase::leftover: --c.leftovers; break;
    case attempt_phase::collecting: c.collections.erase(a.lease); break;
    case attempt_phase::finished: ORC_CHECK(false, "an attempt ends once");
  }
}

void conclude(core& c, attempt& a, protocol::job_result r) {
  leave_phase(c, a);
  a.phase = attempt_phase::finished;
  a.offer = {};
  if (r.status != result_status::rejected) ++c.jobs_processed;
  a.result = std::move(r);
  if (a.passing) {
    a.stored = true;
    result_may_be_due(c, a);
  } else {
    store_result(c, a);
  }
}

result_status status_of(const attempt& a, const process_end& end) {
  // The coordinator may have given the lease up already: what ended for that counts as lost, not as failed.
  if (end.lease_lost || (end.killed && a.killed == kill_reason::lease_lost)) return result_status::lost;
  if (!end.started) return result_status::error;
  if (end.timed_out) return result_status::timeout;
  if (end.killed && a.killed == kill_reason::cancelled) return result_status::cancelled;
  return end.exit_code == 0 && end.signal == 0 ? result_status::success : result_status::failure;
}

std::string text_of(const process_end& end, result_status status) {
  if (status == result_status::error) return end.error.substr(0, error_text_bytes);
  if (status == result_status::lost) return "killed by the worker, because its lease could not be renewed";
  return {};
}

protocol::event started_event(const core& c, const attempt& a) {
  protocol::event e;
  e.name = "job_started";
  e.worker_id = c.settings.worker_id;
  e.job_id = a.job_id;
  e.lease = lease_id{a.lease};
  e.n = 1;
  return e;
}

}  // namespace

void finish_with(core& c, attempt& a, result_status status, std::string text) {
  // A registration lists what the outbox holds, in one frame: a refusal must not be what makes it too long.
  if (status == result_status::rejected && a.records == 0 && c.attempts.size() >= limits::inventory_leases)
    a.passing = true;
  protocol::job_result r = base_result(c, a, status, std::move(text));
  if (status == result_status::success) r.exit_code = 0;
  for (const auto& [name, s] : a.streams) {
    if (s.end > 0) r.output_bytes[name] = s.end;
  }
  conclude(c, a, std::move(r));
}

void finish_ended(core& c, attempt& a, std::string text) {
  const process_end& end = *a.end;
  const result_status status = status_of(a, end);
  std::string said = text_of(end, status);
  if (!text.empty() && !said.empty() && !text.ends_with('\n')) text += '\n';
  protocol::job_result r = base_result(c, a, status, text + readable_text(said));
  r.duration_seconds = end.duration_seconds;
  if (!end.started) {
    r.exit_code = exit_code_of_failed_start(end.error_number);
  } else if (end.signal != 0) {
    r.signal = end.signal;
  } else {
    r.exit_code = end.exit_code;
  }
  if (end.started) {
    r.max_rss_bytes = end.max_rss_bytes;
    r.cpu_seconds = end.cpu_seconds;
    for (const auto& [name, bytes] : end.output_bytes) {
      if (bytes > 0) r.output_bytes[name] = bytes;
    }
  }
  conclude(c, a, std::move(r));
}

void store_result(core& c, attempt& a) {
  write_record(c, a, record::result, protocol::encode(*a.result));
  a.stored = true;
  c.unstored.erase(a.lease);
  result_may_be_due(c, a);
}

void result_may_be_due(core& c, attempt& a) {
  if (!c.registered() || a.phase != attempt_phase::finished || !a.stored || a.due || a.sent || a.not_before)
    return;
  if (c.link.legacy) {
    legacy_say(c, message_kind::result, a.lease);
  } else if (output_sent(a)) {
    c.results_due.push_back(a.lease);
  } else {
    return;
  }
  a.due = true;
}

void forget_attempt(core& c, std::uint64_t lease) {
  const auto it = c.attempts.find(lease);
  ORC_CHECK(it != c.attempts.end() && it->second.phase == attempt_phase::finished,
            "only a finished attempt is done");
  const attempt& a = it->second;
  // In this order: a result whose process is forgotten is only sent once more; a spool without record would
  // stay.
  if (a.supervised) c.out.emplace_back(forget_process{lease});
  if (a.records > 0) c.out.emplace_back(drop_outbox{lease});
  c.output_due.erase(lease);
  c.unstored.erase(lease);
  c.delayed.erase(lease);
  c.parked.erase(lease);
  c.attempts.erase(it);
}

void send_results(core& c) {
  if (!c.registered() || c.link.legacy) return;
  while (!c.results_due.empty() && c.link.unacked_bytes < window_bytes &&
         c.link.unacked.size() < window_messages) {
    const std::uint64_t lease = c.results_due.front();
    c.results_due.pop_front();
    const auto it = c.attempts.find(lease);
    if (it == c.attempts.end() || !it->second.due) continue;
    attempt& a = it->second;
    a.due = false;
    a.sent = true;
    send_message(c, *a.result,
                 about(message_kind::result, lease, result_bytes + a.result->log_output.size()));
    if (planted(defect::outbox_dropped_on_send)) c.out.emplace_back(drop_outbox{lease});
  }
}

void send_events(core& c) {
  while (c.registered() && !c.events_due.empty() && c.link.unacked.size() < window_messages) {
    const std::uint64_t lease = c.events_due.front();
    c.events_due.pop_front();
    const auto it = c.attempts.find(lease);
    if (it == c.attempts.end() || it->second.start_told || it->second.phase != attempt_phase::running)
      continue;
    it->second.start_told = true;
    if (c.link.legacy) {
      legacy_say(c, message_kind::started_event, lease);
    } else {
      send_message(c, started_event(c, it->second), about(message_kind::started_event, lease));
    }
  }
}

void tick_results(core& c) {
  for (auto it = c.delayed.begin(); it != c.delayed.end();) {
    attempt& a = c.attempts.at(*it);
    if (a.not_before && c.now.boot < *a.not_before) {
      ++it;
      continue;
    }
    it = c.delayed.erase(it);
    a.not_before.reset();
    c.output_due.insert(a.lease);
    if (!a.start_told) c.events_due.push_back(a.lease);
    result_may_be_due(c, a);
  }
  for (const std::uint64_t lease : std::set<std::uint64_t>{c.parked}) {
    if (c.now.wall - *c.attempts.at(lease).parked_since < parked_results_kept) continue;
    say(c, note_level::warning,
        "The result of lease {}, which no coordinator asked for, is dropped after {} days", lease,
        limits::unknown_results_kept_days);
    forget_attempt(c, lease);
  }
}

void on_process_started(core& c, const process_started& in) {
  const auto it = c.attempts.find(in.lease);
  if (it == c.attempts.end() || it->second.phase != attempt_phase::running) return;
  attempt& a = it->second;
  a.offer = {};
  if (!a.started_at) a.started_at = c.now.wall;
  if (!a.start_told) c.events_due.push_back(a.lease);
}

void on_process_ended(core& c, const process_end& end) {
  const auto it = c.attempts.find(end.lease);
  if (it == c.attempts.end()) {
    c.out.emplace_back(forget_process{end.lease});
    return;
  }
  attempt& a = it->second;
  if (a.phase != attempt_phase::running) return;
  a.end = end;
  if (end.lease_lost)
    say(c, note_level::warning, "Lease {} was ended by the supervisor: it could not be renewed", a.lease);
  for (const auto& [name, bytes] : end.output_bytes) {
    stream_state& s = a.streams[name];
    s.end = std::max(s.end, bytes);
    s.waits_beyond = 0;
  }
  if (a.output_lost) lose_output(c, a);
  if (c.is_legacy()) {
    collect_output(c, a);
  } else {
    finish_ended(c, a, "");
    c.output_due.insert(a.lease);
  }
}

void on_supervisor_lost(core& c) {
  if (c.supervisor_gone) return;
  c.supervisor_gone = true;
  say(c, note_level::warning, "The supervisor of this worker's processes died; they are being killed");
  kill_leftovers rest;
  for (auto& [lease, a] : c.attempts) {
    if (a.phase != attempt_phase::running) continue;
    leave_phase(c, a);
    a.phase = attempt_phase::leftover;
    ++c.leftovers;
    rest.leases.push_back(lease);
  }
  if (!rest.leases.empty()) c.out.emplace_back(std::move(rest));
}

void on_leftovers_killed(core& c, const leftovers_killed& in) {
  const auto it = c.attempts.find(in.lease);
  if (it == c.attempts.end() || it->second.phase != attempt_phase::leftover) return;
  attempt& a = it->second;
  if (in.none_left) {
    for (const spool_state& s : in.output) adopt_stream(a, s.stream, s.end);
    if (a.output_lost) lose_output(c, a);
    finish_with(c, a, result_status::lost, "its supervisor died; no process of it is left, nor its status");
    c.output_due.insert(a.lease);
  } else {
    say(c, note_level::warning, "Processes of lease {} cannot be killed; trying again", in.lease);
    c.leftover_retry_at = c.now.boot + leftover_retry;
  }
}

}  // namespace orchestrator::agent
