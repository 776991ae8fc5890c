// The commit gate: see commit_gate.hpp. Used by step.cpp at the end of every step.
#include <orchestrator/base/planted.hpp>
#include <orchestrator/engine/commit_gate.hpp>

#include <algorithm>
#include <type_traits>

namespace orchestrator::engine {
namespace {

// The session an output is for; 0 for answers, notifications and notes.
session_id target_of(const output& o) {
  return std::visit(
      [](const auto& what) {
        if constexpr (requires { what.session; }) {
          return what.session;
        } else {
          return session_id{};
        }
      },
      o);
}

}  // namespace

void commit_gate::hold(output o, std::uint64_t number, std::uint64_t output_number) {
  const session_id target = target_of(o);
  const bool waits_for_output = output_number > durable_output_;
  const auto queue = per_session_.find(target);
  // Without a session there is no order to keep, so an answer never stands behind a notification of output.
  const bool behind_others = target && queue != per_session_.end();
  if (waits_for_output || behind_others) {
    per_session_[target].push_back({std::move(o), number, output_number});
  } else {
    main_.push_back({std::move(o), number, output_number});
  }
}

void commit_gate::persisted(std::uint64_t number, std::vector<output>& out) {
  durable_ = std::max(durable_, number);
  release(out);
}

void commit_gate::output_persisted(std::uint64_t number, std::vector<output>& out) {
  durable_output_ = std::max(durable_output_, number);
  release(out);
}

void commit_gate::release(std::vector<output>& out) {
  const std::uint64_t open_to = durable_ + (planted(defect::gate_opens_early) ? 1 : 0);
  while (!main_.empty() && main_.front().number <= open_to) {
    out.push_back(std::move(main_.front().what));
    main_.pop_front();
  }
  for (auto at = per_session_.begin(); at != per_session_.end();) {
    auto& queue = at->second;
    while (!queue.empty() && queue.front().number <= open_to &&
           queue.front().output_number <= durable_output_) {
      out.push_back(std::move(queue.front().what));
      queue.pop_front();
    }
    at = queue.empty() ? per_session_.erase(at) : std::next(at);
  }
}

void commit_gate::forget(session_id session) {
  std::erase_if(main_, [&](const held_output& held) { return target_of(held.what) == session; });
  per_session_.erase(session);
}

std::size_t commit_gate::held() const {
  std::size_t sum = main_.size();
  for (const auto& [session, queue] : per_session_) sum += queue.size();
  return sum;
}

}  // namespace orchestrator::engine
