// The socket between daemon and supervisor, which may be of different versions: any bytes as a stream of
// frames, however they arrive. What a message is read as must be written as something that reads the same.
#include <orchestrator/process/supervisor.hpp>

#include "fuzz/fuzz.hpp"
#include "spool.hpp"
#include "wire.hpp"

using namespace orchestrator;
using namespace orchestrator::process;
using fuzz::must;

namespace {

std::vector<frame> take_all(std::string_view bytes, bool& broken) {
  std::vector<frame> frames;
  std::size_t position = 0;
  while (auto next = take_frame(bytes, position, broken)) frames.push_back(std::move(*next));
  must(position <= bytes.size(), "no frame reaches beyond what arrived");
  return frames;
}

std::string body_of(const std::string& bytes) {
  bool broken = false;
  const auto frames = take_all(bytes, broken);
  must(!broken && frames.size() == 1, "a message of ours is one frame", bytes);
  return frames.front().body;
}

/// Read, written, read and written again: both texts must be the same.
template <class Decode, class Encode>
void check(std::string_view body, Decode decode, Encode encode) {
  const auto first = decode(body);
  if (!first) return;
  const std::string written = encode(*first);
  const auto second = decode(body_of(written));
  must(second && encode(*second) == written, "a message is read as it was written");
}

void check_body(message_kind kind, std::string_view body) {
  switch (kind) {
    case message_kind::daemon_hello:
    case message_kind::supervisor_hello:
      return check(body, decode_hello, [&](const hello& h) { return encode_hello(kind, h); });
    case message_kind::start: return check(body, decode_launch, encode_launch);
    case message_kind::renew: return check(body, decode_renewal, encode_renewal);
    case message_kind::kill: return check(body, decode_kill, encode_kill);
    case message_kind::forget:
    case message_kind::inventory_end:
    case message_kind::replaced:
      return check(body, decode_lease, [&](std::uint64_t lease) { return encode_lease(kind, lease); });
    case message_kind::release_output: return check(body, decode_release, encode_release);
    case message_kind::inventory_item: return check(body, decode_supervised, encode_supervised);
    case message_kind::started: return check(body, decode_started, encode_started);
    case message_kind::output: return check(body, decode_output, encode_output);
    case message_kind::ended: return check(body, decode_end, encode_end);
  }
}

void check_segment_name(std::string_view name) {
  const auto parsed = parse_segment_name(name);
  if (!parsed) return;
  const auto again = parse_segment_name(to_text(parsed->lease, parsed->stream, parsed->index));
  must(again && again->lease == parsed->lease && again->stream == parsed->stream &&
           again->index == parsed->index,
       "a segment's name is read as it was written", name);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::as_text(data, size);
  check_segment_name(bytes);
  bool broken = false;
  const std::vector<frame> frames = take_all(bytes, broken);
  for (const frame& f : frames) check_body(f.kind, f.body);
  // The same bytes cut short hold a prefix of the same frames.
  bool cut_broken = false;
  const auto fewer = take_all(bytes.substr(0, size / 2), cut_broken);
  must(fewer.size() <= frames.size(), "less bytes hold no more frames");
  for (std::size_t i = 0; i < fewer.size(); ++i)
    must(fewer[i].kind == frames[i].kind && fewer[i].body == frames[i].body, "frames do not depend on cuts");
  return 0;
}
