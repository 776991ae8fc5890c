// Frames of both directions: golden messages byte by byte, round trips, and what becomes of bad input.
#include <doctest/doctest.h>

#include <orchestrator/base/text.hpp>
#include <orchestrator/protocol/codec.hpp>
#include <orchestrator/protocol/definitions.hpp>

#include "support/protocol_samples.hpp"

using namespace orchestrator;
using namespace orchestrator::protocol;

namespace {

worker_message from_worker(std::string_view text) {
  auto messages = decode_worker_frame(text, false);
  REQUIRE_MESSAGE(messages.has_value(), text);
  REQUIRE(messages->size() == 1);
  return messages->front();
}

coordinator_message from_coordinator(std::string_view text) {
  auto messages = decode_coordinator_frame(text, false);
  REQUIRE_MESSAGE(messages.has_value(), text);
  REQUIRE(messages->size() == 1);
  return messages->front();
}

template <class Message>
std::string encoded(const Message& m) {
  std::string out;
  encode(m, out);
  return out;
}

uuid id_of(std::string_view text) { return parse_uuid(text).value(); }

std::string compact(const std::string& text) { return write_json(parse_json(text).value()); }

// `good` with the value of `key` replaced (or removed, when `value` is empty).
std::string with(std::string_view good, std::string_view key, std::string_view value) {
  json::value v = parse_json(good).value();
  if (value.empty()) {
    v.get_object().erase(key);
    return write_json(v);
  }
  v.get_object()[key] = "@";
  std::string text = write_json(v);
  return text.replace(text.find("\"@\""), 3, value);
}

const char* const good_register =
    R"({"type":"worker_register","worker_id":"w","hostname":"h","platform":"p","protocol":1,)"
    R"("instance":"0f0e0d0c-0b0a-4908-8706-050403020100","slots":4,"seq":1})";
const char* const good_heartbeat =
    R"({"type":"heartbeat","worker_id":"w","status":"idle","jobs_processed":1,"uptime_seconds":2,"timestamp":"t"})";
const char* const good_result =
    R"({"type":"job_result","job_id":"r","worker_id":"w","status":"SUCCESS","log_output":"","run_time":"t",)"
    R"("duration_seconds":1,"lease":7,"exit_code":0})";
const char* const good_output =
    R"({"type":"event","event":"job_output","job_id":"r","worker_id":"w","lease":7,"stream":"stdout",)"
    R"("offset":5,"data":"x"})";
const char* const good_job =
    R"({"type":"execute_job","job_id":"r","script_path":"a.py","script_args":"","lease":7})";

// The pointer at which a message of a known type is refused, or "taken".
std::string fault_at(std::string_view text) {
  const worker_message m = from_worker(text);
  const auto* bad = std::get_if<invalid_message>(&m.body);
  if (bad == nullptr) return "taken";
  CHECK(bad->why.code == errc::bad_field);
  CHECK(!bad->why.detail.empty());
  return bad->why.pointer;
}

std::string job_fault_at(std::string_view text) {
  const coordinator_message m = from_coordinator(text);
  const auto* bad = std::get_if<invalid_message>(&m.body);
  return bad == nullptr ? "taken" : bad->why.pointer;
}

std::vector<worker_message> golden_worker_messages() {
  worker_register r{"worker-1",
                    "build-7",
                    "Linux",
                    {},
                    1,
                    {"batch"},
                    4,
                    256,
                    {{"os", "linux"}, {"zone", "a"}},
                    {},
                    "0.1.0",
                    1234,
                    id_of("0f0e0d0c-0b0a-4908-8706-050403020100"),
                    "b",
                    "p",
                    123456789,
                    id_of("00112233-4455-6677-8899-aabbccddeeff"),
                    3,
                    lease_id{9223372036854775807},
                    {{{"r1"}, {7}}},
                    {{{"r2"}, {8}}, {{9}, {9}}},
                    {{{"r3"}, {10}}}};
  job_result failure{{"r1"},
                     "worker-1",
                     result_status::failure,
                     "",
                     "2026-01-31T23:59:59+00:00",
                     1.5,
                     lease_id{7},
                     3,
                     {},
                     1048576,
                     0.75,
                     {{"stderr", 302}, {"stdout", 6}},
                     false};
  job_result timeout{{"r2"},
                     "worker-1",
                     result_status::timeout,
                     "",
                     "2026-01-31T23:59:59+00:00",
                     60,
                     lease_id{8},
                     {},
                     9,
                     {},
                     {},
                     {},
                     true};
  return {{1, r},
          {2, heartbeat{"worker-1", "busy", 12, 60.5, "2026-01-31T23:59:59.125Z", 3, 0.25, 4096}},
          {3, event{"job_started", "worker-1", job_ref{"r1"}, lease_id{7}, 1, {}}},
          {4, job_output{"worker-1", job_ref{"r1"}, {7}, "stdout", 0, {}, "hello\n"}},
          {5, job_output{"worker-1", job_ref{"r1"}, {7}, "stderr", 300, 100, std::string("\0\xff", 2)}},
          {6, failure, crc32c(encode(failure))},
          {7, timeout, crc32c(encode(timeout))},
          {{}, worker_ack{9, false}},
          {{}, worker_ack{12, true}},
          {{}, worker_ack{}}};
}

std::vector<coordinator_message> golden_coordinator_messages() {
  using d = disposition;
  execute_job legacy;
  legacy.job_id = {17};
  legacy.script_path = "jobs/report.py";
  execute_job full{{"r1"},
                   "",
                   "",
                   {"make", "re port"},
                   "",
                   {{"A", "1"}},
                   "/srv",
                   "in\n",
                   3600,
                   10,
                   lease_id{7},
                   1,
                   3,
                   60,
                   "keep",
                   false,
                   10485760,
                   "00-1-2-01",
                   "r1",
                   "report",
                   "2026-01-31T02:30:00.000Z"};
  execute_job noop;
  noop.job_id = {"r2"};
  noop.builtin = "noop";
  noop.lease = lease_id{8};
  noop.attempt = 2;
  registration reg{
      1, "12", id_of("00112233-4455-6677-8899-aabbccddeeff"), 3, 1, {"batch"}, 60, 1048576, {{{"r1"}, {7}}},
      {}};
  return {{{}, ack{true, {}, false, {}, {}}},
          {{}, ack{}},
          {{}, ack{false, 5, false, {}, {}}},
          {{}, ack{false, 5, true, {}, {}}},
          {{}, ack{false, 5, false, d::duplicate, {}}},
          {{}, ack{false, 9, true, {}, {{7, d::duplicate}, {9, d::unknown_lease}}}},
          {{}, reg},
          {{}, legacy},
          {1, full},
          {2, noop},
          {3, cancel_job{{"r1"}, {7}, 2.5}},
          {4, drain{true}},
          {{}, error_message{"bad_field", "exit_code must be a whole number from 0 to 255", 8, true}},
          {{}, error_message{"bad_message", "no", {}, false}}};
}

}  // namespace

