// Counting of messages on one connection. The coordinator's session uses both classes for what it receives;
// the worker's link uses the check for execute_job, cancel_job and drain.
#include <fmt/format.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/base/planted.hpp>
#include <orchestrator/protocol/ack_window.hpp>

namespace orchestrator::protocol {
namespace {

refusal out_of_order(std::string detail) {
  return {.code = errc::bad_field,
          .detail = std::move(detail),
          .pointer = "/seq",
          .hint = "count the messages of each connection from 1, without gaps"};
}

}  // namespace

std::optional<refusal> sequence_check::accept(std::optional<std::uint64_t> seq) {
  const bool counts = last_ != 0;
  ++received_;
  if (!seq) {
    if (!counts) return std::nullopt;
    return out_of_order(fmt::format("a message without seq came after seq {}", last_));
  }
  if (!counts && received_ > 1) {
    return out_of_order(fmt::format("seq {} came after {} messages without seq", *seq, received_ - 1));
  }
  if (*seq != last_ + 1) {
    return out_of_order(fmt::format("seq {} came where {} was expected", *seq, last_ + 1));
  }
  last_ = *seq;
  return std::nullopt;
}

void ack_window::received(std::uint64_t seq, bool settled) {
  ORC_CHECK(seq == base_ + open_.size() + 1, "messages enter the window in the order of their seq");
  open_.push_back(settled);
}

void ack_window::settle(std::uint64_t seq) {
  ORC_CHECK(seq <= base_ + open_.size(), "a message cannot be settled before it came");
  if (seq > base_) open_[seq - base_ - 1] = true;
}

std::optional<std::uint64_t> ack_window::take_reach() {
  while (!open_.empty() && (open_.front() || planted(defect::cumulative_ack_too_far))) {
    open_.pop_front();
    ++base_;
  }
  if (base_ == reported_) return std::nullopt;
  reported_ = base_;
  return base_;
}

}  // namespace orchestrator::protocol
