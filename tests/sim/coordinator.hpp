// The coordinator's process without a machine: the production engine and memory_store, driven as
// server/coordinator.cpp drives them. It can be killed between any two effects, stopped for a while, and its
// disk can be slow, full or broken.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <orchestrator/engine/engine.hpp>
#include <orchestrator/store/memory_store.hpp>
#include <orchestrator/store/retention_clock.hpp>

#include "link.hpp"
#include "replayer.hpp"

namespace orchestrator::sim {

enum class peer_kind : std::uint8_t { machine, legacy, rogue };
/// Who is at the other end of a connection, which the coordinator has to find out.
struct peer {
  uuid instance;  ///< nil: a legacy worker, known by its name
  std::string worker_id;
  peer_kind kind = peer_kind::machine;
};

class coordinator {
 public:
  using reply = std::function<void(const engine::answer&)>;

  explicit coordinator(world& w);

  void start();
  /// kill -9: now, or before the so-manieth effect from now.
  void kill();
  /// SIGTERM: no new work, and an end a little later.
  void stop();
  void kill_within(int effects) { effects_left_ = effects; }
  void pause(nanoseconds how_long);
  void set_disk_full(bool full);
  /// The next commit fails with an I/O error: the process ends by itself, whether or not the data arrived.
  void break_disk() { disk_breaks_ = true; }
  /// Does not read that socket for a while, as when the disk is behind.
  void stop_reading(nanoseconds how_long);
  void step_wall(milliseconds by) {
    wall_offset_ += by;
    clock_was_behind_ = clock_was_behind_ || wall_offset_ < -24h;
  }
  void set_wall_right() { wall_offset_ = milliseconds{0}; }
  /// The database as it is now is what the next roll_back leads to; the process must be dead for that.
  void save_database() { disk_->save(); }
  void roll_back() { disk_->roll_back(); }

  bool up() const { return engine_ != nullptr; }
  bool paused() const { return paused_; }
  bool accepts() const { return up() && !paused_; }
  void accept(const std::shared_ptr<link>& l, peer who);
  /// A request of a client; it is not answered if the process dies first.
  template <class Request>
  void ask(Request request, reply then) {
    if (!up()) return;
    request.request = request_id{++last_request_};
    replies_.emplace(request.request, std::move(then));
    feed(std::move(request));
  }
  void retain(milliseconds age);

  engine::engine* core() { return engine_.get(); }
  store::memory_store& disk() { return *disk_; }
  engine_time clock() const;
  nanoseconds started_at() const { return started_at_; }
  /// How long it was stopped in all: that time does not count as silence.
  nanoseconds stopped_for() const { return stopped_for_; }
  nanoseconds last_heard(const uuid& instance) const;
  /// The core has parted a worker from its connection, which may close a good while later.
  void parted(const uuid& instance);
  /// The connection that registered last, 0 if the core has parted it.
  session_id speaks_for(const uuid& instance) const {
    const auto found = speaks_for_.find(instance);
    return found == speaks_for_.end() ? session_id{} : found->second;
  }
  /// Whether the connection that registered last is there and not read at present.
  bool unread(const uuid& instance) const;
  std::size_t sessions() const { return sessions_.size(); }

 private:
  struct session {
    std::shared_ptr<link> wire;
    peer who;
    std::optional<replayer> twice;  ///< some of its messages are delivered twice
    std::vector<protocol::coordinator_message> outgoing;
    bool registered = false, batch = false, dirty = false, unread = false;
  };

  template <class F>
  void run(std::uint64_t life, F what);
  void feed(const engine::input& in);
  void carry_out(engine::effects& e);
  void carry_out(engine::output& o);
  void look_up(const engine::lookup& l);
  void read_again(session_id id);
  void end_turn();
  void flush(session& s);
  void repeat_old_offer(session& s, std::vector<protocol::coordinator_message>& messages);
  void arm_timer();
  void sync_soon();
  void sync_now(std::size_t batches, std::size_t output_batches);
  void on_frame(session_id id, const std::string& text);
  void deliver(session_id id, std::vector<protocol::worker_message> messages, bool repetition);
  bool is_replaced(session_id id, const session& s) const;
  void hear(session_id id);
  bool dies_here();

  world& world_;
  std::unique_ptr<store::memory_store> disk_;
  std::unique_ptr<engine::engine> engine_;
  std::uint64_t life_ = 0;
  bool paused_ = false, stall_pending_ = false, turn_end_scheduled_ = false, syncing_ = false;
  bool disk_full_ = false, disk_breaks_ = false;
  std::deque<action> backlog_;
  std::map<session_id, session> sessions_;
  std::vector<session_id> dirty_;
  std::map<request_id, reply> replies_;
  std::uint64_t last_session_ = 0, last_request_ = 0;
  std::deque<mutation_batch> issued_;  ///< not durable yet
  std::size_t issued_output_ = 0;
  nanoseconds started_at_{0}, stopped_for_{0};
  std::map<uuid, std::deque<protocol::execute_job>> old_offers_;  ///< across connections and lives
  std::map<uuid, session_id> speaks_for_;  ///< an instance: the connection that registered last
  std::map<uuid, nanoseconds> heard_;  ///< by instance; on the clock that stops while the process is stopped
  milliseconds wall_offset_{0};
  bool clock_was_behind_ = false;  ///< by more than a day, once
  std::optional<store::retention_clock> retention_clock_;
  std::optional<mono_time> armed_for_;
  int effects_left_ = -1;
};

}  // namespace orchestrator::sim
