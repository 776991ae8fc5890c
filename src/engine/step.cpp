// The end of every step: one batch, one output batch, and the gate. See step.hpp.
#include <orchestrator/base/planted.hpp>

#include "step.hpp"

#include <algorithm>
#include <iterator>

#include "leases.hpp"
#include "on_tick.hpp"
#include "runs.hpp"
#include "sessions.hpp"

namespace orchestrator::engine {

void step_work::clear() {
  first.clear();
  runs.clear();
  attempts.clear();
  workers.clear();
  rest.clear();
  loose.clear();
  chunks.clear();
  gated.clear();
  direct.clear();
  lookups.clear();
  ballast.reset();
  cannot_start.reset();
  changed.clear();
  output_of.clear();
  facts = false;
}

void touch(core& c, run_entry& r) {
  if (r.dirty) return;
  r.dirty = true;
  c.step.runs.push_back(&r);
}

void touch(core& c, attempt_entry& a) {
  if (a.dirty) return;
  a.dirty = true;
  c.step.attempts.push_back(&a);
}

void touch(core& c, worker_entry& w) {
  if (w.dirty) return;
  w.dirty = true;
  c.step.workers.push_back(&w);
}

void put_fact(core& c, std::string_view type, std::string subject, std::string data) {
  c.step.rest.emplace_back(
      orchestrator::put_fact{{std::string(type), std::move(subject), c.now.wall, std::move(data)}});
  c.step.facts = true;
}

std::string subject_of(const run_entry& r) { return "run/" + to_string(r.id); }

void send_to(core& c, const session_entry& s, protocol::coordinator_message m, bool waits_for_output) {
  if (s.dead) return;
  c.step.gated.emplace_back(send{s.id, std::move(m)}, waits_for_output);
}

void respond(core& c, request_id request, decltype(answer::body) body) {
  // On a full disk the gate may be shut for hours, and this says only that.
  const auto* refused = std::get_if<refusal>(&body);
  if (refused != nullptr && refused->code == errc::no_space) {
    c.step.direct.emplace_back(answer{request, std::move(body)});
    return;
  }
  c.step.gated.emplace_back(answer{request, std::move(body)}, false);
}

refusal refuse(errc code, std::string detail, std::string pointer, std::string hint) {
  return {code, std::move(detail), std::move(pointer), std::move(hint)};
}

void send_now(core& c, const session_entry& s, protocol::coordinator_message m) {
  // Nothing overtakes the registration ack, not even what is exempt from the gate.
  if (s.registered && !s.registration_sent) return send_to(c, s, std::move(m));
  if (!s.dead) c.step.direct.emplace_back(send{s.id, std::move(m)});
}

void log(core& c, note_level level, std::string text) {
  c.step.direct.emplace_back(note{level, std::move(text)});
}

namespace {

// Rows in an order in which each refers only to earlier ones; an ended attempt was touched before its
// successor.
mutation_batch take_batch(core& c) {
  step_work& w = c.step;
  mutation_batch batch;
  batch.mutations = std::move(w.first);
  for (run_entry* r : w.runs) {
    batch.mutations.emplace_back(put_run{to_row(*r)});
    r->dirty = false;
  }
  for (attempt_entry* a : w.attempts) {
    batch.mutations.emplace_back(put_attempt{a->row});
    a->dirty = false;
    a->written = c.issued_number;
  }
  for (const lease_id lease : w.loose) batch.mutations.emplace_back(put_attempt{c.loose.at(lease).row});
  for (worker_entry* entry : w.workers) {
    batch.mutations.emplace_back(put_worker{entry->row});
    entry->dirty = false;
  }
  std::move(w.rest.begin(), w.rest.end(), std::back_inserter(batch.mutations));
  return batch;
}

void add_notifications(core& c) {
  step_work& w = c.step;
  if (w.facts || !w.changed.empty()) {
    notify n;
    n.runs = std::move(w.changed);
    n.facts = w.facts;
    for (const run_id& id : n.runs) {
      if (run_entry* r = c.runs.find(id)) r->announced = false;
    }
    w.gated.emplace_back(std::move(n), false);
  }
  if (!w.output_of.empty()) {
    notify n;
    n.output = true;
    std::sort(w.output_of.begin(), w.output_of.end());
    w.output_of.erase(std::unique(w.output_of.begin(), w.output_of.end()), w.output_of.end());
    n.leases = std::move(w.output_of);
    w.gated.emplace_back(std::move(n), true);
  }
}

// Final runs stay in memory until their end is durable: until then the store could only show an older state.
void note_departures(core& c) {
  for (const run_entry* r : c.step.runs) {
    if (is_final(r->state)) c.departures.emplace_back(c.issued_number, r->id);
  }
}

// What a defect of the simulator lets through the gate.
bool slips_through(const output& o, bool has_rows) {
  if (planted(defect::no_gate_for_unchanged)) return !has_rows;
  const auto* m = std::get_if<send>(&o);
  if (m == nullptr) return false;
  const auto* ack = std::get_if<protocol::ack>(&m->message.body);
  if (planted(defect::ack_before_commit)) return ack != nullptr && !ack->registered;
  return planted(defect::offer_before_commit) &&
         std::holds_alternative<protocol::execute_job>(m->message.body);
}

}  // namespace

void finish_step(core& c, effects& out) {
  step_work& w = c.step;
  add_notifications(c);
  const bool has_rows = !w.first.empty() || !w.runs.empty() || !w.attempts.empty() || !w.workers.empty() ||
                        !w.rest.empty() || !w.loose.empty();
  if (has_rows) {
    ++c.issued_number;
    note_departures(c);
    out.commit = take_batch(c);
    out.commit->number = c.issued_number;
  }
  ORC_CHECK(w.output_of.empty() || !w.chunks.empty(), "an ack was to wait for output that nobody writes");
  if (!w.chunks.empty()) {
    out.commit_output = output_batch{++c.issued_output, std::move(w.chunks)};
  }
  std::vector<output> released;
  for (auto& [what, waits_for_output] : w.gated) {
    if (slips_through(what, has_rows))
      released.push_back(std::move(what));
    else
      c.gate.hold(std::move(what), c.issued_number, waits_for_output ? c.issued_output : 0);
  }
  out.lookups = std::move(w.lookups);
  out.ballast = w.ballast;
  out.outputs = std::move(w.direct);
  c.gate.release(released);
  w.clear();
  deliver(c, std::move(released), out.outputs);
  // Acks that a legacy worker's limit holds back, and timers, may have changed in deliver.
  refresh_deadline(c);
}

}  // namespace orchestrator::engine
