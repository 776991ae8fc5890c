"""Our worker against the original Python server, on its own stack (FastAPI and uvicorn)."""
import json
import subprocess
import threading
import unittest

from harness import ROOT, WorldTest, eventually, free_port

SERVER = ROOT / "tests/support/legacy/server.py"
PYTHON = "/usr/bin/python3"


class LegacyServer:
    """The original's server as a child process; `messages` is what it received, in order."""

    def __init__(self, port, *flags):
        self.process = subprocess.Popen([PYTHON, str(SERVER), str(port), *flags], cwd=ROOT, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.shown = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        eventually(lambda: any("listening" in s for s in self.shown), "the original's server listens")

    def _collect(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # uvicorn may print a line of its own
                self.shown.append(json.loads(line))

    def received(self, kind):
        return [s["received"] for s in list(self.shown) if s.get("received", {}).get("type") == kind]

    def stop(self):
        self.process.terminate()
        self.process.communicate()


class AgainstTheOriginalServer(WorldTest):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            if server.process.poll() is None:
                server.stop()
        super().tearDown()

    def serve(self, *flags):
        server = LegacyServer(self.port, *flags)
        self.servers.append(server)
        return server

    def start_worker(self, *flags):
        return self.world.start_worker("--retry-delay", "1s", *flags, url=f"ws://127.0.0.1:{self.port}", name="ours",
                                       wait=False)

    def check_result(self, result, job_id, text):
        self.assertEqual(result["job_id"], job_id)
        self.assertEqual(result["status"], "SUCCESS")
        self.assertIn(text, result["log_output"])
        self.assertRegex(result["run_time"], r"\+00:00$")
        self.assertGreaterEqual(result["duration_seconds"], 0)

    def test_it_registers_runs_its_jobs_and_delivers_their_whole_output(self):
        server = self.serve("--job", "jobs/greet.sh World", "--job", "jobs/hello.py")
        worker = self.start_worker("--heartbeat-interval", "1s")
        worker.wait_for_line(r"\[INFO\] Connected to ws://127\.0\.0\.1:\d+/ws/heartbeat")
        results = eventually(lambda: len(server.received("job_result")) == 2 and server.received("job_result"),
                             "both results arrive")
        by_id = {r["job_id"]: r for r in results}
        self.check_result(by_id[7], 7, "World")
        self.check_result(by_id[8], 8, "tep")
        started = [e["job_id"] for e in server.received("event") if e["event"] == "job_started"]
        self.assertEqual(sorted(started), [7, 8])
        eventually(lambda: server.received("heartbeat"), "a heartbeat arrives")
        register = server.received("worker_register")[0]
        self.assertEqual(register["worker_id"], "ours")
        self.assertFalse([m for m in server.shown if m.get("received", {}).get("type") in ("ack", "job_output")
                          or m.get("received", {}).get("event") == "job_output"])
        print(f"original server: {sum('received' in s for s in server.shown)} messages received, 2 results of 2 jobs",
              flush=True)

    def test_it_survives_the_servers_restart_and_runs_repeated_job_ids_as_new_attempts(self):
        first = self.serve("--job", "jobs/greet.sh One")
        worker = self.start_worker()
        eventually(lambda: first.received("job_result"), "the first result arrives")
        first.stop()
        worker.wait_for_line(r"\[INFO\] Connection closed by server \(code: 10\d\d, reason: ")
        second = self.serve("--job", "jobs/greet.sh Two")
        result = eventually(lambda: second.received("job_result"), "the second result arrives")[-1]
        self.check_result(result, 7, "Two")
        self.assertEqual(worker.process.poll(), None)
        self.assertFalse([line for line in worker.lines if "[ERROR]" in line])

    def test_a_server_that_never_acks_events_and_results_gets_each_result_and_the_worker_moves_on(self):
        server = self.serve("--no-acks", *[f for i in range(3) for f in ("--job", f"jobs/greet.sh N{i}")])
        self.start_worker("--heartbeat-interval", "60s")
        results = eventually(lambda: len({r["job_id"] for r in server.received("job_result")}) == 3
                             and server.received("job_result"), "three results arrive", limit=120)
        self.assertEqual({r["job_id"] for r in results}, {7, 8, 9})
        # The proof that a result was handled is the ack of a heartbeat sent behind it.
        self.assertTrue(server.received("heartbeat"))

    def test_a_missing_script_is_an_error_with_its_reason(self):
        server = self.serve("--job", "no/such/script.py")
        self.start_worker()
        result = eventually(lambda: server.received("job_result"), "the result arrives")[0]
        self.assertEqual(result["status"], "ERROR")  # it could not be started; FAILURE would say that it ran
        self.assertIn("no/such/script.py", result["log_output"])


if __name__ == "__main__":
    unittest.main()
