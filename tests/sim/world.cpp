// One simulated cluster. See world.hpp.
#include "world.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace orchestrator::sim {
namespace {

constexpr nanoseconds longest_drain = 4h;
constexpr std::uint64_t most_events = 1'000'000;

}  // namespace

world::world(std::uint64_t number, bool trace)
    : seed(number),
      tracing(trace),
      chance(number * 0x9e3779b97f4a7c15ull + 1),
      draw(chance),
      judge(*this),
      server(*this) {
  for (int i = 0; i < draw.machines; ++i) machines.push_back(std::make_unique<machine>(*this, i));
  for (int i = 0; i < draw.clients; ++i) clients.push_back(std::make_unique<client>(*this, i));
  if (draw.legacy) legacy.emplace(*this);
  if (draw.rogue) stranger.emplace(*this);
}

void world::print_line(const std::string& what) const {
  fmt::print("{:>14.6f} {}\n", std::chrono::duration<double>(time.now()).count(), what);
}

void world::count_situation() {
  const auto known = situations.find(name_);
  ++(known != situations.end() ? known : situations.emplace(name_, 0).first)->second;
  say([this] { return "  (" + name_ + ")"; });
}

nanoseconds world::message_delay() {
  if (healing) return chance.between(100us, 5ms);
  if (chance.below(400) == 0 && draw.slowest_message > 1s) return chance.between(5s, 120s);
  return chance.spread(100us, draw.slowest_message);
}

void world::start_all() {
  server.start();
  for (auto& m : machines) time.after(chance.between(0ms, 3s), [p = m.get()] { p->start(); });
  if (legacy) time.after(chance.between(0ms, 3s), [this] { legacy->start(); });
  for (int i = 0; i < draw.submissions; ++i) {
    client* c = clients[chance.below(clients.size())].get();
    time.at(chance.between(0s, draw.faulty_time), [c] { c->submit_new(); });
  }
  for (int i = 0; i < draw.jobs; ++i)
    time.at(chance.between(1s, 30s), [this, i] { clients.front()->apply_job(i); });
  for (auto& c : clients) {
    every(true, [p = c.get()] { p->act(); });
    every(draw.limits, [p = c.get()] { p->set_queue(); });
  }
}

/// Again and again until everything heals, at random distances around the seed's own.
void world::every(bool on, std::function<void()> what) {
  if (!on) return;
  const nanoseconds wait = chance.spread(draw.fault_every / 10, draw.fault_every * 2);
  if (time.now() + wait >= draw.faulty_time) return;
  time.after(wait, [this, what = std::move(what)] {
    if (healing) return;
    what();
    every(true, what);
  });
}

std::shared_ptr<link> world::any_link() {
  std::erase_if(links, [](const auto& l) { return l->over(); });
  return links.empty() ? nullptr : links[chance.below(links.size())];
}

machine& world::any_machine() { return *machines[chance.below(machines.size())]; }

