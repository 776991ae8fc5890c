// Messages to JSON, written member by member into the frame, and their joining into frames. A member of ours
// whose optional is empty is not written, so a legacy peer gets exactly the keys it knows.
#include <concepts>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/codec.hpp>

#include "codec_parts.hpp"

namespace orchestrator::protocol {
namespace {

using sequence = std::optional<std::uint64_t>;

void write(const worker_register& m, object_writer& w) {
  w.word("type", "worker_register");
  w.text("worker_id", m.worker_id);
  w.text("hostname", m.hostname);
  w.text("platform", m.platform);
  if (m.python_version) w.text("python_version", *m.python_version);
  write_optional(w, "protocol", m.protocol);
  if (!m.features.empty()) write_texts(w, "features", m.features);
  write_optional(w, "slots", m.slots);
  write_optional(w, "credit", m.credit);
  if (!m.labels.empty()) write_map(w, "labels", m.labels);
  write_unless_empty(w, "version", m.version);
  write_optional(w, "pid", m.pid);
  write_optional(w, "instance", m.instance);
  write_unless_empty(w, "boot_id", m.boot_id);
  write_unless_empty(w, "process", m.process);
  write_optional(w, "opened", m.opened);
  write_optional(w, "cluster", m.cluster);
  write_optional(w, "term", m.term);
  write_optional(w, "highest_lease", m.highest_lease);
  if (!m.running.empty()) write_lease_refs(w, "running", m.running);
  if (!m.unacked.empty()) write_lease_refs(w, "unacked", m.unacked);
  if (!m.lost.empty()) write_lease_refs(w, "lost", m.lost);
}

void write(const heartbeat& m, object_writer& w) {
  w.word("type", "heartbeat");
  w.text("worker_id", m.worker_id);
  w.text("status", m.status);
  w.number("jobs_processed", m.jobs_processed);
  w.number("uptime_seconds", m.uptime_seconds);
  w.text("timestamp", m.timestamp);
  write_optional(w, "running", m.running);
  write_optional(w, "load", m.load);
  write_optional(w, "memory_bytes", m.memory_bytes);
}

// Only for events that have no text yet: the agent's own, on their way to the outbox.
void write(const event& m, object_writer& w) {
  w.word("type", "event");
  w.text("event", m.name);
  if (m.job_id) write_job_ref(w, *m.job_id);
  write_unless_empty(w, "worker_id", m.worker_id);
  write_optional(w, "lease", m.lease);
  write_optional(w, "n", m.n);
}

void write(const job_output& m, object_writer& w) {
  w.word("type", "event");
  w.word("event", "job_output");
  if (m.job_id) write_job_ref(w, *m.job_id);
  write_unless_empty(w, "worker_id", m.worker_id);
  w.number("lease", m.lease.value);
  w.text("stream", m.stream);
  w.number("offset", m.offset);
  write_optional(w, "gap_from", m.gap_from);
  if (fault_of_text(m.data) == nullptr) {
    w.text("data", m.data);
  } else {
    w.word("data", base64_encode(m.data));
    w.word("encoding", "base64");
  }
}

void write(const job_result& m, object_writer& w) { write_job_result(m, w); }

void write(const worker_ack& m, object_writer& w) {
  w.word("type", "ack");
  w.boolean("received", true);
  write_optional(w, "seq", m.seq);
  if (m.cumulative) w.boolean("cumulative", true);
}

void write(const unknown_message& m, object_writer& w) {
  w.text("type", m.type);
  write_unless_empty(w, "worker_id", m.worker_id);
}

void write(const invalid_message&, object_writer&) {
  ORC_CHECK(false, "an invalid message is something received; nothing sends one");
}

void write(const execute_job& m, object_writer& w) { write_execute_job(m, w); }

void write(const cancel_job& m, object_writer& w) {
  w.word("type", "cancel_job");
  write_job_ref(w, m.job_id);
  w.number("lease", m.lease.value);
  w.number("grace_seconds", m.grace_seconds);
}

void write(const drain& m, object_writer& w) {
  w.word("type", "drain");
  w.boolean("on", m.on);
}

void write(const ack& m, object_writer& w) {
  w.word("type", "ack");
  if (m.registered) {
    w.word("msg", "registered");
  } else {
    w.boolean("received", true);
  }
  write_optional(w, "seq", m.seq);
  if (m.cumulative) w.boolean("cumulative", true);
  if (m.disposition) w.word("disposition", to_string(*m.disposition));
  if (m.dispositions.empty()) return;
  object_writer members{w.key("dispositions")};
  for (const auto& [seq, disposition] : m.dispositions)
    members.word(std::to_string(seq), to_string(disposition));
  members.close();
}

void write(const registration& m, object_writer& w) {
  w.word("type", "ack");
  w.word("msg", "registered");
  write_optional(w, "seq", m.seq);
  w.text("session", m.session);
  w.word("cluster", to_string(m.cluster));
  w.number("term", m.term);
  w.number("protocol", m.protocol);
  write_texts(w, "features", m.features);
  w.number("lease_ttl_seconds", m.lease_ttl_seconds);
  w.number("max_message_bytes", m.max_message_bytes);
  write_lease_refs(w, "keep", m.keep);
  write_lease_refs(w, "abandon", m.abandon);
}

void write(const error_message& m, object_writer& w) {
  w.word("type", "error");
  w.text("code", m.code);
  write_unless_empty(w, "detail", m.detail);
  write_optional(w, "seq", m.seq);
  if (m.final) w.boolean("final", true);
}

template <class Body>
void append(const Body& body, sequence seq, std::string& out) {
  object_writer w{out};
  write(body, w);
  write_optional(w, "seq", seq);
  w.close();
}

// An event that came from somewhere is passed on as it was; only its seq is this connection's.
void append(const event& body, sequence seq, std::string& out) {
  if (body.text.empty()) {
    append<event>(body, seq, out);
    return;
  }
  ORC_CHECK(body.text.size() > 2 && body.text.front() == '{' && body.text.back() == '}',
            "the text of an event is a whole JSON object");
  out.append(body.text, 0, body.text.size() - 1);
  if (seq) {
    out += ",\"seq\":";
    append_number(out, *seq);
  }
  out += '}';
}

template <class Message>
void append_message(const Message& m, std::string& out) {
  std::visit([&](const auto& body) { append(body, m.seq, out); }, m.body);
}

/// The answer to a registration is what tells a worker that arrays may come: it never comes in one.
bool goes_alone(const coordinator_message& m) {
  return std::holds_alternative<registration>(m.body) && !planted(defect::greeting_in_batch);
}
bool goes_alone(const worker_message&) { return false; }

template <class Message>
std::vector<std::string> join(std::span<const Message> messages, bool batch, std::size_t max_bytes) {
  std::vector<std::string> frames;
  std::string frame, one;
  std::size_t in_frame = 0;
  const auto finish = [&] {
    if (in_frame == 0) return;
    // A lone message goes as a bare object, which every peer reads.
    frames.push_back(in_frame == 1 ? frame.substr(1) : frame + ']');
    frame.clear();
    in_frame = 0;
  };
  for (const Message& m : messages) {
    one.clear();
    append_message(m, one);
    const bool fits = frame.size() + one.size() + 2 <= max_bytes;  // a comma and the closing bracket
    const bool full = !batch || !fits || in_frame == limits::batch_messages;
    if (in_frame != 0 && (full || goes_alone(m))) finish();
    frame += in_frame == 0 ? '[' : ',';
    frame += one;
    ++in_frame;
    if (goes_alone(m)) finish();
  }
  finish();
  return frames;
}

}  // namespace

void write_job_result(const job_result& m, object_writer& w) {
  w.word("type", "job_result");
  write_job_ref(w, m.job_id);
  w.text("worker_id", m.worker_id);
  w.word("status", to_string(m.status));
  w.text("log_output", m.log_output);
  w.text("run_time", m.run_time);
  w.number("duration_seconds", m.duration_seconds);
  write_optional(w, "lease", m.lease);
  write_optional(w, "exit_code", m.exit_code);
  write_optional(w, "signal", m.signal);
  write_optional(w, "max_rss_bytes", m.max_rss_bytes);
  write_optional(w, "cpu_seconds", m.cpu_seconds);
  if (!m.output_bytes.empty()) {
    object_writer members{w.key("output_bytes")};
    for (const auto& [stream, bytes] : m.output_bytes) append_number(members.any_key(stream), bytes);
    members.close();
  }
  if (m.output_lost) w.boolean("output_lost", true);
}

void write_execute_job(const execute_job& m, object_writer& w) {
  w.word("type", "execute_job");
  write_job_ref(w, m.job_id);
  if (m.command.empty() && m.builtin.empty()) {
    w.text("script_path", m.script_path);
    w.text("script_args", m.script_args);
  }
  if (!m.command.empty()) write_texts(w, "command", m.command);
  write_unless_empty(w, "builtin", m.builtin);
  if (!m.env.empty()) write_map(w, "env", m.env);
  write_unless_empty(w, "cwd", m.cwd);
  write_unless_empty(w, "stdin", m.stdin_text);
  write_optional(w, "timeout_seconds", m.timeout_seconds);
  write_optional(w, "kill_grace_seconds", m.kill_grace_seconds);
  write_optional(w, "lease", m.lease);
  write_optional(w, "attempt", m.attempt);
  write_optional(w, "term", m.term);
  write_optional(w, "lease_ttl_seconds", m.lease_ttl_seconds);
  if (m.on_lease_lost) w.text("on_lease_lost", *m.on_lease_lost);
  if (m.at_most_once) w.boolean("at_most_once", *m.at_most_once);
  write_optional(w, "output_limit_bytes", m.output_limit_bytes);
  write_unless_empty(w, "traceparent", m.traceparent);
  write_unless_empty(w, "run_id", m.run_id);
  write_unless_empty(w, "job", m.job);
  if (m.scheduled_at) w.text("scheduled_at", *m.scheduled_at);
}

void encode(const worker_message& m, std::string& out) { append_message(m, out); }
void encode(const coordinator_message& m, std::string& out) { append_message(m, out); }

std::vector<std::string> encode_frames(std::span<const worker_message> messages, bool batch,
                                       std::size_t max_bytes) {
  return join(messages, batch, max_bytes);
}

std::vector<std::string> encode_frames(std::span<const coordinator_message> messages, bool batch,
                                       std::size_t max_bytes) {
  return join(messages, batch, max_bytes);
}

std::string encode(const execute_job& m) {
  std::string out;
  append(m, {}, out);
  return out;
}

std::string encode(const job_result& m) {
  std::string out;
  out.reserve(384 + m.log_output.size());  // most results fit, so that the string is allocated once
  append(m, {}, out);
  return out;
}

}  // namespace orchestrator::protocol
