// The one rule the design rests on: an output leaves when every mutation issued before it is on disk, even if
// its own input changed nothing. Outputs for one target keep their order; an output that also waits for job
// output (the other database) holds back only its own target.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include <orchestrator/engine/effect.hpp>

namespace orchestrator::engine {

class commit_gate {
 public:
  /// Holds `o` until `number` and `output_number` are durable. Order per session is kept.
  void hold(output o, std::uint64_t number, std::uint64_t output_number);
  /// `number` is durable: appends what may leave now to `out`.
  void persisted(std::uint64_t number, std::vector<output>& out);
  void output_persisted(std::uint64_t number, std::vector<output>& out);
  /// Appends what may leave by what is durable already: outputs held since then whose cause changed nothing.
  void release(std::vector<output>& out);
  /// Drops everything held for a session that is gone.
  void forget(session_id session);
  std::uint64_t durable() const { return durable_; }
  std::uint64_t durable_output() const { return durable_output_; }
  std::size_t held() const;

 private:
  struct held_output {
    output what;
    std::uint64_t number = 0;
    std::uint64_t output_number = 0;
  };
  std::deque<held_output> main_;  ///< wait for `number` only, in order
  std::map<session_id, std::deque<held_output>>
      per_session_;  ///< targets with output in flight; 0: no session
  std::uint64_t durable_ = 0;
  std::uint64_t durable_output_ = 0;
};

}  // namespace orchestrator::engine
