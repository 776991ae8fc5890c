// Frames and their fields: see wire.hpp for the rules of compatibility. Used by both ends of the socket.
#include "wire.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "process_limits.hpp"

namespace orchestrator::process {

namespace {

constexpr std::size_t length_bytes = 4;

void append_little_endian(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

std::uint64_t read_little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

/// Durations beyond this would overflow nanoseconds when they are added to a clock.
constexpr std::uint64_t longest_ms = 10ull * 365 * 24 * 3600 * 1000;

milliseconds read_duration(field_reader& in) {
  return milliseconds{static_cast<std::int64_t>(std::min(in.number(), longest_ms))};
}

std::uint64_t duration_field(milliseconds d) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(d.count(), 0));
}

/// As far as a clock of this layer goes; what lies beyond would overflow when something is added to it.
boot_time read_boot_time(field_reader& in) {
  constexpr auto longest = std::chrono::nanoseconds(std::chrono::milliseconds(longest_ms / 2)).count();
  return boot_time{nanoseconds{static_cast<std::int64_t>(std::min<std::uint64_t>(in.number(), longest))}};
}

std::uint64_t boot_time_field(boot_time t) {
  return static_cast<std::uint64_t>(t.time_since_epoch().count());
}

int read_int(field_reader& in) { return static_cast<int>(static_cast<std::int64_t>(in.number())); }

std::uint64_t int_field(std::int64_t value) { return static_cast<std::uint64_t>(value); }

void write_offsets(frame_writer& out, const std::map<std::string, std::uint64_t>& offsets) {
  out.number(offsets.size());
  for (const auto& [stream, offset] : offsets) out.text(stream).number(offset);
}

std::map<std::string, std::uint64_t> read_offsets(field_reader& in) {
  std::map<std::string, std::uint64_t> offsets;
  for (std::uint64_t n = in.number(); n > 0 && !in.at_end(); --n) {
    std::string stream = in.text();
    offsets[std::move(stream)] = in.number();
  }
  return offsets;
}

/// A count larger than the bytes that follow is a lie; it must not become an allocation or a long loop.
std::vector<std::string> read_texts(field_reader& in) {
  std::vector<std::string> texts;
  for (std::uint64_t n = in.number(); n > 0 && !in.at_end(); --n) texts.push_back(in.text());
  return texts;
}

/// An end travels alone and inside an inventory item, so that its fields are one nested text there: either
/// may grow.
std::string end_fields(const process_end& e) {
  frame_writer out(message_kind::ended);
  out.number(e.lease).number(e.started).number(int_field(e.exit_code)).number(int_field(e.signal));
  out.number(e.timed_out).number(e.killed).number(int_field(e.max_rss_bytes));
  out.real(e.cpu_seconds).real(e.duration_seconds).number(int_field(e.error_number));
  out.text(std::string_view(e.error).substr(0, limits::error_text)).number(e.output_detached);
  write_offsets(out, e.output_bytes);
  out.number(int_field(e.leaked_processes)).number(e.lease_lost);
  return std::move(out).finish();
}

template <class T>
std::optional<T> if_good(const field_reader& in, T value) {
  if (in.bad()) return std::nullopt;
  return std::optional<T>(std::move(value));
}

}  // namespace

frame_writer::frame_writer(message_kind kind) : bytes_(length_bytes, '\0') {
  bytes_.push_back(static_cast<char>(kind));
}

frame_writer& frame_writer::number(std::uint64_t value) {
  append_little_endian(bytes_, value, 8);
  return *this;
}

frame_writer& frame_writer::real(double value) { return number(std::bit_cast<std::uint64_t>(value)); }

frame_writer& frame_writer::text(std::string_view value) {
  append_little_endian(bytes_, value.size(), length_bytes);
  bytes_.append(value);
  return *this;
}

std::string frame_writer::finish() && {
  std::string length;
  append_little_endian(length, bytes_.size() - length_bytes, length_bytes);
  bytes_.replace(0, length_bytes, length);
  return std::move(bytes_);
}

std::uint64_t field_reader::number() {
  if (rest_.empty()) return 0;
  if (rest_.size() < 8) {
    bad_ = true;
    rest_ = {};
    return 0;
  }
  const auto value = read_little_endian(rest_.substr(0, 8));
  rest_.remove_prefix(8);
  return value;
}

double field_reader::real() { return std::bit_cast<double>(number()); }

std::string field_reader::text() {
  if (rest_.empty()) return {};
  const auto size = rest_.size() < length_bytes ? std::numeric_limits<std::uint64_t>::max()
                                                : read_little_endian(rest_.substr(0, length_bytes));
  if (size > rest_.size() - std::min(rest_.size(), length_bytes)) {
    bad_ = true;
    rest_ = {};
    return {};
  }
  std::string value(rest_.substr(length_bytes, size));
  rest_.remove_prefix(length_bytes + size);
  return value;
}

std::optional<frame> take_frame(std::string_view bytes, std::size_t& position, bool& broken) {
  const auto rest = bytes.substr(position);
  if (rest.size() < length_bytes) return std::nullopt;
  const auto size = read_little_endian(rest.substr(0, length_bytes));
  if (size == 0 || size > limits::frame_bytes) {
    broken = true;
    return std::nullopt;
  }
  if (rest.size() - length_bytes < size) return std::nullopt;
  position += length_bytes + size;
  return frame{static_cast<message_kind>(rest[length_bytes]),
               std::string(rest.substr(length_bytes + 1, size - 1))};
}

