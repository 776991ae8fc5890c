// The supervisor: a process forked before any socket or thread of the worker daemon exists. It owns the jobs'
// processes (child subreaper), their pipes and exit statuses, and outlives the daemon. The daemon talks to it
// by versioned messages on a Unix socket in the work dir. Output goes to bounded spool files there, which are
// the output's outbox: the daemon reads them and forgets a lease when everything was acknowledged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/system/result.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::process {

/// Work dir layout: `supervisor.lock` (held by the living supervisor), `supervisor.sock`, `supervisor.log`,
/// `spool/<lease>.<stream>.<k>` in segments of 1 MiB (k counts from 0; streams are "stdout" and "stderr"),
/// `spool/<lease>.session` (who leads the session of its processes).
///
/// Launches must come in the order of their leases: one at or below the highest the supervisor has seen is
/// never started (again). If it is still in the supervisor's table its news are repeated, otherwise it ends
/// unstarted.
struct launch {
  std::uint64_t lease = 0;
  std::vector<std::string> argv;           ///< argv[0] is looked up in PATH of `env` if it has no slash
  std::map<std::string, std::string> env;  ///< complete
  std::string cwd;                         ///< "" = the supervisor's
  std::string stdin_text;
  milliseconds timeout{0};  ///< 0: none. TERM, `kill_grace`, then KILL of the whole tree
  milliseconds kill_grace{10'000};
  std::uint64_t output_limit = 10u << 20;  ///< kept per stream on disk: first 2 MiB and the last of the rest
  /// Without a later `renew` the process is killed then, with its grace: whatever became of the daemon.
  std::optional<boot_time> lease_until;
};

/// How a process ended.
struct process_end {
  std::uint64_t lease = 0;
  bool started = true;  ///< false: exec or cwd failed, see `error` and `error_number`
  int exit_code = 0;    ///< when signal == 0
  int signal = 0;
  bool timed_out = false;  ///< we had sent TERM because of its timeout before it ended
  bool killed = false;     ///< we had sent TERM because of kill()
  /// Never below the supervisor's own few MiB: the kernel counts from vfork on.
  std::int64_t max_rss_bytes = 0;
  double cpu_seconds = 0;
  double duration_seconds = 0;
  int error_number = 0;          ///< errno of a failed start
  std::string error;             ///< sentence for a failed start: "cannot run 'x': No such file or directory"
  bool output_detached = false;  ///< a process that survived held the pipes; they were closed after 2 s
  std::map<std::string, std::uint64_t> output_bytes;  ///< per stream, counted before any trimming
  int leaked_processes = 0;  ///< of its tree, still there 5 s after KILL (in the kernel, or of another user)
  bool lease_lost = false;   ///< we had sent TERM, or not started it, because `lease_until` was over
};

/// A process the supervisor has, as listed to a daemon that connects.
struct supervised {
  std::uint64_t lease = 0;
  int pid = 0;
  wall_time started_at{};
  std::map<std::string, std::uint64_t> output_end;
  std::optional<process_end> end;  ///< set when it ended and was not forgotten yet
};

/// What the daemon is told; called by supervisor_client::poll on the daemon's thread.
struct supervisor_events {
  virtual ~supervisor_events() = default;
  virtual void started(std::uint64_t lease, int pid, wall_time at) = 0;
  virtual void output(std::uint64_t lease, const std::string& stream, std::uint64_t end) = 0;
  virtual void ended(const process_end& end) = 0;
  /// The socket is gone: the supervisor died. Its processes must be killed and reported LOST.
  virtual void supervisor_lost() = 0;
  /// The supervisor lives, but serves a newer daemon: this one must stop, and must not touch any process or
  /// lease.
  virtual void replaced() = 0;
};

/// The daemon's end of the socket. Not thread-safe; `native_handle` becomes readable when poll() has work. No
/// call blocks: what the socket does not take at once is sent by later polls. A launch that cannot be handed
/// over (too large, supervisor gone or not reading) is answered by `ended` with started == false at the next
/// poll.
class supervisor_client {
 public:
  virtual ~supervisor_client() = default;
  virtual int native_handle() const = 0;
  /// Handles everything that can be read without blocking.
  virtual void poll(supervisor_events& events) = 0;
  virtual void start(const launch& what) = 0;
  /// TERM to the whole tree, KILL after `grace`. Without effect on an ended one.
  virtual void kill(std::uint64_t lease, milliseconds grace) = 0;
  /// Moves the `lease_until` of a launch; never back.
  virtual void renew(std::uint64_t lease, boot_time until) = 0;
  /// Everything of this lease was acknowledged: forget its end, delete its spool.
  virtual void forget(std::uint64_t lease) = 0;
  /// Deletes spool segments that lie wholly below `offset`.
  virtual void release_output(std::uint64_t lease, const std::string& stream, std::uint64_t offset) = 0;
  /// What it had when we connected.
  virtual const std::vector<supervised>& inventory() const = 0;
  virtual bool fresh() const = 0;  ///< this daemon started it: it cannot know older leases
  virtual int pid() const = 0;
  /// For people: what its being of another version than this program means; "" if it is of the same.
  virtual std::string difference() const = 0;
};

/// Finds the supervisor that lives in `work_dir` or forks a new one; waits for its inventory (5 s at most).
/// One of an older version that has nothing is ended and replaced; with processes it is kept, see
/// difference(). Must be called before the process has threads or sockets. A fresh one ends 2 s after it has
/// neither daemon nor processes, and keeps ends that nobody fetched for 24 h. SIGTERM makes it end its
/// processes as kill() does, and then itself.
boost::system::result<std::unique_ptr<supervisor_client>> connect_supervisor(
    const std::filesystem::path& work_dir);

/// Whether connect_supervisor failed because `work_dir` is a copy: the supervisor that its lock file names
/// lives, and holds another file.
bool is_in_use_elsewhere(const boost::system::error_code& error);
/// The process that work_dir/supervisor.lock names, if it lives, be it the holder of that file or of one that
/// this is a copy of. 0 if not.
int living_supervisor(const std::filesystem::path& work_dir);

struct spool_read {
  std::uint64_t offset = 0;  ///< of the first byte; above the one asked for when a gap begins there
  std::string data;
};
/// Reads at most `limit` bytes of a stream's spool from `offset` on, in the daemon, straight from the files.
/// Empty data means that nothing is kept at or above `offset` yet; if `output` or the end named a higher one,
/// the bytes between are a gap too (a small output_limit, or a full disk).
spool_read read_spool(const std::filesystem::path& work_dir, std::uint64_t lease, const std::string& stream,
                      std::uint64_t offset, std::size_t limit);

/// How far the spool's files of a lease go, by stream: what is known of its output when its supervisor has
/// died.
std::map<std::string, std::uint64_t> spooled_output(const std::filesystem::path& work_dir,
                                                    std::uint64_t lease);

/// Leases of which the spool holds files of any kind, whoever wrote them.
std::set<std::uint64_t> spooled_leases(const std::filesystem::path& work_dir);

/// What the environment of a lease's processes says: ORCHESTRATOR_LEASE and ORCHESTRATOR_OUTPUT. The number
/// alone names them only within one work dir: other workers on the machine, of another cluster or with a copy
/// of this work dir, have the same numbers.
struct lease_mark {
  std::uint64_t lease = 0;
  std::string output;  ///< "" if they were given none
  auto operator<=>(const lease_mark&) const = default;
};

/// The session of a lease's processes: its number is that of their first one, the leader.
struct lease_session {
  int number = 0;  ///< 0 if unknown
  std::uint64_t start_time =
      0;  ///< the leader's; 0 if the number cannot be somebody else's, or be used again
};
/// That of a process which leads one and lives.
lease_session session_led_by(int pid);

/// Kills every process that carries `mark` in its environment or belongs to the session that the supervisor
/// has recorded for the lease, until none is left or 5 s passed. True if none is left. For leases whose
/// supervisor died. `known` is what the daemon remembers of the session: a full disk, or a supervisor
/// of an older version, left no record.
bool kill_lease_processes(const std::filesystem::path& work_dir, const lease_mark& mark,
                          const lease_session& known = {});

/// The kernel's boot id.
std::string read_boot_id();

}  // namespace orchestrator::process