TEST_CASE("our worker's messages are the golden ones, byte by byte, and are read back") {
  const auto lines = samples::golden_lines("wire/worker.jsonl");
  const auto messages = golden_worker_messages();
  REQUIRE(lines.size() == messages.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CHECK(encoded(messages[i]) == lines[i]);
    worker_message read = from_worker(lines[i]);
    if (auto* e = std::get_if<event>(&read.body)) {
      CHECK(encoded(read) == lines[i]);
      e->text.clear();
    }
    CHECK(read == messages[i]);
  }
}

TEST_CASE("our coordinator's messages are the golden ones, byte by byte, and are read back") {
  const auto lines = samples::golden_lines("wire/coordinator.jsonl");
  const auto messages = golden_coordinator_messages();
  REQUIRE(lines.size() == messages.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CHECK(encoded(messages[i]) == lines[i]);
    CHECK(from_coordinator(lines[i]) == messages[i]);
  }
}

TEST_CASE("what the original worker sends is understood, and said back with exactly its keys") {
  const auto lines = samples::golden_lines("wire/legacy_worker.jsonl");
  REQUIRE(lines.size() == 7);
  const std::string id = "worker-593f179c";
  worker_register first;
  first.worker_id = id;
  first.hostname = "build-7";
  first.platform = "Windows-11-10.0.22631-SP0";
  CHECK(std::get<worker_register>(from_worker(lines[0]).body) == first);
  CHECK(std::get<worker_register>(from_worker(lines[1]).body).python_version == "3.11.2");
  CHECK(!std::get<worker_register>(from_worker(lines[1]).body).protocol);
  const heartbeat beat{id, "idle", 3, 360.25, "2025-12-17T23:16:40.857000+00:00", {}, {}, {}};
  CHECK(std::get<heartbeat>(from_worker(lines[2]).body) == beat);
  const event started = std::get<event>(from_worker(lines[3]).body);
  CHECK(started.name == "job_started");
  CHECK(started.job_id == job_ref{42});
  const event progress = std::get<event>(from_worker(lines[4]).body);
  CHECK(!progress.job_id);
  CHECK(progress.text == compact(lines[4]));
  const job_result success = std::get<job_result>(from_worker(lines[5]).body);
  CHECK(success.status == result_status::success);
  CHECK(success.log_output == "line 1\nline 2\t\"quoted\"\n");
  CHECK(success.duration_seconds == 0.75);
  const job_result error = std::get<job_result>(from_worker(lines[6]).body);
  CHECK(error.job_id == job_ref{"7"});
  CHECK(error.log_output.empty());
  for (std::size_t i = 0; i < 6; ++i) CHECK(encoded(from_worker(lines[i])) == compact(lines[i]));
}

