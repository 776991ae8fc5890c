"""Workers written for the original Python server, on their own stack (websockets), connect and work unchanged."""
import json
import pathlib
import subprocess
import unittest

from harness import LIMIT, ROOT, WorldTest, eventually

WORKER = ROOT / "tests/support/legacy/worker.py"
PYTHON = "/usr/bin/python3"
PLAIN_ACK = {"type": "ack", "received": True}


class LegacyWorker(WorldTest):
    def start_legacy(self, name, *flags, auth=True):
        secret = f"worker:{self.world.token('worker')}@" if auth else ""
        url = f"ws://{secret}127.0.0.1:{self.world.port}/ws/heartbeat"
        return subprocess.Popen([PYTHON, str(WORKER), url, name, *flags], cwd=ROOT, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def finish(self, process):
        out, err = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, 0, err)
        return json.loads(out)

    def check_acks(self, counts):
        """100 % of messages acknowledged, each in the exact legacy shape."""
        self.assertEqual(len(counts["acks"]), sum(counts["sent"].values()))
        self.assertEqual(counts["acks"][0], {"type": "ack", "msg": "registered"})
        for ack in counts["acks"][1:]:
            self.assertEqual(ack, PLAIN_ACK)
        self.assertEqual(counts["others"], [])
        print(f"legacy worker: {sum(counts['sent'].values())} messages sent {counts['sent']}, "
              f"{len(counts['acks'])} acks", flush=True)

    def test_the_original_worker_runs_a_job_that_spans_40_heartbeats_without_reading(self):
        self.world.start_server()
        worker = self.start_legacy("legacy-1", "--heartbeat", "0.05", "--beats-per-job", "40")
        run = self.world.submit(script="jobs/hello.py", timeout="60s")
        final = self.world.wait_final(run["id"])
        counts = self.finish(worker)
        self.assertEqual(final["state"], "succeeded")
        self.assertEqual(final["attempts"][0]["worker_id"], "legacy-1")
        self.assertGreaterEqual(counts["sent"]["heartbeat"], 40)
        self.assertIn("step", self.world.output(run["id"]).lower())
        self.check_acks(counts)

    def test_a_hundred_jobs_one_at_a_time_each_message_acknowledged(self):
        self.world.start_server()
        script = self.world.dir / "quick.sh"
        script.write_text("echo $1\n")
        runs = [self.world.submit(script=str(script), args=str(i)) for i in range(100)]
        counts = self.finish(self.start_legacy("legacy-2", "--jobs", "100"))
        for i, run in enumerate(runs):
            self.assertEqual(self.world.wait_final(run["id"])["state"], "succeeded")
        self.assertEqual(self.world.output(runs[41]["id"]), "41\n")
        self.check_acks(counts)

    def test_the_earlier_original_worker_gets_no_job_with_arguments(self):
        self.world.start_server()
        script = self.world.dir / "quick.sh"
        script.write_text("echo ran\n")
        with_arguments = self.world.submit(script=str(script), args="one")
        without = self.world.submit(script=str(script))
        counts = self.finish(self.start_legacy("legacy-3", "--style", "earlier"))
        self.assertEqual(self.world.wait_final(without["id"])["state"], "succeeded")
        self.assertEqual(self.world.run(with_arguments["id"])["state"], "queued")
        self.check_acks(counts)

    def test_a_failing_script_is_a_failed_run_with_its_output(self):
        self.world.start_server()
        script = self.world.dir / "bad.sh"
        script.write_text("echo about to fail\nexit 3\n")
        run = self.world.submit(script=str(script))
        counts = self.finish(self.start_legacy("legacy-4"))
        self.assertEqual(self.world.wait_final(run["id"])["state"], "failed")
        self.assertIn("about to fail", self.world.output(run["id"]))
        self.check_acks(counts)

    def test_without_the_token_it_is_refused_and_with_auth_off_it_is_not(self):
        self.world.start_server()
        worker = self.start_legacy("legacy-5", auth=False)
        _, err = worker.communicate(timeout=LIMIT)
        self.assertNotEqual(worker.returncode, 0)
        self.assertIn("401", err)
        self.world.server.terminate()
        self.world.start_server(auth="off")
        script = self.world.dir / "quick.sh"
        script.write_text("true\n")
        run = self.world.submit(script=str(script))
        self.check_acks(self.finish(self.start_legacy("legacy-5", auth=False)))
        self.assertEqual(self.world.wait_final(run["id"])["state"], "succeeded")

    def test_the_portals_worker_status_shows_it_by_its_id(self):
        self.world.start_server()
        worker = self.start_legacy("legacy-6", "--heartbeat", "0.05")
        try:
            def shown():
                entry = self.world.api("GET", "/api/worker-status", expect=200)[1].get("legacy-6")
                return entry if entry and entry.get("status") == "idle" else None
            entry = eventually(shown, "the worker's heartbeat is shown")
            self.assertEqual(entry["state"], "online")
            self.assertIn("last_seen_server", entry)
        finally:
            worker.kill()
            worker.communicate()


if __name__ == "__main__":
    unittest.main()
