// What the worker's core wants done, in order: an ack behind a write_outbox means that the record is written.
// When write_outbox or switch_outbox fails, the shell carries out nothing more of that list and gives it
// back, the failed one first, as input `outbox_failed`; the core then says again what does not depend on it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <orchestrator/protocol/message.hpp>

namespace orchestrator::agent {

struct write_outbox {
  std::uint64_t lease = 0;
  std::string kind, body;
};
struct drop_outbox {
  std::uint64_t lease = 0;
};  ///< all records of the lease
struct switch_outbox {
  std::string cluster;
};  ///< comes back as outbox_switched
struct store_term {
  std::uint64_t term = 0;
};  ///< kept beside the outbox

struct connect {};  ///< dial now
struct send {
  protocol::worker_message message;
};
struct disconnect {
  std::uint16_t code = 1000;
  std::string reason;
};
struct set_ping_interval {
  milliseconds interval{20'000};
};
/// The peer takes JSON arrays / frames up to so many bytes from here on.
struct set_framing {
  bool batch = false;
  std::size_t max_bytes = 0;
};

struct start_process {
  std::uint64_t lease = 0;
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;
  std::string cwd, stdin_text;
  milliseconds timeout{0}, kill_grace{10'000};
  std::uint64_t output_limit = 0;
  std::optional<boot_time> lease_until;  ///< the supervisor kills it then by itself, unless renew_lease came
  /// A script an interpreter will read: the shell looks for it first and ends the lease unstarted
  /// (error_number) if it is not there, because the interpreter's own exit status would look like the
  /// script's.
  std::string script;
};
struct kill_process {
  std::uint64_t lease = 0;
  milliseconds grace{10'000};
};
/// Goes to the supervisor, for the time in which no daemon is there to kill.
struct renew_lease {
  std::uint64_t lease = 0;
  boot_time until{};
};
struct forget_process {
  std::uint64_t lease = 0;
};
/// The supervisor that had these is gone: kill whatever carries their lease. Comes back as leftovers_killed,
/// each.
struct kill_leftovers {
  std::vector<std::uint64_t> leases;
};
struct release_spool {
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t offset = 0;
};
/// Comes back as spool_data.
struct read_spool {
  std::uint64_t lease = 0;
  std::string stream;
  std::uint64_t offset = 0;
  std::size_t limit = 0;
};

enum class note_level { debug, info, warning, error };
struct note {
  note_level level = note_level::info;
  std::string text;
};
/// The daemon may end now with this exit code; with `restart` it starts itself again instead, because it
/// needs another supervisor (its own died, or the outbox is another cluster's, whose leases count
/// differently).
struct exit_now {
  int code = 0;
  bool restart = false;
};

using effect = std::variant<write_outbox, drop_outbox, switch_outbox, store_term, connect, send, disconnect,
                            set_ping_interval, set_framing, start_process, kill_process, renew_lease,
                            forget_process, kill_leftovers, release_spool, read_spool, note, exit_now>;
using effects = std::vector<effect>;

}  // namespace orchestrator::agent
