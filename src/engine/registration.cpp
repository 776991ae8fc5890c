// Who a connection belongs to: registration, the same name twice, and the answer that a worker gets.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>

#include "leases.hpp"
#include "on_worker.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr int our_protocol = 1;

worker_key key_of(const protocol::worker_register& r) {
  return r.protocol ? worker_key{*r.instance, {}} : worker_key{uuid{}, r.worker_id};
}

worker_entry* find_worker(core& c, const worker_key& key) {
  const auto found = c.workers.find(key);
  return found == c.workers.end() ? nullptr : &found->second;
}

// The open connection that stands in the way: of the same instance, or of the one who holds the name.
session_entry* find_rival(core& c, const session_entry& s, const protocol::worker_register& r) {
  const worker_entry* same = find_worker(c, key_of(r));
  if (same != nullptr && same->session != nullptr && same->session != &s) return same->session;
  const auto named = c.worker_names.find(r.worker_id);
  if (named == c.worker_names.end() || named->second->session == nullptr) return nullptr;
  return named->second->session != &s ? named->second->session : nullptr;
}

// The same daemon, or a legacy worker that cannot say who it is: the later connection is the one that counts.
bool is_reconnect(const worker_entry& old, const protocol::worker_register& r) {
  if (!r.protocol) return old.row.legacy;
  return !old.row.legacy && old.row.instance == *r.instance && old.row.boot_id == r.boot_id &&
         old.row.process == r.process;
}

// Every lease in the outbox is in exactly one of the lists: what a worker says of one twice, it may say twice
// differently.
std::optional<refusal> check_lists(const protocol::worker_register& r) {
  std::set<lease_id> seen;
  for (const auto& [key, list] :
       {std::pair{"running", &r.running}, std::pair{"unacked", &r.unacked}, std::pair{"lost", &r.lost}}) {
    for (std::size_t i = 0; i < list->size(); ++i) {
      const lease_id lease = (*list)[i].lease;
      if (seen.insert(lease).second) continue;
      return refuse(errc::bad_field, fmt::format("Lease {} is listed twice.", lease.value),
                    fmt::format("/{}/{}/lease", key, i),
                    "Each lease belongs in one of running, unacked and lost, once.");
    }
  }
  return std::nullopt;
}

std::optional<refusal> check(const protocol::worker_register& r) {
  if (!is_valid_name(r.worker_id)) {
    return refuse(errc::bad_field, "worker_id must match [A-Za-z0-9][A-Za-z0-9_.-]{0,127}.", "/worker_id");
  }
  if (r.protocol && (!r.instance || r.instance->is_nil())) {
    return refuse(errc::bad_field, "A worker with protocol must send its instance, a UUID that is not nil.",
                  "/instance");
  }
  return check_lists(r);
}

void fill_row(worker& row, const protocol::worker_register& r, wall_time now) {
  // What a heartbeat of an earlier daemon said is not about this one.
  if (r.protocol && row.process != r.process) {
    row.status.clear();
    row.jobs_processed = 0;
    row.uptime_seconds = row.load = 0;
    row.memory_bytes = 0;
  }
  row.worker_id = r.worker_id;
  row.instance = r.protocol ? *r.instance : uuid{};
  row.boot_id = r.boot_id;
  row.process = r.process;
  row.hostname = r.hostname;
  row.platform = r.platform;
  row.version = r.version;
  row.python_version = r.python_version.value_or("");
  row.pid = r.pid.value_or(0);
  row.legacy = !r.protocol;
  row.labels = r.protocol ? r.labels : std::map<std::string, std::string>{};
  row.resources = r.protocol ? r.resources : resource_amounts{};
  row.slots = r.protocol ? std::clamp(r.slots.value_or(1), 0, static_cast<int>(limits::slots_max)) : 1;
  const auto most = static_cast<int>(limits::credit_per_slot_max) * row.slots;
  row.credit = r.protocol ? std::clamp(r.credit.value_or(0), 0, most) : 0;
  row.registered_at = now;
  row.last_seen = now;
}

worker_entry& open_entry(core& c, const worker_key& key) {
  const auto [at, fresh] = c.workers.try_emplace(key);
  if (fresh) {
    at->second.order = ++c.worker_order;
    c.workers_by_order.emplace(at->second.order, &at->second);
  }
  return at->second;
}

// Rows of instances that had this name, are gone and hold nothing: a container that starts afresh each day
// would leave one a day.
void forget_predecessors(core& c, const worker_entry& now) {
  std::vector<worker_entry*> idle;
  for (const auto& [order, w] : c.instances.at(now.row.worker_id)) {
    if (w != &now && w->session == nullptr && w->attempts == 0) idle.push_back(w);
  }
  for (worker_entry* w : idle) forget(c, *w);
}

