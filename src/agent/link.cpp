// The connection to the coordinator: dialling, backoff, registration, heartbeats, and the numbering of
// messages. Called by agent.cpp for what the socket did and for the clock, and by every part that sends
// something.
#include <algorithm>

#include <orchestrator/base/check.hpp>

#include <orchestrator/base/planted.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

constexpr std::uint16_t close_going_away = 1001;
constexpr std::uint16_t close_violation = 1008;
constexpr std::uint16_t close_no_common_protocol = 4010;

/// As it is printed: what is said is what is waited, so it is a multiple of 100 ms.
std::string in_words(milliseconds delay) {
  return fmt::format("{:g}s", static_cast<double>(delay.count()) / 1000);
}

/// 5 s, doubling to 60 s; from the second on a random part of it, so that 5,000 workers do not come back at
/// once.
milliseconds next_delay(core& c) {
  const int doublings = std::min(c.link.failures++, 20);
  const milliseconds base = std::min(
      c.settings.retry_max, milliseconds{c.settings.retry_delay.count() * (std::int64_t{1} << doublings)});
  if (doublings == 0) return base;
  const auto tenths =
      static_cast<std::int64_t>(static_cast<double>(base.count()) * (0.5 + c.random.unit() / 2)) / 100;
  return milliseconds{std::max<std::int64_t>(tenths, 1) * 100};
}

void pause_link(core& c, milliseconds delay) {
  c.link.phase = link_phase::pausing;
  c.link.retry_at = c.now.boot + delay;
}

/// The leases of the outbox, each in exactly one list. What is being killed still runs, as far as we know.
void list_leases(const core& c, protocol::worker_register& m) {
  for (const auto& [lease, a] : c.attempts) {
    if (a.records == 0) continue;
    auto& list = a.phase != attempt_phase::finished || !a.stored     ? m.running
                 : a.result->status == protocol::result_status::lost ? m.lost
                                                                     : m.unacked;
    list.push_back({a.job_id, lease_id{lease}});
  }
}

protocol::worker_register registration_of(const core& c) {
  const config& s = c.settings;
  protocol::worker_register m;
  m.worker_id = s.worker_id;
  m.hostname = s.hostname;
  m.platform = s.platform;
  m.protocol = 1;
  m.features = {"batch"};
  m.slots = s.slots;
  m.credit = s.credit;
  m.labels = s.labels;
  m.resources = s.resources;
  m.version = s.version;
  m.pid = s.pid;
  m.instance = s.instance;
  m.boot_id = s.boot_id;
  m.process = s.process;
  m.opened = c.link.opened.time_since_epoch().count();
  if (c.is_legacy()) return m;  // leases of our own making are no coordinator's business
  m.cluster = parse_uuid(c.cluster);
  if (m.cluster) m.term = c.term;
  m.highest_lease = lease_id{c.highest};
  list_leases(c, m);
  return m;
}

/// A new session knows nothing of what the last one sent: everything not acknowledged is to be sent again.
void begin_session(core& c) {
  c.link.phase = link_phase::registered;
  c.link.registered_at = c.now.boot;
  // A registration does not say that nothing is to be offered.
  c.link.heartbeat_at = c.now.boot + (takes_no_work(c) ? milliseconds{0} : heartbeat_interval(c));
  for (const std::uint64_t lease : c.tombstones) c.out.emplace_back(drop_outbox{lease});
  c.tombstones.clear();  // an offer is sent on one connection only, and older leases are refused anyway
}

void queue_everything(core& c) {
  for (auto& [lease, a] : c.attempts) {
    if (a.phase == attempt_phase::running && a.started_at && !a.start_told) c.events_due.push_back(lease);
    if (!a.streams.empty()) c.output_due.insert(lease);
    result_may_be_due(c, a);
  }
}

void take_term(core& c, std::uint64_t term) {
  if (term > c.term) {
    c.term = term;
    c.out.emplace_back(store_term{term});
  } else if (term < c.term) {
    say(c, note_level::warning,
        "The coordinator's term {} is below {}, which this worker has seen: it serves an older copy of the "
        "database, "
        "and its offers will be refused",
        term, c.term);
  }
}

