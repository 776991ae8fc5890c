// A worker of the original portal: no lease, no session, no number; one script at a time, and nothing read or
// answered while it runs. What it had when it dies is gone; a result may be sent again by its next life.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include <orchestrator/protocol/message.hpp>

#include "link.hpp"

namespace orchestrator::sim {

class legacy_worker {
 public:
  explicit legacy_worker(world& w);

  void start();
  void kill(nanoseconds away);
  bool idle() const { return !busy_ && jobs_.empty(); }
  const std::string& id() const { return id_; }
  std::shared_ptr<link> wire() const { return wire_; }

 private:
  void dial();
  void connection_is_gone();
  void hear(const std::string& text);
  void next_job();
  void finish(std::uint64_t life, std::int64_t job, bool success);
  void beat(std::uint64_t connection);
  void send(decltype(protocol::worker_message::body) body);

  world& world_;
  std::string id_ = "legacy";
  bool up_ = false, busy_ = false;
  std::uint64_t life_ = 0, connection_ = 0;
  std::shared_ptr<link> wire_;
  std::deque<std::int64_t> jobs_;
  std::optional<protocol::job_result> last_result_;
};

}  // namespace orchestrator::sim