TEST_CASE("what the original server sends is understood, and said by us with exactly its keys") {
  const auto lines = samples::golden_lines("wire/legacy_coordinator.jsonl");
  REQUIRE(lines.size() == 4);
  CHECK(std::get<ack>(from_coordinator(lines[0]).body).registered);
  CHECK(!std::get<ack>(from_coordinator(lines[1]).body).registered);
  CHECK(std::get<execute_job>(from_coordinator(lines[2]).body).job_id == job_ref{17});
  CHECK(std::get<execute_job>(from_coordinator(lines[3]).body).job_id == job_ref{"nightly"});
  for (const std::string& line : lines) CHECK(encoded(from_coordinator(line)) == compact(line));
}

TEST_CASE("every message that can be written is read back as it was") {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    samples::maker make{seed};
    const worker_message sent = make.from_worker();
    const std::string text = encoded(sent);
    CAPTURE(text);
    worker_message read = from_worker(text);
    CHECK(encoded(read) == text);
    if (auto* e = std::get_if<event>(&read.body)) e->text.clear();
    CHECK((read.content_crc != 0) == std::holds_alternative<job_result>(read.body));
    read.content_crc = 0;
    CHECK(read == sent);
  }
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    samples::maker make{seed};
    const coordinator_message sent = make.from_coordinator();
    const std::string text = encoded(sent);
    CAPTURE(text);
    CHECK(from_coordinator(text) == sent);
  }
}

TEST_CASE("records of the outbox are read back as they were") {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    samples::maker make{seed};
    const worker_message m = make.from_worker();
    if (const auto* r = std::get_if<job_result>(&m.body)) CHECK(decode_job_result(encode(*r)).value() == *r);
    const coordinator_message c = make.from_coordinator();
    if (const auto* e = std::get_if<execute_job>(&c.body))
      CHECK(decode_execute_job(encode(*e)).value() == *e);
  }
  CHECK(decode_job_result(good_heartbeat).error().pointer == "/type");
  CHECK(decode_job_result(with(good_result, "status", "5")).error().pointer == "/status");
  CHECK(decode_job_result("{").error().code == errc::bad_json);
  CHECK(decode_execute_job(R"({"type":"drain","on":true})").error().pointer == "/type");
  CHECK(decode_execute_job(with(good_job, "job_id", "")).error().pointer == "/job_id");
}

