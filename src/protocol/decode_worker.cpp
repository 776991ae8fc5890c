// What workers say, from JSON. Lenient exactly where the original Python workers need it: every field that is
// not essential may be absent or null, and fields nobody knows are ignored.
#include <array>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/codec.hpp>

#include "codec_parts.hpp"
#include "definition_parts.hpp"

namespace orchestrator::protocol {
namespace {

constexpr map_bounds label_bounds{limits::labels, limits::label_bytes,
                                  limits::labels * 2 * limits::label_bytes};
constexpr std::size_t output_data_bytes = 2 * limits::output_chunk;  // of a peer with larger chunks than ours
constexpr std::size_t output_streams = 16;
constexpr std::size_t stream_bytes = 32;
constexpr int largest_signal = 64;
constexpr int largest_credit = static_cast<int>(limits::slots_max * limits::credit_per_slot_max);

// In the order of the enum result_status.
constexpr std::array<std::string_view, 7> status_words{"SUCCESS",   "FAILURE",  "ERROR", "TIMEOUT",
                                                       "CANCELLED", "REJECTED", "LOST"};

std::string optional_text(field_reader& r, std::string_view key) {
  return r.text(key, wire_text_bytes).value_or(std::string{});
}

void read_offered(field_reader& r, worker_register& m) {
  const json::object* o = r.object("resources");
  if (o == nullptr) return;
  auto amounts = read_amounts(*o, r.pointer("resources"));
  if (amounts) {
    m.resources = std::move(*amounts);
  } else {
    r.refuse(amounts.error());
  }
}

worker_register read_register(field_reader& r) {
  worker_register m;
  m.worker_id = read_worker_id(r);
  m.hostname = r.required("hostname", r.text("hostname", wire_text_bytes));
  m.platform = r.required("platform", r.text("platform", wire_text_bytes));
  m.python_version = r.text("python_version", wire_text_bytes);
  m.protocol = read_int(r, "protocol", 0, std::numeric_limits<int>::max());
  m.features = read_features(r);
  m.slots = read_int(r, "slots", 0, limits::slots_max);
  m.credit = read_int(r, "credit", 0, largest_credit);
  m.labels = r.text_map("labels", label_bounds).value_or(m.labels);
  read_offered(r, m);
  m.version = optional_text(r, "version");
  m.pid = read_int(r, "pid", 0, std::numeric_limits<int>::max());
  m.instance = r.id("instance");
  // Without it there is no telling two workers of one name apart, which the reconnect rules rest on.
  if (m.protocol && !m.instance) r.refuse("instance", "is missing beside protocol");
  m.boot_id = optional_text(r, "boot_id");
  m.process = optional_text(r, "process");
  m.opened = r.integer("opened", 0, largest_integer);
  m.cluster = r.id("cluster");
  m.term = read_counter(r, "term");
  if (const auto highest = read_counter(r, "highest_lease")) m.highest_lease = lease_id{*highest};
  m.running = read_lease_refs(r, "running");
  m.unacked = read_lease_refs(r, "unacked");
  m.lost = read_lease_refs(r, "lost");
  return m;
}

heartbeat read_heartbeat(field_reader& r) {
  heartbeat m;
  m.worker_id = read_worker_id(r);
  m.status = r.required("status", r.text("status", wire_name_bytes));
  m.jobs_processed = r.integer("jobs_processed", 0, largest_integer).value_or(0);
  m.uptime_seconds = r.number("uptime_seconds").value_or(0);
  m.timestamp = optional_text(r, "timestamp");
  m.running = read_int(r, "running", 0, std::numeric_limits<int>::max());
  m.load = r.number("load");
  m.memory_bytes = r.integer("memory_bytes", 0, largest_integer);
  return m;
}

// The whole message but for seq, which belongs to the connection and means nothing to who reads the event
// later.
std::string event_text(const json::object& o) {
  std::string out;
  object_writer w{out};
  for (const auto& [name, value] : o) {
    const std::string_view key{name.data(), name.size()};
    if (key != "seq") append_value(w.any_key(key), value);
  }
  w.close();
  return out;
}

event read_event(field_reader& r, std::string name, const json::object& o) {
  event m;
  m.name = std::move(name);
  m.job_id = read_job_ref(r);
  if (r.has("worker_id")) m.worker_id = read_worker_id(r);
  m.lease = r.lease("lease");
  m.n = read_counter(r, "n", 1);
  m.text = event_text(o);
  return m;
}

std::string read_output_data(field_reader& r) {
  static constexpr std::array<std::string_view, 1> encodings{"base64"};
  // Four characters of base64 stand for three bytes.
  std::string data = r.required("data", r.text("data", output_data_bytes / 3 * 4 + 4));
  if (!r.one_of("encoding", encodings)) {
    if (data.size() > output_data_bytes)
      r.refuse("data", fmt::format("has more than {} bytes", output_data_bytes));
    return data;
  }
  auto bytes = base64_decode(data);
  if (!bytes) r.refuse("data", "is not valid base64");
  if (bytes && bytes->size() > output_data_bytes) {
    r.refuse("data", fmt::format("has more than {} bytes", output_data_bytes));
  }
  return std::move(bytes).value_or(std::string{});
}

job_output read_output(field_reader& r) {
  job_output m;
  m.job_id = read_job_ref(r);
  if (r.has("worker_id")) m.worker_id = read_worker_id(r);
  m.lease = r.required("lease", r.lease("lease"));
  m.stream = r.required("stream", r.text("stream", stream_bytes));
  if (m.stream != "stdout" && m.stream != "stderr") r.refuse("stream", "must be stdout or stderr");
  m.offset = r.required("offset", read_counter(r, "offset"));
  m.gap_from = read_counter(r, "gap_from");
  if (m.gap_from && *m.gap_from > m.offset) r.refuse("gap_from", "is beyond offset");
  m.data = read_output_data(r);
  return m;
}

std::map<std::string, std::uint64_t> read_output_bytes(field_reader& r) {
  std::map<std::string, std::uint64_t> out;
  const json::object* o = r.object("output_bytes");
  if (o == nullptr) return out;
  if (o->size() > output_streams)
    r.refuse("output_bytes", fmt::format("has more than {} streams", output_streams));
  field_reader part{*o, dialect::wire, r.pointer("output_bytes")};
  for (const auto& member : *o) {
    const std::string stream{member.key().data(), member.key().size()};
    const auto bytes = read_counter(part, stream);
    if (stream.size() > stream_bytes) part.refuse(stream, "is too long a name for a stream");
    if (bytes) out.emplace(stream, *bytes);
  }
  if (part.why()) r.refuse(*part.why());
  return out;
}

worker_ack read_ack(field_reader& r) {
  worker_ack m;
  m.seq = read_seq(r);
  m.cumulative = r.boolean("cumulative").value_or(false);
  return m;
}

void decode_event(field_reader& r, const json::object& o, worker_message& m) {
  std::string name = r.required("event", r.text("event", wire_name_bytes));
  if (name == "job_output") {
    m.body = read_output(r);
  } else {
    m.body = read_event(r, std::move(name), o);
  }
}

void decode_one(const json::object& o, std::string_view type, std::vector<worker_message>& messages) {
  messages.push_back(
      {.seq = {}, .body = worker_ack{}});  // cheaper than the first alternative, and overwritten
  worker_message& m = messages.back();
  field_reader r{o, dialect::wire};
  if (type == "job_result") {
    m.body = read_job_result(r);
  } else if (type == "ack") {
    m.body = read_ack(r);
  } else if (type == "event") {
    decode_event(r, o, m);
  } else if (type == "heartbeat") {
    m.body = read_heartbeat(r);
  } else if (type == "worker_register") {
    m.body = read_register(r);
  } else {
    m.body = unknown(o, type);
  }
  // The seq of an ack is that of the message it acknowledges; acks themselves are not counted.
  if (type != "ack") m.seq = read_seq(r);
  if (r.why()) {
    m.body = invalid(o, type, *r.why());
  } else if (const auto* result_message = std::get_if<job_result>(&m.body)) {
    m.content_crc = crc32c(encode(*result_message));
  }
}

}  // namespace

job_result read_job_result(field_reader& r) {
  job_result m;
  m.job_id = r.required("job_id", read_job_ref(r));
  m.worker_id = read_worker_id(r);
  m.status = static_cast<result_status>(r.required("status", r.one_of("status", status_words)));
  m.log_output = r.printed_text("log_output").value_or(std::string{});
  m.run_time = optional_text(r, "run_time");
  m.duration_seconds = r.number("duration_seconds").value_or(0);
  m.lease = r.lease("lease");
  m.exit_code = read_int(r, "exit_code", 0, 255);
  m.signal = read_int(r, "signal", 1, largest_signal);
  m.max_rss_bytes = r.integer("max_rss_bytes", 0, largest_integer);
  m.cpu_seconds = r.number("cpu_seconds", 0);
  m.output_bytes = read_output_bytes(r);
  m.output_lost = r.boolean("output_lost").value_or(false);
  return m;
}

result<std::vector<worker_message>> decode_worker_frame(std::string_view text, bool batch_allowed) {
  return decode_frame<worker_message>(text, batch_allowed, decode_one);
}

result<job_result> decode_job_result(std::string_view text) {
  auto messages = decode_worker_frame(text, false);
  if (!messages) return messages.error();
  worker_message& m = messages->front();
  if (auto* found = std::get_if<job_result>(&m.body)) return std::move(*found);
  if (const auto* bad = std::get_if<invalid_message>(&m.body)) return bad->why;
  return bad_field("/type", "type must be job_result");
}

}  // namespace orchestrator::protocol
