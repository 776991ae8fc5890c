"""What `-o json` prints is a contract: scripts read it. Every command's answer is held by a golden file; what differs
from run to run (ids, times, measured figures) is replaced by a word. ORCHESTRATOR_GOLDEN=write writes the files anew:
a key may be added to them, none may go or change its meaning within /api/v1."""
import json
import os
import re
import unittest

from harness import ROOT, WorldTest, eventually

GOLDEN = ROOT / "tests/golden/cli"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)")
TOKEN = re.compile(r"orc_[a-z]+_[0-9a-f]{12}_[0-9a-f]{64}")
TOKEN_ID = re.compile(r"\b[0-9a-f]{12}\b")
MEASURED = {"duration_seconds", "max_rss_bytes", "cpu_seconds", "uptime_seconds", "load", "memory_bytes", "hostname",
            "platform", "version", "status", "jobs_processed", "cpu", "memory"}


class Golden(WorldTest):
    def setUp(self):
        super().setUp()
        self.world.start_server()

    def stable(self, value, key=None):
        if isinstance(value, dict):
            return {k: self.stable(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [self.stable(v) for v in value]
        if key in MEASURED and value is not None and not (key == "version" and isinstance(value, int)):
            return f"<{key}>"
        if isinstance(value, str):
            text = UUID.sub("<id>", TIME.sub("<time>", value.replace(str(self.world.dir), "<dir>")))
            return TOKEN_ID.sub("<token id>", TOKEN.sub("<token>", text))
        return value

    def check(self, name, *command, jsonl=False, exact=False):
        done = self.world.cli("-o", "jsonl" if jsonl else "json", *command)
        values = [json.loads(line) for line in done.stdout.splitlines()]
        text = "".join(json.dumps(v if exact else self.stable(v), indent=1) + "\n" for v in values)
        path = GOLDEN / f"{name}.json"
        if os.environ.get("ORCHESTRATOR_GOLDEN") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.assertEqual(text, path.read_text(), name)

    def test_every_answer_in_json_is_the_golden_one(self):
        self.check("run_queued", "submit", "--name", "first", "--tag", "a=b", "--env", "K=V", "--timeout", "90s",
                   "--retries", "1", "--", "sh", "-c", "exit 3")
        self.check("cancelled", "run", "cancel", "last")
        self.check("retry", "run", "retry", "last")
        self.world.cli("run", "cancel", "last")
        self.world.start_worker("--label", "zone=a")
        self.check("run_final", "submit", "--wait", "--", "true")
        self.check("run_list", "run", "list", "--limit", "2")
        self.check("run_list_lines", "run", "list", "--limit", "2", jsonl=True)
        self.check("status", "status")
        self.check("worker_list", "worker", "list")
        self.check("worker_drained", "worker", "drain", "w1")
        self.check("worker_resumed", "worker", "resume", "w1")
        self.check("job_applied", "job", "apply", "-f", "jobs/hello.toml")
        self.check("job_applied_again", "job", "apply", "-f", "jobs/hello.toml")
        self.check("job_valid", "job", "validate", "-f", "jobs/nightly-report.toml")
        self.check("job", "job", "show", "hello")
        self.check("job_list", "job", "list")
        self.check("schedule_added", "schedule", "add", "tick", "--daily", "02:30", "--tz", "Asia/Hong_Kong", "--",
                   "true")
        self.check("schedule_list", "schedule", "list")
        self.check("schedule_next", "schedule", "next", "tick", "-n", "1")
        self.check("schedule_preview", "schedule", "preview", "30 2 * * *", "--tz", "Europe/Berlin", "--from",
                   "2026-03-28T00:00:00Z", "-n", "2", exact=True)
        self.check("why", "why", "last")
        self.check("why_job", "why", "tick")
        self.check("version", "version")

    def test_tokens_and_the_audit_trail_are_the_golden_ones(self):
        self.check("token_created", "token", "create", "--role", "worker", "--name", "fleet", "--worker-id", "w-7",
                   "--expires", "30d")
        self.check("token_list", "token", "list")
        self.check("token_revoked", "token", "revoke", "fleet")
        self.check("audit_list", "audit", "list")

    def test_the_first_events_of_a_run_are_the_golden_ones(self):
        self.world.start_worker()
        run = json.loads(self.world.cli("submit", "--wait", "-o", "json", "--", "true").stdout)

        def events():
            page = self.world.api("GET", "/api/v1/events?after=0&limit=500", expect=200)[1]
            return [e for e in page["items"] if e["subject"] == f"run/{run['id']}"]
        eventually(lambda: any(e["type"] == "run.succeeded" for e in events()), "the run's end is in the log")
        self.check("event_list", "event", "list", "--limit", "500")


if __name__ == "__main__":
    unittest.main()
