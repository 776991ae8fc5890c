// New runs by hand: submissions with their idempotency keys, and retries of ended runs. Also holding and
// settling a run. See requests.hpp.
#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "dependencies.hpp"
#include "leases.hpp"
#include "requests.hpp"
#include "runs.hpp"
#include "space.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

run_answer answer_for(const run_entry& r) {
  run_answer a;
  a.run = to_row(r);
  a.spec = r.spec->spec;
  return a;
}

refusal no_such_run(const run_id& id) {
  return refuse(errc::not_found, "There is no run " + to_string(id) + ".");
}

// The display name of an ad hoc run that was given none: the last part of what it starts.
std::string name_from(const run_spec& s) {
  std::string_view text = !s.script.empty() ? s.script : !s.command.empty() ? s.command.front() : s.builtin;
  if (const auto slash = text.find_last_of('/'); slash != std::string_view::npos)
    text.remove_prefix(slash + 1);
  return is_valid_name(text) ? std::string(text) : "run";
}

std::optional<refusal> check(const core& c, const protocol::submission& what) {
  const auto job = c.jobs.find(what.job);
  if (!what.job.empty() && job == c.jobs.end()) {
    return refuse(errc::not_found, fmt::format("There is no job \"{}\".", printable(what.job)), "/job");
  }
  if (what.job.empty() && !what.spec) {
    return refuse(errc::bad_field, "A submission names a job or says what to run.", "/job");
  }
  const run_spec& spec = what.job.empty() ? *what.spec : job->second.spec->spec;
  if (what.args && spec.script.empty()) {
    return refuse(errc::bad_field, "args belong to a script; this runs a command.", "/args",
                  "Leave args out, or put the arguments into the command.");
  }
  if (auto too_large = refuse_oversize(spec, what.args ? *what.args : spec.args)) return too_large;
  return refuse_new_work(c, 1);
}

run_origin origin_of(core& c, const submit_run& in) {
  const protocol::submission& what = in.what;
  run_origin from;
  from.held = what.held;
  from.after = in.after;
  from.in_vain = waits_in_vain(c, in);
  from.not_before = what.not_before;
  from.args = what.args;
  if (what.job.empty()) {
    from.name = what.name.empty() ? name_from(*what.spec) : what.name;
    from.spec = &intern_spec(c, *what.spec, from.name);
  } else {
    const job_entry& job = c.jobs.find(what.job)->second;
    from.name = what.job;
    from.job_version = job.job.version;
    from.spec = job.spec;
  }
  return from;
}

// The run that answers a key from here on.
template <class Request>
void remember_key(core& c, const Request& in, const run_id& run) {
  if (in.idempotency_key.empty()) return;
  c.step.rest.emplace_back(put_idempotency{in.idempotency_key, in.fingerprint, run});
  c.keys.insert(hash64(in.idempotency_key));
  // Until that row is durable only this memory knows the key.
  const std::uint64_t number = c.issued_number + 1;
  c.recent_keys[in.idempotency_key] = {in.fingerprint, run, number};
  c.recent_keys_by_number[number].push_back(in.idempotency_key);
}

refusal key_reused() {
  return refuse(errc::key_reused, "This idempotency key was used with another request.", "",
                "Use a new key for a new request.");
}

// True if the key's run is known without a look-up; the request is answered then.
template <class Request>
bool replay_recent(core& c, const Request& in) {
  const auto known = c.recent_keys.find(in.idempotency_key);
  if (known == c.recent_keys.end()) return false;
  if (known->second.fingerprint != in.fingerprint) {
    respond(c, in.request, key_reused());
    return true;
  }
  const run_entry* r = c.runs.find(known->second.run);
  ORC_CHECK(r != nullptr, "the run of an undurable key is not in memory");
  run_answer a = answer_for(*r);
  a.replayed = true;
  respond(c, in.request, std::move(a));
  return true;
}

template <class Request>
void answer_from_rows(core& c, const Request& in, const fetched_rows& rows) {
  if (rows.key_fingerprint != in.fingerprint) return respond(c, in.request, key_reused());
  run_answer a;
  a.replayed = true;
  if (const run_entry* r = c.runs.find(rows.key_run)) {
    a = answer_for(*r);
    a.replayed = true;
  } else if (rows.run) {
    a.run = *rows.run;
    if (auto spec = protocol::decode_spec(rows.spec_text)) a.spec = std::move(*spec);
  } else {
    return respond(c, in.request, purged_answer{rows.key_run});
  }
  respond(c, in.request, std::move(a));
}

run_entry& create_retry(core& c, const orchestrator::run& old, const run_spec& spec,
                        std::vector<dependency> after = {}) {
  run_origin from;
  from.after = std::move(after);
  from.name = old.job;
  from.job_version = old.job_version;
  from.spec = &intern_spec(c, spec, old.job);
  if (old.has_args) from.args = old.args;
  from.retry_of = old.id;
  return create_run(c, from);
}

