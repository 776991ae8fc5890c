// Duplicate delivery. See replayer.hpp.
#include "replayer.hpp"

namespace orchestrator::sim {
namespace {

bool may_come_twice(const protocol::worker_message& m) {
  return std::holds_alternative<protocol::job_result>(m.body) ||
         std::holds_alternative<protocol::job_output>(m.body) ||
         std::holds_alternative<protocol::event>(m.body) ||
         std::holds_alternative<protocol::worker_ack>(m.body);
}

}  // namespace

std::vector<replayer::delivery> replayer::from_worker(std::vector<protocol::worker_message> messages) {
  std::vector<delivery> out(1);
  for (protocol::worker_message& m : messages) {
    if (auto* ack = std::get_if<protocol::worker_ack>(&m.body); ack != nullptr && ack->seq) {
      if (ack->cumulative) {
        *ack->seq = to_worker_.reach(*ack->seq);
      } else if (const auto number = to_worker_.original(*ack->seq)) {
        *ack->seq = *number;
      } else {
        continue;
      }
    }
    if (m.seq) m.seq = from_worker_.next(*m.seq);
    out.back().messages.push_back(m);
    if (!may_come_twice(m) || chance_.below(3) != 0) continue;
    if (m.seq) m.seq = from_worker_.next_copy();
    out.push_back({{std::move(m)}, true});
    out.emplace_back();
  }
  return out;
}

std::vector<protocol::coordinator_message> replayer::to_worker(
    std::vector<protocol::coordinator_message> messages) {
  std::vector<protocol::coordinator_message> out;
  for (protocol::coordinator_message& m : messages) {
    if (!translate(m)) continue;
    const bool command = m.seq.has_value();  // execute_job, cancel_job, drain
    if (command) m.seq = to_worker_.next(*m.seq);
    out.push_back(m);
    if (!command || chance_.below(3) != 0) continue;
    m.seq = to_worker_.next_copy();
    out.push_back(std::move(m));
  }
  return out;
}

/// The worker's own numbers in place of those it never gave. False: it has nothing to hear.
bool replayer::translate(protocol::coordinator_message& m) {
  if (auto* ack = std::get_if<protocol::ack>(&m.body)) {
    if (!ack->seq) return true;
    if (!ack->cumulative) {
      ack->seq = from_worker_.original(*ack->seq);
      return ack->seq.has_value();
    }
    *ack->seq = from_worker_.reach(*ack->seq);
    std::map<std::uint64_t, disposition> own;
    for (const auto& [number, what] : ack->dispositions) {
      if (const auto original = from_worker_.original(number)) own.emplace(*original, what);
    }
    ack->dispositions = std::move(own);
    const bool news = *ack->seq > acked_;
    acked_ = std::max(acked_, *ack->seq);
    return news;
  }
  if (auto* greeting = std::get_if<protocol::registration>(&m.body)) {
    if (greeting->seq) greeting->seq = from_worker_.original(*greeting->seq);
  } else if (auto* wrong = std::get_if<protocol::error_message>(&m.body); wrong != nullptr && wrong->seq) {
    wrong->seq = from_worker_.original(*wrong->seq);
    return wrong->seq.has_value();
  }
  return true;
}

}  // namespace orchestrator::sim