std::string encode_hello(message_kind kind, const hello& h) {
  return std::move(frame_writer(kind).number(h.version).number(int_field(h.pid))).finish();
}

std::string encode_launch(const launch& what) {
  frame_writer out(message_kind::start);
  out.number(what.lease).number(what.argv.size());
  for (const auto& argument : what.argv) out.text(argument);
  out.number(what.env.size());
  for (const auto& [name, value] : what.env) out.text(name).text(value);
  out.text(what.cwd).text(what.stdin_text);
  out.number(duration_field(what.timeout)).number(duration_field(what.kill_grace)).number(what.output_limit);
  out.number(boot_time_field(what.lease_until.value_or(boot_time{})));
  return std::move(out).finish();
}

std::string encode_kill(const kill_request& k) {
  return std::move(frame_writer(message_kind::kill).number(k.lease).number(duration_field(k.grace))).finish();
}

std::string encode_lease(message_kind kind, std::uint64_t lease) {
  return std::move(frame_writer(kind).number(lease)).finish();
}

std::string encode_renewal(const renewal& r) {
  return std::move(frame_writer(message_kind::renew).number(r.lease).number(boot_time_field(r.until)))
      .finish();
}

std::string encode_release(const release_request& r) {
  return std::move(frame_writer(message_kind::release_output).number(r.lease).text(r.stream).number(r.offset))
      .finish();
}

std::string encode_started(const started_news& s) {
  frame_writer out(message_kind::started);
  out.number(s.lease).number(int_field(s.pid)).number(int_field(to_unix_ms(s.at)));
  return std::move(out).finish();
}

std::string encode_output(const output_news& o) {
  return std::move(frame_writer(message_kind::output).number(o.lease).text(o.stream).number(o.end)).finish();
}

std::string encode_end(const process_end& e) { return end_fields(e); }

std::string encode_supervised(const supervised& s) {
  frame_writer out(message_kind::inventory_item);
  out.number(s.lease).number(int_field(s.pid)).number(int_field(to_unix_ms(s.started_at)));
  write_offsets(out, s.output_end);
  out.text(s.end ? std::string_view(end_fields(*s.end)).substr(length_bytes + 1) : std::string_view());
  return std::move(out).finish();
}

std::optional<hello> decode_hello(std::string_view body) {
  field_reader in(body);
  hello h;
  h.version = in.number();
  h.pid = read_int(in);
  return if_good(in, h);
}

std::optional<launch> decode_launch(std::string_view body) {
  field_reader in(body);
  launch what;
  what.lease = in.number();
  what.argv = read_texts(in);
  for (std::uint64_t n = in.number(); n > 0 && !in.at_end(); --n) {
    std::string name = in.text();
    what.env[std::move(name)] = in.text();
  }
  what.cwd = in.text();
  what.stdin_text = in.text();
  what.timeout = read_duration(in);
  what.kill_grace = read_duration(in);
  what.output_limit = in.number();
  if (const boot_time until = read_boot_time(in); until != boot_time{}) what.lease_until = until;
  return if_good(in, std::move(what));
}

std::optional<kill_request> decode_kill(std::string_view body) {
  field_reader in(body);
  kill_request k;
  k.lease = in.number();
  k.grace = read_duration(in);
  return if_good(in, k);
}

std::optional<std::uint64_t> decode_lease(std::string_view body) {
  field_reader in(body);
  const auto lease = in.number();
  return if_good(in, lease);
}

std::optional<renewal> decode_renewal(std::string_view body) {
  field_reader in(body);
  renewal r;
  r.lease = in.number();
  r.until = read_boot_time(in);
  return if_good(in, r);
}

std::optional<release_request> decode_release(std::string_view body) {
  field_reader in(body);
  release_request r;
  r.lease = in.number();
  r.stream = in.text();
  r.offset = in.number();
  return if_good(in, std::move(r));
}

std::optional<started_news> decode_started(std::string_view body) {
  field_reader in(body);
  started_news s;
  s.lease = in.number();
  s.pid = read_int(in);
  s.at = from_unix_ms(static_cast<std::int64_t>(in.number()));
  return if_good(in, s);
}

std::optional<output_news> decode_output(std::string_view body) {
  field_reader in(body);
  output_news o;
  o.lease = in.number();
  o.stream = in.text();
  o.end = in.number();
  return if_good(in, std::move(o));
}

std::optional<process_end> decode_end(std::string_view body) {
  field_reader in(body);
  process_end e;
  e.lease = in.number();
  e.started = in.flag();
  e.exit_code = read_int(in);
  e.signal = read_int(in);
  e.timed_out = in.flag();
  e.killed = in.flag();
  e.max_rss_bytes = static_cast<std::int64_t>(in.number());
  e.cpu_seconds = in.real();
  e.duration_seconds = in.real();
  e.error_number = read_int(in);
  e.error = in.text();
  e.output_detached = in.flag();
  e.output_bytes = read_offsets(in);
  e.leaked_processes = read_int(in);
  e.lease_lost = in.flag();
  return if_good(in, std::move(e));
}

std::optional<supervised> decode_supervised(std::string_view body) {
  field_reader in(body);
  supervised s;
  s.lease = in.number();
  s.pid = read_int(in);
  s.started_at = from_unix_ms(static_cast<std::int64_t>(in.number()));
  s.output_end = read_offsets(in);
  const auto end = in.text();
  if (!end.empty()) {
    s.end = decode_end(end);
    if (!s.end) return std::nullopt;
  }
  return if_good(in, std::move(s));
}

}  // namespace orchestrator::process
