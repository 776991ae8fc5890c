// The audit trail: who changed what, when, from where. An entry is handed to the store before the change is
// made, so that it is on disk no later than the change that it tells of; what became of the request is filled
// in behind it. Refusals for lack of rights are gathered, because anybody can cause them. Written by `gate`,
// read by api_access.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <boost/asio/awaitable.hpp>

#include <orchestrator/base/result.hpp>
#include <orchestrator/net/http.hpp>
#include <orchestrator/store/access_records.hpp>

#include "access_table.hpp"

namespace orchestrator::server {

namespace asio = boost::asio;

class audit_trail {
 public:
  /// Once, before the first request.
  void attach(store::access_records& records, std::uint64_t last_id);

  /// A change is about to be made. A refusal when it could not be told of: then it must not be made.
  result<std::uint64_t> begin(const net::http_request& r, wall_time now);
  void end(std::uint64_t id, const net::http_response& answer);
  /// Somebody was refused with 401 or 403; `who` is null when nobody knows him.
  void refused(const net::http_request& r, const identity* who, int status, wall_time now);
  /// Once a second or so: what was gathered long enough is written, and what waits is handed to the disk.
  void flush(wall_time now, bool all);

  /// Rows of tokens and sessions; comes back when they are on disk, with all that was written before.
  asio::awaitable<void> commit(std::vector<store::access_change> rows);
  asio::awaitable<std::vector<store::audit_entry>> list(store::audit_filter filter);

 private:
  /// Refusals of one address, name and status.
  using kind = std::tuple<std::string, std::string, int>;
  struct gathered {
    wall_time since{};
    store::audit_entry newest;
    std::uint64_t count = 0;  ///< beyond the one that was written at once
  };
  store::audit_entry entry_of(const net::http_request& r, const identity* who, wall_time now);

  store::access_records* records_ = nullptr;
  std::uint64_t last_id_ = 0;
  std::map<kind, gathered> refusals_;
};

}  // namespace orchestrator::server
