// The outbox's policy: which records there are, what they mean after a restart together with the supervisor's
// inventory, and what becomes of an attempt whose record could not be written. Called by agent.cpp, and for
// write_record by every part.
#include <algorithm>
#include <charconv>

#include <orchestrator/base/check.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

constexpr std::uint16_t close_internal_error = 1011;
constexpr int exit_io_error = 74;

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc{} || end.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

void read_acked(attempt& a, std::string_view body) {
  const auto blank = body.find(' ');
  if (blank == std::string_view::npos) return;
  const auto offset = parse_integer(body.substr(blank + 1));
  if (!offset || *offset < 0) return;
  stream_state& s = a.streams[std::string{body.substr(0, blank)}];
  s.end = s.sent = s.acked = s.recorded = static_cast<std::uint64_t>(*offset);
}

void read_killed(attempt& a, std::string_view body) {
  const auto why = parse_integer(body).value_or(0);
  if (why >= 0 && why <= static_cast<int>(kill_reason::stopping)) a.killed = static_cast<kill_reason>(why);
}

/// False if the record cannot be understood; it is then left in the outbox and reported.
bool read_record(core& c, const stored_record& r, std::set<std::uint64_t>& may_run) {
  if (r.kind == record::tombstone) {
    c.tombstones.insert(r.lease);
    return true;
  }
  const bool starts = r.kind == record::start;
  if (r.kind == record::offer || (starts && !r.body.empty())) {
    auto offer = protocol::decode_execute_job(r.body);
    if (offer.has_error()) return false;
    attempt& a = c.attempts[r.lease];
    a.lease = r.lease;
    a.job_id = offer->job_id;
    apply_rules(a, *offer);
    a.offer = *std::move(offer);
    ++a.records;
    if (starts) may_run.insert(r.lease);
    return true;
  }
  if (r.kind == record::result) {
    auto result = protocol::decode_job_result(r.body);
    if (result.has_error()) return false;
    c.tombstones.erase(r.lease);  // its offer came after all, and this is the answer
    attempt& a = c.attempts[r.lease];
    a.lease = r.lease;
    a.job_id = result->job_id;
    a.output_lost = result->output_lost;
    a.result = *std::move(result);
    a.phase = attempt_phase::finished;
    a.stored = true;
    ++a.records;
    return true;
  }
  const auto it = c.attempts.find(r.lease);
  if (it == c.attempts.end()) return false;
  attempt& a = it->second;
  ++a.records;
  if (starts) may_run.insert(r.lease);
  if (r.kind == record::acked) read_acked(a, r.body);
  if (r.kind == record::killed) read_killed(a, r.body);
  if (r.kind == record::parked) a.parked_since = from_unix_ms(parse_integer(r.body).value_or(0));
  if (r.kind == record::contact) a.contact = boot_time{nanoseconds{parse_integer(r.body).value_or(0)}};
  return true;
}

/// The supervisor still has it, running or ended.
void adopt(core& c, attempt& a, const supervised_process& p) {
  a.supervised = true;
  a.started_at = p.started_at;
  for (const spool_state& s : p.output) adopt_stream(a, s.stream, s.end);
  if (a.phase == attempt_phase::finished) return;
  a.phase = attempt_phase::running;
  ++c.running;
  if (a.kill_on_loss && !c.is_legacy()) c.kill_on_loss.insert(a.lease);
  if (p.end) {
    on_process_ended(c, *p.end);
  } else if (a.killed != kill_reason::none) {
    c.out.emplace_back(kill_process{a.lease, a.kill_grace});  // we may have died just before we said so
  }
}

void adopt_all(core& c, const std::vector<supervised_process>& processes, std::set<std::uint64_t>& may_run) {
  for (const supervised_process& p : processes) {
    may_run.erase(p.lease);
    const auto it = c.attempts.find(p.lease);
    if (it != c.attempts.end()) {
      adopt(c, it->second, p);
    } else if (p.end) {
      c.out.emplace_back(forget_process{p.lease});  // acknowledged just before the daemon died
    } else {
      say(c, note_level::warning, "Killing the process of lease {}: the outbox knows nothing of it", p.lease);
      c.out.emplace_back(kill_process{p.lease, limits::kill_grace_default});
    }
  }
}

/// A record that was its attempt's first: nothing ran, nothing will, and nothing says that it ever came.
void never_accepted(core& c, attempt& a, const std::string& why) {
  if (c.highest == a.lease) c.highest = a.lease - 1;
  std::erase_if(c.starting, [&](const start_process& s) { return s.lease == a.lease; });
  a.supervised = false;
  a.passing = true;
  finish_with(c, a, protocol::result_status::rejected, "the worker cannot write its outbox: " + why);
}

void back_to_the_queue(core& c, attempt& a) {
  std::erase_if(c.starting, [&](const start_process& s) { return s.lease == a.lease; });
  --c.running;
  c.kill_on_loss.erase(a.lease);
  a.supervised = false;
  a.phase = attempt_phase::waiting;
  c.waiting.insert(a.lease);
}

