// Connections of workers. See sessions.hpp.
#include <orchestrator/base/planted.hpp>

#include "sessions.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "leases.hpp"
#include "runs.hpp"
#include "step.hpp"

namespace orchestrator::engine {

session_entry* find_session(core& c, session_id id) {
  const auto found = c.sessions.find(id);
  return found == c.sessions.end() ? nullptr : &found->second;
}

void set_session_timer(core& c, session_entry& s, std::optional<mono_time> at) {
  if (s.timer) c.timers.erase({*s.timer, timer_kind::session, s.id.value, {}});
  s.timer = at;
  if (at) c.timers.insert({*at, timer_kind::session, s.id.value, {}});
}

void hear(core& c, session_entry& s) {
  if (worker_entry* w = s.worker) {
    w->last_received = c.clock;
    w->seen_wall = c.now.wall;
    w->stall_at_last = c.stalls;
    w->ever_received = true;
    w->probe_until.reset();
  }
  if (!s.challengers.empty()) refuse_challengers(c, s);
}

void detach_worker(core& c, session_entry& s) {
  worker_entry* w = s.worker;
  if (w == nullptr) return;
  s.worker = nullptr;
  w->session = nullptr;
  w->leases_only = false;
  w->probe_until.reset();
  // Rule 6: what it said while nobody read is gone with the socket, so its silence begins now.
  if (s.unread) {
    w->last_received = c.clock;
    arm_worker(c, *w, c.clock);
  }
  w->row.last_seen = w->seen_wall;
  touch(c, *w);
  put_fact(c, "worker.disconnected", "worker/" + w->row.worker_id,
           fact_data().add("instance", to_string(w->row.instance)).take());
  refresh_capacity(c, *w);
  // What never left the gate was never sent: those attempts provably did not start.
  std::vector<lease_id> unsent;
  while (planted(defect::lost_at_once) && !w->live.empty())
    lose_attempt(c, *w->live.begin()->second, "silence");
  for (const auto& [lease, a] : w->live) {
    if (!a->sent && !planted(defect::offer_redirected)) unsent.push_back(lease);
  }
  for (const lease_id lease : unsent) end_not_started(c, *find_attempt(c, lease), "never_sent");
}

void end_session(core& c, session_entry& s, std::uint16_t code, std::string_view reason, close_kind kind) {
  if (s.dead) return;
  s.dead = true;
  if (!planted(defect::offer_redirected)) c.gate.forget(s.id);
  std::erase_if(c.step.gated, [&](const auto& entry) {
    const auto* message = std::get_if<send>(&entry.first);
    return message != nullptr && message->session == s.id;
  });
  set_session_timer(c, s, std::nullopt);
  if (s.waits_output != 0) c.output_waits.erase({s.waits_output, s.id});
  s.waits_output = 0;
  s.waits_fetch.reset();
  s.parked.clear();
  if (s.challenges) {
    if (session_entry* rival = find_session(c, *s.challenges)) rival->challengers.erase(s.id);
    s.challenges.reset();
  }
  if (s.worker != nullptr) {
    log(c, note_level::info,
        fmt::format("Connection of worker {} closed by us (code: {}, reason: {})", s.worker_name, code,
                    reason));
  }
  detach_worker(c, s);
  close_session close{s.id, code, std::string(reason)};
  if (kind == close_kind::gated) {
    c.step.gated.emplace_back(std::move(close), false);
  } else {
    c.step.direct.emplace_back(std::move(close));
  }
  admit_challengers(c, s);
  // Whoever replaced it takes the name in this same step.
  if (code != close_code::replaced) pass_on_name(c, s.worker_name);
}

void acknowledge(core& c, session_entry& s, const protocol::worker_message& m,
                 std::optional<disposition> what, bool waits_for_output) {
  protocol::ack ack;
  if (s.protocol) ack.seq = m.seq;
  // For a legacy peer the disposition only marks the ack of a result; deliver() takes it off again.
  ack.disposition = what;
  send_to(c, s, {std::nullopt, std::move(ack)}, waits_for_output);
}

void acknowledge_now(core& c, session_entry& s, const protocol::worker_message& m) {
  if (s.legacy) {
    // Counts towards its limit, which deliver() keeps.
    std::vector<output> one;
    one.emplace_back(send{s.id, {std::nullopt, protocol::ack{}}});
    if (s.registered && !s.registration_sent) return send_to(c, s, {std::nullopt, protocol::ack{}});
    return deliver(c, std::move(one), c.step.direct);
  }
  protocol::ack ack;
  ack.seq = m.seq;
  send_now(c, s, {std::nullopt, std::move(ack)});
}

void reject_message(core& c, session_entry& s, const protocol::worker_message& m, const refusal& why,
                    bool final) {
  protocol::error_message error;
  error.code = to_string(why.code);
  error.detail = why.detail;
  if (!s.legacy) error.seq = m.seq;
  error.final = final;
  send_now(c, s, {std::nullopt, std::move(error)});
  if (m.seq) s.window.settle(*m.seq);
}

void wait_for_rows(core& c, session_entry& s, lease_id lease) {
  const fetch_id id{++c.fetch_counter};
  s.waits_fetch = id;
  c.fetches.emplace(id, s.id);
  c.step.lookups.emplace_back(fetch{id, lease});
}

void wait_for_output(core& c, session_entry& s, std::uint64_t number) {
  s.waits_output = number;
  c.output_waits.insert({number, s.id});
}

namespace {

void deliver_legacy_ack(session_entry& s, send m, std::vector<output>& out) {
  auto& ack = std::get<protocol::ack>(m.message.body);
  const bool of_result = ack.disposition.has_value();
  ack.disposition.reset();
  const bool busy = s.worker != nullptr && !s.worker->live.empty();
  if (of_result || !busy) {
    for (; s.legacy_held_acks > 0; --s.legacy_held_acks) {
      out.emplace_back(send{s.id, {std::nullopt, protocol::ack{}}});
    }
    s.legacy_acks = 0;
  } else if (s.legacy_acks >= limits::legacy_acks_while_busy) {
    ++s.legacy_held_acks;
    return;
  } else {
    ++s.legacy_acks;
  }
  out.emplace_back(std::move(m));
}

// True if the ack was taken into the session's cumulative one.
bool merge_ack(session_entry& s, const protocol::ack& ack) {
  if (!ack.seq) return false;
  s.window.settle(*ack.seq);
  if (!s.batch) {
    s.window.take_reach();  // nobody will be told, but the window must not grow
    return false;
  }
  if (ack.disposition && *ack.disposition != disposition::accepted)
    s.dispositions[*ack.seq] = *ack.disposition;
  return true;
}

void send_cumulative_ack(session_entry& s, std::vector<output>& out) {
  const auto reach = s.window.take_reach();
  if (!reach) return;
  protocol::ack ack;
  ack.seq = reach;
  ack.cumulative = true;
  const auto last = s.dispositions.upper_bound(*reach);
  ack.dispositions.insert(s.dispositions.begin(), last);
  s.dispositions.erase(s.dispositions.begin(), last);
  out.emplace_back(send{s.id, {std::nullopt, std::move(ack)}});
}

void note_offer_sent(core& c, const protocol::execute_job& m, session_entry& s, std::uint64_t seq) {
  const auto* number = std::get_if<std::int64_t>(&m.job_id.id);
  const lease_id lease = m.lease ? *m.lease : lease_id{number ? static_cast<std::uint64_t>(*number) : 0};
  if (s.protocol) s.sent.push_back({seq, lease});
  attempt_entry* a = find_attempt(c, lease);
  if (a == nullptr) return;
  a->sent = true;
  if (s.legacy) {
    const run_spec& spec = a->run->spec->spec;
    arm_worker(c, *a->holder,
               c.clock + spec.timeout + spec.kill_grace + ttl_of(c, spec) + limits::run_deadline_slack);
    return;
  }
  a->sent_at = c.clock;
  arm_worker(c, *a->holder, c.clock + limits::offer_ack_deadline);
}

void deliver_message(core& c, session_entry& s, send m, std::set<session_id>& acked,
                     std::vector<output>& out) {
  protocol::coordinator_message& message = m.message;
  if (const auto* ack = std::get_if<protocol::ack>(&message.body)) {
    if (ack->registered) s.registration_sent = true;
    if (s.legacy && !ack->registered) return deliver_legacy_ack(s, std::move(m), out);
    if (!ack->registered && merge_ack(s, *ack)) {
      acked.insert(s.id);
      return;
    }
  } else if (const auto* registration = std::get_if<protocol::registration>(&message.body)) {
    s.registration_sent = true;
    if (registration->seq) s.window.settle(*registration->seq);
  } else if (const auto* offer = std::get_if<protocol::execute_job>(&message.body)) {
    if (s.protocol) message.seq = ++s.out_seq;
    note_offer_sent(c, *offer, s, s.out_seq);
  } else if (std::holds_alternative<protocol::cancel_job>(message.body) ||
             std::holds_alternative<protocol::drain>(message.body)) {
    message.seq = ++s.out_seq;
    s.sent.push_back({s.out_seq, {}});
  }
  out.emplace_back(std::move(m));
}

}  // namespace

namespace {

// Only for a defect of the simulator: the connection that the worker of an offer has now.
session_entry* successor(core& c, const send& m) {
  const auto* offer = std::get_if<protocol::execute_job>(&m.message.body);
  attempt_entry* a = offer != nullptr && offer->lease ? find_attempt(c, *offer->lease) : nullptr;
  return a != nullptr ? a->holder->session : nullptr;
}

}  // namespace

void deliver(core& c, std::vector<output> released, std::vector<output>& out) {
  std::set<session_id> acked;
  for (output& o : released) {
    if (auto* m = std::get_if<send>(&o)) {
      session_entry* s = find_session(c, m->session);
      if (planted(defect::offer_redirected) && (s == nullptr || s->dead)) {
        s = successor(c, *m);
        if (s != nullptr) m->session = s->id;
      }
      if (s != nullptr && !s->dead) deliver_message(c, *s, std::move(*m), acked, out);
    } else {
      out.push_back(std::move(o));
    }
  }
  for (const session_id id : acked) send_cumulative_ack(*find_session(c, id), out);
}

}  // namespace orchestrator::engine
