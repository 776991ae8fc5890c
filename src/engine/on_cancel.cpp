// Cancelling a run: a durable flag that nothing overtakes. See requests.hpp.
#include "leases.hpp"
#include "requests.hpp"
#include "runs.hpp"
#include "step.hpp"

namespace orchestrator::engine {

void request_cancel(core& c, run_entry& r, std::string_view reason) {
  if (is_final(r.state) || r.cancel_requested) return;
  attempt_entry* a = live_attempt(r);
  if (a == nullptr) return finish_run(c, r, run_state::cancelled, reason);
  // Rule 5: slot and overlap stay taken until the attempt ends; its end will be `cancelled`, whatever it was.
  r.cancel_requested = true;
  announce(c, r);
  put_fact(c, "run.cancel_requested", subject_of(r),
           fact_data().add("lease", a->row.lease).add("reason", reason).take());
  send_cancel(c, *a);
}

void on(core& c, const cancel_run& in) {
  run_entry* r = c.runs.find(in.run);
  if (r == nullptr) return fetch_run(c, in.run, in);
  request_cancel(c, *r, "cancelled");
  run_answer a;
  a.run = to_row(*r);
  a.spec = r->spec->spec;
  respond(c, in.request, std::move(a));
}

}  // namespace orchestrator::engine
