// The HTTP API's resources. Every key is always there, null for what is not known yet, so that scripts need
// no special cases. The server writes these, the CLI prints them, golden tests hold their shape.
#include <algorithm>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/api_json.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "definition_parts.hpp"

namespace orchestrator::protocol {
namespace {

// Boost.JSON reads json::value{x} as a list of one, so values are made by assignment or with parentheses
// only.
json::value text(std::string_view t) { return json::value(json::string_view{t.data(), t.size()}); }

json::value text_or_null(std::string_view t) { return t.empty() ? json::value() : text(t); }

json::value time_or_null(const std::optional<wall_time>& t) {
  return t ? text(to_rfc3339(*t)) : json::value();
}

template <class T>
json::value number_or_null(const std::optional<T>& number) {
  return number ? json::value(*number) : json::value();
}

json::value seconds_between(const std::optional<wall_time>& from, const std::optional<wall_time>& to) {
  if (!from || !to) return nullptr;
  return json::value(static_cast<double>((*to - *from).count()) / 1000);
}

json::object write_map(const std::map<std::string, std::string>& map) {
  json::object o;
  for (const auto& [name, value] : map) o[name] = value;
  return o;
}

json::value spec_or_null(const run_spec* spec) {
  if (spec == nullptr) return nullptr;
  json::object o;
  write_spec(*spec, o);
  return o;
}

// People are shown when the process ended, not when its result came and was decided about.
std::optional<wall_time> end_of(const run& r, std::span<const attempt> attempts) {
  const auto deciding = std::find_if(attempts.begin(), attempts.end(),
                                     [&](const attempt& a) { return a.lease == r.deciding_lease; });
  return r.finished_at && deciding != attempts.end() && deciding->finished_at ? deciding->finished_at
                                                                              : r.finished_at;
}

}  // namespace

const char* to_string(presence p) {
  switch (p) {
    case presence::online: return "online";
    case presence::stale: return "stale";
    case presence::offline: return "offline";
  }
  return "invalid";
}

json::object attempt_to_json(const attempt& a) {
  json::object o;
  o["number"] = a.number;
  o["lease"] = a.lease.value;
  o["worker_id"] = a.worker_id;
  o["state"] = to_string(a.state);
  o["reason"] = text_or_null(a.reason);
  o["exit_code"] = number_or_null(a.exit_code);
  o["signal"] = number_or_null(a.signal);
  o["offered_at"] = to_rfc3339(a.offered_at);
  o["started_at"] = time_or_null(a.started_at);
  o["finished_at"] = time_or_null(a.finished_at);
  o["duration_seconds"] = number_or_null(a.duration_seconds);
  o["max_rss_bytes"] = number_or_null(a.max_rss_bytes);
  o["cpu_seconds"] = number_or_null(a.cpu_seconds);
  json::object& streams = o["output_bytes"].emplace_object();
  for (const auto& [stream, bytes] : a.output_bytes) streams[stream] = bytes;
  o["late"] = a.late;
  o["error"] = text_or_null(a.error);
  o["superseded_status"] = text_or_null(a.superseded_status);
  return o;
}

json::object run_to_json(const run& r, const run_spec* spec, std::span<const attempt> attempts) {
  const std::optional<wall_time> finished_at = end_of(r, attempts);
  json::object o;
  o["id"] = to_string(r.id);
  o["job"] = r.job;
  o["job_version"] = r.job_version == 0 ? json::value() : json::value(r.job_version);
  o["state"] = to_string(r.state);
  o["reason"] = text_or_null(r.reason);
  o["args"] = r.has_args ? text(r.args) : json::value();
  o["priority"] = spec == nullptr ? json::value() : json::value(spec->priority);
  o["queue"] = spec == nullptr ? json::value() : text(spec->queue);
  o["tags"] = spec == nullptr ? json::object{} : write_map(spec->tags);
  o["spec"] = spec_or_null(spec);
  o["submitted_at"] = to_rfc3339(r.submitted_at);
  o["instant"] = time_or_null(r.instant);
  o["not_before"] = time_or_null(r.not_before);
  o["started_at"] = time_or_null(r.started_at);
  o["finished_at"] = time_or_null(finished_at);
  o["duration_seconds"] = seconds_between(r.started_at, finished_at);
  o["cancel_requested"] = r.cancel_requested;
  o["held"] = r.held;
  o["retry_of"] = r.retry_of ? text(to_string(*r.retry_of)) : json::value();
  json::array& after = o["after"].emplace_array();
  for (const dependency& d : r.after) after.push_back({{"run", to_string(d.run)}, {"on", to_string(d.on)}});
  json::array& list = o["attempts"].emplace_array();
  for (const attempt& a : attempts) list.push_back(attempt_to_json(a));
  return o;
}

json::object job_to_json(const job& j) {
  json::object o;
  o["name"] = j.name;
  o["version"] = j.version;
  o["description"] = j.definition.description;
  o["paused"] = j.paused;
  o["schedule_paused"] = j.schedule_paused;
  o["created_at"] = to_rfc3339(j.created_at);
  o["updated_at"] = to_rfc3339(j.updated_at);
  o["definition"] = encode_job(j.definition);
  json::value& s = o["schedule"];
  if (!j.definition.schedule) return o;
  json::object& part = s.emplace_object();
  part["text"] = describe(*j.definition.schedule);
  part["time_zone"] = j.definition.schedule->time_zone;
  part["cursor"] = time_or_null(j.cursor);
  return o;
}

json::object worker_to_json(const worker_status& w) {
  const worker& known = w.worker;
  json::object o;
  o["worker_id"] = known.worker_id;
  o["instance"] = known.instance.is_nil() ? json::value() : text(to_string(known.instance));
  o["state"] = to_string(w.state);
  o["connected"] = w.connected;
  o["status"] = text_or_null(known.status);
  o["hostname"] = text_or_null(known.hostname);
  o["platform"] = text_or_null(known.platform);
  o["version"] = text_or_null(known.version);
  o["legacy"] = known.legacy;
  o["slots"] = known.slots;
  o["credit"] = known.credit;
  o["running"] = w.running;
  o["waiting"] = w.waiting;
  o["labels"] = write_map(known.labels);
  o["resources"] = write_amounts(known.resources);
  o["draining"] = known.draining;
  o["registered_at"] = time_or_null(known.registered_at);
  o["last_seen"] = time_or_null(known.last_seen);
  o["jobs_processed"] = known.jobs_processed;
  o["uptime_seconds"] = known.uptime_seconds;
  o["load"] = known.load;
  o["memory_bytes"] = known.memory_bytes;
  return o;
}

json::object worker_to_legacy_json(const worker_status& w) {
  json::object o;
  o["worker_id"] = w.worker.worker_id;
  o["hostname"] = w.worker.hostname;
  o["platform"] = w.worker.platform;
  o["status"] = w.worker.status;
  o["jobs_processed"] = w.worker.jobs_processed;
  o["uptime_seconds"] = w.worker.uptime_seconds;
  o["timestamp"] = time_or_null(w.worker.last_seen);
  o["last_seen_server"] = time_or_null(w.worker.last_seen);
  o["state"] = to_string(w.state);
  return o;
}

json::object fact_to_json(std::uint64_t sequence, const fact& f) {
  json::object o;
  o["sequence"] = sequence;
  o["type"] = f.type;
  o["subject"] = f.subject;
  o["at"] = to_rfc3339(f.at);
  // A row that an older or damaged database holds is shown as it is rather than hidden.
  auto data = parse_json(f.data);
  o["data"] = data ? std::move(*data) : text(f.data);
  return o;
}

}  // namespace orchestrator::protocol
