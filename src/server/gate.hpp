// What stands before every handler: it asks who calls (auth), whether he may (access_table), and enters what
// changes something into the audit trail. It is the HTTP server as server.cpp and the handlers see it, so
// that no route goes past it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <orchestrator/net/http.hpp>

#include "audit.hpp"
#include "auth.hpp"

namespace orchestrator::server {

class gate final : public net::http_server {
 public:
  gate(std::unique_ptr<net::http_server> inner, authenticator& auth, audit_trail& audit);

  /// A route without a line in the table is a bug of ours, and ends the start.
  void add(net::route r) override;
  /// Likewise a line without a route.
  void expect_all_rules() const;
  /// The worker link. `check` comes first.
  void add(net::websocket_endpoint endpoint) override;
  void set_access_check(net::access_check check) override;
  boost::system::result<std::uint16_t> listen(const std::string& host, std::uint16_t port) override;
  void start() override;
  asio::awaitable<void> stop(std::chrono::milliseconds limit) override;
  std::vector<std::pair<std::string, std::string>> routes() const override { return inner_->routes(); }
  void end_connections(const std::function<bool(const net::caller&)>& is_out,
                       const std::string& reason) override;

  /// Ends the connections of all who are out since the last call. To be called a few times a second.
  void show_out();

 private:
  std::optional<refusal> check_api(net::http_request& head, const net::route* matched);
  std::optional<refusal> check_worker(net::http_request& head);

  std::unique_ptr<net::http_server> inner_;
  authenticator& auth_;
  audit_trail& audit_;
  std::uint64_t endings_ = 0;
  std::optional<wall_time> next_ending_;
};

}  // namespace orchestrator::server