void answer_registration(core& c, session_entry& s, const protocol::worker_register& r, worker_entry& w,
                         std::optional<std::uint64_t> seq) {
  protocol::registration answer;
  answer.seq = seq;
  answer.session = std::to_string(s.id.value);
  answer.cluster = c.cluster;
  answer.protocol = our_protocol;
  if (s.batch) answer.features = {"batch"};
  answer.lease_ttl_seconds = static_cast<double>(c.settings.lease_ttl.count()) / 1000.0;
  reconcile(c, w, r, answer);
  answer.term = c.term;  // which a worker that has seen a later one raises
  send_to(c, s, {std::nullopt, std::move(answer)});
  for (const auto& [lease, a] : w.live) {
    if (a->run->cancel_requested) send_cancel(c, *a);
  }
  // A worker forgets a drain when it registers, so that one lifted while it was away is lifted there too.
  if (w.row.draining) send_to(c, s, {std::nullopt, protocol::drain{true}});
}

void admit(core& c, session_entry& s, const protocol::worker_register& r, std::optional<std::uint64_t> seq,
           bool leases_only) {
  worker_entry& w = open_entry(c, key_of(r));
  s.registered = true;
  s.legacy = !r.protocol;
  s.protocol = !s.legacy;
  s.batch = s.protocol && s.uses_seq &&
            std::find(r.features.begin(), r.features.end(), "batch") != r.features.end();
  s.worker_name = r.worker_id;
  s.worker = &w;
  w.session = &s;
  w.leases_only = leases_only;
  w.opened = r.opened.value_or(0);
  set_session_timer(c, s, std::nullopt);
  hear(c, s);
  c.step.direct.emplace_back(session_registered{s.id, r.worker_id, s.legacy, s.batch});
  if (s.protocol) {
    answer_registration(c, s, r, w, seq);
  } else if (s.implicit) {
    s.registration_sent = true;
  } else {
    protocol::ack ack;
    ack.registered = true;
    send_to(c, s, {std::nullopt, ack});
  }
  const auto old_name = c.worker_names.find(w.row.worker_id);
  if (old_name != c.worker_names.end() && old_name->second == &w) c.worker_names.erase(old_name);
  // Rows are kept by name and instance: under a new name the old one would stay behind.
  const std::string before = w.row.worker_id;
  if (!before.empty() && before != r.worker_id)
    c.step.rest.emplace_back(forget_worker{before, w.row.instance});
  fill_row(w.row, r, c.now.wall);
  list_under_name(c, w, before);
  touch(c, w);
  if (!leases_only) {
    c.worker_names[w.row.worker_id] = &w;
    forget_predecessors(c, w);
  }
  put_fact(
      c, "worker.registered", "worker/" + w.row.worker_id,
      fact_data().add("legacy", s.legacy).add("slots", w.row.slots).add_if("version", w.row.version).take());
  log(c, note_level::info, "Worker registered: " + w.row.worker_id);
  c.places.describe(w, {w.row.labels, w.row.legacy, !w.row.python_version.empty(), w.row.resources});
  refresh_capacity(c, w);
  refresh_ping_interval(c, w);
  // Judged by the next tick: in the drain after a stall of ours deadlines have not moved yet.
  arm_worker(c, w, c.clock);
}

// Waits whether the one who holds the name answers a ping.
void challenge(core& c, session_entry& s, const protocol::worker_message& m, session_entry& rival) {
  s.challenges = rival.id;
  s.parked.push_front(m);
  rival.challengers.insert(s.id);
  set_session_timer(c, s, c.clock + c.settings.ping_timeout);
  c.step.direct.emplace_back(ping_session{rival.id});
}

// True if the connection may be admitted now; else it was closed or waits.
bool clear_the_way(core& c, session_entry& s, const protocol::worker_message& m,
                   const protocol::worker_register& r) {
  while (session_entry* rival = find_rival(c, s, r)) {
    if (planted(defect::replaced_session_counts) && is_reconnect(*rival->worker, r)) return true;
    if (!is_reconnect(*rival->worker, r)) {
      challenge(c, s, m, *rival);
      return false;
    }
    if (r.opened.value_or(1) <= rival->worker->opened && r.protocol) {
      end_session(c, s, close_code::replaced, "replaced", close_kind::gated);
      return false;
    }
    end_session(c, *rival, close_code::replaced, "replaced", close_kind::gated);
    if (s.dead || s.registered) return false;
  }
  return true;
}

// The parked first message again, after the rival is gone.
void register_parked(core& c, session_entry& s) {
  s.challenges.reset();
  set_session_timer(c, s, std::nullopt);
  const protocol::worker_message first = std::move(s.parked.front());
  s.parked.pop_front();
  if (std::holds_alternative<protocol::worker_register>(first.body)) {
    on_register(c, s, first);
  }
  if (s.registered && !s.dead) resume(c, s, nullptr);
}

}  // namespace

void on_register(core& c, session_entry& s, const protocol::worker_message& m) {
  const auto& r = std::get<protocol::worker_register>(m.body);
  if (r.protocol && *r.protocol < our_protocol) {
    return end_session(c, s, close_code::no_common_protocol,
                       fmt::format("no common protocol: the worker speaks up to {}, this server {}",
                                   *r.protocol, our_protocol),
                       close_kind::direct);
  }
  if (const auto wrong = check(r)) {
    reject_message(c, s, m, *wrong, false);
    return end_session(c, s, close_code::bad_registration, "bad registration", close_kind::direct);
  }
  if (clear_the_way(c, s, m, r)) admit(c, s, r, m.seq, false);
}

