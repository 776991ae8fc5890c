// The coordinator's core, its outside: one step takes the time and an input, hands it to the on_* function of
// its kind, and turns what that gathered into effects. The decisions are in the other files.
#include <orchestrator/base/planted.hpp>
#include <orchestrator/engine/engine.hpp>

#include "dependencies.hpp"
#include "invariants.hpp"
#include "on_tick.hpp"
#include "on_worker.hpp"
#include "overlap.hpp"
#include "requests.hpp"
#include "schedules.hpp"
#include "space.hpp"
#include "state.hpp"
#include "step.hpp"

namespace orchestrator::engine {

struct engine::state {
  explicit state(config settings) : data(settings), view(data) {}
  core data;
  live_view view;
};

engine::engine(config settings) : state_(std::make_unique<state>(settings)) {}
engine::~engine() = default;
engine::engine(engine&&) noexcept = default;
engine& engine::operator=(engine&&) noexcept = default;

effects engine::step(engine_time now, const input& in) {
  core& c = state_->data;
  c.now = now;
  c.clock = now.mono - c.stalls;
  if (planted(defect::lease_on_wall_clock) && c.running) c.clock += wall_offset(c) - c.instants_offset;
  c.places.advance(c.clock);
  ORC_CHECK(c.running || std::holds_alternative<started>(in), "the first input must be `started`");
  effects out;
  std::visit([&](const auto& what) { on(c, what); }, in);
  if (c.step.cannot_start) {
    out.cannot_start = std::move(c.step.cannot_start);
    return out;
  }
  settle_dependents(c);
  end_predecessors(c);
  finish_step(c, out);
  return out;
}

std::optional<mono_time> engine::next_deadline() const { return state_->data.next_deadline; }

const engine_view& engine::view() const { return state_->view; }

std::optional<std::string> engine::check_invariants() const { return engine_invariants(state_->data); }

}  // namespace orchestrator::engine
