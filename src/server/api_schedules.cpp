// Schedules: list, next instants, history, pause, resume, and a preview of one that is not stored.
#include <fmt/format.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/engine/timetable.hpp>
#include <orchestrator/protocol/api_json.hpp>
#include <orchestrator/server/zones.hpp>

#include "api.hpp"

namespace orchestrator::server {
namespace {

constexpr std::uint64_t next_default = 5;
constexpr std::uint64_t next_max = 100;
/// The search for instants goes no further (timetable.hpp).
const wall_time instants_end = parse_rfc3339("2401-01-01T00:00:00Z").value();

json::object show_instant(const engine::upcoming_instant& i) {
  json::object o;
  o["instant"] = to_rfc3339(i.instant, seconds{i.utc_offset});
  o["utc"] = to_rfc3339(i.instant);
  o["note"] = i.note.empty() ? json::value(nullptr) : json::value(i.note);
  if (i.delay > milliseconds{0}) o["starts"] = to_rfc3339(i.instant + i.delay);
  return o;
}

json::array show_instants(const std::vector<engine::upcoming_instant>& list) {
  json::array out;
  for (const auto& i : list) out.push_back(show_instant(i));
  return out;
}

struct calendar_rows {
  std::vector<stored_calendar> rows;
};

/// The calendars that a schedule names, as they are stored now.
asio::awaitable<result<engine::day_filter>> find_calendars(api& a, const schedule& s) {
  engine::day_filter days;
  if (s.include.empty() && s.exclude.empty()) co_return days;
  std::function<calendar_rows(store::reader&)> query = [](store::reader& reader) {
    return calendar_rows{reader.list_calendars()};
  };
  const calendar_rows found = co_await a.core.read(std::move(query));
  for (const auto& [key, names, out] :
       {std::tuple{"include", &s.include, &days.include}, std::tuple{"exclude", &s.exclude, &days.exclude}}) {
    for (std::size_t i = 0; i < names->size(); ++i) {
      const auto row = std::find_if(found.rows.begin(), found.rows.end(),
                                    [&](const stored_calendar& c) { return c.name == (*names)[i]; });
      const auto parsed =
          row == found.rows.end() ? result<json::value>(refusal{}) : protocol::parse_json(row->text);
      auto decoded = parsed ? protocol::decode_calendar(*parsed) : result<day_calendar>(refusal{});
      if (!decoded) {
        co_return refusal{errc::bad_field, fmt::format("there is no calendar `{}`", printable((*names)[i])),
                          fmt::format("/schedule/{}/{}", key, i), "`orchestrator calendar list` shows all"};
      }
      out->push_back(std::make_shared<const day_calendar>(std::move(*decoded)));
    }
  }
  co_return days;
}

/// Reads `from` (RFC 3339, default now); the refusal names it.
result<wall_time> decode_from(const std::string* text) {
  if (text == nullptr) return read_wall_clock();
  const auto t = parse_rfc3339(*text);
  if (!t) return refusal{errc::bad_field, "`from` must be an RFC 3339 time", "/from", ""};
  if (*t >= instants_end) {
    return refusal{errc::bad_field, "instants end with the year 2400, and `from` is later", "/from",
                   "give an earlier time"};
  }
  return *t;
}

struct scheduled_jobs {
  std::vector<stored_job> rows;
};

asio::awaitable<net::http_response> list(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {})) co_return reply(a, *bad);
  std::function<scheduled_jobs(store::reader&)> query = [](store::reader& reader) {
    return scheduled_jobs{reader.list_jobs()};
  };
  const scheduled_jobs found = co_await a.core.read(std::move(query));
  json::array items;
  for (const stored_job& row : found.rows) {
    const auto parsed = protocol::parse_json(row.text);
    if (!parsed) continue;
    const auto definition = protocol::decode_job(*parsed);
    if (!definition || !definition->schedule) continue;
    json::object o;
    o["job"] = row.job.name;
    o["text"] = protocol::describe(*definition->schedule);
    o["time_zone"] = definition->schedule->time_zone;
    o["paused"] = row.job.schedule_paused || row.job.paused;
    const auto next = a.core.view().next_instants(row.job.name, read_wall_clock(), 1);
    o["next"] = next ? show_instants(*next) : json::array{};
    items.push_back(std::move(o));
  }
  co_return reply_page(a, std::move(items), nullptr);
}

