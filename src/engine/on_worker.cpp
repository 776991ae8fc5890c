// A worker's connection: its frames, liveness and end. See on_worker.hpp.
#include "on_worker.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>

#include "leases.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t parked_messages = 16 * limits::batch_messages;
constexpr std::size_t parked_bytes = 2 * limits::legacy_result_frame;

void on_heartbeat(core& c, session_entry& s, const protocol::worker_message& m) {
  const auto& h = std::get<protocol::heartbeat>(m.body);
  if (s.worker != nullptr) {
    worker& row = s.worker->row;
    row.status = h.status;
    row.jobs_processed = h.jobs_processed;
    row.uptime_seconds = h.uptime_seconds;
    row.load = h.load.value_or(row.load);
    row.memory_bytes = h.memory_bytes.value_or(row.memory_bytes);
    const bool drains = s.protocol && h.status == "draining" && !row.draining;
    if (drains != s.drains_itself) {
      s.drains_itself = drains;
      refresh_capacity(c, *s.worker);
    }
  }
  acknowledge_now(c, s, m);
}

// The worker has these messages of ours in its outbox: it will not start them twice, whatever crashes.
void on_worker_ack(core& c, session_entry& s, const protocol::worker_ack& ack) {
  if (!ack.seq || s.worker == nullptr) return;
  const auto settle = [&](const sent_message& m) {
    attempt_entry* a = m.execute ? find_attempt(c, m.execute) : nullptr;
    if (a != nullptr && a->holder == s.worker) accept_attempt(c, *a);
  };
  if (ack.cumulative) {
    while (!s.sent.empty() && s.sent.front().seq <= *ack.seq) {
      settle(s.sent.front());
      s.sent.pop_front();
    }
    return;
  }
  const auto at = std::lower_bound(s.sent.begin(), s.sent.end(), *ack.seq,
                                   [](const sent_message& m, std::uint64_t seq) { return m.seq < seq; });
  if (at == s.sent.end() || at->seq != *ack.seq) return;
  settle(*at);
  s.sent.erase(at);
}

bool on_invalid(core& c, session_entry& s, const protocol::worker_message& m) {
  const auto& bad = std::get<protocol::invalid_message>(m.body);
  const bool durable = bad.type == "job_result" || bad.type == "event";
  reject_message(c, s, m, bad.why, durable);
  if (bad.type == "worker_register" && !s.registered) {
    end_session(c, s, close_code::bad_registration, "bad registration", close_kind::direct);
  }
  return true;
}

// A legacy worker gets the answer that the original server gives to each of its registrations; it knows no
// error message.
bool on_second_registration(core& c, session_entry& s, const protocol::worker_message& m) {
  const auto& r = std::get<protocol::worker_register>(m.body);
  if (s.legacy && !r.protocol) {
    refresh_registration(c, s, r);
    protocol::ack ack;
    ack.registered = true;
    send_to(c, s, {std::nullopt, ack});
    return true;
  }
  protocol::error_message error;
  error.code = "already_registered";
  error.detail = "This connection is registered; open another one to register again.";
  error.seq = m.seq;
  send_now(c, s, {std::nullopt, std::move(error)});
  if (m.seq) s.window.settle(*m.seq);
  return true;
}

// False: the message waits, and what follows on this connection waits behind it.
bool handle(core& c, session_entry& s, const protocol::worker_message& m, const fetched_rows* rows) {
  struct visitor {
    core& c;
    session_entry& s;
    const protocol::worker_message& m;
    const fetched_rows* rows;
    bool operator()(const protocol::worker_register&) { return on_second_registration(c, s, m); }
    bool operator()(const protocol::heartbeat&) { return on_heartbeat(c, s, m), true; }
    bool operator()(const protocol::event&) { return on_event(c, s, m, rows); }
    bool operator()(const protocol::job_output&) { return on_job_output(c, s, m, rows); }
    bool operator()(const protocol::job_result&) { return on_job_result(c, s, m, rows); }
    bool operator()(const protocol::worker_ack& ack) { return on_worker_ack(c, s, ack), true; }
    bool operator()(const protocol::unknown_message&) { return acknowledge(c, s, m), true; }
    bool operator()(const protocol::invalid_message&) { return on_invalid(c, s, m); }
  };
  return std::visit(visitor{c, s, m, rows}, m.body);
}

std::string worker_id_of(const protocol::worker_message& m) {
  return std::visit(
      [](const auto& body) -> std::string {
        if constexpr (requires { body.worker_id; }) {
          return body.worker_id;
        } else {
          return {};
        }
      },
      m.body);
}

// The first message of a connection decides what it is.
void handle_first(core& c, session_entry& s, const protocol::worker_message& m) {
  if (std::holds_alternative<protocol::worker_register>(m.body)) return on_register(c, s, m);
  if (const auto* bad = std::get_if<protocol::invalid_message>(&m.body);
      bad && bad->type == "worker_register") {
    on_invalid(c, s, m);
    return;
  }
  if (std::holds_alternative<protocol::worker_ack>(m.body)) return;
  const std::string name = worker_id_of(m);
  if (!is_valid_name(name)) {
    protocol::error_message error;
    error.code = "not_registered";
    error.detail = "Send worker_register first.";
    error.seq = m.seq;
    send_now(c, s, {std::nullopt, std::move(error)});
    return;
  }
  register_implicitly(c, s, name);
  if (s.challenges) {
    s.parked.push_back(m);
  } else if (!s.dead) {
    if (!handle(c, s, m, nullptr)) s.parked.push_front(m);
  }
}

