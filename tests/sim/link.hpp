// One connection between a machine and the coordinator: frames, pings and the close frame travel in order and
// whole, as TCP and WebSocket make them, or not at all any more. Keepalive is as in net/ws_session. What can
// go wrong: delays, a cut both ends see, an end that is not told (half-open), one direction that says
// nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "timeline.hpp"

namespace orchestrator::sim {

struct world;

enum class side : std::uint8_t { worker, coordinator };
constexpr side other(side s) { return s == side::worker ? side::coordinator : side::worker; }

/// What the owner of one end is told; only while its process is running.
struct end_events {
  std::function<void(std::string)> frame;
  std::function<void(std::optional<nanoseconds> pinged)>
      alive;  ///< a ping came, or the pong to ours, sent then
  std::function<void(std::uint16_t code, std::string reason)> closed;  ///< once, last
};

class link : public std::enable_shared_from_this<link> {
 public:
  link(world& w, int machine) : world_(w), machine_(machine) {}

  void attach(side s, end_events events, nanoseconds ping_interval);
  void send(side from, std::string frame);
  void close(side from, std::uint16_t code, const std::string& reason);
  void ping(side from);
  void set_ping_interval(side s, nanoseconds interval);
  /// Stops or goes on handing things to that end: its process is stopped, or does not read.
  void hold(side s, bool held);

  /// The process at that end is gone; the other end hears of it if the network lets it.
  void end_process(side s);
  /// Both ends are told soon. Or only one; the other has to find out.
  void cut();
  void cut_unseen(side who_knows);
  /// What `from` says does not arrive any more until `heal`; nothing is lost by that alone.
  void silence(side from, bool on);

  int machine() const { return machine_; }
  bool over() const { return ends_[0].closed && ends_[1].closed; }
  bool open_at(side s) const { return !ends_[static_cast<int>(s)].closed; }

 private:
  struct ping_note {
    nanoseconds sent;
  };
  struct pong_note {
    nanoseconds sent;
  };
  struct close_note {
    std::uint16_t code;
    std::string reason;
  };
  using item = std::variant<std::string, ping_note, pong_note, close_note>;
  struct end {
    end_events events;
    bool attached = false, closed = false, held = false, silent = false;
    std::deque<item> arrived;     ///< while held
    std::deque<item> unsent;      ///< while silent
    nanoseconds last_arrival{0};  ///< of what this end sent: order is kept
    nanoseconds ping_interval{20s};
    std::uint64_t ping_timer = 0;  ///< only the newest armed one counts
    std::optional<nanoseconds> waits_for_pong;
    bool watches_pong = false;                    ///< a timer is set
    std::function<void(std::string)> late_frame;  ///< only with a planted defect
  };

  end& of(side s) { return ends_[static_cast<int>(s)]; }
  void carry(side from, item what);
  void arrive(side to, item what);
  void take(side to, item what);
  void finish(side s, std::uint16_t code, const std::string& reason);
  void arm_ping(side s);
  void ping_is_due(side s, std::uint64_t timer);
  void watch_pong(side s);
  void pong_is_overdue(side s);

  world& world_;
  int machine_;
  bool broken_ = false;
  end ends_[2];
};

}  // namespace orchestrator::sim