/// Both kinds of coordinator come here once their outbox is in place.
void registration_done(core& c) {
  begin_session(c);
  if (c.link.legacy) {
    c.out.emplace_back(set_framing{false, limits::legacy_result_frame});
    for (auto& [lease, a] : c.attempts) a.admitted = true;
  } else {
    const protocol::registration& g = c.link.greeting;
    c.link.batch = std::find(g.features.begin(), g.features.end(), "batch") != g.features.end();
    c.link.ttl = milliseconds{static_cast<std::int64_t>(g.lease_ttl_seconds * 1000)};
    c.out.emplace_back(set_framing{c.link.batch, static_cast<std::size_t>(g.max_message_bytes)});
    take_term(c, g.term);
    c.link.ping_interval = milliseconds{0};
    adapt_pings(c, c.link.ttl);
    if (!planted(defect::drain_outlives_connection))
      c.draining = false;  // a drain that still holds follows, see protocol::drain
    reconcile(c, g);
  }
  queue_everything(c);
}

/// Leases are numbers of one cluster, so is the outbox. The first cluster ever is taken on in place; for
/// another one the daemon starts again, because the supervisor at hand has seen the old one's lease numbers.
void enter_cluster(core& c, const std::string& cluster) {
  if (cluster == c.cluster) {
    registration_done(c);
  } else if (c.cluster.empty()) {
    c.link.phase = link_phase::switching;
    c.out.emplace_back(switch_outbox{cluster});
  } else {
    say(c, note_level::warning, "This coordinator serves cluster {}, not {}: setting the old outbox aside",
        cluster, c.cluster);
    close_link(c, close_going_away, "switching cluster");
    c.out.emplace_back(switch_outbox{cluster});
    c.out.emplace_back(exit_now{0, true});
    c.exited = true;
  }
}

void on_registered(core& c, const protocol::registration& greeting) {
  if (c.link.phase != link_phase::registering) return;
  note_contact(c, c.link.registering_since);
  c.link.unacked.front().settled = true;
  c.link.unacked_bytes -= c.link.unacked.front().bytes;
  c.link.unacked.pop_front();
  c.link.greeting = greeting;
  enter_cluster(c, to_string(greeting.cluster));
}

void on_plain_ack(core& c, const protocol::ack& ack) {
  if (c.link.phase == link_phase::registering) {
    if (ack.registered) on_legacy_registered(c);
  } else if (c.link.legacy) {
    if (!ack.registered)
      on_legacy_ack(c);  // a registration taken as read from its first job is still answered
  } else {
    on_ack(c, ack);
  }
}

/// What a coordinator of ours numbers, and what we acknowledge once it is in the outbox.
struct numbered_handler {
  core& c;
  void operator()(const protocol::execute_job& m) const {
    if (c.link.legacy) {
      on_legacy_execute(c, m);
    } else {
      on_execute(c, m);
    }
  }
  void operator()(const protocol::cancel_job& m) const {
    if (!c.link.legacy) on_cancel(c, m);
  }
  void operator()(const protocol::drain& m) const {
    if (!c.link.legacy) on_drain(c, m);
  }
  void operator()(const protocol::invalid_message& m) const {
    say(c, note_level::warning, "The coordinator sent a {} that cannot be taken: {}", m.type, m.why.detail);
    if (!c.link.legacy && m.job_id && m.lease) refuse_unreadable(c, m);
  }
  template <class Other>
  void operator()(const Other&) const {}
};

using acks = std::vector<std::uint64_t>;

void handle_numbered(core& c, const protocol::coordinator_message& m, acks& to_ack) {
  const auto* offer = std::get_if<protocol::execute_job>(&m.body);
  // The original server may hand out a job before its registration ack.
  if (c.link.phase == link_phase::registering && offer && !offer->lease) on_legacy_registered(c);
  if (c.link.phase == link_phase::switching) {
    c.link.parked.push_back(m);
    return;
  }
  if (!c.registered()) return;
  if (!c.link.legacy) {
    if (const auto wrong = c.link.incoming.accept(m.seq)) {
      close_link(c, close_violation, wrong->detail);
      return;
    }
  }
  std::visit(numbered_handler{c}, m.body);
  // An ack says "in the outbox". What could not be read at all is not, and then nothing may be said
  // cumulatively any more.
  const auto* bad = std::get_if<protocol::invalid_message>(&m.body);
  if (bad != nullptr && (!bad->job_id || !bad->lease))
    c.link.batch = false;
  else if (m.seq && !c.link.legacy)
    to_ack.push_back(*m.seq);
}

