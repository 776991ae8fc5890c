// What would let a waiting run go. See remedies.hpp.
#include "remedies.hpp"

#include <algorithm>
#include <functional>
#include <limits>

#include <fmt/format.h>

#include "leases.hpp"
#include "runs.hpp"

namespace orchestrator::engine {
namespace {

using run_list = std::vector<const run_entry*>;
using class_test = std::function<bool(const requirement_class&)>;

// More waiting runs than that are not worth counting.
constexpr std::size_t counted_before = 1'000;

attempts live_attempts(const core& c, const std::function<bool(const attempt_entry&)>& wanted) {
  attempts list;
  for (const auto& [lease, a] : c.attempts) {
    if (is_live(a->row.state) && wanted(*a)) list.push_back(a.get());
  }
  std::sort(list.begin(), list.end(),
            [](const auto* a, const auto* b) { return a->row.lease < b->row.lease; });
  return list;
}

const limit_use* use_of(const requirement_class& k, const limiter& l) {
  const auto found =
      std::find_if(k.uses.begin(), k.uses.end(), [&](const limit_use& u) { return u.what == &l; });
  return found == k.uses.end() ? nullptr : &*found;
}

run_list waiting_before(const question& q, const class_test& competes) {
  return q.c.places.waiting_before(q.place, competes, counted_before);
}

// Who would take a place of this limit first: nothing else, and no lack of workers, keeps them.
run_list in_line_before(const question& q, const limiter& l, bool also_shared = true) {
  return waiting_before(q, [&](const requirement_class& k) {
    const limit_use* use = use_of(k, l);
    return use != nullptr && (also_shared || !use->shared) && !k.blocked &&
           (k.waits_at == nullptr || k.waits_at == &l);
  });
}

std::string wait_for(std::size_t before) {
  return fmt::format("Wait: {}{} runs go before it; one with a higher priority would not wait for them",
                     before >= counted_before ? "more than " : "", before);
}

// The newest of them end, since they lose the least work, and all that are in line before it.
std::string cancel(const attempts& holders, std::size_t so_many, const run_list& before) {
  so_many = std::min(so_many, holders.size());
  if (so_many + before.size() > runs_in_command) return wait_for(so_many + before.size());
  std::string command = "orchestrator run cancel";
  for (const run_entry* r : before) command += " " + id_of(*r);
  for (auto a = holders.rbegin(); so_many > 0; ++a, --so_many) command += " " + id_of(*(*a)->run);
  return command;
}

// As a POSIX shell takes it for one word.
std::string shell_word(const std::string& text) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/:=@,+%";
  if (!text.empty() && text.find_first_not_of(plain) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

/// What a worker lacks at present for the run.
struct lack {
  int slots = 0;
  resource_amounts amounts;  ///< only what is missing
  bool none() const { return slots <= 0 && amounts.empty(); }
};

lack lack_of(const question& q, const worker_entry& w) {
  lack l;
  l.slots = w.capacity.used - w.capacity.slots + 1;
  const resource_amounts& offered = q.c.places.traits_of(w)->resources;
  for (const auto& [name, wanted] : q.what.what.resources) {
    const std::int64_t left = amount_of(offered, name) - amount_of(w.capacity.taken, name);
    if (left < wanted) l.amounts[name] = wanted - left;
  }
  return l;
}

// How much of what is missing its end would give: 1 for each resource of which it has enough.
double eases(const lack& l, const attempt_entry& a) {
  double sum = 0;
  for (const auto& [name, missing] : l.amounts) {
    const std::int64_t has = std::min(missing, amount_of(known_class(*a.run).what.resources, name));
    sum += static_cast<double>(has) / static_cast<double>(missing);
  }
  return sum;
}

void end_of(const attempt_entry& a, lack& l) {
  --l.slots;
  for (auto& [name, missing] : l.amounts) missing -= amount_of(known_class(*a.run).what.resources, name);
  std::erase_if(l.amounts, [](const auto& entry) { return entry.second <= 0; });
}

// The attempts whose end makes room on this worker: each time the one that gives most of what is missing.
attempts to_end_on(const question& q, const worker_entry& w) {
  lack l = lack_of(q, w);
  attempts there = on_workers(q.c, {&w});
  std::reverse(there.begin(), there.end());  // the newest first
  attempts chosen;
  while (!l.none() && !there.empty()) {
    const auto best = std::max_element(there.begin(), there.end(), [&](const auto* a, const auto* b) {
      return eases(l, *a) < eases(l, *b);
    });
    end_of(**best, l);
    chosen.push_back(*best);
    there.erase(best);
  }
  return l.none() ? chosen : attempts{};
}

// What a new worker must offer so that those before it may have their share as well. What it offers by itself
// (cpu, memory) counts as plenty.
worker_traits ample_traits(const requirement& what) {
  worker_traits t;
  t.labels = what.labels;
  t.resources = what.resources;
  for (const char* name : {"cpu", "memory"})
    t.resources.try_emplace(name, std::numeric_limits<std::int64_t>::max());
  return t;
}

run_list would_take_worker_before(const question& q) {
  const worker_traits traits = ample_traits(q.what.what);
  return waiting_before(
      q, [&](const requirement_class& k) { return k.waits_at == nullptr && fits(k.what, traits); });
}

}  // namespace

wall_time question::wall_at(mono_time at) const {
  return now.wall + std::chrono::ceil<milliseconds>(std::max(at - clock, nanoseconds{0}));
}

std::string id_of(const run_entry& r) { return to_string(r.id); }

attempts holders_of(const core& c, const limiter& l) {
  return live_attempts(c, [&](const attempt_entry& a) { return use_of(known_class(*a.run), l) != nullptr; });
}

attempts on_workers(const core& c, const worker_list& workers) {
  return live_attempts(c, [&](const attempt_entry& a) {
    return std::find(workers.begin(), workers.end(), a.holder) != workers.end();
  });
}

attempts who_use_what_lacks(const question& q, const worker_list& workers) {
  attempts list = on_workers(q.c, workers);
  std::erase_if(list, [&](const attempt_entry* a) { return eases(lack_of(q, *a->holder), *a) == 0; });
  return list;
}

std::string more_room(const question& q, const limit_use& queue) {
  const std::size_t before = in_line_before(q, *queue.what).size();
  if (before >= counted_before) return wait_for(before);
  return fmt::format("orchestrator queue set {} --concurrency {}", queue.what->name(),
                     queue.what->running + static_cast<int>(before) + 1);
}

std::string fewer_of_job(const question& q, const limit_use& job, const attempts& holders) {
  const int too_many = job.what->running - job.max_running + 1;
  return cancel(holders, static_cast<std::size_t>(std::max(too_many, 0)), in_line_before(q, *job.what));
}

std::string free_lock(const question& q, const limit_use& lock, const attempts& holders) {
  return cancel(holders, holders.size(), in_line_before(q, *lock.what, !lock.shared));
}

std::string nobody_alone_before(const question& q, const limit_use& lock) {
  return cancel({}, 0, in_line_before(q, *lock.what, false));
}

std::string room_on(const question& q, const worker_list& workers) {
  const bool contested = !waiting_before(q, [&](const requirement_class& k) {
                            return k.waits_at == nullptr &&
                                   std::any_of(workers.begin(), workers.end(), [&](const worker_entry* w) {
                                     return fits(k.what, *q.c.places.traits_of(*w));
                                   });
                          }).empty();
  attempts fewest;
  for (const worker_entry* w : workers) {
    attempts these = to_end_on(q, *w);
    if (!these.empty() && (fewest.empty() || these.size() < fewest.size())) fewest = std::move(these);
  }
  if (contested || fewest.empty() || fewest.size() > runs_in_command)
    return "Start another worker: " + fitting_worker(q);
  return cancel(fewest, fewest.size(), {});
}

std::string end_of_one(const attempts& list) {
  const attempt_entry* chosen = nullptr;
  for (const attempt_entry* a : list) {
    if (a->run->cancel_requested) continue;
    if (chosen == nullptr || !a->brief || chosen->brief) chosen = a;
  }
  if (chosen == nullptr) return "Wait for the end of the runs that are being cancelled.";
  return "orchestrator run cancel " + id_of(*chosen->run);
}

std::string fitting_worker(const question& q) {
  const requirement& what = q.what.what;
  const run_list before = would_take_worker_before(q);
  std::string command = "orchestrator --role=worker";
  if (!before.empty())
    command += fmt::format(" --slots {}", std::min(before.size() + 1, std::size_t{limits::slots_max}));
  for (const auto& [key, value] : what.labels) command += " --label " + shell_word(key + "=" + value);
  for (const auto& [name, amount] : what.resources) {
    std::int64_t sum = amount;
    for (const run_entry* r : before) sum += amount_of(known_class(*r).what.resources, name);
    command += fmt::format(" --resource {}={}", name, format_amount(sum));
  }
  return command;
}

const worker_entry& best_to_resume(const question& q, const worker_list& able) {
  const auto free =
      std::find_if(able.begin(), able.end(), [&](const worker_entry* w) { return lack_of(q, *w).none(); });
  return free == able.end() ? *able.front() : **free;
}

}  // namespace orchestrator::engine
