// The order of the questions: who, may he, does it change something. See gate.hpp.
#include "gate.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/check.hpp>
#include <orchestrator/telemetry/log.hpp>

namespace orchestrator::server {
namespace {

bool is_safe(std::string_view method) { return method == "GET" || method == "HEAD" || method == "OPTIONS"; }

/// A browser sends its cookie whatever page made it ask. So a change also takes what only a page of ours can
/// know, and the word of the browser that it is one; net has refused every other Origin already.
std::optional<refusal> check_browser(const net::http_request& head, const identity& who) {
  if (who.session.empty() || is_safe(head.method)) return std::nullopt;
  if (head.header("origin") == nullptr) {
    return refusal{errc::forbidden, "a change by a session needs the Origin header, which browsers send", "",
                   "scripts use a token: Authorization: Bearer TOKEN"};
  }
  const std::string* given = head.header("orchestrator-csrf");
  if (given == nullptr || *given != who.csrf) {
    return refusal{errc::forbidden, "a change by a session needs the right Orchestrator-CSRF header", "",
                   "GET /api/v1/session says which; scripts use a token: Authorization: Bearer TOKEN"};
  }
  return std::nullopt;
}

/// A change with its entry in the audit trail around it.
asio::awaitable<net::http_response> recorded(audit_trail& audit, const net::http_handler& handler,
                                             net::http_request r) {
  const auto entry = audit.begin(r, read_wall_clock());
  if (!entry) co_return net::problem(entry.error());
  net::http_response answer = co_await handler(std::move(r));
  audit.end(*entry, answer);
  co_return answer;
}

}  // namespace

gate::gate(std::unique_ptr<net::http_server> inner, authenticator& auth, audit_trail& audit)
    : inner_(std::move(inner)), auth_(auth), audit_(audit) {
  inner_->set_access_check(
      [this](net::http_request& head, const net::route* matched) { return check_api(head, matched); });
}

void gate::add(net::route r) {
  const rule* line = find_rule(r);
  ORC_CHECK(line != nullptr, "a route has no line in access_table.cpp");
  telemetry::debug("Serves {} {} to {}", r.method, r.pattern, to_string(line->least));
  if (line->changes) {
    r.handler = [&audit = audit_, handler = std::move(r.handler)](net::http_request request) {
      return recorded(audit, handler, std::move(request));
    };
  }
  inner_->add(std::move(r));
}

void gate::expect_all_rules() const {
  const auto there = inner_->routes();
  for (const rule& line : rules()) {
    const bool found = std::any_of(there.begin(), there.end(), [&line](const auto& route) {
      return route.first == line.method && route.second == line.pattern;
    });
    ORC_CHECK(found, "a line of access_table.cpp has no route");
  }
}

void gate::add(net::websocket_endpoint endpoint) {
  endpoint.check = [this, first = std::move(endpoint.check)](net::http_request& head) {
    auto refused = first ? first(head) : std::nullopt;
    return refused ? refused : check_worker(head);
  };
  inner_->add(std::move(endpoint));
}

void gate::set_access_check(net::access_check) { ORC_CHECK(false, "the gate has its own access check"); }

boost::system::result<std::uint16_t> gate::listen(const std::string& host, std::uint16_t port) {
  return inner_->listen(host, port);
}

void gate::start() { inner_->start(); }

asio::awaitable<void> gate::stop(std::chrono::milliseconds limit) { co_await inner_->stop(limit); }

void gate::end_connections(const std::function<bool(const net::caller&)>& is_out, const std::string& reason) {
  inner_->end_connections(is_out, reason);
}

std::optional<refusal> gate::check_api(net::http_request& head, const net::route* matched) {
  const rule* line = matched == nullptr ? nullptr : find_rule(*matched);
  const need least = line == nullptr ? need::read : line->least;
  if (least == need::nobody) return std::nullopt;
  const wall_time now = read_wall_clock();
  const bool is_change = line != nullptr && line->changes;
  const auto who = auth_.who_calls(head, now);
  if (!who) {
    if (is_change) audit_.refused(head, nullptr, 401, now);
    return who.error();
  }
  std::optional<refusal> refused;
  if (!suffices((*who)->role, least)) refused = lacks_role(**who, least);
  if (!refused) refused = check_browser(head, **who);
  if (refused && is_change) audit_.refused(head, who->get(), 403, now);
  if (!refused) head.from = *who;
  return refused;
}

std::optional<refusal> gate::check_worker(net::http_request& head) {
  const wall_time now = read_wall_clock();
  const auto who = auth_.who_connects(head, now);
  if (!who) {
    audit_.refused(head, nullptr, 401, now);
    return who.error();
  }
  if (!suffices((*who)->role, need::worker)) {
    audit_.refused(head, who->get(), 403, now);
    return lacks_role(**who, need::worker);
  }
  head.from = *who;
  return std::nullopt;
}

void gate::show_out() {
  const wall_time now = read_wall_clock();
  const bool by_time = next_ending_ && *next_ending_ <= now;
  if (endings_ == auth_.endings() && !by_time) return;
  endings_ = auth_.endings();
  inner_->end_connections(
      [this, now](const net::caller& from) {
        const auto& who = static_cast<const identity&>(from);
        return !who.answer_first && !auth_.is_in(who, now);
      },
      "the token has ended");
  next_ending_ = auth_.next_ending(now);
}

}  // namespace orchestrator::server
