// People and programs that use the API: they submit with idempotency keys and repeat what was not answered,
// cancel, hold, settle, apply and delete jobs. What they were told goes to the judge.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <orchestrator/engine/engine.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "timeline.hpp"

namespace orchestrator::sim {

struct world;

class client {
 public:
  client(world& w, int number) : world_(w), number_(number) {}

  /// One thing, drawn.
  void act();
  void submit_new();
  void apply_job(int number);
  void set_queue();
  /// The liveness phase: what only a person can end is ended.
  void clear_the_way();
  bool wants_more() const { return !unanswered_.empty(); }
  void repeat_unanswered();

 private:
  struct request {
    std::string key;
    run_spec spec;
    std::optional<wall_time> not_before;
    std::vector<dependency> after;
  };
  std::vector<dependency> draw_dependencies();
  bool chosen_for_later(const run& r) const;
  run_spec draw_spec();
  void draw_limits(run_spec& s);
  day_calendar draw_calendar(int number);
  void draw_days(schedule& s, engine::apply_jobs& in);
  void change_queue(queue settings, bool sets_rate);
  void retry(const run_id& run);
  void retry_in_bulk();
  void backfill();
  void run_job();
  void ask_why();
  void submit(const std::shared_ptr<const request>& r);
  run_id any_run();
  void cancel();

  world& world_;
  int number_;
  int made_ = 0;
  std::vector<std::pair<std::string, run_id>> retries_;  ///< keys of retries that were answered
  std::vector<std::shared_ptr<const request>> answered_, unanswered_;
  std::vector<run_id> runs_;
};

}  // namespace orchestrator::sim