void handle_message(core& c, const protocol::coordinator_message& m, acks& to_ack) {
  if (const auto* greeting = std::get_if<protocol::registration>(&m.body)) {
    on_registered(c, *greeting);
  } else if (const auto* ack = std::get_if<protocol::ack>(&m.body)) {
    on_plain_ack(c, *ack);
  } else if (const auto* error = std::get_if<protocol::error_message>(&m.body)) {
    on_error(c, *error);
  } else {
    handle_numbered(c, m, to_ack);
  }
}

/// An ack has no number of its own and is never acknowledged.
void push_ack(core& c, protocol::worker_ack ack) {
  protocol::worker_message m;
  m.body = ack;
  c.out.emplace_back(send{std::move(m)});
}

void send_acks(core& c, const acks& seqs) {
  if (seqs.empty() || !c.registered()) return;
  if (c.link.batch) {
    push_ack(c, {seqs.back(), true});
    return;
  }
  for (const std::uint64_t seq : seqs) push_ack(c, {seq, false});
}

void handle_messages(core& c, const std::vector<protocol::coordinator_message>& messages) {
  acks to_ack;
  for (const auto& m : messages) {
    if (c.exited || c.link.phase == link_phase::closing) return;
    handle_message(c, m, to_ack);
  }
  send_acks(c, to_ack);
}

bool is_open(const core& c) {
  return c.link.phase == link_phase::registering || c.link.phase == link_phase::switching || c.registered();
}

void forget_session(core& c) {
  const link_state old = std::move(c.link);
  c.link = {};
  c.link.failures = old.failures;
  c.link.contact = old.contact;
  c.link.ttl = old.ttl;
  c.legacy = {};
  c.results_due.clear();
  c.events_due.clear();
  c.output_due.clear();
  c.delayed.clear();
  std::vector<std::uint64_t> passing;
  for (auto& [lease, a] : c.attempts) {
    a.admitted = a.sent = a.due = false;
    a.start_told = a.start_acked;
    a.unacked_bytes = 0;
    a.not_before.reset();
    for (auto& [name, s] : a.streams) s.sent = s.acked;
    if (a.passing) passing.push_back(lease);
  }
  for (const std::uint64_t lease : passing) c.attempts.erase(lease);
}

}  // namespace

void begin_dialling(core& c) {
  c.link.phase = link_phase::dialling;
  c.link.opened = c.now.boot;
  c.out.emplace_back(connect{});
}

void on_connected(core& c) {
  if (c.link.phase != link_phase::dialling) return;
  say(c, note_level::info, "Connected to {}", c.settings.url);
  c.link.phase = link_phase::registering;
  c.link.registering_since = c.now.boot;
  send_message(c, registration_of(c), about(message_kind::registration));
}

void on_connect_failed(core& c, const connect_failed& in) {
  if (c.link.phase != link_phase::dialling) return;
  const milliseconds delay = next_delay(c);
  say(c, note_level::warning, "Connection failed: [{}]. Retrying in {}...", in.message, in_words(delay));
  pause_link(c, delay);
}

void on_disconnected(core& c, const disconnected& in) {
  if (!is_open(c) && c.link.phase != link_phase::closing) return;
  const bool by_us = c.link.phase == link_phase::closing;
  const boot_time since = c.link.registered_at;
  const nanoseconds registered_for = since == boot_time{} ? nanoseconds{0} : c.now.boot - since;
  const std::string reason = in.reason.empty() ? "none" : in.reason;
  say(c, note_level::info, "Connection closed{} (code: {}, reason: {})", by_us ? "" : " by server", in.code,
      reason);
  forget_session(c);
  if (c.exited || c.stopping == stop_mode::leave) {
    c.link.phase = link_phase::stopped;
    return;
  }
  if (registered_for >= settled_connection) c.link.failures = 0;
  if (registered_for >= probation) {
    begin_dialling(c);
    return;
  }
  const bool no_hope_soon = in.code == close_no_common_protocol;
  const milliseconds delay = no_hope_soon ? c.settings.retry_max : next_delay(c);
  say(c, note_level::info, "Reconnecting in {}...", in_words(delay));
  pause_link(c, delay);
}

