// Placement of queued runs on workers with free capacity. See dispatcher.hpp.
#include "dispatcher.hpp"

#include <algorithm>
#include <utility>

#include <orchestrator/base/planted.hpp>

#include "runs.hpp"
#include "state.hpp"

namespace orchestrator::engine {

bool by_run_id::operator()(const run_entry* a, const run_entry* b) const { return a->id < b->id; }

namespace {

// Offered there, and not in use.
bool is_free(const resource_amounts& wanted, const resource_amounts& offered, const resource_amounts& taken) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& one) {
    return amount_of(offered, one.first) - amount_of(taken, one.first) >= one.second;
  });
}

// What may be handed out ahead: the share of the credit that belongs to slots with short runs. All that wait
// ahead are short themselves, so every run that is not has a slot.
int open_credit(const worker_capacity& c) {
  const std::int64_t quick = std::max(c.slots - (c.used - c.brief), 0), slots = std::max(c.slots, 1);
  return static_cast<int>((c.credit * quick + slots - 1) / slots);
}

}  // namespace

std::int64_t amount_of(const resource_amounts& amounts, const std::string& name) {
  const auto found = amounts.find(name);
  return found == amounts.end() ? 0 : found->second;
}

bool has_labels(const requirement& what, const worker_traits& who) {
  return std::all_of(what.labels.begin(), what.labels.end(), [&](const auto& wanted) {
    const auto found = who.labels.find(wanted.first);
    return found != who.labels.end() && found->second == wanted.second;
  });
}

bool speaks_enough(const requirement& what, const worker_traits& who) {
  if (!who.legacy) return true;
  return what.legacy == legacy_fit::without_args || (what.legacy == legacy_fit::with_args && who.takes_args);
}

bool has_resources(const requirement& what, const worker_traits& who) {
  return is_free(what.resources, who.resources, {});
}

bool fits(const requirement& what, const worker_traits& who) {
  return speaks_enough(what, who) && has_labels(what, who) && has_resources(what, who);
}

requirement_class* dispatcher::hold(const requirement& what) {
  auto& c = classes_[what];
  if (!c) {
    c = std::make_unique<requirement_class>();
    c->what = what;
    if (!what.queue.empty()) use(*c, {&open_limiter(limiter_kind::queue, what.queue), false, 0, {}});
    if (!what.group.empty()) {
      limiter& job = open_limiter(limiter_kind::job, what.group);
      use(*c, {&job, false, what.max_running, what.rate});
    }
    for (const lock_request& l : what.locks)
      use(*c, {&open_limiter(limiter_kind::lock, l.name), l.shared, 0, {}});
  }
  ++c->references;
  return c.get();
}

void dispatcher::release(requirement_class* c) {
  ORC_CHECK(c->references > 0, "a requirement class was released once too often");
  if (--c->references != 0) return;
  ORC_CHECK(c->size == 0, "a requirement class with queued runs lost its last reference");
  blocked_.erase(c);
  for (const limit_use& u : c->uses) --u.what->users;
  classes_.erase(requirement(c->what));
}

void dispatcher::use(requirement_class& c, limit_use what) {
  ++what.what->users;
  // A bucket cannot be emptier than empty, whatever a clock or an older rate said.
  if (what.rate) what.what->full_at = std::min(what.what->full_at, clock_ + what.rate->period);
  c.uses.push_back(what);
}

limiter& dispatcher::open_limiter(limiter_kind kind, const std::string& name) {
  const auto found = limiters_.find({kind, name});
  if (found != limiters_.end()) return found->second;
  if (limiters_.size() >= limiters_swept_at_) drop_idle_limiters();
  limiter& l = limiters_[{kind, name}];
  l.kind = kind;
  l.settings.name = name;
  return l;
}

// Those that nobody refers to, and that would be made again just as they are. They are looked for when the
// table has doubled, so that it stays within twice what is needed.
void dispatcher::drop_idle_limiters() {
  std::erase_if(limiters_, [&](const auto& entry) {
    const limiter& l = entry.second;
    return l.users == 0 && l.settings.is_plain() && l.full_at <= clock_ && !l.spent;
  });
  limiters_swept_at_ = std::max<std::size_t>(64, 2 * limiters_.size());
}

run_entry* dispatcher::head(const requirement_class& c) const {
  return c.queues.empty() ? nullptr : *c.queues.begin()->second.begin();
}

rank dispatcher::rank_of(const requirement_class& c, const run_entry& r) const {
  // The first use is its queue, whose priority is added to the run's.
  const int of_queue = c.uses.empty() ? 0 : c.uses.front().what->settings.priority;
  return rank{-(r.spec->spec.priority + of_queue), r.id};
}

