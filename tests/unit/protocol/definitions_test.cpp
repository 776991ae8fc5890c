// Job files, specifications, schedules and submissions: what is taken, what is refused, where and with which
// hint.
#include <doctest/doctest.h>

#include <fmt/format.h>

#include <orchestrator/protocol/definitions.hpp>

#include "support/protocol_samples.hpp"

using namespace orchestrator;
using namespace orchestrator::protocol;

namespace {

json::value read(std::string_view text) { return parse_json(text).value(); }

result<job_definition> job_of(std::string_view rest) {
  return decode_job(read(R"({"name":"j")" + std::string{rest.empty() ? "" : ","} + std::string{rest} + "}"));
}

// A job that runs a command, with further members.
result<job_definition> command_job(std::string_view rest) {
  return job_of(R"("command":["make"])" + std::string{rest.empty() ? "" : ","} + std::string{rest});
}

template <class T>
std::string fault_at(const result<T>& r) {
  if (r) return "taken";
  CHECK(!r.error().detail.empty());
  return std::string{to_string(r.error().code)} + " " + r.error().pointer;
}

std::string schedule_fault_at(std::string_view members) {
  return fault_at(command_job("\"schedule\":{" + std::string{members} + "}"));
}

schedule schedule_of(std::string_view members) {
  const auto j = command_job("\"schedule\":{" + std::string{members} + "}");
  REQUIRE_MESSAGE(j.has_value(), members);
  return j->schedule.value();
}

constexpr wall_time now = from_unix_ms(1'769'904'000'000);

}  // namespace

TEST_CASE("a job file with every key is read") {
  const auto j = decode_job(read(R"({
    "name": "nightly-report", "description": "Yesterday's figures.", "script": "jobs/report.py",
    "args": "--day yesterday", "env": {"MODE": "full"}, "cwd": "/srv", "stdin": "x", "timeout": "30m",
    "kill_grace": 5, "lost_after": "90s", "start_within": "2h",
    "on_lease_lost": "kill", "output_limit": 1024, "priority": -5,
    "queue": "reports", "tags": {"team": "a"},
    "retry": {"max_attempts": 3, "max_lost": 2, "backoff": "10s", "max_backoff": "5m"},
    "requires": {"labels": {"os": "linux"}},
    "schedule": {"cron": "30 2 * * *", "time_zone": "Asia/Hong_Kong", "catch_up": "all", "overlap": "queue_all",
                 "gap": "skip", "fold": "both", "start_deadline": "2h"}})"));
  REQUIRE(j.has_value());
  CHECK(j->name == "nightly-report");
  CHECK(j->spec.script == "jobs/report.py");
  CHECK(j->spec.timeout == std::chrono::minutes{30});
  CHECK(j->spec.kill_grace == seconds{5});
  CHECK(j->spec.lost_after == seconds{90});
  CHECK(j->spec.start_within == std::chrono::hours{2});
  CHECK(j->spec.on_lease_lost == on_lease_lost::kill);
  CHECK(j->spec.retry == retry_policy{3, 2, seconds{10}, std::chrono::minutes{5}, {}});
  CHECK(j->spec.required_labels == std::map<std::string, std::string>{{"os", "linux"}});
  CHECK(j->schedule->kind == schedule_kind::cron);
  CHECK(j->schedule->overlap == overlap_policy::queue_all);
  CHECK(j->schedule->start_deadline == std::chrono::hours{2});
  CHECK(decode_job(encode_job(*j)).value() == *j);
}

TEST_CASE("a definition is written without its defaults") {
  const auto j = command_job(R"("timeout":"60m","priority":0,"queue":"default","retry":{"max_attempts":1},)"
                             R"("schedule":{"daily":"2:30","time_zone":"UTC","overlap":"skip"})");
  CHECK(write_json(encode_job(j.value())) ==
        R"({"name":"j","command":["make"],"schedule":{"daily":"02:30"}})");
}

