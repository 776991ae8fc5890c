// Why a job did, or did not, run at a time in the past: what the ledger of its instants says.
#include <fmt/format.h>

#include <orchestrator/base/text.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

result<wall_time> decode_at(const net::http_request& r) {
  const auto found = r.query.find("at");
  if (found != r.query.end()) {
    if (const auto time = parse_rfc3339(found->second)) return *time;
    if (const auto ago = parse_duration(found->second)) return read_wall_clock() - *ago;
  }
  return refusal{errc::bad_field, "`at` must be an RFC 3339 time or a duration ago like 2h", "", ""};
}

struct decided_instant {
  bool job_known = false;
  std::optional<stored_instant> row;
};

/// The last instant that was decided at or before `at`.
decided_instant find_decided(store::reader& reader, const std::string& job, wall_time at) {
  decided_instant found;
  found.job_known = reader.find_job(job).has_value();
  found.row = store::decided_at(reader, job, at);
  return found;
}

asio::awaitable<net::http_response> why_then(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {"at"})) co_return reply(a, *bad);
  const auto at = decode_at(r);
  if (!at) co_return reply(a, at.error());
  const std::string name = r.path_parameters[0];
  std::function<decided_instant(store::reader&)> query = [name, when = *at](store::reader& reader) {
    return find_decided(reader, name, when);
  };
  const decided_instant found = co_await a.core.read(std::move(query));
  if (!found.row) {
    const std::string known = found.job_known ? "no instant of job `{}` was decided at or before {}"
                                              : "there is no job `{}`, and nothing is known of it at {}";
    co_return reply(
        a, refusal{errc::not_found, fmt::format(fmt::runtime(known), printable(name), to_rfc3339(*at)), "",
                   "`orchestrator schedule history` shows what was decided"});
  }
  json::object o;
  o["job"] = name;
  o["at"] = to_rfc3339(*at);
  o["instant"] = to_rfc3339(found.row->instant);
  o["until"] = to_rfc3339(found.row->until);  // later than `instant` where several ended the same way
  o["count"] = found.row->count;
  o["outcome"] = to_string(found.row->outcome);
  o["rule"] = found.row->rule.empty() ? json::value() : json::value(found.row->rule);
  o["run"] = found.row->run ? json::value(to_string(*found.row->run)) : json::value();
  co_return reply(a, o);
}

}  // namespace

void add_why_routes(net::http_server& http, api& a) {
  http.add(
      {"GET", "/api/v1/jobs/{name}/why", [&a](net::http_request r) { return why_then(a, std::move(r)); }});
}

}  // namespace orchestrator::server
