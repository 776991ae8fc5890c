// Placement of queued runs on workers with free capacity. See dispatcher.hpp.
#include "dispatcher.hpp"

#include <algorithm>

#include "runs.hpp"
#include "state.hpp"

namespace orchestrator::engine {

bool by_run_id::operator()(const run_entry* a, const run_entry* b) const { return a->id < b->id; }

bool fits(const requirement& what, const worker_traits& who) {
  if (who.legacy) {
    if (what.legacy == legacy_fit::never) return false;
    if (what.legacy == legacy_fit::with_args && !who.takes_args) return false;
  }
  return std::all_of(what.labels.begin(), what.labels.end(), [&](const auto& wanted) {
    const auto found = who.labels.find(wanted.first);
    return found != who.labels.end() && found->second == wanted.second;
  });
}

requirement_class* dispatcher::hold(const requirement& what) {
  auto& c = classes_[what];
  if (!c) {
    c = std::make_unique<requirement_class>();
    c->what = what;
  }
  ++c->references;
  return c.get();
}

void dispatcher::release(requirement_class* c) {
  ORC_CHECK(c->references > 0, "a requirement class was released once too often");
  if (--c->references != 0) return;
  ORC_CHECK(c->size == 0, "a requirement class with queued runs lost its last reference");
  blocked_.erase(c);
  classes_.erase(c->what);
}

run_entry* dispatcher::head(const requirement_class& c) const {
  return c.queues.empty() ? nullptr : *c.queues.begin()->second.begin();
}

// Puts the class where its present head belongs. A blocked class stays out of the line until capacity appears
// or its head changes: another head may be creditable, or have nobody to avoid.
void dispatcher::refresh(requirement_class& c) {
  const run_entry* first = head(c);
  std::optional<std::pair<int, run_id>> wanted;
  if (first != nullptr) wanted = std::pair{-first->spec->spec.priority, first->id};
  if (c.open_at && (!wanted || *c.open_at != *wanted)) {
    open_.erase({c.open_at->first, c.open_at->second, &c});
    c.open_at.reset();
  }
  if (wanted && !c.open_at && !c.blocked) {
    open_.insert({wanted->first, wanted->second, &c});
    c.open_at = wanted;
  }
}

void dispatcher::enqueue(requirement_class& c, run_entry& r) {
  const bool fresh = c.queues[r.spec->spec.priority].insert(&r).second;
  ORC_CHECK(fresh, "a run was queued twice");
  ++c.size;
  r.ready = true;
  if (head(c) == &r && c.blocked) {
    c.blocked = false;
    blocked_.erase(&c);
  }
  refresh(c);
}

void dispatcher::remove(requirement_class& c, run_entry& r) {
  const bool was_head = head(c) == &r;
  const auto queue = c.queues.find(r.spec->spec.priority);
  ORC_CHECK(queue != c.queues.end() && queue->second.erase(&r) == 1, "a run to remove was not queued");
  if (queue->second.empty()) c.queues.erase(queue);
  --c.size;
  r.ready = false;
  if (was_head && c.blocked) {
    c.blocked = false;
    blocked_.erase(&c);
  }
  refresh(c);
}

void dispatcher::release_kind(worker_entry& w) {
  if (!w.capacity.kind) return;
  kind_entry& kind = kind_list_[*w.capacity.kind];
  if (--kind.workers == 0) {
    // The index will be given to another kind, so nobody may remember an answer about this one.
    for (auto& [what, c] : classes_) {
      if (c->fit_of.size() > *w.capacity.kind) c->fit_of[*w.capacity.kind] = 0;
    }
    kinds_.erase(worker_traits(*kind.traits));
    kind.traits = nullptr;
    unused_kinds_.push_back(*w.capacity.kind);
  }
  w.capacity.kind.reset();
}

void dispatcher::describe(worker_entry& w, const worker_traits& traits) {
  if (w.capacity.kind && *kind_list_[*w.capacity.kind].traits == traits) return;
  drop(w);
  const auto [at, fresh] = kinds_.try_emplace(traits, kind_list_.size());
  if (fresh) {
    if (unused_kinds_.empty()) {
      kind_list_.emplace_back();
    } else {
      at->second = unused_kinds_.back();
      unused_kinds_.pop_back();
    }
    kind_list_[at->second].traits = &at->first;
  }
  ++kind_list_[at->second].workers;
  w.capacity.kind = at->second;
}

void dispatcher::drop(worker_entry& w) {
  if (w.capacity.place) free_.erase(*w.capacity.place);
  w.capacity.place.reset();
  release_kind(w);
}

void dispatcher::update(worker_entry& w) {
  worker_capacity& c = w.capacity;
  std::optional<capacity_place> place;
  if (c.accepting && c.kind && c.used < c.slots + c.credit) {
    place = capacity_place{c.used >= c.slots, c.used * 1024 / std::max(c.slots, 1), w.order};
  }
  if (place == c.place) return;
  const bool more = place && (!c.place || *place < *c.place);
  if (c.place) free_.erase(*c.place);
  c.place = place;
  if (place) free_.emplace(*place, &w);
  if (!more) return;
  for (auto at = blocked_.begin(); at != blocked_.end();) {
    requirement_class& waiting = **at;
    if (!class_fits(waiting, w)) {
      ++at;
      continue;
    }
    waiting.blocked = false;
    at = blocked_.erase(at);
    refresh(waiting);
  }
}

bool dispatcher::class_fits(requirement_class& c, const worker_entry& w) {
  const std::size_t kind = *w.capacity.kind;
  if (c.fit_of.size() <= kind) c.fit_of.resize(kind_list_.size(), 0);
  if (c.fit_of[kind] == 0) c.fit_of[kind] = fits(c.what, *kind_list_[kind].traits) ? 1 : -1;
  return c.fit_of[kind] > 0;
}

std::optional<placement> dispatcher::place(requirement_class& c) {
  run_entry* r = head(c);
  const bool short_run = creditable(*r);
  const std::uint64_t avoid = r->details ? r->details->avoid : 0;
  worker_entry* chosen = nullptr;
  for (const auto& [at, w] : free_) {
    if (at.ahead && !short_run) break;
    if (!class_fits(c, *w)) continue;
    if (chosen == nullptr || w->order != avoid) chosen = w;
    if (w->order != avoid) break;
  }
  if (chosen == nullptr) return std::nullopt;
  return placement{r, chosen};
}

std::vector<placement> dispatcher::plan(std::size_t most) {
  std::vector<placement> result;
  while (!open_.empty() && !free_.empty() && result.size() < most) {
    requirement_class& c = *std::get<2>(*open_.begin());
    const std::optional<placement> next = place(c);
    if (!next) {
      c.blocked = true;
      blocked_.insert(&c);
      open_.erase(open_.begin());
      c.open_at.reset();
      continue;
    }
    remove(c, *next->run);
    ++next->worker->capacity.used;
    update(*next->worker);
    result.push_back(*next);
  }
  return result;
}

const worker_traits* dispatcher::traits_of(const worker_entry& w) const {
  return w.capacity.kind ? kind_list_[*w.capacity.kind].traits : nullptr;
}

std::size_t dispatcher::queued() const {
  std::size_t sum = 0;
  for (const auto& [what, c] : classes_) sum += c->size;
  return sum;
}

std::optional<std::string> dispatcher::check() const {
  for (const auto& [what, c] : classes_) {
    std::size_t size = 0;
    for (const auto& [priority, queue] : c->queues) {
      if (queue.empty()) return "an empty queue was kept in a requirement class";
      size += queue.size();
      for (const run_entry* r : queue) {
        if (!r->ready || r->spec->spec.priority != priority) return "a queued run stands in the wrong queue";
      }
    }
    if (size != c->size) return "a requirement class miscounts its runs";
    if (c->blocked != blocked_.contains(c.get())) return "the set of blocked classes is wrong";
    if (size != 0 && !c->blocked && !c->open_at) return "a class with runs is neither open nor blocked";
    const run_entry* first = head(*c);
    if (c->open_at && (first == nullptr || c->open_at->second != first->id))
      return "an open class has another head";
  }
  for (const auto& [place, w] : free_) {
    if (w->capacity.place != place) return "a worker stands in the wrong place of the free line";
    if (w->capacity.used >= w->capacity.slots + w->capacity.credit)
      return "a full worker stands in the free line";
  }
  return std::nullopt;
}

}  // namespace orchestrator::engine
