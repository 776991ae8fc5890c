// The output of jobs, from the supervisor's spool files to the coordinator while the job runs. What is not
// yet acknowledged is bounded per lease and per connection; the spool is the buffer behind that. Called by
// agent.cpp.
#include <algorithm>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/text.hpp>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

constexpr std::size_t chunk_overhead = 200;  ///< of its JSON beside data, about

/// What the data will take as JSON: a control character is six bytes there, base64 a third more.
std::size_t encoded_size(std::string_view data) {
  if (!is_utf8(data) || data.find('\0') != std::string_view::npos)
    return chunk_overhead + data.size() * 4 / 3;
  std::size_t size = chunk_overhead + data.size();
  for (const char ch : data) {
    if (static_cast<unsigned char>(ch) < 0x20 || ch == '"' || ch == '\\')
      size += ch == '\n' || ch >= 0x20 ? 1 : 5;
  }
  return size;
}

bool wants_read(const attempt& a, const stream_state& s) {
  if (s.reading || s.sent >= s.end || a.output_lost || a.not_before ||
      a.unacked_bytes >= window_bytes_of_lease) {
    return false;
  }
  if (a.phase != attempt_phase::running) return true;
  const bool on_the_way = s.sent > s.acked;
  return s.end > s.waits_beyond && !(on_the_way && s.end - s.sent < small_chunk);
}

void send_chunk(core& c, attempt& a, const std::string& stream, stream_state& s, std::uint64_t offset,
                std::string data) {
  protocol::job_output m;
  m.worker_id = c.settings.worker_id;
  m.job_id = a.job_id;
  m.lease = lease_id{a.lease};
  m.stream = stream;
  m.offset = offset;
  if (offset > s.sent) m.gap_from = s.sent;
  unacked_message u = about(message_kind::output, a.lease, encoded_size(data));
  u.stream = stream;
  u.begin = s.sent;
  u.end = offset + data.size();
  s.sent = u.end;
  a.unacked_bytes += u.bytes;
  m.data = std::move(data);
  send_message(c, std::move(m), std::move(u));
}

/// How much of it to send now: a character that is not complete yet waits for its rest.
std::size_t whole_characters(const attempt& a, const stream_state& s, std::uint64_t offset,
                             std::string_view data) {
  const std::size_t whole = utf8_complete_prefix(data);
  const bool more_on_disk = offset + data.size() < s.end;
  if (whole == data.size() || (whole == 0 && more_on_disk)) return data.size();
  return more_on_disk || a.phase == attempt_phase::running ? whole : data.size();
}

void send_data(core& c, attempt& a, const spool_data& in, stream_state& s) {
  if (in.data.empty()) {
    // Nothing is kept of what was named: the gap itself is told, so that the coordinator knows the end.
    if (s.sent < s.end) send_chunk(c, a, in.stream, s, s.end, "");
    return;
  }
  const std::size_t below =
      in.offset < s.sent ? std::min<std::size_t>(s.sent - in.offset, in.data.size()) : 0;
  const std::uint64_t offset = in.offset + below;
  s.end = std::max(s.end, in.offset + in.data.size());  // the file may be ahead of the supervisor's news
  const std::string_view data = std::string_view{in.data}.substr(below);
  const std::size_t now = whole_characters(a, s, offset, data);
  if (now < data.size() && offset + data.size() >= s.end) s.waits_beyond = s.end;
  if (now > 0) send_chunk(c, a, in.stream, s, offset, std::string{data.substr(0, now)});
}

}  // namespace

void adopt_stream(attempt& a, const std::string& name, std::uint64_t end) {
  stream_state& s = a.streams[name];
  s.end = std::max(s.end, end);
}

void request_read(core& c, std::uint64_t lease, const std::string& stream, std::uint64_t offset,
                  std::size_t limit) {
  ++c.reads_out;
  c.out.emplace_back(read_spool{lease, stream, offset, limit});
}

void on_process_output(core& c, const process_output& in) {
  const auto it = c.attempts.find(in.lease);
  if (it == c.attempts.end() || it->second.phase != attempt_phase::running) return;
  stream_state& s = it->second.streams[in.stream];
  s.end = std::max(s.end, in.end);
  if (it->second.output_lost) lose_output(c, it->second);
  c.output_due.insert(in.lease);
}

void on_spool_data(core& c, const spool_data& in) {
  ORC_CHECK(c.reads_out > 0, "every read_spool is answered once");
  --c.reads_out;
  const auto it = c.attempts.find(in.lease);
  if (it == c.attempts.end()) return;
  attempt& a = it->second;
  if (a.phase == attempt_phase::collecting) {
    on_collected(c, a, in);
    return;
  }
  stream_state& s = a.streams[in.stream];
  s.reading = false;
  if (!c.registered() || c.link.legacy || a.output_lost) return;
  c.output_due.insert(in.lease);
  // Read for an earlier connection, which had got further or less far.
  if (in.asked != s.sent) return;
  send_data(c, a, in, s);
  result_may_be_due(c, a);
}

void send_output(core& c) {
  if (!c.registered() || c.link.legacy) return;
  const auto room = [&] {
    return c.link.unacked_bytes + c.reads_out * limits::output_chunk < window_bytes &&
           c.link.unacked.size() + c.reads_out < window_messages;
  };
  for (auto it = c.output_due.begin(); it != c.output_due.end();) {
    const auto found = c.attempts.find(*it);
    if (found != c.attempts.end()) {
      for (auto& [name, s] : found->second.streams) {
        if (!wants_read(found->second, s)) continue;
        if (!room()) return;
        s.reading = true;
        request_read(c, found->first, name, s.sent, limits::output_chunk);
      }
    }
    it = c.output_due.erase(it);
  }
}

void output_acked(core& c, const unacked_message& m) {
  const auto it = c.attempts.find(m.lease);
  if (it == c.attempts.end()) return;
  attempt& a = it->second;
  a.unacked_bytes -= std::min(a.unacked_bytes, m.bytes);
  c.output_due.insert(m.lease);
  stream_state& s = a.streams[m.stream];
  if (m.begin > s.acked || a.output_lost) return;  // something before it was refused and will be sent again
  s.acked = std::max(s.acked, m.end);
  if (s.acked < s.recorded + release_step) return;
  // The record first: what was released cannot be read again after a restart, so sending begins behind it.
  s.recorded = s.acked;
  write_record(c, a, record::acked, fmt::format("{} {}", m.stream, s.acked));
  c.out.emplace_back(release_spool{a.lease, m.stream, s.acked});
}

bool output_sent(const attempt& a) {
  if (a.output_lost) return true;
  return std::all_of(a.streams.begin(), a.streams.end(),
                     [](const auto& s) { return s.second.sent >= s.second.end; });
}

void lose_output(core& c, attempt& a) {
  a.output_lost = true;
  for (auto& [name, s] : a.streams) {
    s.sent = s.acked = s.end;
    if (a.supervised) c.out.emplace_back(release_spool{a.lease, name, s.end});
  }
  if (a.phase == attempt_phase::finished && !a.result->output_lost) {
    a.result->output_lost = true;
    if (a.stored && !a.passing && !a.sent) store_result(c, a);
  }
}

}  // namespace orchestrator::agent
