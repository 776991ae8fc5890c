// The worker's own view of its leases: they count from the send time of its last message that was answered,
// on CLOCK_BOOTTIME, so that it gives up before the coordinator does. Only jobs with on_lease_lost = kill
// depend on it. The time is recorded in the outbox now and then, so that a restarted daemon does not believe
// in a longer lease, and told to the supervisor a little more often: when the daemon is dead or frozen it is
// the one that kills.
#include <algorithm>

#include "core.hpp"

namespace orchestrator::agent {

namespace {

nanoseconds ttl_of(const core& c, const attempt& a) { return a.ttl.count() != 0 ? a.ttl : c.link.ttl; }

boot_time lease_end(const core& c, const attempt& a) {
  return std::max(a.contact, c.link.contact) + ttl_of(c, a);
}

/// Not at every ack: a busy connection brings thousands a second.
bool is_worth_telling(const core& c, const attempt& a, boot_time sent) {
  return sent - a.contact_told >= ttl_of(c, a) / 16;
}

void record_contact(core& c, attempt& a, boot_time at) {
  a.contact_recorded = at;
  write_record(c, a, record::contact, std::to_string(at.time_since_epoch().count()));
}

}  // namespace

void note_contact(core& c, boot_time sent) {
  if (sent <= c.link.contact) return;
  c.link.contact = sent;
  for (const std::uint64_t lease : c.kill_on_loss) {
    attempt& a = c.attempts.at(lease);
    if (sent - a.contact_recorded >= ttl_of(c, a) / 4) record_contact(c, a, sent);
    if (is_worth_telling(c, a, sent)) {
      a.contact_told = sent;
      c.out.emplace_back(renew_lease{lease, lease_end(c, a)});
    }
  }
}

bool may_start_under_lease(core& c, attempt& a) {
  if (!a.kill_on_loss || c.is_legacy()) return true;
  const nanoseconds patience = ttl_of(c, a) / 3;
  if (c.now.boot < c.link.contact + ttl_of(c, a) - patience) return true;
  if (c.now.boot >= a.contact_asked + patience) {
    a.contact_asked = c.now.boot;
    c.link.heartbeat_at = c.now.boot;
  }
  return false;
}

std::optional<boot_time> watch_lease(core& c, attempt& a) {
  if (!a.kill_on_loss || c.is_legacy()) return std::nullopt;
  c.kill_on_loss.insert(a.lease);
  a.contact = a.contact_told = c.link.contact;
  record_contact(c, a, a.contact);
  c.link.heartbeat_at = c.now.boot;  // from here on heartbeats come often enough to keep it
  return lease_end(c, a);
}

void tick_leases(core& c) {
  for (const std::uint64_t lease : std::set<std::uint64_t>{c.kill_on_loss}) {
    attempt& a = c.attempts.at(lease);
    if (a.killed != kill_reason::none || c.now.boot < lease_end(c, a)) continue;
    say(c, note_level::warning, "Killing lease {}: it could not be renewed for {}", lease,
        format_duration(std::chrono::duration_cast<milliseconds>(ttl_of(c, a))));
    kill_attempt(c, a, a.kill_grace, kill_reason::lease_lost);
  }
}

std::optional<boot_time> next_lease_deadline(const core& c) {
  std::optional<boot_time> next;
  for (const std::uint64_t lease : c.kill_on_loss) {
    const attempt& a = c.attempts.at(lease);
    if (a.killed != kill_reason::none) continue;
    const boot_time end = lease_end(c, a);
    if (!next || end < *next) next = end;
  }
  return next;
}

}  // namespace orchestrator::agent
