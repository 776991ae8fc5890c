// The words for the states of runs and attempts, and the table of steps between them. Codecs use the words;
// the engine asks the table before each change.
#include <array>
#include <initializer_list>

#include <orchestrator/model/run.hpp>

namespace orchestrator {
namespace {

constexpr std::size_t run_states = static_cast<std::size_t>(run_state::skipped) + 1;
constexpr std::size_t attempt_states = static_cast<std::size_t>(attempt_state::lost) + 1;

// Where one state may lead, one bit for each next state.
template <class State>
constexpr std::uint16_t to(std::initializer_list<State> next) {
  std::uint16_t bits = 0;
  for (const State s : next) bits = static_cast<std::uint16_t>(bits | 1U << static_cast<unsigned>(s));
  return bits;
}

// Final states have no row of their own: they lead nowhere.
constexpr std::array<std::uint16_t, run_states> run_steps = [] {
  using enum run_state;
  std::array<std::uint16_t, run_states> steps{};
  const auto from = [&](run_state s) -> std::uint16_t& { return steps[static_cast<std::size_t>(s)]; };
  // active, succeeded and failed come from a dispatch, or from an attempt thought lost that is heard of
  // again.
  // unknown: after a restore nobody can say whether an at_most_once run was started meanwhile.
  from(queued) = to({active, unknown, succeeded, failed, cancelled, expired, skipped});
  from(retry_wait) = to({queued, active, unknown, succeeded, failed, cancelled, expired});
  from(active) = to({retry_wait, unknown, succeeded, failed, cancelled});
  from(unknown) = to({succeeded, failed, cancelled});
  return steps;
}();

constexpr std::array<std::uint16_t, attempt_states> attempt_steps = [] {
  using enum attempt_state;
  std::array<std::uint16_t, attempt_states> steps{};
  const auto from = [&](attempt_state s) -> std::uint16_t& { return steps[static_cast<std::size_t>(s)]; };
  // A lost ack, or a legacy worker that sends none, skips steps forward; nothing goes back but from lost.
  from(offered) =
      to({accepted, running, succeeded, failed, timed_out, cancelled, rejected, not_started, lost});
  from(accepted) = to({running, succeeded, failed, timed_out, cancelled, rejected, lost});
  from(running) = to({succeeded, failed, timed_out, cancelled, lost});
  from(lost) = to({running, succeeded, failed, timed_out, cancelled, rejected, not_started});
  return steps;
}();

template <class State, std::size_t N>
bool has_step(const std::array<std::uint16_t, N>& steps, State from, State to) {
  const auto row = static_cast<std::size_t>(from);
  const auto column = static_cast<unsigned>(to);
  return row < N && column < N && (steps[row] >> column & 1U) != 0;
}

template <class State>
std::optional<State> parse_state(std::string_view text, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto state = static_cast<State>(i);
    if (text == to_string(state)) return state;
  }
  return std::nullopt;
}

}  // namespace

const char* to_string(run_state s) {
  switch (s) {
    case run_state::queued: return "queued";
    case run_state::active: return "active";
    case run_state::retry_wait: return "retry_wait";
    case run_state::unknown: return "unknown";
    case run_state::succeeded: return "succeeded";
    case run_state::failed: return "failed";
    case run_state::cancelled: return "cancelled";
    case run_state::expired: return "expired";
    case run_state::skipped: return "skipped";
  }
  return "invalid";
}

std::optional<run_state> parse_run_state(std::string_view text) {
  return parse_state<run_state>(text, run_states);
}

const char* to_string(attempt_state s) {
  switch (s) {
    case attempt_state::offered: return "offered";
    case attempt_state::accepted: return "accepted";
    case attempt_state::running: return "running";
    case attempt_state::succeeded: return "succeeded";
    case attempt_state::failed: return "failed";
    case attempt_state::timed_out: return "timed_out";
    case attempt_state::cancelled: return "cancelled";
    case attempt_state::rejected: return "rejected";
    case attempt_state::not_started: return "not_started";
    case attempt_state::lost: return "lost";
  }
  return "invalid";
}

std::optional<attempt_state> parse_attempt_state(std::string_view text) {
  return parse_state<attempt_state>(text, attempt_states);
}

const char* to_string(after_condition c) {
  switch (c) {
    case after_condition::ok: return "ok";
    case after_condition::any: return "any";
    case after_condition::failed: return "failed";
  }
  return "invalid";
}

bool is_met(after_condition c, run_state end) {
  switch (c) {
    case after_condition::ok: return end == run_state::succeeded;
    case after_condition::any: return is_final(end);
    case after_condition::failed:
      return end == run_state::failed || end == run_state::cancelled || end == run_state::expired;
  }
  return false;
}

bool may_change(run_state from, run_state to) { return has_step(run_steps, from, to); }

bool may_change(attempt_state from, attempt_state to) { return has_step(attempt_steps, from, to); }

const char* to_string(disposition d) {
  switch (d) {
    case disposition::accepted: return "accepted";
    case disposition::adopted: return "adopted";
    case disposition::duplicate: return "duplicate";
    case disposition::duplicate_conflict: return "duplicate_conflict";
    case disposition::superseded: return "superseded";
    case disposition::unknown_lease: return "unknown_lease";
  }
  return "invalid";
}

}  // namespace orchestrator
