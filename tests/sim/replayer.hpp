// Duplicate delivery: hands some messages of a connection on twice, under numbers that fit, and keeps either
// end from noticing by their acks. What a repetition leads to is for the judge (I12).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <orchestrator/protocol/message.hpp>

#include "timeline.hpp"

namespace orchestrator::sim {

/// The numbers of one direction of a connection that carries repetitions.
class renumbering {
 public:
  std::uint64_t next(std::uint64_t original) {
    originals_.push_back({original, false});
    return originals_.size();
  }
  std::uint64_t next_copy() {
    originals_.push_back({originals_.empty() ? 0 : originals_.back().number, true});
    return originals_.size();
  }
  /// Up to which original number all came, if all up to `number` did.
  std::uint64_t reach(std::uint64_t number) const {
    return number == 0 || number > originals_.size() ? number : originals_[number - 1].number;
  }
  /// The original behind a number; nothing for a repetition.
  std::optional<std::uint64_t> original(std::uint64_t number) const {
    if (number == 0 || number > originals_.size()) return number;
    const entry& e = originals_[number - 1];
    return e.copy ? std::nullopt : std::optional(e.number);
  }

 private:
  struct entry {
    std::uint64_t number;
    bool copy;
  };
  std::vector<entry> originals_;
};

class replayer {
 public:
  explicit replayer(dice& chance) : chance_(chance) {}

  struct delivery {
    std::vector<protocol::worker_message> messages;
    bool repetition = false;
  };
  /// What the coordinator is handed in place of a worker's frame.
  std::vector<delivery> from_worker(std::vector<protocol::worker_message> messages);
  /// What the worker is sent in place of the coordinator's messages.
  std::vector<protocol::coordinator_message> to_worker(std::vector<protocol::coordinator_message> messages);
  /// An offer of earlier, once more.
  protocol::coordinator_message again(const protocol::execute_job& offer) {
    return {to_worker_.next_copy(), offer};
  }

 private:
  bool translate(protocol::coordinator_message& m);

  dice& chance_;
  renumbering from_worker_, to_worker_;
  std::uint64_t acked_ = 0;  ///< of the worker's own numbers, cumulatively
};

}  // namespace orchestrator::sim
