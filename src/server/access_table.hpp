// Who may do what: one table over the routes of the API and one over the messages of the worker link. `gate`
// asks it for every request, the coordinator for every message, and tests/integration/access_test.py checks
// each line of it against the program. A route that is not in it ends the start.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include <orchestrator/base/result.hpp>
#include <orchestrator/base/time.hpp>
#include <orchestrator/net/http.hpp>
#include <orchestrator/protocol/message.hpp>

namespace orchestrator::server {

enum class role : std::uint8_t {
  read,     ///< looks
  operate,  ///< also changes jobs, runs, queues, workers; in words: operator
  admin,    ///< also makes and revokes tokens, and sees who did what
  worker,   ///< is a worker, and nothing else
};
const char* to_string(role r);
std::optional<role> parse_role_word(std::string_view word);

/// What a route or message takes at least.
enum class need : std::uint8_t { nobody, read, operate, admin, worker };
const char* to_string(need n);
bool suffices(role has, need wanted);

/// Whom a credential belongs to; what a request carries as net::http_request::from.
struct identity final : net::caller {
  std::string key;   ///< of the token, for `authenticator::is_in`
  std::string name;  ///< of the token, as people gave it
  server::role role = role::read;
  std::string worker_id;  ///< the only worker it can be; empty: any
  std::string session;    ///< of the browser that sent a cookie; empty for a token itself
  std::string csrf;       ///< what such a browser has to send with a change
  std::optional<wall_time> expires_at;
  /// This request ends what it came in by: its connection stays until it has its answer. Nothing else may
  /// come over it, since each request is checked anew.
  mutable bool answer_first = false;
};

/// 403: the role that is needed and the one that is there.
refusal lacks_role(const identity& who, need wanted);

struct rule {
  std::string_view method;
  std::string_view pattern;
  need least;
  bool changes;  ///< something, so it is entered in the audit trail
};
std::span<const rule> rules();
/// The line of a route: also for the dashboard's files, which are the same for everybody. Null if there is
/// none.
const rule* find_rule(const net::route& r);

struct link_rule {
  std::string_view type;
  need least;
};
/// By the message's place in worker_message::body.
const link_rule& rule_of(const protocol::worker_message& m);
/// The worker that a message says it comes from; empty if it says nothing.
std::string_view sender_of(const protocol::worker_message& m);

}  // namespace orchestrator::server
