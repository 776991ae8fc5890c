// The other end of an agent_world: a coordinator that hands out leases, reconciles registrations and records
// what it was told, by the rules of the protocol page and no more. Tests ask it whether what it was told is
// true.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <orchestrator/protocol/ack_window.hpp>

#include "support/agent_world.hpp"

namespace orchestrator::test {

struct told {
  bool accepted = false;  ///< its execute_job was acknowledged
  bool noop = false;
  bool cancelled = false;    ///< we asked for it
  bool not_started = false;  ///< concluded from a registration
  bool lost = false;         ///< likewise, or told
  std::optional<protocol::job_result> result;
  int conflicts = 0;  ///< results that differ from the first one
  std::map<std::string, std::string> output;
  bool live() const { return !result && !not_started && !lost; }
};

class agent_coordinator {
 public:
  explicit agent_coordinator(agent_world& world) : world_(world) {}

  std::map<std::uint64_t, told> leases;
  std::vector<std::string> faults;  ///< what the worker did against the protocol
  bool registered = false;

  void connection_lost() {
    registered = false;
    numbers_ = {};
    offers_.clear();
    out_seq_ = 0;
    last_seen_ = 0;
  }

  std::uint64_t next_lease() { return ++last_lease_; }

  void say(std::vector<decltype(protocol::coordinator_message::body)> bodies) {
    std::vector<protocol::coordinator_message> frame;
    for (auto& body : bodies) {
      ++out_seq_;
      if (const auto* e = std::get_if<protocol::execute_job>(&body)) {
        told& t = leases[e->lease->value];
        t.noop = !e->builtin.empty();
        offers_[out_seq_] = e->lease->value;
      }
      if (const auto* k = std::get_if<protocol::cancel_job>(&body)) leases[k->lease.value].cancelled = true;
      frame.push_back(numbered(out_seq_, std::move(body)));
    }
    world_.receive(std::move(frame));
  }

  /// Looks at what came since the last call; answers a registration.
  void read() {
    while (!world_.sent.empty()) {
      const protocol::worker_message m = std::move(world_.sent.front());
      world_.sent.pop_front();
      if (!std::holds_alternative<protocol::worker_ack>(m.body)) {
        if (const auto wrong = numbers_.accept(m.seq)) faults.push_back(wrong->detail);
        last_seen_ = m.seq.value_or(last_seen_);
      }
      std::visit([this](const auto& body) { take(body); }, m.body);
    }
  }

  /// Acknowledges all it has read so far.
  void acknowledge() {
    if (registered && last_seen_ > 1) world_.receive(ack_of(last_seen_));
  }

 private:
  void take(const protocol::worker_register& r) {
    std::set<std::uint64_t> running, unacked, lost;
    for (const auto& ref : r.running) running.insert(ref.lease.value);
    for (const auto& ref : r.unacked) unacked.insert(ref.lease.value);
    for (const auto& ref : r.lost) lost.insert(ref.lease.value);
    if (r.running.size() + r.unacked.size() + r.lost.size() != [&] {
          std::set<std::uint64_t> all = running;
          all.insert(unacked.begin(), unacked.end());
          all.insert(lost.begin(), lost.end());
          return all.size();
        }()) {
      faults.push_back("a lease is in two lists of the registration");
    }
    std::vector<std::uint64_t> keep, abandon;
    for (auto& [lease, t] : leases) {
      if (running.contains(lease)) (t.live() && !t.cancelled ? keep : abandon).push_back(lease);
      if (lost.contains(lease) && t.live()) t.lost = true;
      if (running.contains(lease) || unacked.contains(lease) || !t.live()) continue;
      const std::uint64_t highest = r.highest_lease.value_or(lease_id{}).value;
      const bool proven = !t.accepted && highest < lease && highest >= highest_accepted_;
      (proven ? t.not_started : t.lost) = true;
    }
    registered = true;
    world_.receive(greeting(keep, abandon));
  }

  void take(const protocol::job_result& r) {
    told& t = leases[r.lease->value];
    if (!t.result) {
      t.result = r;
      return;
    }
    protocol::job_result a = r, b = *t.result;
    a.output_lost = b.output_lost;
    if (!(a == b)) ++t.conflicts;
  }

  void take(const protocol::job_output& o) {
    std::string& all = leases[o.lease.value].output[o.stream];
    if (o.offset > all.size() && !o.gap_from) faults.push_back("output jumps without gap_from");
    if (o.offset > all.size()) all.resize(o.offset, '?');
    if (o.offset + o.data.size() > all.size()) {
      all.resize(o.offset);
      all += o.data;
    }
  }

  void take(const protocol::worker_ack& a) {
    for (auto& [seq, lease] : offers_) {
      if (seq > *a.seq || (!a.cumulative && seq != *a.seq)) continue;
      leases[lease].accepted = true;
      highest_accepted_ = std::max(highest_accepted_, lease);
    }
  }

  template <class Other>
  void take(const Other&) {}

  agent_world& world_;
  protocol::sequence_check numbers_;
  std::map<std::uint64_t, std::uint64_t> offers_;  ///< seq on this connection -> lease
  std::uint64_t out_seq_ = 0, last_seen_ = 0, last_lease_ = 0, highest_accepted_ = 0;
};

}  // namespace orchestrator::test
