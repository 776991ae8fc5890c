// The receiver's side of acknowledgement on one connection: which messages came, which wait for the disk, and
// how far one cumulative ack may reach. And the sender's side: which of ours are not acknowledged yet.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include <orchestrator/base/result.hpp>

namespace orchestrator::protocol {

/// Checks that a peer's seq counts 1, 2, 3, … on its connection.
class sequence_check {
 public:
  /// A refusal names the gap or repeat; the connection must then be closed with 1008. A peer that never sends
  /// seq is always right; one that stops or starts sending it is wrong.
  std::optional<refusal> accept(std::optional<std::uint64_t> seq);
  std::uint64_t last() const { return last_; }

 private:
  std::uint64_t last_ = 0;
  std::uint64_t received_ = 0;
};

/// How far a cumulative ack may reach: to the last message such that it and all before it are settled.
class ack_window {
 public:
  /// Message `seq` came; `settled` = nothing of it waits for the disk (a heartbeat).
  void received(std::uint64_t seq, bool settled);
  /// What `seq` waited for is durable.
  void settle(std::uint64_t seq);
  /// The new reach if it moved since the last call.
  std::optional<std::uint64_t> take_reach();

 private:
  std::deque<bool> open_;   ///< settled? for base_ + 1, base_ + 2, …
  std::uint64_t base_ = 0;  ///< all up to here are settled
  std::uint64_t reported_ = 0;
};

}  // namespace orchestrator::protocol
