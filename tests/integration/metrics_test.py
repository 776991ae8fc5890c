"""GET /metrics as Prometheus reads it. Where promtool is installed its check must pass; its rules that matter are
also held here, so that they hold where it is not."""
import re
import shutil
import subprocess
import unittest

from harness import WorldTest, eventually

LINE = re.compile(r'^(?P<name>[a-z_]+)(\{(?P<labels>[^}]*(?:\{[a-z]+\}[^}]*)*)\})? (?P<value>[-+0-9.e]+|NaN|\+Inf)$')


class Metrics(WorldTest):
    def scrape(self):
        status, text, headers = self.world.api("GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        return text

    def values(self):
        found = {}
        for line in self.scrape().splitlines():
            if not line.startswith("#"):
                self.assertRegex(line, LINE)
                series, value = line.rsplit(" ", 1)
                self.assertNotIn(series, found)
                found[series] = float(value)
        return found

    def test_what_happened_is_counted_and_every_rule_of_prometheus_holds(self):
        world = self.world
        world.start_server()
        world.start_worker(slots=2)
        runs = [world.submit(command=["true"]), world.submit(command=["false"]), world.submit(command=["true"])]
        for run in runs:
            world.wait_final(run["id"])
        held = world.submit(command=["true"], queue="slow", hold=True)
        world.api("PUT", "/api/v1/queues/slow", {"concurrency": 1}, expect=200)
        world.api("POST", "/api/v1/queues/slow/pause", expect=200)
        world.api("POST", f"/api/v1/runs/{held['id']}/release", expect=200)
        got = self.values()
        for series, value in {
                'orchestrator_runs_total{queue="default",result="succeeded"}': 2,
                'orchestrator_runs_total{queue="default",result="failed"}': 1,
                'orchestrator_attempts_total{result="succeeded"}': 2,
                'orchestrator_attempts_total{result="failed"}': 1,
                'orchestrator_run_wait_seconds_count': 3, 'orchestrator_run_duration_seconds_count': 3,
                'orchestrator_dispatch_latency_seconds_count': 3, 'orchestrator_runs{state="queued"}': 1,
                'orchestrator_queue_depth{queue="slow",state="waiting"}': 1,
                'orchestrator_workers{state="online"}': 1, 'orchestrator_worker_slots{state="free"}': 2,
                'orchestrator_http_request_duration_seconds_count'
                '{code="201",method="POST",route="/api/v1/runs"}': 4}.items():
            self.assertEqual(got.get(series), value, series)
        self.assertGreater(got["orchestrator_store_commit_seconds_count"], 3)
        self.assert_well_named(self.scrape())
        if promtool := shutil.which("promtool"):
            check = subprocess.run([promtool, "check", "metrics"], input=self.scrape(), text=True, capture_output=True)
            self.assertEqual((check.returncode, check.stdout + check.stderr), (0, ""))
        else:
            print("promtool is not installed: its check was NOT RUN", flush=True)

    def assert_well_named(self, text):
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        helps = dict(re.findall(r"^# HELP (\S+) (\S.*)$", text, re.M))
        self.assertEqual(set(kinds), set(helps))
        self.assertGreaterEqual(len(kinds), 20)
        for name, kind in kinds.items():
            self.assertRegex(name, r"^(orchestrator|process)_[a-z_]+$")
            self.assertEqual(name.endswith("_total"), kind == "counter", name)
            self.assertNotRegex(name, r"milli|micro|_ms|_minutes|_hours|kilo|mega|percent|_(count|sum|bucket)$")
            if kind == "histogram":
                self.assertTrue(name.endswith("_seconds"), name)

    def test_it_takes_a_token_and_counts_anew_after_a_restart_without_what_was_counted(self):
        world = self.world
        world.start_server()
        world.start_worker()
        gate = world.dir / "gate"
        run = world.submit(command=["sh", "-c", f"until test -e {gate}; do sleep 0.05; done"])
        eventually(lambda: world.run(run["id"])["state"] == "active", "the run is active")
        self.assertEqual(world.api("GET", "/metrics", headers={"Authorization": ""})[0], 401)
        world.server.kill()
        world.start_server()
        gate.touch()
        world.wait_final(run["id"])
        got = self.values()
        self.assertEqual(got['orchestrator_attempts_total{result="succeeded"}'], 1)
        self.assertNotIn('orchestrator_runs_total{queue="default",result="failed"}', got)


if __name__ == "__main__":
    unittest.main()
