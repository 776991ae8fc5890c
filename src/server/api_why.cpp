// Why: of a run, every condition that keeps it from starting; of a job, whether its schedule goes on, what
// its ledger says last, and its newest run; of a job at a time in the past, what became of its instant.
#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

json::value text_or_null(const std::string& text) { return text.empty() ? json::value() : json::value(text); }

// ---- a run

const char* forecast_text(engine::forecast_kind kind) {
  switch (kind) {
    case engine::forecast_kind::at: return "at";
    case engine::forecast_kind::at_most: return "at_most";
    case engine::forecast_kind::unknown: break;
  }
  return "unknown";
}

json::array show_reasons(const std::vector<engine::blocking_reason>& reasons) {
  json::array list;
  for (const auto& reason : reasons) {
    json::object o;
    o["code"] = to_string(reason.code);
    o["detail"] = reason.detail;
    o["remedy"] = reason.remedy;
    o["holders"] = json::array(reason.holders.begin(), reason.holders.end());
    o["forecast"] = forecast_text(reason.forecast);
    o["until"] = reason.until ? json::value(to_rfc3339(*reason.until)) : json::value();
    list.push_back(std::move(o));
  }
  return list;
}

struct found_run {
  std::optional<store::run_with_attempts> row;
};

/// Nothing if there is no such run.
asio::awaitable<std::optional<json::object>> why_run(api& a, run_id id) {
  const auto reasons = a.core.view().why(id, engine_time{read_mono_clock(), read_wall_clock()});
  co_await a.core.until_durable(a.core.view().issued());
  std::function<found_run(store::reader&)> query = [id](store::reader& reader) {
    return found_run{reader.find_run(id)};
  };
  const found_run found = co_await a.core.read(std::move(query));
  if (!found.row) co_return std::nullopt;
  json::object o;
  o["run"] = to_string(id);
  o["job"] = found.row->run.job;
  o["state"] = to_string(found.row->run.state);
  o["reason"] = text_or_null(found.row->run.reason);
  o["reasons"] = reasons ? show_reasons(*reasons) : json::array{};
  co_return o;
}

asio::awaitable<net::http_response> why_of_run(api& a, net::http_request r) {
  const auto id = co_await resolve_run_id(a, r.path_parameters[0]);
  if (!id) co_return reply(a, id.error());
  if (const auto found = co_await why_run(a, *id)) co_return reply(a, *found);
  co_return reply(a, refusal{errc::not_found, fmt::format("there is no run {}", to_string(*id)), "", ""});
}

// ---- a job

struct job_facts {
  std::optional<stored_job> job;
  std::optional<stored_instant> row;  ///< what decided its last instant
  std::optional<run_id> run;          ///< its newest
};

asio::awaitable<job_facts> read_facts(api& a, const std::string& job, wall_time at) {
  std::function<job_facts(store::reader&)> query = [job, at](store::reader& reader) {
    return job_facts{reader.find_job(job), store::decided_at(reader, job, at), reader.last_run_of(job)};
  };
  co_return co_await a.core.read(std::move(query));
}

json::object show_row(const stored_instant& row) {
  json::object o;
  o["instant"] = to_rfc3339(row.instant);
  o["until"] = to_rfc3339(row.until);  // later than `instant` where several ended the same way
  o["count"] = row.count;
  o["outcome"] = to_string(row.outcome);
  o["rule"] = text_or_null(row.rule);
  o["run"] = row.run ? json::value(to_string(*row.run)) : json::value();
  return o;
}

/// What the schedule of a job does next, and what keeps it from that.
struct prospect {
  std::optional<wall_time> next;
  json::array reasons;

  void add(const char* code, std::string detail, std::string remedy) {
    json::object o;
    o["code"] = code;
    o["detail"] = std::move(detail);
    o["remedy"] = std::move(remedy);
    reasons.push_back(std::move(o));
  }
};

prospect prospect_of(const api& a, const job& j, bool scheduled) {
  prospect p;
  const auto next = a.core.view().next_instants(j.name, read_wall_clock(), 1);
  if (next && !next->empty()) p.next = next->front().instant;
  if (j.paused)
    p.add("job_paused", fmt::format("The job {} is paused.", j.name), "orchestrator job resume " + j.name);
  if (scheduled && j.schedule_paused)
    p.add("schedule_paused", fmt::format("The schedule of {} is paused.", j.name),
          "orchestrator schedule resume " + j.name);
  if (!scheduled)
    p.add("no_schedule", fmt::format("No schedule runs {}.", j.name), "orchestrator job run " + j.name);
  else if (next && next->empty())
    p.add("no_next_instant", fmt::format("The schedule of {} has no further instant.", j.name),
          "orchestrator job run " + j.name);
  return p;
}

