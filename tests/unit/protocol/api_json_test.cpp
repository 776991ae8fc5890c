// The shapes of the API's resources, as text: scripts depend on every key and on null for what is not known.
#include <doctest/doctest.h>

#include <orchestrator/protocol/api_json.hpp>
#include <orchestrator/protocol/definitions.hpp>

using namespace orchestrator;
using namespace orchestrator::protocol;

namespace {

constexpr wall_time start = from_unix_ms(1'769'904'000'000);  // 2026-02-01T00:00:00Z

run finished_run() {
  run r;
  r.id = parse_uuid("0190a000-0000-7000-8000-000000000001").value();
  r.job = "report";
  r.job_version = 3;
  r.state = run_state::failed;
  r.reason = "exit_code";
  r.args = "--x";
  r.has_args = true;
  r.submitted_at = start;
  r.started_at = start + seconds{1};
  r.finished_at = start + milliseconds{2500};
  r.cancel_requested = true;
  r.after = {{r.id, after_condition::any}};
  return r;
}

attempt failed_attempt() {
  attempt a;
  a.lease = {7};
  a.worker_id = "worker-1";
  a.state = attempt_state::failed;
  a.reason = "exit_code";
  a.offered_at = start;
  a.started_at = start + seconds{1};
  a.exit_code = 3;
  a.duration_seconds = 1.5;
  a.output_bytes = {{"stderr", 2}, {"stdout", 10}};
  return a;
}

}  // namespace

TEST_CASE("a run shows every key, its attempts and its specification") {
  run_spec spec;
  spec.script = "a.py";
  spec.priority = 5;
  spec.tags = {{"team", "x"}};
  const std::vector<attempt> attempts{failed_attempt()};
  CHECK(
      write_json(run_to_json(finished_run(), &spec, attempts)) ==
      R"({"id":"0190a000-0000-7000-8000-000000000001","job":"report","job_version":3,"state":"failed",)"
      R"("reason":"exit_code","args":"--x","priority":5,"queue":"default","tags":{"team":"x"},)"
      R"("spec":{"script":"a.py","priority":5,"tags":{"team":"x"}},"submitted_at":"2026-02-01T00:00:00.000Z",)"
      R"("instant":null,"not_before":null,"started_at":"2026-02-01T00:00:01.000Z",)"
      R"("finished_at":"2026-02-01T00:00:02.500Z","duration_seconds":1.5,"cancel_requested":true,"held":false,)"
      R"("retry_of":null,"after":[{"run":"0190a000-0000-7000-8000-000000000001","on":"any"}],)"
      R"("attempts":[{"number":1,"lease":7,"worker_id":"worker-1","state":"failed",)"
      R"("reason":"exit_code","exit_code":3,"signal":null,"offered_at":"2026-02-01T00:00:00.000Z",)"
      R"("started_at":"2026-02-01T00:00:01.000Z","finished_at":null,"duration_seconds":1.5,"max_rss_bytes":null,)"
      R"("cpu_seconds":null,"output_bytes":{"stderr":2,"stdout":10},"late":false,"error":null,)"
      R"("superseded_status":null}]})");
}

TEST_CASE("a run that has only been queued shows null for what is not known yet") {
  run r;
  r.id = parse_uuid("0190a000-0000-7000-8000-000000000001").value();
  r.job = "noop";
  r.submitted_at = start;
  r.retry_of = r.id;
  CHECK(write_json(run_to_json(r, nullptr, {})) ==
        R"({"id":"0190a000-0000-7000-8000-000000000001","job":"noop","job_version":null,"state":"queued",)"
        R"("reason":null,"args":null,"priority":null,"queue":null,"tags":{},"spec":null,)"
        R"("submitted_at":"2026-02-01T00:00:00.000Z","instant":null,"not_before":null,"started_at":null,)"
        R"("finished_at":null,"duration_seconds":null,"cancel_requested":false,"held":false,)"
        R"("retry_of":"0190a000-0000-7000-8000-000000000001","after":[],"attempts":[]})");
}

TEST_CASE("a job shows its definition and, if it has one, its schedule in words") {
  job j;
  j.name = "report";
  j.version = 2;
  j.definition.name = "report";
  j.definition.description = "d";
  j.definition.spec.builtin = "noop";
  j.created_at = j.updated_at = start;
  CHECK(write_json(job_to_json(j)) ==
        R"({"name":"report","version":2,"description":"d","paused":false,"schedule_paused":false,)"
        R"("created_at":"2026-02-01T00:00:00.000Z","updated_at":"2026-02-01T00:00:00.000Z",)"
        R"("definition":{"name":"report","description":"d","builtin":"noop"},"schedule":null})");
  j.definition.schedule.emplace();
  j.definition.schedule->kind = schedule_kind::daily;
  j.definition.schedule->hour = 2;
  j.cursor = start;
  CHECK(write_json(job_to_json(j).at("schedule")) ==
        R"j({"text":"daily at 02:00 (UTC)","time_zone":"UTC","cursor":"2026-02-01T00:00:00.000Z"})j");
}

TEST_CASE("a worker shows what its registration and its last heartbeat said") {
  worker_status w;
  w.worker.worker_id = "worker-1";
  w.worker.instance = parse_uuid("0f0e0d0c-0b0a-4908-8706-050403020100").value();
  w.worker.hostname = "build-7";
  w.worker.platform = "Linux";
  w.worker.slots = 4;
  w.worker.labels = {{"os", "linux"}};
  w.worker.registered_at = start;
  w.worker.last_seen = start + seconds{5};
  w.worker.status = "busy";
  w.worker.jobs_processed = 3;
  w.worker.uptime_seconds = 60.5;
  w.state = presence::stale;
  w.connected = true;
  w.running = 2;
  w.waiting = 1;
  CHECK(
      write_json(worker_to_json(w)) ==
      R"({"worker_id":"worker-1","instance":"0f0e0d0c-0b0a-4908-8706-050403020100","state":"stale",)"
      R"("connected":true,"status":"busy","hostname":"build-7","platform":"Linux","version":null,"legacy":false,)"
      R"("slots":4,"credit":0,"running":2,"waiting":1,"labels":{"os":"linux"},"resources":{},"draining":false,)"
      R"("registered_at":"2026-02-01T00:00:00.000Z","last_seen":"2026-02-01T00:00:05.000Z","jobs_processed":3,)"
      R"("uptime_seconds":60.5,"load":0,"memory_bytes":0})");
  CHECK(
      write_json(worker_to_legacy_json(w)) ==
      R"({"worker_id":"worker-1","hostname":"build-7","platform":"Linux","status":"busy","jobs_processed":3,)"
      R"("uptime_seconds":60.5,"timestamp":"2026-02-01T00:00:05.000Z",)"
      R"("last_seen_server":"2026-02-01T00:00:05.000Z","state":"stale"})");
}

TEST_CASE("a fact shows its data as JSON, and a damaged one as the text it is") {
  CHECK(
      write_json(fact_to_json(9, {"run.queued", "run/1", start, R"({"a":1.5})"})) ==
      R"({"sequence":9,"type":"run.queued","subject":"run/1","at":"2026-02-01T00:00:00.000Z","data":{"a":1.5}})");
  CHECK(write_json(fact_to_json(9, {"t", "s", start, "{oops"}).at("data")) == R"("{oops")");
}
