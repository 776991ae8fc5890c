// Offers: a placed run becomes an attempt with a lease of its own, and the message that carries it to the
// worker.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/protocol/codec.hpp>

#include "admission.hpp"
#include "leases.hpp"
#include "runs.hpp"
#include "sessions.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

double in_seconds(milliseconds d) { return static_cast<double>(d.count()) / 1000.0; }

// The original's message, key for key: nothing of ours goes to a peer that did not show it knows it.
protocol::execute_job legacy_message(const attempt_entry& a, const std::string& args) {
  protocol::execute_job m;
  m.job_id.id = static_cast<std::int64_t>(a.row.lease.value);
  m.script_path = a.run->spec->spec.script;
  m.script_args = args;
  return m;
}

protocol::execute_job message_of_spec(const run_spec& s, const std::string& args) {
  protocol::execute_job m;
  m.script_path = s.script;
  m.script_args = args;
  m.command = s.command;
  m.builtin = s.builtin;
  m.env = s.env;
  m.cwd = s.cwd;
  m.stdin_text = s.stdin_text;
  return m;
}

protocol::execute_job full_message(const core& c, const attempt_entry& a, const std::string& args) {
  const run_spec& s = a.run->spec->spec;
  protocol::execute_job m = message_of_spec(s, args);
  m.run_id = to_string(a.run->id);
  m.job_id.id = m.run_id;
  m.job = a.run->name->text;
  m.timeout_seconds = in_seconds(s.timeout);
  m.kill_grace_seconds = in_seconds(s.kill_grace);
  m.lease = a.row.lease;
  m.attempt = a.row.number;
  m.term = c.term;
  m.lease_ttl_seconds = in_seconds(ttl_of(c, s));
  m.on_lease_lost = is_killed_when_lost(s) ? "kill" : "keep";
  m.at_most_once = s.at_most_once;
  m.output_limit_bytes = s.output_limit;
  if (a.run->details && a.run->details->instant) m.scheduled_at = to_rfc3339(*a.run->details->instant);
  return m;
}

// Numbers, ids and names of an execute_job: what is not the specification's own.
constexpr std::size_t offer_overhead = 2048;

std::size_t text_bytes(const run_spec& s, std::string_view args) {
  std::size_t sum = s.script.size() + args.size() + s.builtin.size() + s.cwd.size() + s.stdin_text.size();
  for (const std::string& word : s.command) sum += word.size() + 4;
  for (const auto& [name, value] : s.env) sum += name.size() + value.size() + 8;
  return sum;
}

}  // namespace

std::optional<refusal> refuse_oversize(const run_spec& s, const std::string& args) {
  constexpr std::size_t longest_escape = 6;  // of a control character in JSON
  if (text_bytes(s, args) * longest_escape + offer_overhead <= limits::frame) return std::nullopt;
  const std::size_t bytes = protocol::encode(message_of_spec(s, args)).size() + offer_overhead;
  if (bytes <= limits::frame) return std::nullopt;
  return refuse(errc::too_large,
                fmt::format("What is to run takes {} bytes as a message to a worker; {} fit into one.", bytes,
                            limits::frame),
                "/stdin", "Put long input into a file that the job reads.");
}

void make_offer(core& c, run_entry& r, worker_entry& w) {
  ORC_CHECK(live_attempt(r) == nullptr, "a run was offered while an attempt of it is live");
  ORC_CHECK(w.session != nullptr && !w.session->dead, "an offer was made to a worker without a connection");
  attempt row;
  row.lease = lease_id{++c.lease_counter.value};
  row.run = r.id;
  row.number = static_cast<int>(++r.attempts);
  row.term = c.term;
  row.worker_id = w.row.worker_id;
  row.instance = w.row.instance;
  row.offered_at = c.now.wall;
  attempt_entry& a = file_attempt(c, r, w, std::move(row));
  a.line_moves = std::max(static_cast<int>(w.live.size()) - w.row.slots, 0);
  // A lease cannot have been silent before it was offered, however quiet an idle worker was.
  a.renewed_until = c.clock + silence_limit(c, r.spec->spec);
  if (w.row.legacy) a.deadline_base = c.clock;
  touch(c, a);
  details(r).avoid = 0;
  set_state(c, r, run_state::active, "");
  put_fact(c, "run.active", subject_of(r),
           fact_data()
               .add("job", r.name->text)
               .add("lease", a.row.lease)
               .add("attempt", a.row.number)
               .add("worker", w.row.worker_id)
               .take());
  refresh_capacity(c, w);
  const std::string& args = r.details->has_args ? r.details->args : r.spec->spec.args;
  send_to(c, *w.session, {std::nullopt, w.row.legacy ? legacy_message(a, args) : full_message(c, a, args)});
  if (w.row.legacy) w.session->legacy_acks = 0;
  arm_worker(c, w, a.renewed_until);
  if (r.spec->spec.lost_after) refresh_ping_interval(c, w);
}

void send_cancel(core& c, attempt_entry& a) {
  const session_entry* s = a.holder->session;
  if (s == nullptr || !s->protocol) return;
  protocol::cancel_job m;
  m.job_id.id = to_string(a.row.run);
  m.lease = a.row.lease;
  m.grace_seconds = in_seconds(a.run->spec->spec.kill_grace);
  send_to(c, *s, {std::nullopt, std::move(m)});
}

}  // namespace orchestrator::engine
