// Jobs: applying definitions all or nothing, pausing and deleting them; and the zones that schedules need.
// See requests.hpp.
#include <algorithm>

#include <fmt/format.h>

#include <orchestrator/base/planted.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "leases.hpp"
#include "on_worker.hpp"
#include "overlap.hpp"
#include "requests.hpp"
#include "runs.hpp"
#include "schedules.hpp"
#include "sessions.hpp"
#include "space.hpp"
#include "step.hpp"

namespace orchestrator::engine {
namespace {

constexpr std::size_t cancels_a_step = 10'000;  // one step is one transaction

std::string text_of(const job_definition& d) { return protocol::write_json(protocol::encode_job(d)); }

refusal no_such_job(const std::string& name) {
  return refuse(errc::not_found, fmt::format("There is no job \"{}\".", printable(name)));
}

bool has_times(const std::optional<schedule>& s) { return s && s->kind != schedule_kind::manual; }

// A calendar that neither the store nor this list has.
std::optional<refusal> check_calendars_of(const core& c, const apply_jobs& in, const schedule& s,
                                          const std::string& pointer) {
  for (const auto& [key, names] : {std::pair{"include", &s.include}, std::pair{"exclude", &s.exclude}}) {
    for (std::size_t i = 0; i < names->size(); ++i) {
      const std::string& name = (*names)[i];
      const bool fresh = std::any_of(in.calendars.begin(), in.calendars.end(),
                                     [&](const day_calendar& d) { return d.name == name; });
      if (fresh || c.calendars.contains(name)) continue;
      std::vector<std::string_view> known;
      known.reserve(c.calendars.size());
      for (const auto& [each, days] : c.calendars) known.push_back(each);
      const auto near = nearest(name, known);
      return refuse(errc::bad_field, fmt::format("There is no calendar \"{}\".", printable(name)),
                    fmt::format("{}/schedule/{}/{}", pointer, key, i),
                    near ? "did you mean " + *near + "?" : "define it with [[calendars]] or calendar apply");
    }
  }
  return std::nullopt;
}

// One time only: a time that passed would never come.
std::optional<refusal> check_once(const core& c, const job_definition& d, const std::string& pointer) {
  if (d.schedule->kind != schedule_kind::once || d.schedule->at > c.now.wall) return std::nullopt;
  const auto old = c.jobs.find(d.name);
  const auto& before = old == c.jobs.end() ? std::nullopt : old->second.job.definition.schedule;
  if (before && before->kind == schedule_kind::once && before->at == d.schedule->at) return std::nullopt;
  return refuse(errc::bad_field, fmt::format("{} is past.", to_rfc3339(d.schedule->at)),
                pointer + "/schedule/at", "give a time to come, or run the job by hand");
}

std::optional<refusal> check_one(const core& c, const apply_jobs& in, const job_definition& d,
                                 const std::string& pointer) {
  if (!is_valid_name(d.name)) {
    return refuse(errc::bad_field, "A job's name must match [A-Za-z0-9][A-Za-z0-9_.-]{0,127}.",
                  pointer + "/name");
  }
  if (!d.schedule) return std::nullopt;
  if (auto wrong = check_schedule(*d.schedule)) {
    wrong->detail = fmt::format("Job {}: {}", d.name, wrong->detail);
    wrong->pointer = pointer + wrong->pointer;
    return wrong;
  }
  if (auto wrong = check_once(c, d, pointer)) return wrong;
  return check_calendars_of(c, in, *d.schedule, pointer);
}

day_filter filter_with(const core& c, const apply_jobs& in, const schedule& s) {
  const auto find = [&](const std::string& name) {
    for (const day_calendar& d : in.calendars)
      if (d.name == name) return std::make_shared<const day_calendar>(d);
    return c.calendars.at(name);
  };
  day_filter days;
  for (const std::string& name : s.include) days.include.push_back(find(name));
  for (const std::string& name : s.exclude) days.exclude.push_back(find(name));
  return days;
}

// An edit begins a new count of intervals only if the interval itself changed.
bool same_rhythm(const std::optional<schedule>& a, const std::optional<schedule>& b) {
  return a && b && a->kind == b->kind && a->every == b->every;
}

/// Intervals go on from where they began as long as their rhythm stays.
wall_time anchor_of(const core& c, const job_definition& d) {
  const auto old = c.jobs.find(d.name);
  const bool goes_on = old != c.jobs.end() && same_rhythm(old->second.job.definition.schedule, d.schedule);
  return goes_on ? old->second.job.schedule_anchor : c.now.wall;
}

bool fires(const core& c, const job_definition& d, const zone_entry& zone, day_filter days) {
  const auto times = make_calendar(*d.schedule, anchor_of(c, d), zone.table, std::move(days));
  return times && (*times)->next(c.now.wall).has_value();
}

// A schedule that is new or changed and has nothing to come is a mistake of whoever wrote it. One that has
// run out may be applied again as it is. Its zone is loaded.
std::optional<refusal> check_future(const core& c, const apply_jobs& in, const job_definition& d,
                                    const std::string& pointer) {
  if (!has_times(d.schedule)) return std::nullopt;
  const schedule& s = *d.schedule;
  const auto old = c.jobs.find(d.name);
  if (old != c.jobs.end() && old->second.job.definition.schedule == d.schedule) return std::nullopt;
  if (s.kind == schedule_kind::once && s.at <= c.now.wall) return std::nullopt;  // check_once has judged it
  const zone_entry& zone = c.zones.at(s.time_zone);
  const day_filter days = filter_with(c, in, s);
  if (fires(c, d, zone, days)) return std::nullopt;
  if (!days.empty() && fires(c, d, zone, {})) {
    return refuse(
        errc::bad_field,
        fmt::format("Job {}: its schedule never fires: its calendars leave out every day that it names.",
                    d.name),
        pointer + (s.exclude.empty() ? "/schedule/include" : "/schedule/exclude"),
        "change the calendars' days, or name others");
  }
  return refuse(errc::bad_field,
                fmt::format("Job {}: its schedule never fires: it has no instant from now on{}.", d.name,
                            s.end ? " up to its end" : ""),
                pointer + (s.end ? "/schedule/end" : "/schedule"),
                s.end ? "give a later end, or none" : "give times to come");
}

std::optional<refusal> check_futures(const core& c, const apply_jobs& in) {
  for (std::size_t i = 0; i < in.jobs.size(); ++i) {
    const std::string pointer = in.jobs.size() == 1 ? "" : fmt::format("/{}", i);
    if (auto wrong = check_future(c, in, in.jobs[i], pointer)) return wrong;
  }
  return std::nullopt;
}

// Counts what the table would hold after the list is applied.
std::optional<refusal> check_limits(const core& c, const std::vector<job_definition>& list) {
  std::size_t jobs = c.jobs.size();
  std::size_t schedules = c.schedules;
  for (const job_definition& d : list) {
    const auto old = c.jobs.find(d.name);
    if (old == c.jobs.end()) ++jobs;
    if (old != c.jobs.end() && has_times(old->second.job.definition.schedule)) --schedules;
    if (has_times(d.schedule)) ++schedules;
  }
  if (jobs > c.settings.max_jobs) {
    return refuse(errc::limit, fmt::format("There would be more than {} jobs.", c.settings.max_jobs));
  }
  if (schedules > c.settings.max_schedules) {
    return refuse(errc::limit,
                  fmt::format("There would be more than {} schedules.", c.settings.max_schedules));
  }
  return std::nullopt;
}

std::optional<refusal> check_version(const core& c, const apply_jobs& in) {
  if (!in.if_version || in.jobs.size() != 1) return std::nullopt;
  const auto old = c.jobs.find(in.jobs.front().name);
  const std::uint32_t present = old == c.jobs.end() ? 0 : old->second.job.version;
  if (present == *in.if_version) return std::nullopt;
  return refuse(errc::precondition,
                present == 0 ? std::string("The job does not exist.")
                             : fmt::format("The job is at version {}, not {}.", present, *in.if_version),
                "", "Read it again and repeat the change.");
}

std::string lower_case(std::string_view text) {
  std::string out{text};
  for (char& ch : out) {
    if (ch >= 'A' && ch <= 'Z') ch = static_cast<char>(ch - 'A' + 'a');
  }
  return out;
}

// Of new names only: jobs that are stored stay as they are. `last` is a word for the newest run, and of two
// names that differ in case alone one is always typed for the other.
std::optional<refusal> check_new_names(const core& c, const std::vector<job_definition>& list) {
  const auto is_new = [&](const job_definition& d) { return !c.jobs.contains(d.name); };
  if (std::none_of(list.begin(), list.end(), is_new)) return std::nullopt;
  std::map<std::string, std::string> known;
  for (const auto& [name, j] : c.jobs) known.emplace(lower_case(name), name);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string& name = list[i].name;
    const std::string pointer = (list.size() == 1 ? "" : fmt::format("/{}", i)) + "/name";
    if (!is_new(list[i])) continue;
    if (name == "last") {
      return refuse(errc::bad_field, "No job can be named \"last\", which stands for the newest run.",
                    pointer, "take another name");
    }
    const auto [other, fresh] = known.emplace(lower_case(name), name);
    if (fresh || other->second == name) continue;
    return refuse(errc::bad_field,
                  fmt::format("The job names {} and {} differ in case alone.", name, other->second), pointer,
                  fmt::format("write {} if you mean that job, or take another name", other->second));
  }
  return std::nullopt;
}

std::optional<refusal> check_calendar_list(const core& c, const apply_jobs& in) {
  std::set<std::string> names;
  for (const auto& [name, days] : c.calendars) names.insert(name);
  std::set<std::string> seen;
  for (std::size_t i = 0; i < in.calendars.size(); ++i) {
    names.insert(in.calendars[i].name);
    if (seen.insert(in.calendars[i].name).second) continue;
    return refuse(errc::bad_field, fmt::format("Calendar {} is in the list twice.", in.calendars[i].name),
                  fmt::format("/calendars/{}/name", i));
  }
  if (names.size() <= limits::calendars) return std::nullopt;
  return refuse(errc::limit, fmt::format("There would be more than {} calendars.", limits::calendars),
                "/calendars");
}

std::optional<refusal> check_all(const core& c, const apply_jobs& in) {
  if (c.stopping) return refuse(errc::unavailable, "The server is stopping.", "", "Try again when it is up.");
  if (auto full = refuse_growth(c)) return full;
  if (c.instants_wanted) {
    return refuse(errc::unavailable, "The clock was set; what was decided around its new time is being read.",
                  "", "Try again in a moment.");
  }
  if (auto wrong = check_calendar_list(c, in)) return wrong;
  std::set<std::string> seen;
  for (std::size_t i = 0; i < in.jobs.size(); ++i) {
    const std::string pointer = in.jobs.size() == 1 ? "" : fmt::format("/{}", i);
    if (auto wrong = check_one(c, in, in.jobs[i], pointer)) return wrong;
    if (auto wrong = refuse_oversize(in.jobs[i].spec, in.jobs[i].spec.args)) {
      wrong->pointer = pointer + wrong->pointer;
      return wrong;
    }
    if (!seen.insert(in.jobs[i].name).second) {
      return refuse(errc::bad_field, fmt::format("Job {} is in the list twice.", in.jobs[i].name),
                    pointer + "/name");
    }
  }
  if (auto wrong = check_new_names(c, in.jobs)) return wrong;
  if (auto wrong = check_limits(c, in.jobs)) return wrong;
  return check_version(c, in);
}

// Up to where the instants of a job count as decided after a change. Those before it are not decided by the
// new rule, but for those that the old one still had before it, waiting for their jitter.
wall_time cursor_after_change(const core& c, const job_entry& j, const job_definition& d) {
  if (!j.job.cursor || !d.schedule) return c.now.wall;
  const milliseconds waits = std::min(j.delay, start_delay(*d.schedule, d.name));
  return std::max(*j.job.cursor, c.now.wall - waits);
}

void install(core& c, const job_definition& d, jobs_answer::change& change) {
  const auto [at, fresh] = c.jobs.try_emplace(d.name);
  job_entry& j = at->second;
  if (fresh) {
    j.name = &hold_name(c, d.name);
    j.name->job = &j;
    j.job.name = d.name;
    j.job.created_at = c.now.wall;
  } else {
    fire_before_change(c, j);
    ++j.job.version;
    if (has_times(j.job.definition.schedule)) --c.schedules;
  }
  if (has_times(d.schedule)) ++c.schedules;
  if (fresh || !same_rhythm(j.job.definition.schedule, d.schedule)) j.job.schedule_anchor = c.now.wall;
  spec_entry* old_spec = j.spec;
  j.spec = &intern_spec(c, d.spec, d.name);
  ++j.spec->holders;
  if (old_spec != nullptr) {
    --old_spec->holders;
    drop_spec(c, *old_spec);
  }
  j.job.definition = d;
  j.job.updated_at = c.now.wall;
  j.job.cursor = cursor_after_change(c, j, d);
  j.text = text_of(d);
  j.times.reset();
  arm_schedule(c, j);
  c.step.first.emplace_back(put_job{j.job, j.text});
  put_fact(c, "job.applied", "job/" + d.name,
           fact_data().add("version", j.job.version).add("created", fresh).take());
  place_runs_of(c, *j.name);
  take_up_rule(c, *j.name);
  change.version = j.job.version;
}

bool names_calendar(const schedule& s, const std::string& name) {
  const auto has = [&](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  return has(s.include) || has(s.exclude);
}

// Schedules that name it follow its new days from now on; what is due is decided by the old ones.
void install(core& c, const day_calendar& days) {
  std::vector<job_entry*> users;
  for (auto& [name, j] : c.jobs) {
    const auto& s = j.job.definition.schedule;
    if (s && names_calendar(*s, days.name)) users.push_back(&j);
  }
  for (job_entry* j : users) fire_before_change(c, *j);
  c.calendars[days.name] = std::make_shared<const day_calendar>(days);
  for (job_entry* j : users) {
    if (!planted(defect::calendar_change_ignored)) j->times.reset();
    arm_schedule(c, *j);
  }
  c.step.first.emplace_back(
      put_calendar{days.name, protocol::write_json(protocol::encode_calendar(days)), c.now.wall});
  put_fact(c, "calendar.applied", "calendar/" + days.name, "{}");
}

void apply_calendars(core& c, const apply_jobs& in, jobs_answer& a) {
  for (const day_calendar& d : in.calendars) {
    const auto old = c.calendars.find(d.name);
    jobs_answer::change change;
    change.name = d.name;
    change.created = old == c.calendars.end();
    change.changed = change.created || !(*old->second == d);
    if (change.changed && !in.dry_run) install(c, d);
    a.calendars.push_back(std::move(change));
  }
}

void apply(core& c, const apply_jobs& in) {
  jobs_answer a;
  apply_calendars(c, in, a);
  for (const job_definition& d : in.jobs) {
    const auto old = c.jobs.find(d.name);
    jobs_answer::change change;
    change.name = d.name;
    change.created = old == c.jobs.end();
    change.changed = change.created || !(old->second.job.definition == d);
    change.version = change.created ? 1 : old->second.job.version + (change.changed ? 1 : 0);
    if (change.changed && !in.dry_run) install(c, d, change);
    a.changes.push_back(std::move(change));
  }
  respond(c, in.request, std::move(a));
}

// The zones of the list that are not loaded; asks for each.
std::set<std::string> missing_zones(core& c, const apply_jobs& in) {
  std::set<std::string> missing;
  for (const job_definition& d : in.jobs) {
    if (!d.schedule) continue;
    want_zone(c, d.schedule->time_zone);
    if (!has_zone(c, d.schedule->time_zone)) missing.insert(d.schedule->time_zone);
  }
  // What is due of a job is decided by its old rule first, which may wait for its zone after a start.
  for (const job_definition& d : in.jobs) {
    const auto old = c.jobs.find(d.name);
    if (old == c.jobs.end() || !has_times(old->second.job.definition.schedule)) continue;
    const std::string& zone = old->second.job.definition.schedule->time_zone;
    const auto known = c.zones.find(zone);
    if (known != c.zones.end() && known->second.loading) missing.insert(zone);
  }
  return missing;
}

// A zone that does not exist refuses the lists that need it, and those only.
void refuse_zone(core& c, const std::string& zone) {
  std::deque<parked_apply> kept;
  for (parked_apply& p : c.parked_applies) {
    if (!p.zones.contains(zone)) {
      kept.push_back(std::move(p));
      continue;
    }
    respond(c, p.what.request,
            refuse(errc::bad_field, fmt::format("There is no time zone \"{}\".", printable(zone)),
                   "/schedule/time_zone", "Give an IANA name such as Europe/Berlin."));
  }
  c.parked_applies = std::move(kept);
}

void end_job(core& c, job_entry& j) {
  miss_before_end(c, j);
  disarm_schedule(c, j);
  if (has_times(j.job.definition.schedule)) --c.schedules;
  c.step.rest.emplace_back(orchestrator::delete_job{j.job.name});
  put_fact(c, "job.deleted", "job/" + j.job.name, fact_data().add("version", j.job.version).take());
  name_entry& name = *j.name;
  spec_entry& spec = *j.spec;
  name.job = nullptr;
  c.jobs.erase(c.jobs.find(j.job.name));
  --spec.holders;
  drop_spec(c, spec);
  place_runs_of(c, name);
  drop_name(c, name);
}

// Schedules of the zone follow its new table from now on; what is due is decided by the old one.
void replace_zone(core& c, zone_entry& z, const zone_table& fresh) {
  std::vector<job_entry*> users;
  for (auto& [name, j] : c.jobs) {
    const auto& s = j.job.definition.schedule;
    if (s && s->time_zone == fresh.name && j.times) users.push_back(&j);
  }
  for (job_entry* j : users) fire_before_change(c, *j);
  z.table = std::make_shared<zone_table>(fresh);
  for (job_entry* j : users) {
    // What is past by now was decided by the old table: the new one has no instants there.
    const wall_time now = c.now.wall - j->delay;
    if (j->job.cursor && *j->job.cursor < now && (!j->due || *j->due > c.now.wall)) {
      j->job.cursor = now;
      c.step.rest.emplace_back(put_cursor{j->job.name, now});
    }
    j->times.reset();
    arm_schedule(c, *j);
  }
  log(c, note_level::info,
      fmt::format("The time zone {} was read again and differs; {} schedules follow it from now on.",
                  fresh.name, users.size()));
}

}  // namespace

void on(core& c, const apply_jobs& in) {
  if (auto wrong = check_all(c, in)) return respond(c, in.request, std::move(*wrong));
  std::set<std::string> missing = missing_zones(c, in);
  if (missing.empty()) {
    if (auto wrong = check_futures(c, in)) return respond(c, in.request, std::move(*wrong));
    return apply(c, in);
  }
  c.parked_applies.push_back({in, std::move(missing)});
}

void on(core& c, const zone_loaded& in) {
  zone_entry& z = c.zones[in.name];
  z.loading = false;
  if (z.table) {  // the system's zone data changed; a zone that it lost stays as it was
    if (in.table && *in.table != *z.table) replace_zone(c, z, *in.table);
    return;
  }
  if (!in.table) {
    refuse_zone(c, in.name);
    for (const auto& [name, j] : c.jobs) {
      const auto& s = j.job.definition.schedule;
      if (!s || s->time_zone != in.name || j.times) continue;
      log(c, note_level::warning,
          fmt::format("The time zone {} of job {} is not known here any more; its schedule waits.", in.name,
                      name));
    }
    c.zones.erase(in.name);  // the next list that names it asks again
    return;
  }
  z.table = std::make_shared<zone_table>(*in.table);
  for (auto& [name, j] : c.jobs) {
    const auto& s = j.job.definition.schedule;
    if (s && s->time_zone == in.name && !j.times) arm_schedule(c, j);
  }
  std::deque<parked_apply> ready;
  for (parked_apply& p : c.parked_applies) {
    p.zones.erase(in.name);
    if (p.zones.empty()) ready.push_back(std::move(p));
  }
  std::erase_if(c.parked_applies, [](const parked_apply& p) { return p.zones.empty(); });
  for (const parked_apply& p : ready) on(c, p.what);
}

void on(core& c, const remove_calendar& in) {
  if (auto full = refuse_change(c)) return respond(c, in.request, std::move(*full));
  const auto found = c.calendars.find(in.name);
  if (found == c.calendars.end()) {
    return respond(c, in.request,
                   refuse(errc::not_found, fmt::format("There is no calendar \"{}\".", printable(in.name))));
  }
  for (const auto& [name, j] : c.jobs) {
    const auto& s = j.job.definition.schedule;
    if (!s || !names_calendar(*s, in.name)) continue;
    return respond(c, in.request,
                   refuse(errc::conflict, fmt::format("The schedule of job {} names the calendar.", name), "",
                          "Take it out of the schedule first."));
  }
  c.calendars.erase(found);
  c.step.rest.emplace_back(delete_calendar{in.name});
  put_fact(c, "calendar.deleted", "calendar/" + in.name, "{}");
  respond(c, in.request, done_answer{});
}

void on(core& c, const delete_job& in) {
  if (auto full = refuse_change(c)) return respond(c, in.request, std::move(*full));
  const auto found = c.jobs.find(in.name);
  if (found == c.jobs.end()) return respond(c, in.request, no_such_job(in.name));
  job_entry& j = found->second;
  if (!j.name->live.empty() && !in.cancel_runs) {
    return respond(
        c, in.request,
        refuse(errc::conflict, fmt::format("{} runs of the job have not ended.", j.name->live.size()), "",
               "Wait for them, or delete with --cancel."));
  }
  if (j.name->live.size() > cancels_a_step) {
    return respond(
        c, in.request,
        refuse(errc::limit, fmt::format("More than {} runs of the job have not ended.", cancels_a_step), "",
               "Pause the job and cancel its runs first."));
  }
  const std::vector<run_entry*> live(j.name->live.begin(), j.name->live.end());
  for (run_entry* r : live) request_cancel(c, *r, "job_deleted");
  end_job(c, j);
  respond(c, in.request, done_answer{});
}

void on(core& c, const pause_job& in) {
  if (auto full = refuse_change(c)) return respond(c, in.request, std::move(*full));
  const auto found = c.jobs.find(in.name);
  if (found == c.jobs.end()) return respond(c, in.request, no_such_job(in.name));
  job_entry& j = found->second;
  bool& flag = in.schedule_only ? j.job.schedule_paused : j.job.paused;
  if (flag != in.paused) {
    fire_before_change(c, j);
    flag = in.paused;
    j.job.updated_at = c.now.wall;
    c.step.first.emplace_back(put_job{j.job, j.text});
    put_fact(c, in.paused ? "job.paused" : "job.resumed", "job/" + in.name,
             fact_data().add("schedule_only", in.schedule_only).take());
    place_runs_of(c, *j.name);
  }
  respond(c, in.request, done_answer{});
}

void on(core& c, const drain_worker& in) {
  if (auto full = refuse_change(c)) return respond(c, in.request, std::move(*full));
  const auto found = c.worker_names.find(in.worker_id);
  if (found == c.worker_names.end()) {
    return respond(
        c, in.request,
        refuse(errc::not_found, fmt::format("There is no worker \"{}\".", printable(in.worker_id))));
  }
  worker_entry& w = *found->second;
  if (w.row.draining != in.on) {
    w.row.draining = in.on;
    touch(c, w);
    put_fact(c, in.on ? "worker.draining" : "worker.resumed", "worker/" + in.worker_id, "{}");
    refresh_capacity(c, w);
  }
  if (!w.row.legacy && w.session != nullptr) send_to(c, *w.session, {std::nullopt, protocol::drain{in.on}});
  respond(c, in.request, done_answer{});
}

void on(core& c, const remove_worker& in) {
  if (auto full = refuse_change(c)) return respond(c, in.request, std::move(*full));
  const auto found = c.worker_names.find(in.worker_id);
  if (found == c.worker_names.end()) {
    return respond(
        c, in.request,
        refuse(errc::not_found, fmt::format("There is no worker \"{}\".", printable(in.worker_id))));
  }
  worker_entry& w = *found->second;
  if (w.session != nullptr || w.attempts != 0) {
    return respond(c, in.request,
                   refuse(errc::conflict, "The worker is connected or still holds attempts.", "",
                          "Stop it and wait until its attempts ended."));
  }
  put_fact(c, "worker.forgotten", "worker/" + in.worker_id, "{}");
  forget(c, w);
  respond(c, in.request, done_answer{});
}

}  // namespace orchestrator::engine
