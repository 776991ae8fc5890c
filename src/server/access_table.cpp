// The tables themselves; see access_table.hpp.
#include "access_table.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include <orchestrator/base/check.hpp>

#include "dashboard.hpp"

namespace orchestrator::server {
namespace {

constexpr rule table[] = {
    {"GET", "/healthz", need::nobody, false},
    {"GET", "/readyz", need::nobody, false},
    {"GET", "/api/worker-status", need::read, false},
    {"GET", "/metrics", need::read, false},
    {"GET", "/api/v1/version", need::read, false},
    {"GET", "/api/v1/status", need::read, false},
    {"GET", "/api/v1/events", need::read, false},

    {"POST", "/api/v1/runs", need::operate, true},
    {"GET", "/api/v1/runs", need::read, false},
    {"POST", "/api/v1/runs:retry", need::operate, true},
    {"GET", "/api/v1/runs/{id}", need::read, false},
    {"GET", "/api/v1/runs/{id}/why", need::read, false},
    {"GET", "/api/v1/runs/{id}/logs", need::read, false},
    {"POST", "/api/v1/runs/{id}/cancel", need::operate, true},
    {"POST", "/api/v1/runs/{id}/retry", need::operate, true},
    {"POST", "/api/v1/runs/{id}/hold", need::operate, true},
    {"POST", "/api/v1/runs/{id}/release", need::operate, true},
    {"POST", "/api/v1/runs/{id}/resolve", need::operate, true},

    {"POST", "/api/v1/jobs:apply", need::operate, true},
    {"GET", "/api/v1/jobs", need::read, false},
    {"GET", "/api/v1/jobs/{name}", need::read, false},
    {"PUT", "/api/v1/jobs/{name}", need::operate, true},
    {"DELETE", "/api/v1/jobs/{name}", need::operate, true},
    {"POST", "/api/v1/jobs/{name}/run", need::operate, true},
    {"POST", "/api/v1/jobs/{name}/pause", need::operate, true},
    {"POST", "/api/v1/jobs/{name}/resume", need::operate, true},
    {"GET", "/api/v1/jobs/{name}/why", need::read, false},

    {"GET", "/api/v1/schedules", need::read, false},
    {"GET", "/api/v1/schedules/{job}/next", need::read, false},
    {"GET", "/api/v1/schedules/{job}/history", need::read, false},
    {"POST", "/api/v1/schedules/{job}/pause", need::operate, true},
    {"POST", "/api/v1/schedules/{job}/resume", need::operate, true},
    {"POST", "/api/v1/schedules/{job}/backfill", need::operate, true},
    {"POST", "/api/v1/schedules:preview", need::read, false},

    {"GET", "/api/v1/calendars", need::read, false},
    {"GET", "/api/v1/calendars/{name}", need::read, false},
    {"PUT", "/api/v1/calendars/{name}", need::operate, true},
    {"DELETE", "/api/v1/calendars/{name}", need::operate, true},

    {"GET", "/api/v1/workers", need::read, false},
    {"GET", "/api/v1/workers/{id}", need::read, false},
    {"DELETE", "/api/v1/workers/{id}", need::operate, true},
    {"POST", "/api/v1/workers/{id}/drain", need::operate, true},
    {"POST", "/api/v1/workers/{id}/resume", need::operate, true},

    {"GET", "/api/v1/queues", need::read, false},
    {"GET", "/api/v1/queues/{name}", need::read, false},
    {"PUT", "/api/v1/queues/{name}", need::operate, true},
    {"POST", "/api/v1/queues/{name}/pause", need::operate, true},
    {"POST", "/api/v1/queues/{name}/resume", need::operate, true},

    {"GET", "/api/v1/tokens", need::admin, false},
    {"POST", "/api/v1/tokens", need::admin, true},
    {"GET", "/api/v1/tokens/{id}", need::admin, false},
    {"POST", "/api/v1/tokens/{id}/revoke", need::admin, true},
    {"GET", "/api/v1/audit", need::admin, false},

    {"GET", "/api/v1/session", need::read, false},
    {"POST", "/api/v1/session", need::read, true},
    {"DELETE", "/api/v1/session", need::read, true},
};

constexpr rule of_the_dashboard{"GET", "/*", need::nobody, false};

using body = decltype(protocol::worker_message::body);
constexpr std::array<link_rule, std::variant_size_v<body>> link_table = {{
    {"worker_register", need::worker},
    {"heartbeat", need::worker},
    {"event", need::worker},
    {"job_output", need::worker},
    {"job_result", need::worker},
    {"ack", need::worker},
    {"(unknown)", need::worker},
    {"(invalid)", need::worker},
}};
/// A type of message that was added without a line has an empty one.
static_assert(std::ranges::none_of(link_table, [](const link_rule& r) { return r.type.empty(); }));

struct sender {
  std::string_view operator()(const protocol::worker_ack&) const { return {}; }
  template <class Message>
  std::string_view operator()(const Message& m) const {
    return m.worker_id;
  }
};

}  // namespace

const char* to_string(role r) {
  switch (r) {
    case role::read: return "read";
    case role::operate: return "operator";
    case role::admin: return "admin";
    case role::worker: return "worker";
  }
  ORC_CHECK(false, "a role outside its enumeration");
}

std::optional<role> parse_role_word(std::string_view word) {
  for (const role r : {role::read, role::operate, role::admin, role::worker}) {
    if (word == to_string(r)) return r;
  }
  return std::nullopt;
}

const char* to_string(need n) {
  switch (n) {
    case need::nobody: return "nobody";
    case need::read: return "read";
    case need::operate: return "operator";
    case need::admin: return "admin";
    case need::worker: return "worker";
  }
  ORC_CHECK(false, "a need outside its enumeration");
}

bool suffices(role has, need wanted) {
  switch (wanted) {
    case need::nobody: return true;
    case need::read: return has == role::read || has == role::operate || has == role::admin;
    case need::operate: return has == role::operate || has == role::admin;
    case need::admin: return has == role::admin;
    case need::worker: return has == role::worker;
  }
  ORC_CHECK(false, "a need outside its enumeration");
}

refusal lacks_role(const identity& who, need wanted) {
  return {errc::forbidden,
          fmt::format("this takes a token with the role {}, and `{}` has the role {}", to_string(wanted),
                      who.name, to_string(who.role)),
          "",
          fmt::format("whoever has an admin token can make one: orchestrator token create --role {}",
                      to_string(wanted))};
}

std::span<const rule> rules() { return table; }

const rule* find_rule(const net::route& r) {
  if (is_dashboard_route(r)) return &of_the_dashboard;
  for (const rule& line : table) {
    if (line.method == r.method && line.pattern == r.pattern) return &line;
  }
  return nullptr;
}

const link_rule& rule_of(const protocol::worker_message& m) { return link_table[m.body.index()]; }

std::string_view sender_of(const protocol::worker_message& m) { return std::visit(sender{}, m.body); }

}  // namespace orchestrator::server