std::optional<rank> dispatcher::head_rank(const requirement_class& c) const {
  const run_entry* first = head(c);
  return first == nullptr ? std::nullopt : std::optional(rank_of(c, *first));
}

bool dispatcher::is_first(const rank& place) const {
  return std::none_of(classes_.begin(), classes_.end(), [&](const auto& entry) {
    const auto first = head_rank(*entry.second);
    return first && *first < place;
  });
}

std::vector<const run_entry*> dispatcher::waiting_before(
    const rank& place, const std::function<bool(const requirement_class&)>& competes,
    std::size_t most) const {
  std::vector<const run_entry*> list;
  for (const auto& [what, c] : classes_) {
    if (!competes(*c)) continue;
    for (const auto& [priority, queue] : c->queues) {
      for (const run_entry* r : queue) {
        if (!(rank_of(*c, *r) < place)) break;
        if (list.size() == most) return list;
        list.push_back(r);
      }
    }
  }
  return list;
}

// Puts the class where its present head belongs. A blocked class stays out of the line until capacity appears
// or its head changes: another head may be creditable, or have nobody to avoid.
void dispatcher::refresh(requirement_class& c) {
  const std::optional<rank> wanted = head_rank(c);
  if (c.waits_at != nullptr && (!wanted || c.waits_as != *wanted)) leave_line(c);
  if (c.open_at && (!wanted || *c.open_at != *wanted)) {
    open_.erase({c.open_at->first, c.open_at->second, &c});
    c.open_at.reset();
  }
  if (wanted && !c.open_at && !c.blocked && c.waits_at == nullptr) {
    open_.insert({wanted->first, wanted->second, &c});
    c.open_at = wanted;
  }
}

void dispatcher::unblock(requirement_class& c) {
  if (!c.blocked) return;
  c.blocked = false;
  blocked_.erase(&c);
}

void dispatcher::enqueue(requirement_class& c, run_entry& r) {
  const bool fresh = c.queues[r.spec->spec.priority].insert(&r).second;
  ORC_CHECK(fresh, "a run was queued twice");
  ++c.size;
  r.ready = true;
  if (head(c) == &r) unblock(c);
  refresh(c);
}

void dispatcher::remove(requirement_class& c, run_entry& r) {
  const bool was_head = head(c) == &r;
  const auto queue = c.queues.find(r.spec->spec.priority);
  ORC_CHECK(queue != c.queues.end() && queue->second.erase(&r) == 1, "a run to remove was not queued");
  if (queue->second.empty()) c.queues.erase(queue);
  --c.size;
  r.ready = false;
  if (was_head) unblock(c);
  refresh(c);
  // It may have been the one that was to wake the next in the lines of its limits.
  if (was_head && c.size == 0) {
    for (const limit_use& u : c.uses) wake(*u.what);
  }
}

// ---- limits
// ----------------------------------------------------------------------------------------------------

limiter* dispatcher::closed_to(const requirement_class& c) const {
  const rank place = *head_rank(c);
  for (const limit_use& u : c.uses) {
    if (is_closed(u, place, clock_)) return u.what;
  }
  return nullptr;
}

void dispatcher::queue_up(requirement_class& c, limiter& l) {
  open_.erase({c.open_at->first, c.open_at->second, &c});
  c.waits_at = &l;
  c.waits_as = *c.open_at;
  c.open_at.reset();
  l.waiting.insert({c.waits_as.first, c.waits_as.second, &c});
}

void dispatcher::leave_line(requirement_class& c) {
  limiter& l = *c.waits_at;
  l.waiting.erase({c.waits_as.first, c.waits_as.second, &c});
  c.waits_at = nullptr;
  wake(l);
}

// Lets the first of its line try again, if it is open to that one. Only one: when that one was served, the
// next is woken, so that a place that became free costs as much as there is to place.
void dispatcher::wake(limiter& l) {
  if (l.refill) refills_.erase({*l.refill, &l});
  l.refill.reset();
  for (const auto& [priority, id, c] : l.waiting) {
    const auto use =
        std::find_if(c->uses.begin(), c->uses.end(), [&](const limit_use& u) { return u.what == &l; });
    if (!is_closed(*use, {priority, id}, clock_)) {
      requirement_class& first = *c;
      l.waiting.erase({first.waits_as.first, first.waits_as.second, &first});
      first.waits_at = nullptr;
      return refresh(first);
    }
    if (rate_of(*use) && next_token(*use) > clock_) {
      l.refill = l.refill ? std::min(*l.refill, next_token(*use)) : next_token(*use);
    }
    // What is closed to the first is closed to all, but for jobs, whose versions may have different limits.
    if (l.kind != limiter_kind::job) break;
  }
  if (l.refill) refills_.insert({*l.refill, &l});
}

