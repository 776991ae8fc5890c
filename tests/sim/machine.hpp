// A worker's machine without a machine: the production agent in a daemon that can be killed between any two
// effects, an outbox that survives it, a supervisor that owns the processes and survives it too, and a boot
// that ends all of them. Driven as worker/worker.cpp drives them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <orchestrator/agent/agent.hpp>

#include "link.hpp"

namespace orchestrator::sim {

/// What a process of a lease does, drawn when it is started. Its output is a function of lease and position,
/// so that whoever has some of it can tell whether it is right.
struct process {
  std::uint64_t life = 0;  ///< its events belong to this start only
  std::map<std::string, std::uint64_t> printed;
  std::map<std::string, std::uint64_t> dropped;  ///< the spool's hole ends here (output limit)
  std::optional<agent::process_end> end;
  bool killed = false, ignores_term = false;
  nanoseconds started{0};
  wall_time started_wall{};
  std::uint64_t output_limit = 0;
};

/// How far a stream's spool files go, and what is missing in them.
struct spool_file {
  std::uint64_t end = 0, dropped = 0;
};

char output_byte(std::uint64_t lease, const std::string& stream, std::uint64_t offset);

class machine {
 public:
  machine(world& w, int number);
  /// Another machine with a copy of this one's work dir.
  machine(world& w, int number, const machine& copied);

  void start();
  void kill_daemon(nanoseconds away);
  void kill_daemon_within(int effects) { effects_left_ = effects; }
  void kill_supervisor();
  /// The command `worker stop`, in one of its ways.
  void stop();
  void reboot(nanoseconds away);
  void pause(nanoseconds how_long);
  void leave_for_good();
  void step_wall(milliseconds by) { wall_offset_ += by; }
  void fill_disk(bool full) { disk_full_ = full; }

  bool up() const { return agent_ != nullptr; }
  bool gone() const { return gone_; }
  const uuid& instance() const { return instance_; }
  int number() const { return number_; }
  const std::string& id() const { return id_; }
  int places() const { return slots_ + credit_; }
  std::shared_ptr<link> wire() const { return wire_; }
  std::size_t records() const { return records_.size(); }
  bool idle() const;
  /// Nothing waits in its outbox and its supervisor keeps nothing.
  bool settled() const { return records_.empty() && processes_.empty() && spools_.empty(); }
  agent::agent* core() { return agent_.get(); }
  std::map<std::uint64_t, process>& processes() { return processes_; }

 private:
  template <class F>
  void run(std::uint64_t life, F what);
  void feed(agent::input in);
  void step(const agent::input& in);
  std::optional<agent::outbox_failed> carry_out(agent::effects list);
  bool write(const agent::effect& e);
  void carry_out(agent::effect& e);
  void dial();
  void flush();
  void arm_timer();
  void daemon_is_gone();
  agent_time clock() const;

  void launch(const agent::start_process& s);
  void live(std::uint64_t lease, const agent::start_process& s);
  void print(std::uint64_t lease, const std::string& stream, std::uint64_t bytes);
  void finish(std::uint64_t lease, int exit_code, int signal, bool timed_out);
  void kill(std::uint64_t lease, nanoseconds grace, bool timed_out);
  agent::spool_data read(const agent::read_spool& r) const;
  spool_file spool_of(std::uint64_t lease, const std::string& stream) const;
  void supervisor_is_gone();
  template <class F>
  void later(std::uint64_t lease, nanoseconds delay, F what);

  world& world_;
  int number_;
  std::string id_;
  uuid instance_;
  int boots_ = 1, slots_ = 1, credit_ = 0;
  resource_amounts resources_;
  nanoseconds booted_at_{0};
  bool gone_ = false;

  // What survives the daemon
  std::vector<agent::stored_record> records_;
  std::uint64_t highest_ = 0, term_ = 0;
  std::string cluster_;
  std::map<std::uint64_t, process> processes_;
  /// Files that a dead supervisor left.
  std::map<std::uint64_t, std::map<std::string, spool_file>> spools_;
  std::uint64_t launched_ = 0, process_lives_ = 0;
  bool supervisor_fresh_ = true;

  // The daemon
  std::unique_ptr<agent::agent> agent_;
  std::uint64_t life_ = 0;
  std::shared_ptr<link> wire_;
  std::uint64_t connection_ = 0;
  int told_by_database_ = 0;  ///< the one that its connection was made to
  bool paused_ = false, stepping_ = false, batch_ = false, flush_scheduled_ = false, finishing_ = false;
  bool disk_full_ = false;
  std::size_t max_bytes_ = 0;
  std::vector<protocol::worker_message> outgoing_;
  std::deque<agent::input> inputs_;
  std::deque<action> backlog_;
  std::optional<boot_time> armed_for_;
  milliseconds wall_offset_{0};
  int effects_left_ = -1;
};

}  // namespace orchestrator::sim
