// What a coordinator says, from JSON: ours, or the original Python server, of whose acks and jobs every field
// of ours is absent.
#include <array>
#include <charconv>

#include <orchestrator/protocol/codec.hpp>

#include "codec_parts.hpp"

namespace orchestrator::protocol {
namespace {

constexpr std::size_t path_bytes = 4096;
constexpr std::size_t detail_bytes = 4096;
constexpr map_bounds env_bounds{limits::env_items, limits::env_bytes, limits::env_bytes};
constexpr std::array<std::string_view, 2> lease_lost_words{"keep", "kill"};
// In the order of the enum disposition.
constexpr std::array<std::string_view, 6> disposition_words{
    "accepted", "adopted", "duplicate", "duplicate_conflict", "superseded", "unknown_lease"};

std::string optional_text(field_reader& r, std::string_view key, std::size_t max_bytes = wire_text_bytes) {
  return r.text(key, max_bytes).value_or(std::string{});
}

std::vector<std::string> read_command(field_reader& r) {
  auto words = r.text_list("command", limits::argv_items, limits::argv_item_bytes)
                   .value_or(std::vector<std::string>{});
  if (r.has("command") && !r.why() && (words.empty() || words.front().empty())) {
    r.refuse("command", "names no program");
  }
  return words;
}

cancel_job read_cancel(field_reader& r) {
  cancel_job m;
  m.job_id = r.required("job_id", read_job_ref(r));
  m.lease = r.required("lease", r.lease("lease"));
  m.grace_seconds = r.number("grace_seconds", 0).value_or(m.grace_seconds);
  return m;
}

drain read_drain(field_reader& r) { return {.on = r.required("on", r.boolean("on"))}; }

std::map<std::uint64_t, disposition> read_dispositions(field_reader& r) {
  std::map<std::uint64_t, disposition> out;
  const json::object* o = r.object("dispositions");
  if (o == nullptr) return out;
  field_reader part{*o, dialect::wire, r.pointer("dispositions")};
  for (const auto& member : *o) {
    const std::string_view key{member.key().data(), member.key().size()};
    std::uint64_t seq = 0;
    const auto end = std::from_chars(key.data(), key.data() + key.size(), seq);
    if (end.ec != std::errc{} || end.ptr != key.data() + key.size() || seq == 0) {
      part.refuse(key, "is not a sequence number");
    }
    if (const auto word = part.one_of(key, disposition_words)) out[seq] = static_cast<disposition>(*word);
  }
  if (part.why()) r.refuse(*part.why());
  return out;
}

ack read_ack(field_reader& r, bool registered) {
  ack m;
  m.registered = registered;
  m.seq = read_seq(r);
  m.cumulative = r.boolean("cumulative").value_or(false);
  if (const auto word = r.one_of("disposition", disposition_words))
    m.disposition = static_cast<disposition>(*word);
  m.dispositions = read_dispositions(r);
  return m;
}

registration read_registration(field_reader& r) {
  registration m;
  m.seq = read_seq(r);
  m.session = r.required("session", r.text("session", wire_name_bytes));
  m.cluster = r.required("cluster", r.id("cluster"));
  m.term = r.required("term", read_counter(r, "term"));
  m.protocol = r.required("protocol", read_int(r, "protocol", 1, std::numeric_limits<int>::max()));
  m.features = read_features(r);
  m.lease_ttl_seconds = r.required("lease_ttl_seconds", r.number("lease_ttl_seconds", 0));
  m.max_message_bytes = read_counter(r, "max_message_bytes", 1).value_or(m.max_message_bytes);
  m.keep = read_lease_refs(r, "keep");
  m.abandon = read_lease_refs(r, "abandon");
  return m;
}

error_message read_error(field_reader& r) {
  error_message m;
  m.code = r.required("code", r.text("code", wire_name_bytes));
  m.detail = optional_text(r, "detail", detail_bytes);
  m.seq = read_seq(r);
  m.final = r.boolean("final").value_or(false);
  return m;
}

// An ack to a registration of a peer with protocol has a session; everybody else's is only an ack.
void decode_ack(field_reader& r, coordinator_message& m) {
  const bool registered = optional_text(r, "msg") == "registered";
  if (registered && r.has("session")) {
    m.body = read_registration(r);
  } else {
    m.body = read_ack(r, registered);
  }
}

void decode_one(const json::object& o, std::string_view type, std::vector<coordinator_message>& messages) {
  coordinator_message& m = messages.emplace_back();
  field_reader r{o, dialect::wire};
  bool counted = true;  // acks and errors only name the seq of what they answer
  if (type == "execute_job") {
    m.body = read_execute_job(r);
  } else if (type == "ack") {
    decode_ack(r, m);
    counted = false;
  } else if (type == "cancel_job") {
    m.body = read_cancel(r);
  } else if (type == "drain") {
    m.body = read_drain(r);
  } else if (type == "error") {
    m.body = read_error(r);
    counted = false;
  } else {
    m.body = unknown(o, type);
  }
  if (counted) m.seq = read_seq(r);
  if (!r.why()) return;
  invalid_message bad = invalid(o, type, *r.why());
  if (type == "execute_job") {
    field_reader rest{o, dialect::wire};  // stops at its own first error only
    bad.job_id = read_job_ref(rest);
    bad.lease = rest.lease("lease");
  }
  m.body = std::move(bad);
}

void read_what_to_run(field_reader& r, execute_job& m) {
  m.script_path = optional_text(r, "script_path", path_bytes);
  m.script_args = optional_text(r, "script_args", limits::argv_bytes);
  m.command = read_command(r);
  m.builtin = optional_text(r, "builtin");
  const int given = static_cast<int>(!m.script_path.empty()) + static_cast<int>(!m.command.empty()) +
                    static_cast<int>(!m.builtin.empty());
  if (given == 0) r.refuse("script_path", "is missing, as are command and builtin");
  if (given > 1) r.refuse("script_path", "is one of two things to run; exactly one is taken");
}

}  // namespace

execute_job read_execute_job(field_reader& r) {
  execute_job m;
  m.job_id = r.required("job_id", read_job_ref(r));
  read_what_to_run(r, m);
  m.env = r.text_map("env", env_bounds).value_or(m.env);
  m.cwd = optional_text(r, "cwd", path_bytes);
  m.stdin_text = optional_text(r, "stdin", limits::stdin_bytes);
  m.timeout_seconds = r.number("timeout_seconds", 0);
  m.kill_grace_seconds = r.number("kill_grace_seconds", 0);
  m.lease = r.lease("lease");
  m.attempt = read_int(r, "attempt", 1, std::numeric_limits<int>::max());
  m.term = read_counter(r, "term");
  m.lease_ttl_seconds = r.number("lease_ttl_seconds", 0);
  if (const auto word = r.one_of("on_lease_lost", lease_lost_words))
    m.on_lease_lost = lease_lost_words.at(*word);
  m.at_most_once = r.boolean("at_most_once");
  m.output_limit_bytes = read_counter(r, "output_limit_bytes");
  m.traceparent = optional_text(r, "traceparent");
  m.run_id = optional_text(r, "run_id");
  m.job = optional_text(r, "job");
  m.scheduled_at = r.text("scheduled_at", wire_name_bytes);
  return m;
}

result<std::vector<coordinator_message>> decode_coordinator_frame(std::string_view text, bool batch_allowed) {
  return decode_frame<coordinator_message>(text, batch_allowed, decode_one);
}

result<execute_job> decode_execute_job(std::string_view text) {
  auto messages = decode_coordinator_frame(text, false);
  if (!messages) return messages.error();
  coordinator_message& m = messages->front();
  if (auto* found = std::get_if<execute_job>(&m.body)) return std::move(*found);
  if (const auto* bad = std::get_if<invalid_message>(&m.body)) return bad->why;
  return bad_field("/type", "type must be execute_job");
}

}  // namespace orchestrator::protocol