void dispatcher::advance(mono_time clock) {
  clock_ = clock;
  while (!refills_.empty() && refills_.begin()->first <= clock) wake(*refills_.begin()->second);
}

std::optional<mono_time> dispatcher::next_refill() const {
  return refills_.empty() ? std::nullopt : std::optional(refills_.begin()->first);
}

limiter& dispatcher::queue_of(const std::string& name) { return open_limiter(limiter_kind::queue, name); }

void dispatcher::reconsider(limiter& queue) {
  const auto& rate = queue.settings.rate;
  if (rate) queue.full_at = std::min(queue.full_at, clock_ + rate->period);
  for (auto& [what, c] : classes_) {
    if (c->uses.empty() || c->uses.front().what != &queue) continue;
    unblock(*c);
    // Whoever waits for a lock keeps readers from it, but not if its queue keeps it now: it asks anew.
    if (c->waits_at != nullptr && c->waits_at != &queue) leave_line(*c);
    refresh(*c);
  }
  wake(queue);
}

void dispatcher::give_back(const requirement_class& c) {
  for (const limit_use& u : c.uses) engine::give_back(u);
  for (const limit_use& u : c.uses) wake(*u.what);
}

void dispatcher::take_again(const requirement_class& c) {
  for (const limit_use& u : c.uses) engine::take_again(u);
}

bool dispatcher::may_take_again(const requirement_class& c) const {
  return std::none_of(c.uses.begin(), c.uses.end(), [](const limit_use& u) {
    return u.what->kind == limiter_kind::lock && (u.shared ? u.what->alone > 0 : u.what->running > 0);
  });
}

void dispatcher::restore_bucket(const limiter_key& key, mono_time full_at) {
  open_limiter(key.first, key.second).full_at = full_at;
}

std::vector<limiter*> dispatcher::take_spent() {
  for (limiter* l : spent_) l->spent = false;
  return std::exchange(spent_, {});
}

// ---- workers
// ---------------------------------------------------------------------------------------------------

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
  if (c.accepting && c.kind && c.used < c.slots + open_credit(c)) {
    place = capacity_place{c.used >= c.slots, c.used * 1024 / std::max(c.slots, 1), w.order};
  }
  const bool freed = std::exchange(c.resources_freed, false);
  if (place == c.place && !freed) return;
  const bool more = place && (freed || !c.place || *place < *c.place);
  if (c.place) free_.erase(*c.place);
  c.place = place;
  if (place) free_.emplace(*place, &w);
  if (!more) return;
  for (auto at = blocked_.begin(); at != blocked_.end();) {
    requirement_class& waiting = **at;
    if (!class_fits(waiting, w) || !is_free_on(waiting, w)) {
      ++at;
      continue;
    }
    waiting.blocked = false;
    at = blocked_.erase(at);
    refresh(waiting);
  }
}

bool dispatcher::fits_kind(requirement_class& c, std::size_t kind) {
  if (c.fit_of.size() <= kind) c.fit_of.resize(kind_list_.size(), 0);
  if (c.fit_of[kind] == 0) c.fit_of[kind] = fits(c.what, *kind_list_[kind].traits) ? 1 : -1;
  return c.fit_of[kind] > 0;
}

bool dispatcher::class_fits(requirement_class& c, const worker_entry& w) {
  return fits_kind(c, *w.capacity.kind);
}

bool dispatcher::fits_somewhere(requirement_class& c) {
  for (std::size_t kind = 0; kind < kind_list_.size(); ++kind) {
    if (kind_list_[kind].workers > 0 && fits_kind(c, kind)) return true;
  }
  return false;
}

std::optional<placement> dispatcher::place(requirement_class& c) {
  run_entry* r = head(c);
  const bool short_run = creditable(*r) && may_wait_there(c);
  const std::uint64_t avoid = r->details ? r->details->avoid : 0;
  worker_entry* chosen = nullptr;
  for (const auto& [at, w] : free_) {
    if (at.ahead && !short_run) break;
    if (!class_fits(c, *w) || !is_free_on(c, *w)) continue;
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
    limiter* closed = closed_to(c);
    const std::optional<placement> next = closed == nullptr ? place(c) : std::nullopt;
    // In the line of a lock it would keep readers from it: only if there is a worker that could take it.
    const bool lines_up = closed != nullptr && (closed->kind != limiter_kind::lock || fits_somewhere(c));
    if (next) {
      book(c, *next);
      result.push_back(*next);
    } else if (lines_up) {
      queue_up(c, *closed);
    } else {
      c.blocked = true;
      blocked_.insert(&c);
      open_.erase(open_.begin());
      c.open_at.reset();
    }
    for (const limit_use& u : c.uses) wake(*u.what);
  }
  return result;
}