TEST_CASE("specifications, jobs and submissions are read back as they were written") {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    samples::maker make{seed};
    const run_spec s = make.spec();
    const std::string text = encode_spec(s);
    CAPTURE(text);
    const auto back = decode_spec(text);
    REQUIRE_MESSAGE(back.has_value(), (back ? "" : back.error().detail));
    CHECK(*back == s);
    CHECK(encode_spec(*back) == text);

    job_definition j{make.name(), make.text(), s, {}};
    if (make.coin()) j.schedule = make.schedule();
    const std::string job_text = write_json(encode_job(j));
    CAPTURE(job_text);
    CHECK(decode_job(read(job_text)).value() == j);

    submission sub;
    if (make.coin()) {
      sub.job = make.name();
      sub.args = make.maybe<std::string>("--x 'y z'");
    } else {
      sub.name = make.name();
      sub.spec = s;
    }
    if (make.coin()) sub.not_before = from_unix_ms(static_cast<std::int64_t>(make.below(4'000'000'000'000)));
    sub.held = make.coin();
    CHECK(decode_submission(read(write_json(encode_submission(sub))), now).value() == sub);
  }
}

TEST_CASE("what is no object is no job (J1)") {
  for (const std::string_view text : {"[]", "null", "5", "\"x\""}) {
    CHECK(fault_at(decode_job(read(text))) == "bad_field ");
    CHECK(fault_at(decode_submission(read(text), now)) == "bad_field ");
    CHECK(fault_at(decode_spec(text)) == "bad_field ");
  }
  CHECK(fault_at(decode_job(read("{}"))) == "bad_field /name");
  CHECK(fault_at(decode_spec("{}")) == "bad_field ");
  CHECK(fault_at(decode_spec("")) == "bad_json ");
}

TEST_CASE("an unknown key is refused with the nearest known one (J2, H18)") {
  const auto j = decode_job(read(R"({"name":"j","comand":["x"]})"));
  CHECK(fault_at(j) == "unknown_field /comand");
  CHECK(j.error().hint == "did you mean \"command\"?");
  const auto s = command_job(R"("schedule":{"daly":"02:30"})");
  CHECK(fault_at(s) == "unknown_field /schedule/daly");
  CHECK(s.error().hint == "did you mean \"daily\"?");
  CHECK(fault_at(command_job(R"("retry":{"max_atempts":2})")) == "unknown_field /retry/max_atempts");
  CHECK(fault_at(command_job(R"("requires":{"label":{}})")) == "unknown_field /requires/label");
  CHECK(fault_at(decode_spec(R"({"builtin":"noop","name":"x"})")) == "unknown_field /name");
  for (const std::string_view key : {"steps", "after", "array", "shell", "a/b"}) {
    CHECK(fault_at(command_job("\"" + std::string{key} + "\":1")).starts_with("unknown_field /"));
  }
  CHECK(fault_at(command_job("\"a/b~\":1")) == "unknown_field /a~1b~0");
  CHECK(fault_at(decode_submission(read(R"({"builtin":"noop","descripton":"x"})"), now)) ==
        "unknown_field /descripton");
}

TEST_CASE("a command is a list of words that starts with a program (J3)") {
  const auto string = job_of(R"("command":"make all")");
  CHECK(fault_at(string) == "bad_field /command");
  CHECK(string.error().hint.find("sh") != std::string::npos);
  CHECK(fault_at(job_of(R"("command":[])")) == "bad_field /command");
  CHECK(fault_at(job_of(R"("command":[""])")) == "bad_field /command/0");
  CHECK(fault_at(job_of(R"("command":[null])")) == "bad_field /command/0");
  CHECK(fault_at(job_of(R"("command":["a",5])")) == "bad_field /command/1");
  CHECK(fault_at(job_of(R"("command":["a",""])")) == "taken");
}