std::size_t bytes_of(const protocol::worker_message& m) {
  if (const auto* o = std::get_if<protocol::job_output>(&m.body)) return o->data.size();
  if (const auto* e = std::get_if<protocol::event>(&m.body)) return e->text.size();
  if (const auto* r = std::get_if<protocol::job_result>(&m.body)) return r->log_output.size();
  return 0;
}

// The shell stops reading sockets when the disk falls behind, so the bound is only for a peer that gets
// around that.
void park(core& c, session_entry& s, const protocol::worker_message& m) {
  s.parked_bytes += bytes_of(m);
  s.parked.push_back(m);
  if (s.parked.size() > parked_messages || s.parked_bytes > parked_bytes) {
    end_session(c, s, close_code::try_again, "too many messages are waiting", close_kind::direct);
  }
}

void receive(core& c, session_entry& s, const protocol::worker_message& m) {
  const bool heartbeat = std::holds_alternative<protocol::heartbeat>(m.body);
  const bool ack = std::holds_alternative<protocol::worker_ack>(m.body);
  if (!ack) {
    // An ack speaks of our seq, so it has none of its own.
    if (const auto wrong = s.incoming.accept(m.seq)) {
      return end_session(c, s, close_code::protocol_error, wrong->detail, close_kind::direct);
    }
    s.uses_seq = m.seq.has_value();
    if (m.seq) s.window.received(*m.seq, heartbeat);
  }
  if (s.challenges) return park(c, s, m);
  if (!s.registered) return handle_first(c, s, m);
  if (heartbeat || ack) {
    handle(c, s, m, nullptr);
  } else if (s.blocked() || !s.parked.empty()) {
    park(c, s, m);
  } else if (!handle(c, s, m, nullptr)) {
    s.parked.push_front(m);
  }
}

}  // namespace

lease_id lease_of(const std::optional<lease_id>& lease, const std::optional<protocol::job_ref>& job,
                  bool legacy) {
  if (lease) return *lease;
  if (!legacy || !job) return {};
  if (const auto* number = std::get_if<std::int64_t>(&job->id)) {
    return lease_id{*number > 0 ? static_cast<std::uint64_t>(*number) : 0};
  }
  const auto& text = std::get<std::string>(job->id);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return lease_id{error == std::errc{} && end == text.data() + text.size() ? value : 0};
}

void resume(core& c, session_entry& s, const fetched_rows* rows) {
  while (!s.dead && !s.blocked() && !s.parked.empty()) {
    const protocol::worker_message m = std::move(s.parked.front());
    s.parked.pop_front();
    s.parked_bytes -= std::min(s.parked_bytes, bytes_of(m));
    if (!handle(c, s, m, rows)) {
      s.parked_bytes += bytes_of(m);
      s.parked.push_front(m);
    }
    rows = nullptr;
  }
}

void on(core& c, const session_opened& in) {
  const auto [at, fresh] = c.sessions.try_emplace(in.session);
  ORC_CHECK(fresh, "a session id was used twice");
  session_entry& s = at->second;
  s.id = in.session;
  s.peer = in.peer;
  s.ping_interval = c.settings.ping_interval;
  set_session_timer(c, s, c.clock + limits::registration_deadline);
}

void on(core& c, const session_frame& in) {
  session_entry* s = find_session(c, in.session);
  if (s == nullptr || s->dead) return;
  s->bad_in_a_row = 0;
  hear(c, *s);
  for (const protocol::worker_message& m : in.messages) {
    if (s->dead) return;
    receive(c, *s, m);
  }
}

void on(core& c, const session_bad_frame& in) {
  session_entry* s = find_session(c, in.session);
  if (s == nullptr || s->dead) return;
  hear(c, *s);
  protocol::error_message error;
  error.code = "bad_message";
  error.detail = in.why.detail;
  send_now(c, *s, {std::nullopt, std::move(error)});
  if (++s->bad_in_a_row < limits::bad_messages_in_a_row) return;
  end_session(c, *s, close_code::protocol_error, "too many bad messages", close_kind::direct);
}

void on(core& c, const session_alive& in) {
  session_entry* s = find_session(c, in.session);
  if (s != nullptr && !s->dead) hear(c, *s);
}

void on(core& c, const session_reading& in) {
  session_entry* s = find_session(c, in.session);
  if (s == nullptr || s->dead || s->unread == !in.on) return;
  s->unread = !in.on;
  worker_entry* w = s->worker;
  if (w == nullptr || s->unread) return;
  // Its silence begins anew, since what it said meanwhile was not read.
  w->last_received = c.clock;
  w->probe_until.reset();
  arm_worker(c, *w, c.clock);
}

void on(core& c, const session_closed& in) {
  session_entry* s = find_session(c, in.session);
  if (s == nullptr) return;
  if (!s->dead) {
    s->dead = true;
    if (!planted(defect::offer_redirected)) c.gate.forget(s->id);
    set_session_timer(c, *s, std::nullopt);
    if (s->waits_output != 0) c.output_waits.erase({s->waits_output, s->id});
    if (s->challenges) {
      if (session_entry* rival = find_session(c, *s->challenges)) rival->challengers.erase(s->id);
    }
    if (s->worker != nullptr) {
      log(c, note_level::info,
          fmt::format("Worker disconnected: {} (code: {}, reason: {})", s->worker_name, in.code,
                      in.reason.empty() ? "none" : printable(in.reason)));
    }
    detach_worker(c, *s);
    admit_challengers(c, *s);
  }
  const std::string name = std::move(s->worker_name);
  c.sessions.erase(in.session);
  pass_on_name(c, name);
}

}  // namespace orchestrator::engine
