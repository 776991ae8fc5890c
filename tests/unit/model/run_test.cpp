// The steps between states are exactly those of the table, and every state's word is read back as that state.
#include <map>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include <orchestrator/model/fact.hpp>
#include <orchestrator/model/run.hpp>
#include <orchestrator/model/snapshot.hpp>

using namespace orchestrator;

namespace {

constexpr int run_states = static_cast<int>(run_state::skipped) + 1;
constexpr int attempt_states = static_cast<int>(attempt_state::lost) + 1;

using step_table = std::map<std::string, std::set<std::string>>;

// Every pair of states, by their words, against a table that is written out by hand.
template <class State>
void check_steps(const step_table& expected, int count) {
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      const std::string from_word = to_string(static_cast<State>(from));
      const std::string to_word = to_string(static_cast<State>(to));
      CAPTURE(from_word);
      CAPTURE(to_word);
      const auto row = expected.find(from_word);
      const bool allowed = row != expected.end() && row->second.count(to_word) == 1;
      CHECK(may_change(static_cast<State>(from), static_cast<State>(to)) == allowed);
    }
  }
}

}  // namespace

TEST_CASE("a run takes the steps of the table and no others") {
  check_steps<run_state>(
      {{"queued", {"active", "unknown", "succeeded", "failed", "cancelled", "expired", "skipped"}},
       {"retry_wait", {"queued", "active", "unknown", "succeeded", "failed", "cancelled", "expired"}},
       {"active", {"retry_wait", "unknown", "succeeded", "failed", "cancelled"}},
       {"unknown", {"succeeded", "failed", "cancelled"}}},
      run_states);
}

TEST_CASE("an attempt takes the steps of the table and no others") {
  check_steps<attempt_state>(
      {{"offered",
        {"accepted", "running", "succeeded", "failed", "timed_out", "cancelled", "rejected", "not_started",
         "lost"}},
       {"accepted", {"running", "succeeded", "failed", "timed_out", "cancelled", "rejected", "lost"}},
       {"running", {"succeeded", "failed", "timed_out", "cancelled", "lost"}},
       {"lost", {"running", "succeeded", "failed", "timed_out", "cancelled", "rejected", "not_started"}}},
      attempt_states);
}

TEST_CASE("a final run stays as it is") {
  int final_states = 0;
  for (int from = 0; from < run_states; ++from) {
    if (!is_final(static_cast<run_state>(from))) continue;
    ++final_states;
    for (int to = 0; to < run_states; ++to) {
      CHECK_FALSE(may_change(static_cast<run_state>(from), static_cast<run_state>(to)));
    }
  }
  CHECK(final_states == 5);
  CHECK_FALSE(is_final(run_state::unknown));
}

TEST_CASE("a state outside the enumeration takes no step") {
  CHECK_FALSE(may_change(static_cast<run_state>(200), run_state::queued));
  CHECK_FALSE(may_change(run_state::queued, static_cast<run_state>(200)));
  CHECK_FALSE(may_change(static_cast<attempt_state>(10), attempt_state::offered));
}

TEST_CASE("only offered, accepted and running attempts are live") {
  std::set<std::string> live;
  for (int i = 0; i < attempt_states; ++i) {
    if (is_live(static_cast<attempt_state>(i))) live.insert(to_string(static_cast<attempt_state>(i)));
  }
  CHECK(live == std::set<std::string>{"offered", "accepted", "running"});
}

TEST_CASE("every state is read back from its word") {
  for (int i = 0; i < run_states; ++i) {
    const auto state = static_cast<run_state>(i);
    CHECK(parse_run_state(to_string(state)) == state);
  }
  for (int i = 0; i < attempt_states; ++i) {
    const auto state = static_cast<attempt_state>(i);
    CHECK(parse_attempt_state(to_string(state)) == state);
  }
}

TEST_CASE("a word that is no state is not read") {
  for (const char* word : {"", "Queued", "queued ", "done", "invalid", "lost"})
    CHECK_FALSE(parse_run_state(word));
  for (const char* word : {"", "queued", "unknown", "invalid"}) CHECK_FALSE(parse_attempt_state(word));
}

TEST_CASE("dispositions and outcomes of instants have words of their own") {
  std::set<std::string> words;
  for (int i = 0; i <= static_cast<int>(disposition::unknown_lease); ++i) {
    words.insert(to_string(static_cast<disposition>(i)));
  }
  CHECK(words == std::set<std::string>{"accepted", "adopted", "duplicate", "duplicate_conflict", "superseded",
                                       "unknown_lease"});
  words.clear();
  for (int i = 0; i <= static_cast<int>(instant_outcome::skipped_calendar); ++i) {
    words.insert(to_string(static_cast<instant_outcome>(i)));
  }
  CHECK(words == std::set<std::string>{"ran", "late", "skipped_overlap", "paused", "gap_shifted",
                                       "fold_merged", "missed", "rejected", "skipped_calendar"});
}