bool has_schedule(const stored_job& row) {
  const auto parsed = protocol::parse_json(row.text);
  const auto definition = parsed ? protocol::decode_job(*parsed) : result<job_definition>(parsed.error());
  return definition && definition->schedule && definition->schedule->kind != schedule_kind::manual;
}

asio::awaitable<net::http_response> why_now(api& a, std::string name) {
  co_await a.core.until_durable(a.core.view().issued());
  const job_facts found = co_await read_facts(a, name, read_wall_clock());
  if (!found.job) {
    co_return reply(a, refusal{errc::not_found, fmt::format("there is no job `{}`", printable(name)), "",
                               "`orchestrator job list` shows all; of one that is gone: --at"});
  }
  prospect p = prospect_of(a, found.job->job, has_schedule(*found.job));
  json::object o;
  o["job"] = name;
  o["paused"] = found.job->job.paused;
  o["schedule_paused"] = found.job->job.schedule_paused;
  o["next"] = p.next ? json::value(to_rfc3339(*p.next)) : json::value();
  o["reasons"] = std::move(p.reasons);
  o["last"] = found.row ? json::value(show_row(*found.row)) : json::value();
  o["run"] = nullptr;
  if (found.run) {
    if (auto run = co_await why_run(a, *found.run)) o["run"] = std::move(*run);
  }
  co_return reply(a, o);
}

// ---- a time in the past

result<wall_time> decode_at(const std::string& text) {
  if (const auto time = parse_rfc3339(text)) return *time;
  if (const auto ago = parse_duration(text)) return read_wall_clock() - *ago;
  return refusal{errc::bad_field, "`at` must be an RFC 3339 time or a duration ago like 2h", "", ""};
}

/// Of a time that has not come nothing is decided.
refusal refuse_future(const api& a, const std::string& job, wall_time at) {
  const auto next = a.core.view().next_instants(job, read_wall_clock(), 1);
  std::string hint = fmt::format("`orchestrator schedule next {}` shows what is to come", printable(job));
  if (next && !next->empty())
    hint = fmt::format("the next instant of {} is {}", job, to_rfc3339(next->front().instant));
  return {errc::bad_field, fmt::format("{} is still to come, so nothing is decided yet", to_rfc3339(at)), "",
          std::move(hint)};
}

asio::awaitable<net::http_response> why_then(api& a, std::string name, std::string text) {
  const auto at = decode_at(text);
  if (!at) co_return reply(a, at.error());
  const job_facts found = co_await read_facts(a, name, *at);
  if (found.job && *at > read_wall_clock()) co_return reply(a, refuse_future(a, name, *at));
  if (!found.row) {
    const std::string known = found.job ? "no instant of job `{}` was decided at or before {}"
                                        : "there is no job `{}`, and nothing is known of it at {}";
    co_return reply(
        a, refusal{errc::not_found, fmt::format(fmt::runtime(known), printable(name), to_rfc3339(*at)), "",
                   "`orchestrator schedule history` shows what was decided"});
  }
  json::object o;
  o["job"] = name;
  o["at"] = to_rfc3339(*at);
  for (auto& member : show_row(*found.row)) o[member.key()] = std::move(member.value());
  co_return reply(a, o);
}

asio::awaitable<net::http_response> why_of_job(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {"at"})) co_return reply(a, *bad);
  const auto at = r.query.find("at");
  if (at == r.query.end()) co_return co_await why_now(a, r.path_parameters[0]);
  co_return co_await why_then(a, r.path_parameters[0], at->second);
}

}  // namespace

void add_why_routes(net::http_server& http, api& a) {
  http.add(
      {"GET", "/api/v1/runs/{id}/why", [&a](net::http_request r) { return why_of_run(a, std::move(r)); }});
  http.add(
      {"GET", "/api/v1/jobs/{name}/why", [&a](net::http_request r) { return why_of_job(a, std::move(r)); }});
}

}  // namespace orchestrator::server