void dispatcher::book(requirement_class& c, const placement& p) {
  for (const limit_use& u : c.uses) {
    const bool known = u.what->spent;
    take(u, clock_);
    if (u.what->spent && !known) spent_.push_back(u.what);
  }
  remove(c, *p.run);
  worker_capacity& there = p.worker->capacity;
  ++there.used;
  if (is_brief(*p.run)) ++there.brief;
  for (const auto& [name, amount] : c.what.resources) there.taken[name] += amount;
  update(*p.worker);
}

bool dispatcher::is_free_on(const requirement_class& c, const worker_entry& w) const {
  if (c.what.resources.empty() || planted(defect::resources_not_asked)) return true;
  return is_free(c.what.resources, kind_list_[*w.capacity.kind].traits->resources, w.capacity.taken);
}

// What is limited is not handed out ahead: it would hold its lock or its place among so many while it waits.
bool dispatcher::may_wait_there(const requirement_class& c) const {
  return std::none_of(c.uses.begin(), c.uses.end(), [](const limit_use& u) {
    return u.what->kind == limiter_kind::lock || max_running_of(u) > 0 || rate_of(u);
  });
}

std::optional<std::string> dispatcher::check_limiter(const limiter& l, const users_of_limit& seen) const {
  if (l.kind == limiter_kind::lock && l.alone > 0 && l.running != 1) return "a lock is held twice";
  if (seen.waiting != l.waiting.size()) return "a class waits at a limit that does not know it";
  if (seen.all != l.users) return "a limit miscounts those who refer to it";
  if (l.refill.has_value() != refills_.contains({l.refill.value_or(mono_time{}), const_cast<limiter*>(&l)}))
    return "a refill is filed wrongly";
  if (l.waiting.empty() || seen.tries || l.refill) return std::nullopt;
  const auto& [priority, id, first] = *l.waiting.begin();
  for (const limit_use& u : first->uses) {
    if (u.what == &l && !is_closed(u, {priority, id}, clock_))
      return "a limit is open to a run that waits for it";
  }
  return std::nullopt;
}

const worker_traits* dispatcher::traits_of(const worker_entry& w) const {
  return w.capacity.kind ? kind_list_[*w.capacity.kind].traits : nullptr;
}

std::size_t dispatcher::queued() const {
  std::size_t sum = 0;
  for (const auto& [what, c] : classes_) sum += c->size;
  return sum;
}

std::unordered_map<const limiter*, dispatcher::ready_runs> dispatcher::ready_by_queue() const {
  std::unordered_map<const limiter*, ready_runs> all;
  for (const auto& [what, c] : classes_) {
    if (c->uses.empty()) continue;
    ready_runs& here = all[c->uses.front().what];
    here.count += c->size;
    for (const auto& [priority, queue] : c->queues) {
      if (here.oldest == nullptr || by_run_id{}(*queue.begin(), here.oldest)) here.oldest = *queue.begin();
    }
  }
  return all;
}

std::optional<std::string> dispatcher::check() const {
  std::unordered_map<const limiter*, users_of_limit> seen;
  for (const auto& [what, c] : classes_) {
    for (const limit_use& u : c->uses) {
      ++seen[u.what].all;
      seen[u.what].tries |= c->open_at.has_value();
    }
    if (limiter* l = c->waits_at; l != nullptr) {
      ++seen[l].waiting;
      if (!l->waiting.contains({c->waits_as.first, c->waits_as.second, c.get()}))
        return "a class waits at a limit that does not know it";
    }
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
    const int places = (c->blocked ? 1 : 0) + (c->open_at ? 1 : 0) + (c->waits_at != nullptr ? 1 : 0);
    if (places != (size != 0 ? 1 : 0)) return "a class does not stand in exactly one place";
    const run_entry* first = head(*c);
    if (c->open_at && (first == nullptr || c->open_at->second != first->id))
      return "an open class has another head";
  }
  for (const auto& [key, l] : limiters_) {
    if (auto wrong = check_limiter(l, seen[&l])) return wrong;
  }
  for (const auto& [place, w] : free_) {
    if (w->capacity.place != place) return "a worker stands in the wrong place of the free line";
    if (w->capacity.used >= w->capacity.slots + w->capacity.credit)
      return "a full worker stands in the free line";
  }
  return std::nullopt;
}

}  // namespace orchestrator::engine