/// Puts an attempt back to where it was before a record that is not there. True if its result had been sent
/// on.
bool undo(core& c, const write_outbox& w, const std::string& why) {
  const auto it = c.attempts.find(w.lease);
  if (it == c.attempts.end()) return false;
  attempt& a = it->second;
  --a.records;
  if (w.kind == record::result) {
    a.stored = a.due = a.sent = false;
    if (a.records > 0) {
      c.unstored.insert(w.lease);
    } else {
      if (c.highest == w.lease) c.highest = w.lease - 1;
      c.output_due.erase(w.lease);
      c.attempts.erase(it);  // never started a process: the coordinator will offer it again
    }
    return true;
  }
  // A later record of the same list may have ended it already (cancelled in the same frame): its result is
  // written by itself then.
  if (a.phase == attempt_phase::finished) return false;
  if (w.kind == record::offer || (w.kind == record::start && !w.body.empty())) {
    never_accepted(c, a, why);
  } else if (w.kind == record::start) {
    back_to_the_queue(c, a);
  }
  return false;
}

bool cannot_switch(core& c, const outbox_failed& in) {
  if (!std::holds_alternative<switch_outbox>(in.not_done.front())) return false;
  const bool leaving = std::any_of(in.not_done.begin(), in.not_done.end(),
                                   [](const effect& e) { return std::holds_alternative<exit_now>(e); });
  if (leaving) {
    c.out.emplace_back(exit_now{exit_io_error});
  } else {
    close_link(c, close_internal_error, "the worker cannot open its outbox");
  }
  return true;
}

/// Repeats what does not depend on the failed record. Sends keep their numbers only if none is left out.
void repeat_rest(core& c, const outbox_failed& in, bool drop_sends) {
  for (std::size_t i = 1; i < in.not_done.size(); ++i) {
    const effect& e = in.not_done[i];
    if (drop_sends && std::holds_alternative<send>(e)) continue;
    if (const auto* start = std::get_if<start_process>(&e)) {
      const auto it = c.attempts.find(start->lease);
      if (it == c.attempts.end() || it->second.phase != attempt_phase::running) continue;
    }
    if (const auto* w = std::get_if<write_outbox>(&e)) c.highest = std::max(c.highest, w->lease);
    c.out.push_back(e);
  }
}

}  // namespace

void write_record(core& c, attempt& a, const char* kind, std::string body) {
  c.highest = std::max(c.highest, a.lease);
  ++a.records;
  c.out.emplace_back(write_outbox{a.lease, kind, std::move(body)});
}

void recover(core& c, const std::vector<stored_record>& records,
             const std::vector<supervised_process>& processes) {
  std::set<std::uint64_t> may_run;
  for (const stored_record& r : records) {
    c.highest = std::max(c.highest, r.lease);
    if (read_record(c, r, may_run)) continue;
    say(c, note_level::warning, "The outbox's {} record of lease {} cannot be understood; it is ignored",
        r.kind, r.lease);
  }
  adopt_all(c, processes, may_run);
  kill_leftovers gone;
  for (auto& [lease, a] : c.attempts) {
    if (a.parked_since) c.parked.insert(lease);
    if (a.phase == attempt_phase::finished) {
      for (const auto& [stream, bytes] : a.result->output_bytes) adopt_stream(a, stream, bytes);
      // Its spool may be there still, and is to be forgotten with it; a result alone never had a process.
      if (a.records > 1 || !a.streams.empty()) a.supervised = true;
    } else if (a.phase == attempt_phase::waiting && may_run.contains(lease)) {
      // Its start was recorded, so it may have run; a supervisor that does not know it cannot say.
      a.phase = attempt_phase::leftover;
      a.supervised = true;
      ++c.leftovers;
      gone.leases.push_back(lease);
    } else if (a.phase == attempt_phase::waiting) {
      c.waiting.insert(lease);
    }
  }
  if (!gone.leases.empty()) c.out.emplace_back(std::move(gone));
}

void forget_files(core& c, const started& in) {
  std::set<std::uint64_t> unclaimed = in.files;
  for (const supervised_process& p : in.processes) unclaimed.erase(p.lease);
  for (const auto& [lease, a] : c.attempts) unclaimed.erase(lease);
  for (const std::uint64_t lease : unclaimed) c.out.emplace_back(forget_process{lease});
}

void on_outbox_failed(core& c, const outbox_failed& in) {
  ORC_CHECK(!in.not_done.empty(), "outbox_failed brings back the list, the failed effect first");
  say(c, note_level::warning, "Cannot write the outbox: {}", in.message);
  if (cannot_switch(c, in)) return;
  c.outbox_retry_at = c.now.boot + outbox_retry;
  const auto* failed = std::get_if<write_outbox>(&in.not_done.front());
  ORC_CHECK(failed != nullptr, "only outbox effects can fail");
  // A result that was to be sent behind its record leaves a hole in the numbers: the connection starts anew.
  const bool was_to_be_sent = undo(c, *failed, in.message);
  const bool reset = was_to_be_sent && (c.registered() || c.link.phase == link_phase::closing);
  repeat_rest(c, in, reset);
  if (reset) close_link(c, close_internal_error, "the worker cannot write its outbox");
}

void retry_outbox(core& c) {
  if (!c.outbox_retry_at || c.now.boot < *c.outbox_retry_at) return;
  c.outbox_retry_at.reset();
  for (const std::uint64_t lease : std::set<std::uint64_t>{c.unstored}) store_result(c, c.attempts.at(lease));
}

}  // namespace orchestrator::agent