// What it waited for and is retried with it; it waits for no other, as a single retry.
std::vector<dependency> after_among(const std::vector<dependency>& after,
                                    const std::map<run_id, run_id>& made) {
  std::vector<dependency> kept;
  for (const dependency& d : after) {
    if (const auto found = made.find(d.run); found != made.end()) kept.push_back({found->second, d.on});
  }
  return kept;
}

void retry_of(core& c, const retry_run& in, const orchestrator::run& old, const run_spec& spec) {
  if (!is_final(old.state)) {
    return respond(
        c, in.request,
        refuse(errc::conflict,
               fmt::format("The run is {}; only a run that ended can be retried.", to_string(old.state)), "",
               "Wait for its end, or cancel it first."));
  }
  if (auto full = refuse_new_work(c, 1)) return respond(c, in.request, std::move(*full));
  const run_entry& r = create_retry(c, old, spec);
  remember_key(c, in, r.id);
  run_answer a = answer_for(r);
  a.created = true;
  respond(c, in.request, std::move(a));
}

// Everything but the key is settled here.
void create(core& c, const submit_run& in) {
  if (in.replay_only) return respond(c, in.request, refuse(errc::not_found, "This idempotency key is new."));
  if (auto wrong = check(c, in.what)) return respond(c, in.request, std::move(*wrong));
  if (auto wrong = refuse_dependencies(c, in)) return respond(c, in.request, std::move(*wrong));
  if (const auto unknown = unknown_dependency(c, in)) return fetch_run(c, in.after[*unknown].run, in);
  const run_entry& r = create_run(c, origin_of(c, in));
  remember_key(c, in, r.id);
  run_answer a = answer_for(r);
  a.created = true;
  respond(c, in.request, std::move(a));
}

void create(core& c, const retry_run& in) {
  if (const run_entry* r = c.runs.find(in.run)) return retry_of(c, in, to_row(*r), run_spec(r->spec->spec));
  if (!in.idempotency_key.empty()) c.keys_in_flight[in.idempotency_key];  // others wait for this one's end
  fetch_run(c, in.run, in);
}

// A request whose key the store does not have, or has none.
template <class Request>
void begin(core& c, const Request& in) {
  if (in.idempotency_key.empty()) return create(c, in);
  if (const auto flying = c.keys_in_flight.find(in.idempotency_key); flying != c.keys_in_flight.end()) {
    flying->second.push_back(in);
  } else if (!replay_recent(c, in)) {
    create(c, in);
  }
}

// The same key again while the first request with it is under way waits for that one.
template <class Request>
void take(core& c, const Request& in) {
  if (in.idempotency_key.size() > limits::idempotency_key) {
    return respond(c, in.request, refuse(errc::limit, "The idempotency key is longer than 255 characters."));
  }
  const bool decided_here = in.idempotency_key.empty() || c.keys_in_flight.contains(in.idempotency_key) ||
                            c.recent_keys.contains(in.idempotency_key) ||
                            !c.keys.contains(hash64(in.idempotency_key));
  if (decided_here) return begin(c, in);
  const fetch_id id{++c.fetch_counter};
  c.fetches.emplace(id, in.idempotency_key);
  c.step.lookups.emplace_back(fetch{id, in.idempotency_key});
  c.keys_in_flight[in.idempotency_key].push_back(in);
}

void finish_retry(core& c, const retry_run& in, const fetched_rows& rows) {
  if (!rows.run) return respond(c, in.request, no_such_run(in.run));
  const auto spec = protocol::decode_spec(rows.spec_text);
  if (!spec) return respond(c, in.request, refuse(errc::conflict, "The run's specification cannot be read."));
  retry_of(c, in, *rows.run, *spec);
}

void refuse_ended(core& c, request_id request, run_state state) {
  respond(c, request, refuse(errc::conflict, fmt::format("The run has ended: {}.", to_string(state))));
}

}  // namespace

std::optional<refusal> refuse_change(const core& c) { return c.disk_full ? refuse_growth(c) : std::nullopt; }

std::optional<refusal> refuse_new_work(const core& c, std::size_t runs) {
  if (c.stopping) return refuse(errc::unavailable, "The server is stopping.", "", "Try again when it is up.");
  if (auto full = refuse_growth(c)) return full;
  if (c.counts.queued + c.counts.retry_wait + runs > c.settings.max_queued_runs) {
    return refuse(errc::limit, fmt::format("{} runs are waiting already.", c.settings.max_queued_runs), "",
                  "Wait until some have run, or cancel some.");
  }
  return std::nullopt;
}

void fetch_run(core& c, const run_id& run, parked_request request) {
  const fetch_id id{++c.fetch_counter};
  c.fetches.emplace(id, std::move(request));
  c.step.lookups.emplace_back(fetch{id, run});
}

void on(core& c, const submit_run& in) { take(c, in); }

void on(core& c, const retry_run& in) { take(c, in); }

void on_key_fetched(core& c, const std::string& key, const fetched_rows& rows) {
  const auto waiting = c.keys_in_flight.extract(key);
  ORC_CHECK(!waiting.empty(), "a key came back that nobody waits for");
  for (const keyed_request& next : waiting.mapped()) {
    std::visit([&](const auto& in) { rows.key_found ? answer_from_rows(c, in, rows) : begin(c, in); }, next);
  }
}

