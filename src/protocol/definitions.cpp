// Job definitions and run submissions: the keys of a specification beside those of the job or of the request.
// Called by the API, by the CLI before it sends a job file, and by the engine when it restores.
#include <algorithm>
#include <array>

#include <fmt/format.h>

#include <orchestrator/base/limits.hpp>
#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "definition_parts.hpp"
#include "field_reader.hpp"

namespace orchestrator::protocol {
namespace {

constexpr std::size_t name_bytes = 128;
constexpr std::size_t description_bytes = 4096;
constexpr const char* name_rule =
    "must be 1 to 128 of letters, digits, dot, dash and underscore, the first a letter or digit";

template <std::size_t N, std::size_t M>
constexpr std::array<std::string_view, N + M> joined(const std::array<std::string_view, N>& a,
                                                     const std::array<std::string_view, M>& b) {
  std::array<std::string_view, N + M> out;
  std::copy(a.begin(), a.end(), out.begin());
  std::copy(b.begin(), b.end(), out.begin() + N);
  return out;
}

constexpr auto job_keys =
    joined(std::array<std::string_view, 3>{"name", "description", "schedule"}, spec_keys);
constexpr auto submission_keys =
    joined(std::array<std::string_view, 6>{"job", "name", "at", "in", "hold", "after"}, spec_keys);
constexpr std::array<std::string_view, 2> after_keys{"run", "on"};
constexpr std::array<std::string_view, 3> after_words{"ok", "any", "failed"};

std::string read_name(field_reader& r, std::string_view key) {
  std::string name = r.text(key, name_bytes).value_or("");
  if (!is_valid_name(name)) r.refuse(key, name_rule);
  return name;
}

// What an ad hoc run is called when nobody named it: the program's file name, made a valid name.
std::string name_of(const run_spec& s) {
  std::string_view source = s.builtin;
  if (!s.script.empty()) source = s.script;
  if (!s.command.empty()) source = s.command.front();
  while (source.ends_with('/')) source.remove_suffix(1);
  source = source.substr(source.rfind('/') + 1);
  std::string name;
  for (const char c : source.substr(0, name_bytes)) {
    const std::string letter(1, c);
    if (is_valid_name(letter) || (!name.empty() && (c == '.' || c == '_'))) {
      name += c;
    } else if (!name.empty()) {
      name += '-';
    }
  }
  while (name.ends_with('-')) name.pop_back();
  return is_valid_name(name) ? name : "run";
}

void read_start(field_reader& r, submission& s, wall_time now) {
  s.held = r.boolean("hold").value_or(false);
  const auto in = r.duration("in", milliseconds{0}, std::chrono::hours{24 * 3650});
  const auto at = r.text("at", 64);
  if (in) s.not_before = now + *in;
  if (!at) return;
  s.not_before = parse_rfc3339(*at);
  if (!s.not_before) {
    r.refuse("at", "must be a time such as \"2026-01-31T23:59:00Z\" or with an offset such as +08:00",
             "for a time from now give in, such as \"20m\"");
  }
  if (r.has("in")) r.refuse("in", "is given beside at", "give one of the two");
}

void read_after(field_reader& r, submission& s) {
  const json::array* list = r.array("after", limits::dependencies);
  if (list == nullptr) return;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string path = fmt::format("{}/{}", r.pointer("after"), i);
    const json::object* o = (*list)[i].if_object();
    if (o == nullptr)
      return r.refuse(refusal{errc::bad_field, "must be an object with run and on", path, ""});
    field_reader part{*o, dialect::definition, path};
    part.allow_only(after_keys);
    named_dependency d;
    d.run = part.required("run", part.text("run", name_bytes));
    if (d.run.empty()) part.refuse("run", "must name a run");
    d.on = static_cast<after_condition>(part.one_of("on", after_words).value_or(0));
    if (part.why()) return r.refuse(*part.why());
    s.after.push_back(std::move(d));
  }
}

void read_stored_job(field_reader& r, submission& s) {
  s.job = read_name(r, "job");
  s.args = r.text("args", limits::argv_bytes);
  if (s.args) {
    if (auto fault = check_args(*s.args)) r.refuse(std::move(*fault));
  }
  if (r.has("name")) r.refuse("name", "is for runs without a stored job");
  for (const std::string_view key : spec_keys) {
    if (key == "args" || !r.has(key)) continue;
    r.refuse(key, "cannot be changed for a run of a stored job",
             "leave it out, or leave out job and describe the run itself");
  }
}

void read_ad_hoc(field_reader& r, const json::object& o, submission& s) {
  auto spec = read_spec(o);
  if (!spec) {
    r.refuse(spec.error());
    return;
  }
  s.name = r.has("name") ? read_name(r, "name") : name_of(*spec);
  s.spec = std::move(*spec);
}

}  // namespace

result<job_definition> decode_job(const json::value& v) {
  const json::object* o = v.if_object();
  if (o == nullptr) return bad_field("", "a job must be an object (a table of keys)");
  field_reader r{*o, dialect::definition};
  r.allow_only(job_keys);
  job_definition j;
  if (r.has("name"))
    j.name = read_name(r, "name");
  else
    r.refuse(refusal{errc::bad_field, "the job has no name, by which it is found, run and replaced",
                     r.pointer("name"), "add a line such as name = \"nightly-report\""});
  j.description = r.text("description", description_bytes).value_or("");
  auto spec = read_spec(*o);
  if (!spec) r.refuse(spec.error());
  if (const json::object* part = r.object("schedule")) {
    auto s = read_schedule(*part, r.pointer("schedule"));
    if (s) {
      j.schedule = std::move(*s);
    } else {
      r.refuse(s.error());
    }
  }
  if (r.why()) return *r.why();
  j.spec = std::move(*spec);
  return j;
}

json::object encode_job(const job_definition& j) {
  json::object o;
  o["name"] = j.name;
  if (!j.description.empty()) o["description"] = j.description;
  write_spec(j.spec, o);
  if (j.schedule) o["schedule"] = write_schedule(*j.schedule);
  return o;
}

result<submission> decode_submission(const json::value& v, wall_time now) {
  const json::object* o = v.if_object();
  if (o == nullptr) return bad_field("", "a submission must be an object");
  field_reader r{*o, dialect::definition};
  r.allow_only(submission_keys);
  submission s;
  if (r.has("job")) {
    read_stored_job(r, s);
  } else {
    read_ad_hoc(r, *o, s);
  }
  read_start(r, s, now);
  read_after(r, s);
  if (r.why()) return *r.why();
  return s;
}

json::object encode_submission(const submission& s) {
  json::object o;
  if (!s.job.empty()) o["job"] = s.job;
  if (!s.name.empty()) o["name"] = s.name;
  if (s.spec) write_spec(*s.spec, o);
  if (s.args) o["args"] = *s.args;
  if (s.not_before) o["at"] = to_rfc3339(*s.not_before);
  if (s.held) o["hold"] = true;
  if (s.after.empty()) return o;
  json::array& list = o["after"].emplace_array();
  for (const named_dependency& d : s.after) list.push_back({{"run", d.run}, {"on", to_string(d.on)}});
  return o;
}

}  // namespace orchestrator::protocol
