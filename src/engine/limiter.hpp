// What limits runs beside the workers: queues, the limits of one job, and locks. Each has the number of runs
// that hold it now, and the line of requirement classes that wait for it. Part of the dispatcher; `why` asks
// the same gates.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>

#include <orchestrator/base/ids.hpp>
#include <orchestrator/engine/view.hpp>
#include <orchestrator/model/queue.hpp>

namespace orchestrator::engine {

struct requirement_class;

enum class limiter_kind : std::uint8_t {
  queue,  ///< its settings are people's, and may change
  job,    ///< runs of one name; the numbers come with each specification
  lock,
};
using limiter_key = std::pair<limiter_kind, std::string>;

/// Where the head of a class stands among all: minus priority, then the older id.
using rank = std::pair<int, run_id>;
using ranked_class = std::tuple<int, run_id, requirement_class*>;

struct limiter {
  limiter_kind kind = limiter_kind::queue;
  queue settings;                   ///< of a queue; of the others only the name counts
  int running = 0;                  ///< runs that hold it: those with a live attempt
  int alone = 0;                    ///< of these, the ones that have a lock alone
  mono_time full_at{};              ///< when its bucket will be full again; in the past: it is
  bool spent = false;               ///< a token was taken that is not written yet
  std::uint32_t users = 0;          ///< classes that refer to it
  std::set<ranked_class> waiting;   ///< classes whose head waits for it
  std::optional<mono_time> refill;  ///< when the next token lets the first of them go
  const std::string& name() const { return settings.name; }
};

/// What a class asks of a limiter.
struct limit_use {
  limiter* what = nullptr;
  bool shared = false;             ///< a lock
  int max_running = 0;             ///< of the job; a queue has its own
  std::optional<rate_limit> rate;  ///< likewise
};
int max_running_of(const limit_use& u);
const std::optional<rate_limit>& rate_of(const limit_use& u);

/// One way in which a limiter says no. This table is the only place that decides about it.
struct limit_gate {
  blocking_code code;
  limiter_kind kind;
  bool (*closed)(const limit_use& u, const rank& head, mono_time now);
};
std::span<const limit_gate> limit_gates();
/// True if any of its gates is closed.
bool is_closed(const limit_use& u, const rank& head, mono_time now);

/// When the bucket has a whole token again; not later than now if it has one.
mono_time next_token(const limit_use& u);
void take(const limit_use& u, mono_time now);
/// The same without a token: for what ran before a restart, or lives after all.
void take_again(const limit_use& u);
void give_back(const limit_use& u);

}  // namespace orchestrator::engine