void register_implicitly(core& c, session_entry& s, const std::string& worker_id) {
  protocol::worker_register r;
  r.worker_id = worker_id;
  const protocol::worker_message m{std::nullopt, r, 0};
  s.implicit = true;
  if (clear_the_way(c, s, m, r)) admit(c, s, r, std::nullopt, false);
}

void refresh_registration(core& c, session_entry& s, const protocol::worker_register& r) {
  worker_entry& w = *s.worker;
  protocol::worker_register same = r;
  same.worker_id = w.row.worker_id;  // one connection is one worker
  fill_row(w.row, same, c.now.wall);
  touch(c, w);
  c.places.describe(w, {w.row.labels, true, !w.row.python_version.empty(), {}});
  refresh_capacity(c, w);
}

void refuse_challengers(core& c, session_entry& rival) {
  const std::set<session_id> newcomers = std::move(rival.challengers);
  rival.challengers.clear();
  for (const session_id id : newcomers) {
    session_entry& s = *find_session(c, id);
    const auto* r = std::get_if<protocol::worker_register>(&s.parked.front().body);
    ORC_CHECK(r != nullptr, "a newcomer waits without a registration");
    worker_entry* own = find_worker(c, key_of(*r));
    // Another instance under a taken name: let in only to bring home what it still holds.
    const bool holds = !r->running.empty() || !r->unacked.empty() || !r->lost.empty() ||
                       (own != nullptr && (!own->live.empty() || !own->lost.empty()));
    const bool is_rival = own != nullptr && (own == rival.worker || own->session != nullptr);
    if (r->protocol && holds && !is_rival) {
      s.challenges.reset();
      const protocol::worker_message first = std::move(s.parked.front());  // `r` points into what is popped
      const auto& its = std::get<protocol::worker_register>(first.body);
      s.parked.pop_front();
      log(c, note_level::warning,
          fmt::format("Worker id {} is used twice; its other instance is let in for its leases only.",
                      printable(its.worker_id)));
      admit(c, s, its, first.seq, true);
      resume(c, s, nullptr);
      continue;
    }
    log(c, note_level::warning,
        fmt::format("Worker id {} is used twice; the newcomer from {} is refused.", printable(r->worker_id),
                    s.peer));
    s.challenges.reset();
    end_session(c, s, close_code::id_in_use, "worker_id_in_use", close_kind::gated);
  }
}

void admit_challengers(core& c, session_entry& gone) {
  const std::set<session_id> newcomers = std::move(gone.challengers);
  gone.challengers.clear();
  for (const session_id id : newcomers) {
    session_entry* s = find_session(c, id);
    if (s != nullptr && !s->dead) register_parked(c, *s);
  }
}

void pass_on_name(core& c, const std::string& name) {
  const auto holder = c.worker_names.find(name);
  if (holder != c.worker_names.end() && holder->second->session != nullptr) return;
  const auto same_name = c.instances.find(name);
  if (same_name == c.instances.end()) return;
  for (const auto& [order, w] : same_name->second) {
    if (w->session == nullptr || !w->leases_only) continue;
    w->leases_only = false;
    c.worker_names[name] = w;
    log(c, note_level::info, "Worker id " + printable(name) + " is its other instance's now.");
    return refresh_capacity(c, *w);
  }
}

void end_challenge(core& c, session_entry& s) {
  session_entry* rival = find_session(c, *s.challenges);
  ORC_CHECK(rival != nullptr, "a newcomer waits for a connection that is gone");
  // Silent for a whole ping timeout: replaced, which also lets its challengers in.
  end_session(c, *rival, close_code::replaced, "replaced", close_kind::gated);
}

void list_under_name(core& c, worker_entry& w, const std::string& before) {
  if (const auto old = c.instances.find(before); old != c.instances.end() && before != w.row.worker_id) {
    old->second.erase(w.order);
    if (old->second.empty()) c.instances.erase(old);
  }
  c.instances[w.row.worker_id].emplace(w.order, &w);
}

void forget(core& c, worker_entry& w) {
  ORC_CHECK(w.session == nullptr && w.attempts == 0,
            "a worker that still holds something was to be forgotten");
  c.step.rest.emplace_back(forget_worker{w.row.worker_id, w.row.instance});
  c.places.drop(w);
  if (w.check_at) c.timers.erase({*w.check_at, timer_kind::worker, w.order, {}});
  const auto named = c.worker_names.find(w.row.worker_id);
  if (named != c.worker_names.end() && named->second == &w) c.worker_names.erase(named);
  c.workers_by_order.erase(w.order);
  const auto same_name = c.instances.find(w.row.worker_id);
  same_name->second.erase(w.order);
  if (same_name->second.empty()) c.instances.erase(same_name);
  std::erase(c.step.workers, &w);
  const worker_key key =
      w.row.instance.is_nil() ? worker_key{uuid{}, w.row.worker_id} : worker_key{w.row.instance, {}};
  c.workers.erase(key);
}

}  // namespace orchestrator::engine