void on_frame(core& c, const frame& in) {
  if (!is_open(c)) return;
  if (in.bad.empty()) {
    c.link.bad_in_a_row = 0;
    handle_messages(c, in.messages);
    return;
  }
  ++c.link.bad_in_a_row;
  say(c, note_level::warning, "The coordinator sent something that is not a message: {}", in.bad);
  if (c.link.bad_in_a_row >= limits::bad_messages_in_a_row)
    close_link(c, close_violation, "too many bad messages");
}

void on_outbox_switched(core& c, const outbox_switched& in) {
  if (c.link.phase != link_phase::switching) return;
  c.cluster = c.link.legacy ? legacy_cluster : to_string(c.link.greeting.cluster);
  c.term = 0;
  c.highest = in.highest_lease;
  recover(c, in.records, {});
  registration_done(c);
  const auto messages = std::move(c.link.parked);
  c.link.parked.clear();
  handle_messages(c, messages);
}

void on_legacy_registered(core& c) {
  c.link.legacy = true;
  c.link.unacked.clear();
  c.link.unacked_bytes = 0;
  enter_cluster(c, legacy_cluster);
}

void send_message(core& c, message_body body, unacked_message remembered) {
  protocol::worker_message message;
  message.body = std::move(body);
  if (!c.link.legacy) {
    message.seq = remembered.seq = ++c.link.last_seq;
    remembered.sent_at = c.now.boot;
    c.link.unacked_bytes += remembered.bytes;
    c.link.unacked.push_back(std::move(remembered));
  }
  c.out.emplace_back(send{std::move(message)});
}

void send_heartbeat(core& c) {
  c.link.heartbeat_at = c.now.boot + heartbeat_interval(c);
  // A coordinator that answers pings and acknowledges nothing is told no more: what is on the way is
  // remembered.
  if (c.link.unacked.size() >= 2 * window_messages) return;
  protocol::heartbeat m;
  m.worker_id = c.settings.worker_id;
  m.status = takes_no_work(c) ? "draining" : c.running > 0 ? "busy" : "idle";
  m.jobs_processed = c.jobs_processed;
  m.uptime_seconds = std::chrono::duration<double>(c.now.boot - c.born).count();
  m.timestamp = to_rfc3339(c.now.wall, seconds{0});
  m.running = static_cast<int>(c.running);
  m.load = c.load.load;
  m.memory_bytes = c.load.memory_bytes;
  send_message(c, std::move(m), about(message_kind::heartbeat));
}

void close_link(core& c, std::uint16_t code, std::string reason) {
  if (!is_open(c)) return;
  c.link.phase = link_phase::closing;
  c.out.emplace_back(disconnect{code, std::move(reason)});
}

void tick_link(core& c) {
  if (c.link.phase == link_phase::pausing && c.now.boot >= c.link.retry_at) begin_dialling(c);
  if (c.link.phase == link_phase::registering &&
      c.now.boot >= c.link.registering_since + registration_patience) {
    close_link(c, close_violation, "no answer to the registration");
  }
  if (!c.registered() || c.now.boot < c.link.heartbeat_at) return;
  if (!c.link.legacy) {
    send_heartbeat(c);
  } else {
    c.link.heartbeat_at = c.now.boot + heartbeat_interval(c);
    legacy_say(c, message_kind::heartbeat, 0);
  }
}

void adapt_pings(core& c, milliseconds ttl) {
  const milliseconds wanted = std::min(c.settings.ping_interval, std::max(ttl / 3, milliseconds{1}));
  if (c.link.ping_interval.count() != 0 && wanted >= c.link.ping_interval) return;
  c.link.ping_interval = wanted;
  c.out.emplace_back(set_ping_interval{wanted});
}

/// A job that must die with its lease needs proofs of contact whose send time is known: heartbeats, more
/// often.
milliseconds heartbeat_interval(const core& c) {
  milliseconds interval = c.settings.heartbeat_interval;
  for (const std::uint64_t lease : c.kill_on_loss) {
    const attempt& a = c.attempts.at(lease);
    interval = std::min(interval, (a.ttl.count() != 0 ? a.ttl : c.link.ttl) / 3);
  }
  return std::max(interval, milliseconds{1});
}

}  // namespace orchestrator::agent