void on(core& c, const retry_runs& in) {
  if (auto full = refuse_new_work(c, in.runs.size())) return respond(c, in.request, std::move(*full));
  ORC_CHECK(in.runs.size() <= limits::retries_a_request, "one step was to make too many runs");
  std::vector<run_spec> specs;
  for (const auto& old : in.runs) {
    auto spec = protocol::decode_spec(old.spec_text);
    if (!spec || !is_final(old.run.state)) {
      return respond(
          c, in.request,
          refuse(errc::conflict, fmt::format("Run {} cannot be tried again.", to_string(old.run.id))));
    }
    specs.push_back(std::move(*spec));
  }
  // Older ones first: a run waits only for older ones, and those retried with it are there then.
  std::vector<std::size_t> order(in.runs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t x, std::size_t y) { return in.runs[x].run.id < in.runs[y].run.id; });
  std::map<run_id, run_id> made;
  retried_answer a;
  a.runs.resize(in.runs.size());
  for (const std::size_t i : order) {
    const orchestrator::run& old = in.runs[i].run;
    a.runs[i] = create_retry(c, old, specs[i], after_among(old.after, made)).id;
    made.emplace(old.id, a.runs[i]);
  }
  respond(c, in.request, std::move(a));
}

void on(core& c, const hold_run& in) {
  if (auto full = refuse_change(c)) return respond(c, in.request, std::move(*full));
  run_entry* r = c.runs.find(in.run);
  if (r == nullptr) return fetch_run(c, in.run, in);
  if (is_final(r->state)) return refuse_ended(c, in.request, r->state);
  if (in.held && (r->state == run_state::active || r->state == run_state::unknown)) {
    return respond(c, in.request,
                   refuse(errc::conflict, fmt::format("The run is {}; only a waiting run can be held.",
                                                      to_string(r->state))));
  }
  if (r->held != in.held) {
    r->held = in.held;
    announce(c, *r);
    put_fact(c, in.held ? "run.held" : "run.released", subject_of(*r), "{}");
    place_run(c, *r);
  }
  if (!in.held && in.forget_after) forget_dependencies(c, *r);
  if (!in.held && in.start_now) start_now(c, *r);
  respond(c, in.request, answer_for(*r));
}

void on(core& c, const resolve_run& in) {
  run_entry* r = c.runs.find(in.run);
  if (r == nullptr) return fetch_run(c, in.run, in);
  const bool allowed =
      in.as == run_state::succeeded || in.as == run_state::failed || in.as == run_state::cancelled;
  if (!allowed) {
    return respond(c, in.request,
                   refuse(errc::bad_field, "A run can be resolved as succeeded, failed or cancelled."));
  }
  if (r->state != run_state::unknown) {
    return respond(c, in.request,
                   refuse(errc::conflict, fmt::format("The run is {}, not unknown.", to_string(r->state))));
  }
  if (const attempt_entry* a = live_attempt(*r)) {
    return respond(
        c, in.request,
        refuse(errc::conflict, fmt::format("Worker {} came back and still runs it.", a->row.worker_id), "",
               "Wait for its result, or cancel the run."));
  }
  finish_run(c, *r, in.as, "resolved");
  respond(c, in.request, answer_for(*r));
}

void on_run_fetched(core& c, const parked_request& request, const fetched_rows& rows) {
  struct visitor {
    core& c;
    const fetched_rows& rows;
    // A run it waits for. The whole submission starts over: its key may have been used meanwhile.
    void operator()(const submit_run& in) {
      if (!rows.run) {
        const std::size_t missing = unknown_dependency(c, in).value();
        refusal wrong = no_such_run(in.after[missing].run);
        wrong.pointer = fmt::format("/after/{}/run", missing);
        return respond(c, in.request, std::move(wrong));
      }
      submit_run again = in;
      again.ended_before[rows.run->id] = rows.run->state;
      on(c, again);
    }
    void operator()(const cancel_run& in) {
      if (!rows.run) return respond(c, in.request, no_such_run(in.run));
      run_answer a;
      a.run = *rows.run;
      if (auto spec = protocol::decode_spec(rows.spec_text)) a.spec = std::move(*spec);
      respond(c, in.request, std::move(a));
    }
    void operator()(const retry_run& in) {
      const auto behind = c.keys_in_flight.extract(in.idempotency_key);
      finish_retry(c, in, rows);
      if (behind.empty()) return;
      for (const keyed_request& next : behind.mapped()) std::visit([&](const auto& n) { begin(c, n); }, next);
    }
    void operator()(const hold_run& in) {
      if (!rows.run) return respond(c, in.request, no_such_run(in.run));
      refuse_ended(c, in.request, rows.run->state);
    }
    void operator()(const resolve_run& in) {
      if (!rows.run) return respond(c, in.request, no_such_run(in.run));
      refuse_ended(c, in.request, rows.run->state);
    }
  };
  std::visit(visitor{c, rows}, request);
}

}  // namespace orchestrator::engine