asio::awaitable<net::http_response> next(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {"count", "from"})) co_return reply(a, *bad);
  const auto count = number_parameter(r, "count", next_default, 1, next_max);
  if (!count) co_return reply(a, count.error());
  const auto given = r.query.find("from");
  const auto from = decode_from(given == r.query.end() ? nullptr : &given->second);
  if (!from) co_return reply(a, from.error());
  const auto list = a.core.view().next_instants(r.path_parameters[0], *from, *count);
  co_await a.core.until_durable(a.core.view().issued());
  if (!list) co_return reply(a, list.error());
  co_return reply(a, show_instants(*list));
}

asio::awaitable<net::http_response> preview(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  if (auto bad = check_keys(*body, {"schedule", "from", "count"})) co_return reply(a, *bad);
  // The one decoder of job definitions reads the schedule too: it is put into the smallest definition there
  // is.
  json::object wrapped;
  wrapped["name"] = "preview";
  wrapped["builtin"] = "noop";
  wrapped["schedule"] = body->contains("schedule") ? body->at("schedule") : json::value(json::object{});
  const auto definition = protocol::decode_job(wrapped);
  if (!definition) co_return reply(a, definition.error());
  const json::value* from_value = body->if_contains("from");
  std::optional<std::string> from_text;  // what is no text is no time either
  if (from_value != nullptr) from_text = from_value->is_string() ? std::string(from_value->as_string()) : "";
  const auto from = decode_from(from_text ? &*from_text : nullptr);
  if (!from) co_return reply(a, from.error());
  const json::value* count_value = body->if_contains("count");
  std::int64_t count = next_default;
  if (count_value != nullptr) count = count_value->is_int64() ? count_value->as_int64() : 0;
  if (count < 1 || count > static_cast<std::int64_t>(next_max)) {
    co_return reply(a,
                    refusal{errc::bad_field, "`count` must be a whole number from 1 to 100", "/count", ""});
  }
  const auto& schedule = *definition->schedule;
  if (auto bad = engine::check_schedule(schedule)) co_return reply(a, *bad);
  const auto zone = load_zone_table(schedule.time_zone);
  if (!zone) co_return reply(a, zone.error());
  auto days = co_await find_calendars(a, schedule);
  if (!days) co_return reply(a, days.error());
  const auto calendar = engine::make_calendar(schedule, *from, *zone, std::move(*days));
  if (!calendar) co_return reply(a, calendar.error());
  json::array out;
  wall_time after = *from;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto instant = (*calendar)->next(after);
    if (!instant) break;
    out.push_back(show_instant(*instant));
    after = instant->instant;
  }
  co_return reply(a, out);
}

struct instant_rows {
  bool job_known = false;
  std::vector<stored_instant> rows;
};