TEST_CASE("exactly one of script, command and builtin says what to run") {
  CHECK(fault_at(job_of("")) == "bad_field ");
  CHECK(fault_at(job_of(R"("script":"a","command":["b"])")) == "bad_field /command");
  CHECK(fault_at(job_of(R"("script":"a","builtin":"noop")")) == "bad_field /builtin");
  CHECK(fault_at(job_of(R"("command":["a"],"builtin":"noop")")) == "bad_field /builtin");
  CHECK(fault_at(job_of(R"("script":"")")) == "bad_field /script");
  CHECK(fault_at(job_of(R"("builtin":"sleep")")) == "bad_field /builtin");
  CHECK(fault_at(job_of(R"("builtin":"noop")")) == "taken");
  CHECK(fault_at(command_job(R"("args":"x")")) == "bad_field /args");
  CHECK(fault_at(job_of(R"("script":"a","args":"'x")")) == "bad_field /args");
  CHECK(fault_at(job_of(R"("script":"a","args":"x\\")")) == "bad_field /args");
}

TEST_CASE("the environment cannot hold what no process could, nor change how programs are loaded (J4)") {
  for (const std::string_view name : {"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GLIBC_TUNABLES",
                                      "ORCHESTRATOR_LEASE", "A=B", "=", "A\\nB"}) {
    CAPTURE(name);
    CHECK(fault_at(command_job("\"env\":{\"" + std::string{name} + "\":\"x\"}"))
              .starts_with("bad_field /env/"));
  }
  CHECK(fault_at(command_job(R"("env":{"":"x"})")) == "bad_field /env/");
  CHECK(fault_at(command_job(R"("env":{"A":1})")) == "bad_field /env/A");
  CHECK(fault_at(command_job(R"("env":["A=1"])")) == "bad_field /env");
  CHECK(fault_at(command_job(R"("env":{"LDX":"fine","A":""})")) == "taken");
}

TEST_CASE("NUL and invalid UTF-8 are refused also when the text did not come as JSON (J4, J5)") {
  const std::string nul("a\0b", 3), broken = "a\xFF";
  for (const std::string& text : {nul, broken}) {
    json::object base{{"name", "j"}, {"command", json::array{"make"}}};
    json::object in_command{{"name", "j"}, {"command", json::array{"make", text}}};
    CHECK(fault_at(decode_job(in_command)) == "bad_field /command/1");
    json::object in_env = base;
    in_env["env"] = json::object{{"A", text}};
    CHECK(fault_at(decode_job(in_env)) == "bad_field /env/A");
    json::object in_name = base;
    in_name["env"] = json::object{{text, "x"}};
    CHECK(fault_at(decode_job(in_name)).starts_with("bad_field /env/"));
    json::object in_cwd = base;
    in_cwd["cwd"] = text;
    CHECK(fault_at(decode_job(in_cwd)) == "bad_field /cwd");
    json::object in_script{{"name", "j"}, {"script", text}};
    CHECK(fault_at(decode_job(in_script)) == "bad_field /script");
  }
}

TEST_CASE("arguments and environment are bounded in number and bytes (J5)") {
  const auto words = [](std::size_t count, std::size_t bytes) {
    std::string list = "[\"make\"";
    for (std::size_t i = 1; i < count; ++i) list += ",\"" + std::string(bytes, 'x') + "\"";
    return "\"command\":" + list + "]";
  };
  CHECK(fault_at(job_of(words(256, 1))) == "taken");
  CHECK(fault_at(job_of(words(257, 1))) == "bad_field /command");
  CHECK(fault_at(job_of(words(2, limits::argv_item_bytes))) == "taken");
  CHECK(fault_at(job_of(words(2, limits::argv_item_bytes + 1))) == "bad_field /command/1");
  CHECK(fault_at(job_of(words(4, 22'000))) == "bad_field /command");
  CHECK(fault_at(job_of("\"script\":\"a\",\"args\":\"" + std::string(limits::argv_bytes + 1, 'x') + "\"")) ==
        "bad_field /args");
  std::string many;
  for (int i = 0; i < 257; ++i) many += "x ";
  CHECK(fault_at(job_of("\"script\":\"a\",\"args\":\"" + many + "\"")) == "bad_field /args");
  std::string env;
  for (int i = 0; i < 129; ++i) env += fmt::format("{}\"V{}\":\"\"", i == 0 ? "" : ",", i);
  CHECK(fault_at(command_job("\"env\":{" + env + "}")) == "bad_field /env");
  CHECK(fault_at(command_job("\"env\":{\"A\":\"" + std::string(limits::env_bytes, 'x') + "\"}")) ==
        "bad_field /env");
  CHECK(fault_at(command_job("\"stdin\":\"" + std::string(limits::stdin_bytes + 1, 'x') + "\"")) ==
        "bad_field /stdin");
}

TEST_CASE("durations are texts or seconds within their bounds (J8)") {
  for (const std::string_view value :
       {"0", "-1", "1e20", "\"∞\"", "0.000000001", "\"1ns\"", "\"1h30\"", "\"0s\"", "\"31d\"", "\"\"",
        "\"30 m\"", "null", "true", "\"-5m\"", "0.5", "2592001", "1e300", "1.0005"}) {
    CAPTURE(value);
    CHECK(fault_at(command_job("\"timeout\":" + std::string{value})) == "bad_field /timeout");
  }
  const auto timeout = [](std::string_view value) {
    return command_job("\"timeout\":" + std::string{value}).value().spec.timeout;
  };
  CHECK(timeout("\"1h30m\"") == std::chrono::minutes{90});
  CHECK(timeout("90") == seconds{90});
  CHECK(timeout("1.5") == milliseconds{1500});
  CHECK(timeout("1e3") == seconds{1000});
  CHECK(timeout("\"30d\"") == std::chrono::hours{24 * 30});
  CHECK(fault_at(command_job(R"("kill_grace":"2h")")) == "bad_field /kill_grace");
  CHECK(fault_at(command_job(R"("lost_after":"1s")")) == "bad_field /lost_after");
  CHECK(fault_at(command_job(R"("lost_after":"25h")")) == "bad_field /lost_after");
  CHECK(fault_at(command_job(R"("start_within":"0s")")) == "bad_field /start_within");
  CHECK(fault_at(command_job(R"("start_within":"31d")")) == "bad_field /start_within");
}

TEST_CASE("retries are bounded and their backoffs in order (J9)") {
  for (const std::string_view members :
       {R"("max_attempts":0)", R"("max_attempts":-1)", R"("max_attempts":101)", R"("max_attempts":1.5)",
        R"("max_attempts":"3")"}) {
    CHECK(fault_at(command_job("\"retry\":{" + std::string{members} + "}")) ==
          "bad_field /retry/max_attempts");
  }
  CHECK(fault_at(command_job(R"("retry":{"max_lost":0})")) == "bad_field /retry/max_lost");
  CHECK(fault_at(command_job(R"("retry":{"backoff":0})")) == "bad_field /retry/backoff");
  CHECK(fault_at(command_job(R"("retry":{"backoff":"25h"})")) == "bad_field /retry/backoff");
  CHECK(fault_at(command_job(R"("retry":{"backoff":"1m","max_backoff":"59s"})")) ==
        "bad_field /retry/max_backoff");
  CHECK(fault_at(command_job(R"("retry":3)")) == "bad_field /retry");
  CHECK(command_job(R"("retry":{"backoff":"2h"})")->spec.retry.max_backoff == std::chrono::hours{2});
}

TEST_CASE("names follow the ASCII rule (J11)") {
  for (const std::string_view name :
       {"\"\"", "\".\"", "\"..\"", "\"a b\"", "\"a/b\"", "\"é\"", "\"-a\"", "\".a\"", "5", "null"}) {
    CAPTURE(name);
    CHECK(fault_at(decode_job(read("{\"name\":" + std::string{name} + ",\"builtin\":\"noop\"}"))) ==
          "bad_field /name");
  }
  CHECK(fault_at(command_job(R"("queue":"a b")")) == "bad_field /queue");
  CHECK(fault_at(command_job(R"("queue":"")")) == "bad_field /queue");
  CHECK(fault_at(decode_job(read("{\"name\":\"" + std::string(129, 'a') + "\",\"builtin\":\"noop\"}"))) ==
        "bad_field /name");
}

TEST_CASE("at_most_once contradicts retries (J12)") {
  CHECK(fault_at(command_job(R"("at_most_once":true,"retry":{"max_attempts":2})")) ==
        "bad_field /retry/max_attempts");
  CHECK(fault_at(command_job(R"("at_most_once":true,"retry":{"max_attempts":1})")) == "taken");
  CHECK(fault_at(command_job(R"("at_most_once":"yes")")) == "bad_field /at_most_once");
}

TEST_CASE("templates and substitutions stay literal text (J13)") {
  const auto j = job_of(R"j("command":["echo","{{x}}","$(rm)"])j");
  CHECK(j->spec.command == std::vector<std::string>{"echo", "{{x}}", "$(rm)"});
}

TEST_CASE("the other fields have their bounds") {
  CHECK(fault_at(command_job(R"("priority":1001)")) == "bad_field /priority");
  CHECK(fault_at(command_job(R"("priority":-1001)")) == "bad_field /priority");
  CHECK(fault_at(command_job(R"("output_limit":-1)")) == "bad_field /output_limit");
  CHECK(fault_at(command_job(R"("output_limit":1073741825)")) == "bad_field /output_limit");
  const auto lost = command_job(R"("on_lease_lost":"kil")");
  CHECK(fault_at(lost) == "bad_field /on_lease_lost");
  CHECK(lost.error().hint == "did you mean \"kill\"?");
  CHECK(fault_at(command_job(R"("tags":{"a":"b\nc"})")) == "bad_field /tags/a");
  CHECK(fault_at(command_job(R"("requires":{"labels":{"os":5}})")) == "bad_field /requires/labels/os");
  CHECK(fault_at(command_job(R"("schedule":"daily")")) == "bad_field /schedule");
}

TEST_CASE("each rule of a schedule is read in all its spellings") {
  CHECK(schedule_of(R"("every":"15m")").every == std::chrono::minutes{15});
  CHECK(schedule_of(R"("every":90)").every == seconds{90});
  for (const std::string_view text : {"5", "\":05\"", "\"05\""}) {
    const schedule s = schedule_of("\"hourly\":" + std::string{text});
    CHECK(s.kind == schedule_kind::hourly);
    CHECK(s.minute == 5);
  }
  const schedule daily = schedule_of(R"("daily":"23:59")");
  CHECK((daily.hour == 23 && daily.minute == 59));
  for (const std::string_view text : {"mon@2:30", "Monday@02:30", "MON@02:30"}) {
    const schedule s = schedule_of("\"weekly\":\"" + std::string{text} + "\"");
    CHECK((s.weekday == 1 && s.hour == 2 && s.minute == 30));
  }
  CHECK(schedule_of(R"("weekly":"sun@00:00")").weekday == 0);
  CHECK(schedule_of(R"("monthly":"31@02:30")").day == 31);
  CHECK(schedule_of(R"("manual":true)").kind == schedule_kind::manual);
  CHECK(schedule_of(R"("cron":"@daily")").cron == "@daily");
}

TEST_CASE("a schedule that no rule describes is refused where the fault is") {
  CHECK(schedule_fault_at("") == "bad_field /schedule");
  CHECK(schedule_fault_at(R"("cron":"* * * * *","every":"5m")") == "bad_field /schedule/every");
  CHECK(schedule_fault_at(R"("manual":false)") == "bad_field /schedule/manual");
  CHECK(schedule_fault_at("\"cron\":\"" + std::string(257, '*') + "\"") == "bad_field /schedule/cron");
  for (const std::string_view v : {"\"\"", "\" \"", "5", "null"})
    CHECK(schedule_fault_at("\"cron\":" + std::string{v}) == "bad_field /schedule/cron");
  for (const std::string_view v : {"0", "\"999ms\"", "\"-5m\"", "\"3651d\""})
    CHECK(schedule_fault_at("\"every\":" + std::string{v}) == "bad_field /schedule/every");
  for (const std::string_view v : {"60", "-1", "\":5\"", "\"5\"", "\"::05\"", "1.5", "true"})
    CHECK(schedule_fault_at("\"hourly\":" + std::string{v}) == "bad_field /schedule/hourly");
  for (const std::string_view v :
       {"\"24:00\"", "\"2:3\"", "\"02:60\"", "\"0230\"", "\"02:30:00\"", "\"\"", "230"})
    CHECK(schedule_fault_at("\"daily\":" + std::string{v}) == "bad_field /schedule/daily");
  for (const std::string_view v : {"\"02:30\"", "\"mo@02:30\"", "\"@02:30\"", "\"mon@\"", "\"mond@02:30\""})
    CHECK(schedule_fault_at("\"weekly\":" + std::string{v}) == "bad_field /schedule/weekly");
  for (const std::string_view v : {"\"0@02:30\"", "\"32@02:30\"", "\"-1@02:30\"", "\"@02:30\"", "\"15\""})
    CHECK(schedule_fault_at("\"monthly\":" + std::string{v}) == "bad_field /schedule/monthly");
  for (const std::string_view v :
       {"\"\"", "\"../../etc/passwd\"", "\"/etc/localtime\"", "\"TZ=UTC\"", "\"Europe/Bérlin\"", "5"}) {
    CHECK(schedule_fault_at("\"daily\":\"02:30\",\"time_zone\":" + std::string{v}) ==
          "bad_field /schedule/time_zone");
  }
  CHECK(schedule_fault_at("\"daily\":\"02:30\",\"time_zone\":\"" + std::string(10 * 1024, 'A') + "\"") ==
        "bad_field /schedule/time_zone");
  for (const std::string_view key : {"catch_up", "overlap", "gap", "fold", "start_deadline"}) {
    CHECK(schedule_fault_at(fmt::format("\"daily\":\"02:30\",\"{}\":\"never\"", key)) ==
          fmt::format("bad_field /schedule/{}", key));
  }
}

TEST_CASE("a schedule that names no overlap skips, and one by hand only allows; both are written so") {
  CHECK(schedule_of(R"("daily":"02:30")").overlap == overlap_policy::skip);
  CHECK(schedule_of(R"("manual":true)").overlap == overlap_policy::allow);
  CHECK(schedule_of(R"("manual":true,"overlap":"skip")").overlap == overlap_policy::skip);
  for (const schedule_kind kind : {schedule_kind::manual, schedule_kind::daily}) {
    for (const overlap_policy rule : {overlap_policy::skip, overlap_policy::queue, overlap_policy::queue_all,
                                      overlap_policy::cancel_old, overlap_policy::allow}) {
      job_definition j;
      j.name = "a";
      j.spec.command = {"true"};
      j.schedule = schedule{};
      j.schedule->kind = kind;
      j.schedule->overlap = rule;
      const json::value written = encode_job(j);
      CHECK(written.at("schedule").as_object().contains("overlap") == (rule != default_overlap(kind)));
      CHECK(decode_job(written).value().schedule == j.schedule);
    }
  }
}

TEST_CASE("a schedule's days, calendars, jitter and single time are read and written") {
  const schedule s =
      schedule_of(R"("daily":"02:30","start":"2026-03-01","end":"2028-02-29","include":["work"],)"
                  R"("exclude":["a","b"],"jitter":"10m")");
  CHECK(s.start == static_cast<std::int32_t>(days_from_civil(2026, 3, 1)));
  CHECK(s.end == static_cast<std::int32_t>(days_from_civil(2028, 2, 29)));
  CHECK(s.include == std::vector<std::string>{"work"});
  CHECK(s.exclude.size() == 2);
  CHECK(s.jitter == std::chrono::minutes{10});
  const schedule once = schedule_of(R"("at":"2026-01-31T23:59:00+08:00")");
  CHECK(once.kind == schedule_kind::once);
  CHECK(to_rfc3339(once.at) == "2026-01-31T15:59:00.000Z");
  for (const schedule& each : {s, once}) {
    job_definition j;
    j.name = "x";
    j.spec.command = {"true"};
    j.schedule = each;
    CHECK(decode_job(encode_job(j)).value().schedule == each);
  }
  for (const char* v : {"\"2026-02-29\"", "\"2026-3-1\"", "\"tomorrow\"", "20260301", "\"1969-12-31\""})
    CHECK(schedule_fault_at("\"daily\":\"02:30\",\"start\":" + std::string{v}) ==
          "bad_field /schedule/start");
  CHECK(schedule_fault_at(R"("daily":"02:30","include":["a b"])") == "bad_field /schedule/include/0");
  CHECK(schedule_fault_at(R"("daily":"02:30","exclude":"a")") == "bad_field /schedule/exclude");
  CHECK(schedule_fault_at(R"("daily":"02:30","jitter":"25h")") == "bad_field /schedule/jitter");
  CHECK(schedule_fault_at(R"("at":"02:30")") == "bad_field /schedule/at");
  CHECK(schedule_fault_at(R"("at":"2026-01-31T23:59:00")") == "bad_field /schedule/at");
}

TEST_CASE("a calendar is read in any order and written in one") {
  const auto calendar = [](std::string_view days) {
    return decode_calendar(parse_json(R"({"name":"x","days":)" + std::string{days} + "}").value());
  };
  const auto c = calendar(
      R"(["2027-01-01","12-25","sun","2026-12-24..2026-12-26","sat","2026-12-27","01-06","12-25","2026-12-25"])");
  REQUIRE(c.has_value());
  CHECK(write_json(encode_calendar(*c)) ==
        R"({"name":"x","days":["sun","sat","01-06","12-25","2026-12-24..2026-12-27","2027-01-01"]})");
  CHECK(decode_calendar(encode_calendar(*c)).value() == *c);
  CHECK(calendar("[]").value().spans.empty());
  CHECK(calendar(R"(["02-29"])").has_value());
  for (const char* bad :
       {"Sat", "saturday", "02-30", "13-01", "00-01", "2026-02-29", "2026-01-02..2026-01-01", "2026-01-01..",
        "..", "", "2401-01-01", "2026-01-01...2026-01-02", "1-1"}) {
    const auto r = calendar("[\"mon\",\"" + std::string{bad} + "\"]");
    CAPTURE(bad);
    REQUIRE(r.has_error());
    CHECK(r.error().pointer == "/days/1");
    CHECK_FALSE(r.error().hint.empty());
  }
  CHECK(decode_calendar(parse_json(R"({"name":"x"})").value()).error().pointer == "/days");
  CHECK(decode_calendar(parse_json(R"({"days":[]})").value()).error().pointer == "/name");
  CHECK(decode_calendar(parse_json(R"({"name":"x","days":[],"day":1})").value()).error().hint ==
        "did you mean \"days\"?");
  std::string many = "[\"sat\"";
  for (int i = 0; i < 2'000; ++i) many += ",\"sat\"";
  CHECK(calendar(many + "]").has_error());
}

TEST_CASE("a schedule reads as a phrase") {
  const std::string zone = R"(,"time_zone":"Asia/Hong_Kong")";
  CHECK(describe(schedule_of(R"("daily":"2:30")" + zone)) == "daily at 02:30 (Asia/Hong_Kong)");
  CHECK(describe(schedule_of(R"("weekly":"wed@02:30")")) == "weekly on Wednesday at 02:30 (UTC)");
  CHECK(describe(schedule_of(R"("monthly":"31@02:30")")) == "monthly on day 31 at 02:30 (UTC)");
  CHECK(describe(schedule_of(R"("hourly":5)")) == "hourly at :05 (UTC)");
  CHECK(describe(schedule_of(R"("every":"90m")")) == "every 1h30m");
  CHECK(describe(schedule_of(R"("cron":"30 2 * * *")" + zone)) == "cron 30 2 * * * (Asia/Hong_Kong)");
  CHECK(describe(schedule_of(R"("manual":true)")) == "by hand only");
}

TEST_CASE("a submission names a stored job or describes the run itself") {
  const auto stored = decode_submission(read(R"({"job":"report","args":"--x","hold":true})"), now);
  REQUIRE(stored.has_value());
  CHECK(stored->job == "report");
  CHECK(stored->args == "--x");
  CHECK(stored->held);
  CHECK(!stored->spec);
  const auto ad_hoc = decode_submission(read(R"({"command":["make","x"],"name":"build","priority":5})"), now);
  REQUIRE(ad_hoc.has_value());
  CHECK(ad_hoc->name == "build");
  CHECK(ad_hoc->spec->priority == 5);
  const auto later = decode_submission(
      read(R"({"job":"report","after":[{"run":"last"},{"run":"a1b2","on":"failed"}]})"), now);
  REQUIRE(later.has_value());
  CHECK(later->after ==
        std::vector<named_dependency>{{"last", after_condition::ok}, {"a1b2", after_condition::failed}});
  const auto fault = [](std::string_view text) { return fault_at(decode_submission(read(text), now)); };
  CHECK(fault(R"({})") == "bad_field ");
  CHECK(fault(R"({"job":"report","priority":5})") == "bad_field /priority");
  CHECK(fault(R"({"job":"report","command":["x"]})") == "bad_field /command");
  CHECK(fault(R"({"job":"report","name":"x"})") == "bad_field /name");
  CHECK(fault(R"({"job":"a b"})") == "bad_field /job");
  CHECK(fault(R"({"job":"report","args":"'"})") == "bad_field /args");
  CHECK(fault(R"({"builtin":"noop","name":"a b"})") == "bad_field /name");
  CHECK(fault(R"({"builtin":"noop","hold":1})") == "bad_field /hold");
  CHECK(fault(R"({"builtin":"noop","after":[{"run":"a"},{"run":"b","on":"never"}]})") ==
        "bad_field /after/1/on");
  CHECK(fault(R"({"builtin":"noop","after":[{"run":""}]})") == "bad_field /after/0/run");
  CHECK(fault(R"({"builtin":"noop","after":[{"run":"a","if":"ok"}]})") == "unknown_field /after/0/if");
}

TEST_CASE("a run without a name is called by its program") {
  const auto name = [](std::string_view text) { return decode_submission(read(text), now)->name; };
  CHECK(name(R"({"builtin":"noop"})") == "noop");
  CHECK(name(R"({"script":"jobs/night ly.py"})") == "night-ly.py");
  CHECK(name(R"({"command":["/usr/bin/make","x"]})") == "make");
  CHECK(name(R"({"command":["./.hidden"]})") == "hidden");
  CHECK(name(R"({"command":["/"]})") == "run");
  CHECK(name(R"({"command":["é"]})") == "run");
  CHECK(name("{\"command\":[\"" + std::string(500, 'a') + "\"]}") == std::string(128, 'a'));
}

TEST_CASE("a start time is an instant, or a duration from now, but not both") {
  const auto start = [](std::string_view text) {
    return decode_submission(read("{\"builtin\":\"noop\"," + std::string{text} + "}"), now);
  };
  CHECK(start(R"("in":"90s")")->not_before == now + seconds{90});
  CHECK(start(R"("in":0)")->not_before == now);
  CHECK(start(R"("at":"2026-02-01T08:00:00+08:00")")->not_before == parse_rfc3339("2026-02-01T00:00:00Z"));
  CHECK(fault_at(start(R"("at":"tomorrow")")) == "bad_field /at");
  CHECK(fault_at(start(R"("at":5)")) == "bad_field /at");
  CHECK(fault_at(start(R"("in":"-1s")")) == "bad_field /in");
  CHECK(fault_at(start(R"("in":"1s","at":"2026-02-01T08:00:00Z")")) == "bad_field /in");
}

TEST_CASE("what limits a run is read, written and read again as it was") {
  const auto j = command_job(
      R"("queue":"etl","locks":["db","cache:read"],"max_running":2,"rate":"10/m",
         "retry":{"max_attempts":3,"on_exit":[75,1,75]},
         "requires":{"labels":{"os":"linux"},"resources":{"gpu":0.5,"memory":"2GiB","cpu":2}})");
  REQUIRE(j.has_value());
  const run_spec& s = j->spec;
  CHECK(s.locks == std::vector<lock_request>{{"cache", true}, {"db", false}});
  CHECK(s.max_running == 2);
  CHECK(s.rate == rate_limit{10, milliseconds{60'000}});
  CHECK(s.retry.on_exit == std::vector<int>{1, 75});
  CHECK(s.required_resources ==
        resource_amounts{{"cpu", 2'000}, {"gpu", 500}, {"memory", (std::int64_t{2} << 30) * 1'000}});
  CHECK(decode_spec(encode_spec(s)).value() == s);
  run_spec exact = s;
  for (const std::int64_t amount : {std::int64_t{1}, std::int64_t{999'999'999'999'999},
                                    std::int64_t{1'000'000'000'000'001}, resource_max - 1, resource_max}) {
    exact.required_resources = {{"x", amount}};
    CHECK(decode_spec(encode_spec(exact)).value() == exact);
  }
}

TEST_CASE("limits that mean nothing are refused where the fault is") {
  CHECK(fault_at(command_job(R"("locks":["a b"])")) == "bad_field /locks");
  CHECK(fault_at(command_job(R"("locks":["db","db:read"])")) == "bad_field /locks");
  CHECK(fault_at(command_job(R"("locks":["db"],"on_lease_lost":"keep")")) == "bad_field /on_lease_lost");
  CHECK(fault_at(command_job(R"("max_running":0)")) == "bad_field /max_running");
  CHECK(fault_at(command_job(R"("rate":"fast")")) == "bad_field /rate");
  CHECK(fault_at(command_job(R"("retry":{"on_exit":[]})")) == "bad_field /retry/on_exit");
  CHECK(fault_at(command_job(R"("retry":{"on_exit":[0]})")) == "bad_field /retry/on_exit");
  CHECK(fault_at(command_job(R"("retry":{"on_exit":["1"]})")) == "bad_field /retry/on_exit");
  CHECK(fault_at(command_job(R"("requires":{"resources":{"gpu":0}})")) ==
        "bad_field /requires/resources/gpu");
  CHECK(fault_at(command_job(R"("requires":{"resources":{"gpu":1.0001}})")) ==
        "bad_field /requires/resources/gpu");
  CHECK(fault_at(command_job(R"("requires":{"resources":{"a b":1}})")) ==
        "bad_field /requires/resources/a b");
}