void world::plan_faults() {
  const auto link_fault = [this](const char* name, auto what) {
    return [this, name, what] {
      if (const auto l = any_link()) {
        saw(name);
        what(*l);
      }
    };
  };
  const auto any_side = [this] { return chance.below(2) == 0 ? side::worker : side::coordinator; };
  every(draw.cuts, link_fault("connection cut", [](link& l) { l.cut(); }));
  every(draw.half_open,
        link_fault("connection half open", [any_side](link& l) { l.cut_unseen(any_side()); }));
  every(draw.one_way, link_fault("one direction silent", [this, any_side](link& l) {
          const side s = any_side();
          l.silence(s, true);
          time.after(chance.spread(1s, 200s), [p = l.shared_from_this(), s] { p->silence(s, false); });
        }));
  every(draw.partitions, [this] {
    const int m = static_cast<int>(chance.below(machines.size()));
    saw("machine partitioned");
    cut_off.insert(m);
    for (const auto& l : links) {
      if (l->machine() == m) l->cut_unseen(side::worker);
    }
    time.after(chance.spread(1s, 200s), [this, m] { cut_off.erase(m); });
  });
  every(draw.kill_coordinator, [this] {
    if (chance.below(2) == 0) return server.kill();
    server.kill_within(static_cast<int>(chance.below(20)));
  });
  every(draw.stops, [this] { server.stop(); });
  every(draw.stops, [this] { any_machine().stop(); });
  every(draw.legacy, [this] { legacy->kill(chance.spread(1s, 60s)); });
  if (draw.rogue) {
    for (int i = 0; i < 3; ++i) every(true, [this] { stranger->act(); });
  }
  every(draw.pause_coordinator, [this] { server.pause(chance.spread(100ms, 300s)); });
  every(draw.full_disk, [this] {
    server.set_disk_full(true);
    time.after(chance.spread(1s, 60s), [this] { server.set_disk_full(false); });
  });
  every(draw.failing_disk, [this] { server.break_disk(); });
  every(draw.slow_reader, [this] { server.stop_reading(chance.spread(1s, 200s)); });
  every(draw.retention,
        [this] { server.retain(std::chrono::duration_cast<milliseconds>(chance.spread(10s, 600s))); });
  every(draw.kill_daemon, [this] {
    if (chance.below(2) == 0) return any_machine().kill_daemon(chance.spread(50ms, 200s));
    any_machine().kill_daemon_within(static_cast<int>(chance.below(20)));
  });
  every(draw.kill_supervisor, [this] { any_machine().kill_supervisor(); });
  every(draw.reboot, [this] { any_machine().reboot(chance.spread(1s, 200s)); });
  every(draw.pause_daemon, [this] { any_machine().pause(chance.spread(100ms, 300s)); });
  every(draw.full_disk, [this] {
    machine& m = any_machine();
    m.fill_disk(true);
    time.after(chance.spread(1s, 30s), [&m] { m.fill_disk(false); });
  });
  every(draw.wall_steps, [this] {
    // Far steps are drawn twice: what they do to schedules takes a way back to show.
    constexpr milliseconds far = 86400s * 3650;
    constexpr milliseconds steps[] = {1s, -1s, 90s, -90s, 3600s, -3600s, far, -far, far, -far};
    saw("wall clock stepped");
    const milliseconds by = chance.one_of(steps);
    if (chance.below(2) == 0) return any_machine().step_wall(by);
    server.step_wall(by);
    if (chance.below(2) == 0) return;
    const milliseconds back = -by - (chance.below(2) == 0 ? 90s : 0s);
    time.after(chance.spread(1s, 60s), [this, back] {  // somebody notices, and has another clock
      if (!healing) server.step_wall(back);
    });
  });
  every(draw.drains, [this] {
    if (server.accepts())
      server.ask(engine::drain_worker{{}, any_machine().id(), chance.below(2) == 0},
                 [](const engine::answer&) {});
  });
  if (draw.gone_for_good && machines.size() > 1)
    time.at(chance.between(30s, draw.faulty_time), [this] { machines.back()->leave_for_good(); });
  if (draw.clone)
    time.at(chance.between(30s, draw.faulty_time), [this] {
      if (machines.front()->gone()) return;
      saw("a work dir was copied");
      cloned = true;
      machines.push_back(
          std::make_unique<machine>(*this, static_cast<int>(machines.size()), *machines.front()));
      machines.back()->start();
      machine* copy = machines.back().get();
      time.after(chance.spread(10s, 200s), [copy] { copy->leave_for_good(); });
    });
  if (draw.rollback)
    time.at(chance.between(30s, draw.faulty_time), [this] {
      server.kill();
      server.save_database();
      time.after(chance.between(20s, 120s), [this] {
        server.kill();
        server.roll_back();
        judge.database_rolled_back();
      });
    });
}

void world::heal() {
  healing = true;
  cut_off.clear();
  server.set_disk_full(false);
  server.set_wall_right();
  for (auto& m : machines) m->fill_disk(false);
  if (stranger) stranger->leave();
  for (const auto& l : links) {
    l->silence(side::worker, false);
    l->silence(side::coordinator, false);
  }
  if (std::all_of(machines.begin(), machines.end(), [](const auto& m) { return m->gone(); })) {
    machines.push_back(std::make_unique<machine>(*this, static_cast<int>(machines.size())));
    machines.back()->start();
  }
}

bool world::at_rest() {
  if (!server.accepts()) return false;
  const auto* core = server.core();
  const auto count = core->view().count();
  if (count.queued + count.active + count.retry_wait + count.unknown != 0) return false;
  if (core->view().issued() != core->view().durable()) return false;
  return std::none_of(clients.begin(), clients.end(), [](const auto& c) { return c->wants_more(); }) &&
         (!legacy || legacy->idle()) && std::all_of(machines.begin(), machines.end(), [this](const auto& m) {
           return m->gone() || (m->idle() && (m->settled() || judge.rolled_back()));
         });
}

void world::run_until(nanoseconds end) {
  while (time.run_one(end)) {
    if (time.events() > most_events) judge.broken("I6: the cluster does not come to rest");
  }
}

void world::live() {
  start_all();
  plan_faults();
  run_until(draw.faulty_time);
  heal();
  const nanoseconds end = draw.faulty_time + longest_drain;
  // Not before half a minute: what the right time of day means for schedules is noticed within ten seconds.
  for (nanoseconds next = draw.faulty_time + 30s; next < end; next += 10s) {
    run_until(next);
    if (at_rest()) break;
    for (auto& c : clients) c->clear_the_way();
  }
  judge.at_the_end();
}

}  // namespace orchestrator::sim