asio::awaitable<net::http_response> history(api& a, net::http_request r) {
  if (auto bad = check_parameters(r, {"cursor", "limit"})) co_return reply(a, *bad);
  const auto limit = number_parameter(r, "limit", limits::page_default, 1, limits::page_max);
  if (!limit) co_return reply(a, limit.error());
  std::optional<wall_time> before;
  if (const auto cursor = r.query.find("cursor"); cursor != r.query.end()) {
    if (before = parse_rfc3339(cursor->second); !before) {
      co_return reply(
          a, refusal{errc::bad_field, "`cursor` must be the next_cursor of an earlier page", "/cursor", ""});
    }
  }
  const std::string name = r.path_parameters[0];
  std::function<instant_rows(store::reader&)> query = [name, before,
                                                       wanted = *limit + 1](store::reader& reader) {
    return instant_rows{reader.find_job(name).has_value(), reader.list_instants(name, before, wanted)};
  };
  instant_rows found = co_await a.core.read(std::move(query));
  if (!found.job_known && found.rows.empty()) {
    co_return reply(a,
                    refusal{errc::not_found, fmt::format("there is no job `{}`", printable(name)), "", ""});
  }
  json::value next = nullptr;
  if (found.rows.size() > *limit) {
    found.rows.resize(*limit);
    next = to_rfc3339(found.rows.back().instant);
  }
  json::array items;
  for (const auto& row : found.rows) {
    json::object o;
    o["instant"] = to_rfc3339(row.instant);
    o["until"] = to_rfc3339(row.until);
    o["count"] = row.count;
    o["outcome"] = to_string(row.outcome);
    o["run"] = row.run ? json::value(to_string(*row.run)) : json::value(nullptr);
    o["rule"] = row.rule;
    items.push_back(std::move(o));
  }
  co_return reply_page(a, std::move(items), std::move(next));
}

/// A time of the body that must be there.
result<wall_time> read_time(const json::object& body, std::string_view key) {
  const json::value* v = body.if_contains(key);
  const auto t = v != nullptr && v->is_string() ? parse_rfc3339(v->as_string()) : std::nullopt;
  if (t) return *t;
  return refusal{errc::bad_field, fmt::format("`{}` must be an RFC 3339 time", key), fmt::format("/{}", key),
                 ""};
}

asio::awaitable<net::http_response> backfill(api& a, net::http_request r) {
  const auto body = body_object(r);
  if (!body) co_return reply(a, body.error());
  if (auto bad = check_keys(*body, {"from", "to", "dry_run"})) co_return reply(a, *bad);
  const auto from = read_time(*body, "from");
  if (!from) co_return reply(a, from.error());
  const auto to = read_time(*body, "to");
  if (!to) co_return reply(a, to.error());
  engine::backfill_schedule request;
  request.job = r.path_parameters[0];
  request.from = *from;
  request.to = *to;
  const auto dry = flag_of(*body, "dry_run");
  if (!dry) co_return reply(a, dry.error());
  request.dry_run = *dry;
  const engine::answer answer = co_await a.core.ask(std::move(request));
  if (const auto* refused = std::get_if<refusal>(&answer.body)) co_return reply(a, *refused);
  const auto& done = std::get<engine::backfill_answer>(answer.body);
  json::array items;
  for (const auto& item : done.items) {
    json::object o;
    o["instant"] = to_rfc3339(item.instant);
    o["run"] = item.run ? json::value(to_string(*item.run)) : json::value(nullptr);
    items.push_back(std::move(o));
  }
  json::object out;
  out["items"] = std::move(items);
  out["had_runs"] = done.had_runs;
  co_return reply(a, out);
}

}  // namespace

void add_schedule_routes(net::http_server& http, api& a) {
  http.add({"GET", "/api/v1/schedules", [&a](net::http_request r) { return list(a, std::move(r)); }});
  http.add(
      {"GET", "/api/v1/schedules/{job}/next", [&a](net::http_request r) { return next(a, std::move(r)); }});
  http.add({"GET", "/api/v1/schedules/{job}/history",
            [&a](net::http_request r) { return history(a, std::move(r)); }});
  http.add({"POST", "/api/v1/schedules/{job}/pause", without_fields(a, [&a](net::http_request r) {
              return pause_job(a, r.path_parameters[0], true, true);
            })});
  http.add({"POST", "/api/v1/schedules/{job}/resume", without_fields(a, [&a](net::http_request r) {
              return pause_job(a, r.path_parameters[0], true, false);
            })});
  http.add({"POST", "/api/v1/schedules/{job}/backfill",
            [&a](net::http_request r) { return backfill(a, std::move(r)); }});
  http.add(
      {"POST", "/api/v1/schedules:preview", [&a](net::http_request r) { return preview(a, std::move(r)); }});
}

}  // namespace orchestrator::server