TEST_CASE("a frame that is no message is refused as a whole (P10, P11, P12)") {
  for (const std::string_view text :
       {"", "null", "[]", "42", "\"x\"", "{}", R"({"type":5})", R"({"type":""})", R"({"type":null})",
        "{\"type\"", R"({"type":"heartbeat","type":"job_result"})", R"([{"type":"heartbeat"}])",
        "not json"}) {
    CAPTURE(text);
    CHECK(decode_worker_frame(text, false).has_error());
    CHECK(decode_coordinator_frame(text, false).has_error());
    CHECK(decode_worker_frame(text, false).error().code == errc::bad_json);
  }
  CHECK(decode_worker_frame("[]", true).has_error());
  CHECK(decode_worker_frame("[{\"type\":\"x\"},5]", true).error().detail ==
        "item 1 of the batch is not an object with a string \"type\"");
  CHECK(decode_worker_frame(std::string(100'000, '['), true).has_error());
}

TEST_CASE("an unknown type is a message of its own, and unknown fields are ignored (P13)") {
  const worker_message m = from_worker(R"({"type":"telemetry","worker_id":"w","x":{"y":[1]},"seq":4})");
  CHECK(m.seq == 4);
  CHECK(std::get<unknown_message>(m.body) == unknown_message{"telemetry", "w"});
  CHECK(fault_at(with(good_heartbeat, "colour", "{\"deep\":[null]}")) == "taken");
  CHECK(fault_at(with(good_result, "colour", "1")) == "taken");
  CHECK(std::holds_alternative<unknown_message>(from_coordinator(R"({"type":"sing"})").body));
}

TEST_CASE("every essential field is missed by its pointer (P14)") {
  struct row {
    const char* good;
    const char* key;
  };
  for (const row& r :
       {row{good_register, "worker_id"}, row{good_register, "hostname"}, row{good_register, "platform"},
        row{good_register, "instance"}, row{good_heartbeat, "worker_id"}, row{good_heartbeat, "status"},
        row{good_result, "job_id"}, row{good_result, "worker_id"}, row{good_result, "status"},
        row{good_output, "event"}, row{good_output, "lease"}, row{good_output, "stream"},
        row{good_output, "offset"}, row{good_output, "data"}}) {
    CAPTURE(r.key);
    CHECK(fault_at(with(r.good, r.key, "")) == std::string{"/"} + r.key);
    CHECK(fault_at(with(r.good, r.key, "[1]")) == std::string{"/"} + r.key);
    CHECK(fault_at(with(r.good, r.key, "null")) == std::string{"/"} + r.key);
  }
}

TEST_CASE("seq must be a whole number of at least 1 (P14)") {
  for (const std::string_view value :
       {"\"1\"", "1.5", "-1", "0", "1e3", "18446744073709551615", "9223372036854775808", "true", "[]"}) {
    CAPTURE(value);
    CHECK(fault_at(with(good_heartbeat, "seq", value)) == "/seq");
  }
  CHECK(fault_at(with(good_heartbeat, "seq", "9223372036854775807")) == "taken");
  CHECK(fault_at(with(good_heartbeat, "seq", "9007199254740993")) == "taken");
  for (const std::string_view value : {"1e999", "18446744073709551616"}) {
    CHECK(decode_worker_frame(with(good_heartbeat, "seq", value), false).has_error());
  }
}

TEST_CASE("a message with a bad field keeps its type, seq and worker, so that it can be answered") {
  const worker_message m = from_worker(with(with(good_result, "exit_code", "256"), "seq", "12"));
  CHECK(m.seq == 12);
  CHECK(m.content_crc == 0);
  const auto& bad = std::get<invalid_message>(m.body);
  CHECK(bad.type == "job_result");
  CHECK(bad.worker_id == "w");
  CHECK(bad.why.detail == "exit_code must be a whole number from 0 to 255");
  CHECK(bad.why.pointer == "/exit_code");
}

TEST_CASE("of a job that cannot be read its lease is kept, so that it can be answered") {
  const auto decoded = decode_coordinator_frame(
      R"({"type":"execute_job","job_id":"r","lease":9,"command":[7],"seq":3})", false);
  REQUIRE(decoded.has_value());
  const auto& bad = std::get<invalid_message>(decoded->front().body);
  CHECK(decoded->front().seq == 3);
  CHECK(bad.lease == lease_id{9});
  CHECK(bad.job_id->id == decltype(bad.job_id->id){std::string("r")});
}

TEST_CASE("exit codes, signals and statuses outside their ranges are refused (P23)") {
  for (const std::string_view value : {"256", "-1", "\"0\"", "1.0", "true"}) {
    CHECK(fault_at(with(good_result, "exit_code", value)) == "/exit_code");
  }
  for (const std::string_view value : {"0", "65", "99", "-9"}) {
    CHECK(fault_at(with(good_result, "signal", value)) == "/signal");
  }
  for (const std::string_view value : {"\"DONE\"", "\"success\"", "\"\"", "0"}) {
    CHECK(fault_at(with(good_result, "status", value)) == "/status");
  }
  CHECK(fault_at(with(good_result, "exit_code", "255")) == "taken");
  CHECK(fault_at(with(good_result, "exit_code", "")) == "taken");
  CHECK(fault_at(with(good_result, "exit_code", "null")) == "taken");
  CHECK(fault_at(with(good_result, "signal", "64")) == "taken");
  CHECK(fault_at(with(good_result, "lease", "0")) == "/lease");
  CHECK(fault_at(with(good_result, "cpu_seconds", "-1")) == "/cpu_seconds");
  CHECK(fault_at(with(good_result, "output_bytes", R"({"stdout":-1})")) == "/output_bytes/stdout");
  CHECK(fault_at(with(good_result, "job_id", "1.5")) == "/job_id");
}

TEST_CASE("NUL in what a job printed becomes U+FFFD, and in anything else is refused (P26)") {
  const auto m = from_worker(with(good_result, "log_output", "\"a\\u0000b\\u0000\""));
  CHECK(std::get<job_result>(m.body).log_output ==
        "a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD");
  CHECK(fault_at(with(good_result, "run_time", "\"a\\u0000\"")) == "/run_time");
  CHECK(fault_at(with(good_output, "data", "\"a\\u0000\"")) == "/data");
  const auto e = from_worker(R"({"type":"event","event":"note","text":"\u0000<b>\u001b\u202e"})");
  CHECK(std::get<event>(e.body).text ==
        "{\"type\":\"event\",\"event\":\"note\",\"text\":\"\xEF\xBF\xBD<b>\\u001b\xE2\x80\xAE\"}");
}

TEST_CASE("worker ids that are not safe everywhere are refused (P29)") {
  for (const std::string_view id : {"\"\"", "\"../../x\"", "\"a/b\"", "\"a\\\\b\"", "\"a\\u0000\"",
                                    "\"a\\n\"", "\"\\u007f\"", "\"\U0001F600\"", "\".hidden\"", "5"}) {
    CAPTURE(id);
    CHECK(fault_at(with(good_register, "worker_id", id)) == "/worker_id");
    CHECK(fault_at(with(good_heartbeat, "worker_id", id)) == "/worker_id");
  }
  CHECK(fault_at(with(good_register, "worker_id", '"' + std::string(10 * 1024, 'a') + '"')) == "/worker_id");
  CHECK(fault_at(with(good_register, "worker_id", '"' + std::string(129, 'a') + '"')) == "/worker_id");
  CHECK(fault_at(with(good_register, "worker_id", '"' + std::string(128, 'a') + '"')) == "taken");
  CHECK(fault_at(with(good_register, "worker_id", "\"DESKTOP 7 (lab)\"")) == "taken");
}

TEST_CASE("labels are capped in number and size (P29)") {
  std::string many = "{";
  for (int i = 0; i < 65; ++i) many += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":\"v\"";
  CHECK(fault_at(with(good_register, "labels", many + "}")) == "/labels");
  CHECK(fault_at(with(good_register, "labels", R"({"a":1})")) == "/labels/a");
  CHECK(fault_at(with(good_register, "labels", R"({"":"x"})")) == "/labels/");
  CHECK(fault_at(with(good_register, "labels", R"({"a/~b":null})")) == "/labels/a~1~0b");
  CHECK(fault_at(with(good_register, "labels", "{\"a\":\"" + std::string(129, 'x') + "\"}")) == "/labels/a");
  std::string million = "{";
  for (int i = 0; i < 1'000'000; ++i) million += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"\"";
  CHECK(decode_worker_frame(with(good_register, "labels", million + "}"), false).has_error());
}

TEST_CASE("slots go from 0 to 10,000 (P31)") {
  for (const std::string_view value : {"-1", "10001", "1000000000", "1.5", "\"4\""}) {
    CHECK(fault_at(with(good_register, "slots", value)) == "/slots");
  }
  CHECK(fault_at(with(good_register, "slots", "0")) == "taken");
  CHECK(fault_at(with(good_register, "slots", "10000")) == "taken");
  CHECK(fault_at(with(good_register, "credit", "640001")) == "/credit");
  CHECK(fault_at(with(good_register, "protocol", "-1")) == "/protocol");
}

TEST_CASE("an inventory of more than 10,000 leases is refused, and each entry is checked (P32)") {
  const auto inventory = [](std::size_t n) {
    std::string list = "[";
    for (std::size_t i = 1; i <= n; ++i)
      list += (i == 1 ? "" : ",") + std::string{"{\"job_id\":\"r\",\"lease\":"} + std::to_string(i) + "}";
    return list + "]";
  };
  CHECK(fault_at(with(good_register, "running", inventory(10'000))) == "taken");
  CHECK(fault_at(with(good_register, "running", inventory(10'001))) == "/running");
  CHECK(fault_at(with(good_register, "unacked", inventory(100'000))) == "/unacked");
  CHECK(fault_at(with(good_register, "lost", "[{\"job_id\":\"r\",\"lease\":1},7]")) == "/lost/1");
  CHECK(fault_at(with(good_register, "lost", "[{\"job_id\":\"r\",\"lease\":0}]")) == "/lost/0/lease");
  CHECK(fault_at(with(good_register, "lost", "[{\"lease\":1}]")) == "/lost/0/job_id");
  CHECK(fault_at(with(good_register, "running", "{}")) == "/running");
}

TEST_CASE("output is text or base64, bounded, and its gap lies before its offset") {
  CHECK(fault_at(with(with(good_output, "data", "\"A===\""), "encoding", "\"base64\"")) == "/data");
  CHECK(fault_at(with(good_output, "encoding", "\"hex\"")) == "/encoding");
  CHECK(fault_at(with(good_output, "stream", "\"fd3\"")) == "/stream");
  CHECK(fault_at(with(good_output, "offset", "-1")) == "/offset");
  CHECK(fault_at(with(good_output, "gap_from", "6")) == "/gap_from");
  CHECK(fault_at(with(good_output, "gap_from", "5")) == "taken");
  const std::string largest(2 * limits::output_chunk, 'x');
  CHECK(fault_at(with(good_output, "data", '"' + largest + '"')) == "taken");
  CHECK(fault_at(with(good_output, "data", '"' + largest + "x\"")) == "/data");
  const auto in_base64 = [](const std::string& bytes) {
    return with(with(good_output, "data", '"' + base64_encode(bytes) + '"'), "encoding", "\"base64\"");
  };
  CHECK(fault_at(in_base64(largest)) == "taken");
  CHECK(fault_at(in_base64(largest + "x")) == "/data");
}

TEST_CASE("an execute_job names one thing to run (P36)") {
  CHECK(job_fault_at(good_job) == "taken");
  CHECK(job_fault_at(with(good_job, "colour", "1")) == "taken");
  CHECK(job_fault_at(with(good_job, "script_args", "null")) == "taken");
  CHECK(job_fault_at(with(good_job, "script_path", "")) == "/script_path");
  CHECK(job_fault_at(with(good_job, "builtin", "\"noop\"")) == "/script_path");
  CHECK(job_fault_at(with(good_job, "command", "[]")) == "/command");
  CHECK(job_fault_at(with(good_job, "command", "[null]")) == "/command/0");
  CHECK(job_fault_at(with(good_job, "on_lease_lost", "\"maybe\"")) == "/on_lease_lost");
  CHECK(job_fault_at(with(good_job, "timeout_seconds", "-1")) == "/timeout_seconds");
  CHECK(job_fault_at(R"({"type":"cancel_job","job_id":"r"})") == "/lease");
  CHECK(job_fault_at(R"({"type":"drain"})") == "/on");
  CHECK(job_fault_at(
            R"({"type":"ack","received":true,"seq":2,"cumulative":true,"dispositions":{"x":"duplicate"}})") ==
        "/dispositions/x");
  CHECK(job_fault_at(R"({"type":"ack","received":true,"disposition":"lovely"})") == "/disposition");
  CHECK(job_fault_at(R"({"type":"ack","msg":"registered","session":"1"})") == "/cluster");
}

TEST_CASE(
    "the checksum of a result does not see seq, spacing, key order or unknown fields, but sees every "
    "change") {
  const std::uint32_t crc = from_worker(good_result).content_crc;
  CHECK(crc != 0);
  CHECK(from_worker(with(good_result, "seq", "99")).content_crc == crc);
  CHECK(from_worker(with(good_result, "colour", "1")).content_crc == crc);
  json::object turned;
  const json::value parsed = parse_json(good_result).value();
  for (auto i = parsed.get_object().end(); i != parsed.get_object().begin();) {
    --i;
    turned[i->key()] = i->value();
  }
  CHECK(from_worker(write_json(turned)).content_crc == crc);
  CHECK(from_worker(with(good_result, "exit_code", "1")).content_crc != crc);
  CHECK(from_worker(with(good_result, "log_output", "\" \"")).content_crc != crc);
}

TEST_CASE("a batch is read in order, only when it is allowed, and up to 1,024 messages") {
  std::string batch = "[";
  for (std::size_t i = 1; i <= limits::batch_messages; ++i) {
    batch += (i == 1 ? "" : ",") + with(good_heartbeat, "seq", std::to_string(i));
  }
  const auto messages = decode_worker_frame(batch + "]", true);
  REQUIRE(messages.has_value());
  REQUIRE(messages->size() == limits::batch_messages);
  for (std::size_t i = 0; i < messages->size(); ++i) CHECK(messages.value()[i].seq == i + 1);
  CHECK(decode_worker_frame(batch + "]", false).has_error());
  CHECK(decode_worker_frame(batch + ",{\"type\":\"x\"}]", true).has_error());
}

static bool is_greeting(const coordinator_message& m) { return std::holds_alternative<registration>(m.body); }

TEST_CASE("the answer to a registration is never part of an array, whatever leaves with it") {
  const coordinator_message greeting{1, registration{}};
  const coordinator_message order{2, drain{}};
  const auto frames = encode_frames(std::vector{order, greeting, order, order}, true, limits::frame);
  REQUIRE(frames.size() == 3);
  CHECK(is_greeting(decode_coordinator_frame(frames[1], false)->front()));
  CHECK(decode_coordinator_frame(frames[2], true)->size() == 2);
}

TEST_CASE("frames are joined greedily, stay within their bounds and keep every message in order") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    samples::maker make{seed};
    std::vector<coordinator_message> sent(make.below(200));
    for (auto& m : sent) m = make.from_coordinator();
    const std::size_t max_bytes = 100 + make.below(5000);
    const auto frames = encode_frames(sent, true, max_bytes);
    std::vector<coordinator_message> read;
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const auto part = decode_coordinator_frame(frames[i], true);
      REQUIRE(part.has_value());
      CHECK((frames[i].size() <= max_bytes || part->size() == 1));
      CHECK((frames[i].front() == '[') == (part->size() > 1));
      if (i + 1 < frames.size()) {
        const auto next = decode_coordinator_frame(frames[i + 1], true);
        const std::size_t joined =
            frames[i].size() + encoded(next->front()).size() + (part->size() == 1 ? 3 : 1);
        CHECK((joined > max_bytes || part->size() == limits::batch_messages || is_greeting(part->back()) ||
               is_greeting(next->front())));
      }
      read.insert(read.end(), part->begin(), part->end());
    }
    CHECK(read == sent);
    CHECK(encode_frames(sent, false, max_bytes).size() == sent.size());
  }
  const std::vector<worker_message> many(limits::batch_messages + 1,
                                         worker_message{{}, worker_ack{1, false}});
  CHECK(encode_frames(many, true, limits::frame).size() == 2);
  CHECK(encode_frames(std::span<const worker_message>{}, true, limits::frame).empty());
}

TEST_CASE("an event is passed on untouched but for its seq") {
  const auto m = from_worker(R"({"seq":3,"type":"event","event":"custom","worker_id":"w","x":[1,2.5,"é"]})");
  const auto& e = std::get<event>(m.body);
  CHECK(e.text == R"({"type":"event","event":"custom","worker_id":"w","x":[1,2.5,"é"]})");
  CHECK(encoded(worker_message{8, e}) ==
        R"({"type":"event","event":"custom","worker_id":"w","x":[1,2.5,"é"],"seq":8})");
}

TEST_CASE("an event that names no worker is written so that it can be read again") {
  const auto output = from_worker(
      R"({"type":"event","event":"job_output","lease":7,"stream":"stdout","offset":0,"data":"x"})");
  REQUIRE(std::holds_alternative<job_output>(output.body));
  CHECK(from_worker(encoded(output)) == output);
  event started;
  started.name = "job_started";
  CHECK(std::get<event>(from_worker(encoded(worker_message{1, started})).body).name == "job_started");
}

TEST_CASE("changing any byte of a message never breaks the decoder") {
  random_source random{5};
  for (const char* file : {"wire/worker.jsonl", "wire/legacy_worker.jsonl", "wire/coordinator.jsonl"}) {
    for (const std::string& line : samples::golden_lines(file)) {
      for (int i = 0; i < 300; ++i) {
        std::string changed = line;
        for (int n = 0; n < 3; ++n)
          changed[random.below(changed.size())] = static_cast<char>(random.below(256));
        const auto w = decode_worker_frame(changed, true);
        const auto c = decode_coordinator_frame(changed, true);
        CHECK(w.has_value() == c.has_value());
      }
    }
  }
}
