// The byte format of the socket between daemon and supervisor. A frame is a 4-byte length, a kind byte and
// fields in fixed order. Both sides may be of different versions, because a supervisor outlives upgrades of
// the daemon: unknown kinds are ignored, surplus fields at the end are ignored, and fields missing at the end
// read as zero or "".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/process/supervisor.hpp>

namespace orchestrator::process {

/// Raised when fields or kinds are added; never used to refuse the other side.
/// 2: leases that kill (`lease_until` of a launch, renew, `lease_lost` of an end).
/// 3: no message, but the supervisor records the sessions of its processes.
inline constexpr std::uint32_t protocol_version = 3;

enum class message_kind : std::uint8_t {
  daemon_hello = 1,       ///< first of a daemon: version, pid
  start = 2,              ///< a launch
  kill = 3,               ///< lease, grace
  forget = 4,             ///< lease
  release_output = 5,     ///< lease, stream, offset
  renew = 6,              ///< lease, CLOCK_BOOTTIME in ns
  supervisor_hello = 17,  ///< first of the supervisor: version, pid
  inventory_item = 18,    ///< one supervised, after the hello
  inventory_end = 19,     ///< number of items sent
  started = 20,           ///< lease, pid, wall time
  output = 21,            ///< lease, stream, end
  ended = 22,             ///< a process_end
  replaced = 23,          ///< a newer daemon took over; the connection ends here
};

/// Builds one frame. Little-endian whatever the machine.
class frame_writer {
 public:
  explicit frame_writer(message_kind kind);
  frame_writer& number(std::uint64_t value);
  frame_writer& real(double value);
  frame_writer& text(std::string_view value);
  /// The finished frame, length included.
  std::string finish() &&;

 private:
  std::string bytes_;
};

/// Reads the fields of one frame's body. A field cut in the middle makes it `bad`, and all later ones zero.
class field_reader {
 public:
  explicit field_reader(std::string_view body) : rest_(body) {}
  std::uint64_t number();
  double real();
  std::string text();
  bool flag() { return number() != 0; }
  bool bad() const { return bad_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool bad_ = false;
};

/// One message that arrived.
struct frame {
  message_kind kind{};
  std::string body;
};

/// Takes the first whole frame off `bytes` from `position` on and advances it. Nothing if it is not complete
/// yet; `broken` is set when the length is outside the limit, after which the stream cannot be read any more.
std::optional<frame> take_frame(std::string_view bytes, std::size_t& position, bool& broken);

struct hello {
  std::uint64_t version = protocol_version;
  int pid = 0;
};
struct kill_request {
  std::uint64_t lease = 0;
  milliseconds grace{0};
};
struct renewal {
  std::uint64_t lease = 0;
  boot_time until{};
};
struct release_request {
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t offset = 0;
};
struct started_news {
  std::uint64_t lease = 0;
  int pid = 0;
  wall_time at{};
};
struct output_news {
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t end = 0;
};

std::string encode_hello(message_kind kind, const hello& h);
std::string encode_launch(const launch& what);
std::string encode_kill(const kill_request& k);
std::string encode_lease(message_kind kind, std::uint64_t lease);  ///< forget, inventory_end, replaced
std::string encode_renewal(const renewal& r);
std::string encode_release(const release_request& r);
std::string encode_started(const started_news& s);
std::string encode_output(const output_news& o);
std::string encode_end(const process_end& e);
std::string encode_supervised(const supervised& s);

/// Nothing when the fields are cut or out of range.
std::optional<hello> decode_hello(std::string_view body);
std::optional<launch> decode_launch(std::string_view body);
std::optional<kill_request> decode_kill(std::string_view body);
std::optional<std::uint64_t> decode_lease(std::string_view body);
std::optional<renewal> decode_renewal(std::string_view body);
std::optional<release_request> decode_release(std::string_view body);
std::optional<started_news> decode_started(std::string_view body);
std::optional<output_news> decode_output(std::string_view body);
std::optional<process_end> decode_end(std::string_view body);
std::optional<supervised> decode_supervised(std::string_view body);

}  // namespace orchestrator::process
