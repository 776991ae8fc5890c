// A worker with a credential and bad intentions: it speaks of leases that are others', old or never issued,
// takes another worker's name, breaks the numbering, hoards offers and lies about them. Nothing it says may
// change what belongs to others (I18).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <orchestrator/protocol/message.hpp>

#include "link.hpp"

namespace orchestrator::sim {

class rogue {
 public:
  explicit rogue(world& w);

  /// Connects if it is not connected, else says something.
  void act();
  void leave();

 private:
  void dial();
  void introduce_itself();
  void hear(const protocol::coordinator_message& m);
  void answer_offer(const protocol::execute_job& offer, std::uint64_t seq);
  void say_something();
  void send(decltype(protocol::worker_message::body) body);
  protocol::lease_ref some_lease();

  world& world_;
  std::string id_;
  uuid instance_;
  std::shared_ptr<link> wire_;
  std::uint64_t connection_ = 0, seq_ = 0;
  std::optional<protocol::lease_ref> own_;  ///< what it was offered last
  bool gone_ = false;
};

}  // namespace orchestrator::sim
