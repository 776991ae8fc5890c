"""The main path through the real binary: submit, dispatch, run, result, ack; and the commands people use on it."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

from harness import BINARY, LIMIT, ROOT, WorldTest, eventually


class MainPath(WorldTest):
    def setUp(self):
        super().setUp()
        self.world.start_server()

    def test_a_command_runs_and_its_output_and_exit_code_come_back(self):
        self.world.start_worker()
        done = self.world.cli("submit", "--wait", "-o", "json", "--", "sh", "-c", "echo out; echo err >&2; exit 3",
                              check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        run = json.loads(done.stdout)
        self.assertEqual(run["state"], "failed")
        self.assertEqual(run["attempts"][0]["exit_code"], 3)
        self.assertEqual(run["attempts"][0]["worker_id"], "w1")
        self.assertEqual(self.world.output(run["id"]), "out\n")
        self.assertEqual(self.world.output(run["id"], "stderr"), "err\n")

    def test_the_exact_log_lines_people_grep_for(self):
        worker = self.world.start_worker()
        self.assertIn("[INFO] Worker w1 starting...", worker.log())
        self.assertIn(f"[INFO] Connected to ws://127.0.0.1:{self.world.port}/ws/heartbeat", worker.log())
        self.world.server.wait_for_line(r"\[INFO\] Worker registered: w1$")
        self.world.server.terminate()
        worker.wait_for_line(r"\[INFO\] Connection closed by server \(code: 1001, reason: .+\)$")
        worker.wait_for_line(r"\[WARNING\] Connection failed: \[Connection refused\]\. Retrying in \d+(\.\d+)?s\.\.\.$")
        self.assertNotIn("[ERROR]", worker.log() + self.world.server.log())

    def test_wait_passes_on_signals_timeouts_and_missing_programs_by_exit_code(self):
        self.world.start_worker()
        cases = [(["sh", "-c", "kill -TERM $$"], 143), (["sh", "-c", "exit 0"], 0), (["/no/such/program"], 127),
                 ([str(ROOT / "README.md")], 126)]
        for command, code in cases:
            with self.subTest(command=command):
                done = self.world.cli("submit", "--wait", "--", *command, check=False)
                self.assertEqual(done.returncode, code, done.stderr)
        done = self.world.cli("submit", "--wait", "--timeout", "1s", "--", "sleep", "60", check=False)
        self.assertEqual(done.returncode, 124, done.stderr)

    def test_output_is_streamed_while_the_job_runs_even_without_a_newline(self):
        self.world.start_worker()
        gate = self.world.dir / "gate"
        os.mkfifo(gate)
        run = self.world.submit(command=["sh", "-c", f"printf early; read line < {gate}; echo late"])
        eventually(lambda: self.world.output(run["id"]) == "early", "the early output is shown while the job runs")
        self.assertEqual(self.world.run(run["id"])["state"], "active")
        follower = subprocess.Popen([str(BINARY), "logs", run["id"], "-f", "--server", f"127.0.0.1:{self.world.port}"],
                                    env=self.world.env, stdout=subprocess.PIPE, text=True)
        gate.write_text("go\n")
        out, _ = follower.communicate(timeout=LIMIT)
        self.assertEqual(out, "earlylate\n")
        self.assertEqual(self.world.wait_final(run["id"])["state"], "succeeded")

    def test_a_follower_goes_on_over_a_stop_and_a_kill_of_the_coordinator(self):
        self.world.start_worker("--retry-delay", "100ms")
        for how in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(how=how):
                gate = self.world.dir / f"gate-{how}"
                script = f"echo before; until test -e {gate}; do sleep 0.05; done; echo after; exit 9"
                follower = subprocess.Popen([str(BINARY), "submit", "--follow", "--server",
                                             f"127.0.0.1:{self.world.port}", "--", "sh", "-c", script],
                                            env=self.world.env, stdout=subprocess.PIPE, text=True)
                self.assertEqual(follower.stdout.readline(), "before\n")
                self.world.server.process.send_signal(how)
                self.world.server.wait()
                self.world.start_server()
                gate.touch()
                out, _ = follower.communicate(timeout=LIMIT)
                self.assertEqual((out, follower.returncode), ("after\n", 9))

    def test_following_a_silent_job_ends_with_it(self):
        self.world.start_worker()
        began = time.monotonic()
        for _ in range(12):
            self.assertEqual(self.world.cli("submit", "--follow", "--", "sleep", "0.2").returncode, 0)
        self.assertLess(time.monotonic() - began, 12 * 4)  # a follower that nothing wakes looks again after 5 s

    def test_a_wait_ends_at_its_limit_with_125_or_7_and_the_run_goes_on(self):
        gate = self.world.dir / "gate"
        self.world.start_worker()
        talkative = f"until test -e {gate}; do echo tick; sleep 0.05; done"
        for flags in (["--wait"], ["--follow"]):
            with self.subTest(flags=flags):
                done = self.world.cli("submit", *flags, "--wait-timeout", "1s", "--", "sh", "-c", talkative,
                                      check=False)
                self.assertEqual(done.returncode, 125, done.stderr)
                self.assertIn("did not end within 1s; it goes on", done.stderr)
        self.assertEqual(self.world.cli("wait", "last", "--wait-timeout", "1s", check=False).returncode, 125)
        ids = [r["id"] for r in self.world.api("GET", "/api/v1/runs", expect=200)[1]["items"]]
        self.assertEqual(self.world.cli("wait", *ids, "--wait-timeout", "1s", check=False).returncode, 7)
        gate.touch()
        self.assertEqual(self.world.cli("wait", *ids).returncode, 0)

    def test_a_run_is_named_by_its_beginning_its_end_last_or_its_job(self):
        first, second = (self.world.submit(name=name, command=["true"])["id"] for name in ("one", "two"))
        for word, run_id in ((first, first), (second[-4:], second), (second[-12:], second), ("last", second),
                             ("one", first)):
            with self.subTest(word):
                self.assertEqual(self.world.cli("status", word, "-o", "name").stdout.strip(), run_id)
        self.assertEqual(self.world.cli("status", first[:2], check=False).returncode, 5)
        self.assertEqual(self.world.cli("status", "nobody", check=False).returncode, 3)

    def test_a_table_fits_the_terminal_that_shows_it_and_is_whole_elsewhere(self):
        name = "a-job-with-" + "a-very-" * 12 + "long-name"
        self.world.submit(name=name, command=["true"])
        self.world.submit(name="short", command=["true"])
        self.assertIn(name, self.world.cli("run", "list").stdout)
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            done = subprocess.run([str(BINARY), "run", "list", "--server", f"127.0.0.1:{self.world.port}"],
                                  env=dict(self.world.env, NO_COLOR="1"), stdout=theirs, timeout=LIMIT)
            os.close(theirs)
            lines = terminal.read(65536).decode().splitlines()
        self.assertEqual(done.returncode, 0)
        self.assertEqual(len(lines), 3)
        self.assertLessEqual(max(len(line) for line in lines), 80)
        self.assertRegex(lines[2], r"a-job-with-.*….*long-name")
        self.assertNotIn("\033", "".join(lines))

    def test_slots_run_in_parallel_and_no_more_than_that(self):
        self.world.start_worker(slots=3)
        marks = self.world.dir / "marks"
        marks.mkdir()
        go = self.world.dir / "go"
        script = f"touch {marks}/$ORCHESTRATOR_LEASE; until test -e {go}; do sleep 0.05; done"
        runs = [self.world.submit(command=["sh", "-c", script]) for _ in range(4)]
        eventually(lambda: len(list(marks.iterdir())) == 3, "three jobs run at once")
        worker = self.world.api("GET", "/api/v1/workers/w1", expect=200)[1]
        self.assertLessEqual(worker["running"], 3)
        self.assertEqual(len(list(marks.iterdir())), 3)
        go.touch()
        for run in runs:
            self.assertEqual(self.world.wait_final(run["id"])["state"], "succeeded")
        self.assertEqual(len(list(marks.iterdir())), 4)

    def test_labels_place_a_run_and_why_says_what_is_missing(self):
        self.world.start_worker("--label", "gpu=no")
        run = self.world.submit(command=["true"], requires={"labels": {"gpu": "yes"}})

        def reasons():
            return [r["code"] for r in self.world.api("GET", f"/api/v1/runs/{run['id']}/why", expect=200)[1]["reasons"]]
        eventually(lambda: "no_matching_labels" in reasons(), "why names the labels")
        self.world.start_worker("--label", "gpu=yes", name="w2")
        final = self.world.wait_final(run["id"])
        self.assertEqual(final["attempts"][0]["worker_id"], "w2")

    def test_a_run_that_no_worker_starts_in_time_expires(self):
        self.world.start_worker()
        needs = ["--require", "os=none", "--start-within", "1s"]
        done = self.world.cli("submit", *needs, "--wait", "--", "true", check=False)
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn("expired", done.stderr)
        run = self.world.run("last")
        self.assertEqual((run["state"], run["reason"], run["attempts"]), ("expired", "start_within", []))
        waiting = self.world.submit(command=["true"], requires={"labels": {"os": "none"}}, start_within="1h")
        reasons = self.world.api("GET", f"/api/v1/runs/{waiting['id']}/why", expect=200)[1]["reasons"]
        self.assertEqual([r["code"] for r in reasons], ["no_matching_labels", "expires"])
        self.assertIsNotNone(reasons[1]["until"])

    def test_cancel_ends_a_queued_run_at_once_and_a_running_one_with_its_children(self):
        queued = self.world.submit(command=["true"])
        self.assertEqual(self.world.cli("run", "cancel", queued["id"]).stderr, "")
        self.assertEqual(self.world.run(queued["id"])["state"], "cancelled")
        self.world.start_worker()
        done = self.world.submit(command=["true"])
        self.world.wait_final(done["id"])
        self.assertIn("it had ended before: succeeded", self.world.cli("run", "cancel", done["id"]).stderr)
        pids = self.world.dir / "pids"
        script = f"setsid sh -c 'echo $$ > {pids}; sleep 600' & wait"
        run = self.world.submit(command=["sh", "-c", script], kill_grace="1s")
        eventually(lambda: pids.exists() and pids.read_text().strip(), "the grandchild runs")
        self.world.cli("run", "cancel", run["id"])
        self.assertEqual(self.world.wait_final(run["id"])["state"], "cancelled")
        grandchild = int(pids.read_text())
        eventually(lambda: not os.path.exists(f"/proc/{grandchild}"), "the grandchild that left the session is gone")

    def test_retries_follow_their_policy_and_retry_makes_a_new_run(self):
        self.world.start_worker()
        counter = self.world.dir / "tries"
        script = f"echo x >> {counter}; test $(wc -l < {counter}) -ge 3"
        run = self.world.submit(command=["sh", "-c", script], retry={"max_attempts": 3, "backoff": "100ms"})
        final = self.world.wait_final(run["id"])
        self.assertEqual(final["state"], "succeeded")
        self.assertEqual([a["state"] for a in final["attempts"]], ["failed", "failed", "succeeded"])
        failing = self.world.wait_final(self.world.submit(command=["false"])["id"])
        status, again, _ = self.world.api("POST", f"/api/v1/runs/{failing['id']}/retry")
        self.assertEqual(status, 201)
        self.assertNotEqual(again["id"], failing["id"])
        self.assertEqual(again["retry_of"], failing["id"])

    def test_an_idempotency_key_makes_one_run(self):
        body = {"command": ["true"]}
        key = {"Idempotency-Key": "order-17"}
        _, first, _ = self.world.api("POST", "/api/v1/runs", body, key, expect=201)
        _, second, headers = self.world.api("POST", "/api/v1/runs", body, key, expect=201)
        self.assertEqual(first["id"], second["id"])
        self.assertEqual(headers.get("Idempotency-Replayed"), "true")
        status, problem, _ = self.world.api("POST", "/api/v1/runs", {"command": ["false"]}, key)
        self.assertEqual(status, 422, problem)
        self.world.server.terminate()
        self.world.start_server()
        _, third, _ = self.world.api("POST", "/api/v1/runs", body, key, expect=201)
        self.assertEqual(first["id"], third["id"])
        self.world.start_worker()
        self.world.wait_final(first["id"])
        _, ended, headers = self.world.api("POST", "/api/v1/runs", body, key, expect=201)
        self.assertEqual(headers.get("Idempotency-Replayed"), "true")
        self.assertEqual(ended["state"], "succeeded")
        self.assertEqual([a["exit_code"] for a in ended["attempts"]], [0], "the answer contradicts itself")

    def test_one_instant_written_in_two_zones_is_one_request(self):
        key = {"Idempotency-Key": "at-noon"}

        def post(at):
            return self.world.api("POST", "/api/v1/runs", {"command": ["true"], "at": at}, key)
        status, first, _ = post("2030-01-01T12:00:00+08:00")
        self.assertEqual(status, 201)
        for same in ("2030-01-01T12:00:00+08:00", "2030-01-01T04:00:00Z", "2030-01-01T04:00:00.000Z"):
            self.assertEqual(post(same)[1].get("id"), first["id"], same)
        self.assertEqual(post("2030-01-01T12:00:00Z")[0], 422)

    def test_a_noop_job_ends_without_a_process(self):
        self.world.start_worker()
        run = self.world.submit(builtin="noop")
        self.assertEqual(self.world.wait_final(run["id"])["state"], "succeeded")

    def test_standard_input_environment_and_directory_reach_the_process(self):
        self.world.start_worker()
        run = self.world.submit(command=["sh", "-c", "cat; echo; echo $COLOUR; pwd; echo $ORCHESTRATOR_ATTEMPT"],
                                stdin="typed", env={"COLOUR": "teal"}, cwd=str(self.world.dir))
        self.world.wait_final(run["id"])
        self.assertEqual(self.world.output(run["id"]), f"typed\nteal\n{self.world.dir}\n1\n")

    def test_a_flood_of_output_is_kept_head_and_tail_with_the_gap_marked(self):
        self.world.start_worker()
        script = "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo THE-END"
        run = self.world.submit(command=["sh", "-c", script], timeout="120s")
        final = self.world.wait_final(run["id"], limit=180)
        self.assertEqual(final["state"], "succeeded")
        self.assertEqual(final["attempts"][0]["output_bytes"]["stdout"], 30000009)
        text = self.world.output(run["id"])
        self.assertTrue(text.startswith("x" * 1000000))
        self.assertTrue(text.endswith("x\nTHE-END\n"))
        self.assertRegex(text, r"\[\d+ bytes of stdout were dropped\]")
        self.assertLess(len(text), 12 * 1024 * 1024)

    def test_a_drained_worker_takes_nothing_until_it_is_resumed(self):
        self.world.start_worker()
        self.world.cli("worker", "drain", "w1")
        run = self.world.submit(command=["true"])
        reasons = self.world.api("GET", f"/api/v1/runs/{run['id']}/why", expect=200)[1]["reasons"]
        self.assertTrue(reasons)
        self.assertEqual(self.world.run(run["id"])["state"], "queued")
        self.world.api("POST", "/api/v1/workers/w1/resume", expect=200)
        self.assertEqual(self.world.wait_final(run["id"])["state"], "succeeded")

    def test_a_worker_that_is_gone_can_be_forgotten_and_one_that_is_there_cannot(self):
        worker = self.world.start_worker()
        self.assertEqual(self.world.api("DELETE", "/api/v1/workers/w1")[0], 409)
        self.assertEqual(worker.terminate(), 0, worker.log())
        eventually(lambda: self.world.cli("worker", "forget", "w1", check=False).returncode == 0, "it is forgotten")
        self.assertEqual(self.world.api("GET", "/api/v1/workers", expect=200)[1]["items"], [])
        self.assertEqual(self.world.cli("worker", "forget", "w1", check=False).returncode, 3)
        self.world.start_worker()

    def test_flags_of_a_command_without_two_dashes_are_explained(self):
        wrong = self.world.cli("submit", "ls", "-l", check=False)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("put -- before that: orchestrator submit -- ls -l", wrong.stderr)

    def test_events_are_a_numbered_durable_log(self):
        self.world.start_worker()
        run = self.world.submit(command=["true"])
        self.world.wait_final(run["id"])

        def types():
            page = self.world.api("GET", "/api/v1/events?after=0&limit=500", expect=200)[1]
            return [e["type"] for e in page["items"] if e["subject"] == f"run/{run['id']}"]
        eventually(lambda: "run.succeeded" in types(), "the run's end is in the log")
        before = types()
        revision = self.revision("/api/v1/runs")
        self.world.server.terminate()
        self.world.start_server()
        self.assertEqual(types()[:len(before)], before)
        self.assertGreaterEqual(self.revision("/api/v1/runs"), revision)

    def revision(self, path):
        return int(self.world.api("GET", path, expect=200)[2]["Orchestrator-Revision"])


class JobFiles(WorldTest):
    def setUp(self):
        super().setUp()
        self.world.start_server()
        self.world.start_worker()

    def test_the_sample_jobs_do_what_they_say(self):
        self.world.cli("job", "apply", "-f", "jobs/")
        names = {j["name"] for j in self.world.api("GET", "/api/v1/jobs", expect=200)[1]["items"]}
        self.assertLessEqual({"hello", "fails", "greet", "times-out", "nightly-report"}, names)
        hello = json.loads(self.world.cli("job", "run", "hello", "--wait", "-o", "json").stdout)
        self.assertEqual(hello["state"], "succeeded")
        self.assertTrue(self.world.output(hello["id"]))
        self.assertTrue(self.world.output(hello["id"], "stderr"))
        fails = self.world.cli("job", "run", "fails", "--wait", check=False)
        self.assertEqual(fails.returncode, 3)
        greet = json.loads(self.world.cli("job", "run", "greet", "--args", "'dear reader'", "--wait", "-o",
                                          "json").stdout)
        self.assertIn("dear reader", self.world.output(greet["id"]))
        slow = self.world.cli("job", "run", "times-out", "--wait", check=False)
        self.assertEqual(slow.returncode, 124)
        report = json.loads(self.world.cli("job", "run", "nightly-report", "--args", "--day 2026-01-31", "--wait",
                                           "-o", "json").stdout)
        self.assertIn("Report for Saturday, 31 January 2026\n", self.world.output(report["id"]))

    def test_the_nightly_job_fires_at_half_past_two_in_hong_kong(self):
        self.world.cli("job", "apply", "-f", "jobs/nightly-report.toml")
        found = json.loads(self.world.cli("schedule", "next", "nightly-report", "-o", "json").stdout)
        self.assertTrue(found)
        for instant in found:
            self.assertRegex(instant["instant"], r"T02:30:00\.000\+08:00$")
            self.assertRegex(instant["utc"], r"T18:30:00\.000Z$")

    def test_an_interval_schedule_makes_a_run_for_each_instant_once(self):
        self.world.cli("schedule", "add", "ticker", "--every", "1s", "--", "true")
        done = eventually(lambda: [r for r in self.world.api("GET", "/api/v1/runs?job=ticker", expect=200)[1]["items"]
                                   if r["state"] == "succeeded"][2:], "three instants ran")
        self.assertTrue(done)
        self.world.api("POST", "/api/v1/schedules/ticker/pause", expect=200)
        runs = self.world.api("GET", "/api/v1/runs?job=ticker", expect=200)[1]["items"]
        instants = [r["instant"] for r in runs]
        self.assertEqual(len(instants), len(set(instants)))

    def test_pausing_a_job_holds_its_runs_and_deleting_it_needs_them_gone(self):
        self.world.cli("schedule", "add", "nap", "--manual", "--", "sleep", "600")
        run = json.loads(self.world.cli("job", "run", "nap", "-o", "json").stdout)
        eventually(lambda: self.world.run(run["id"])["state"] == "active", "it runs")
        self.assertEqual(self.world.cli("job", "delete", "nap", check=False).returncode, 5)
        self.world.cli("run", "cancel", run["id"])
        self.world.wait_final(run["id"])
        self.world.cli("job", "pause", "nap")
        held = json.loads(self.world.cli("job", "run", "nap", "-o", "json").stdout)
        reasons = self.world.api("GET", f"/api/v1/runs/{held['id']}/why", expect=200)[1]["reasons"]
        self.assertIn("job_paused", [r["code"] for r in reasons])
        self.world.cli("run", "cancel", held["id"])
        self.world.cli("job", "resume", "nap")
        self.world.cli("job", "delete", "nap")
        self.assertEqual(self.world.cli("job", "show", "nap", check=False).returncode, 3)


class Dev(WorldTest):
    def test_dev_once_runs_the_job_files_and_shows_states_output_and_results(self):
        done = subprocess.run([str(BINARY), "dev", "--workers", "2", "--apply", "jobs/", "--once", "--listen",
                               "127.0.0.1:0", "--data-dir", str(self.world.dir / "dev")],
                              env=self.world.env, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT * 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = done.stdout + done.stderr
        for word in ("hello", "succeeded", "failed", "http://127.0.0.1:"):
            self.assertIn(word, text)

    def test_dev_stays_up_until_it_is_interrupted_and_leaves_nothing_behind(self):
        dev = self.world.spawn("dev", "--workers", "2", "--listen", "127.0.0.1:0", "--data-dir", self.world.dir / "dev",
                               stdout=subprocess.PIPE)
        first = dev.process.stdout.readline()
        while first and not re.search(r"http://127\.0\.0\.1:\d+", first):
            first = dev.process.stdout.readline()
        self.assertTrue(first, dev.log())
        dev.process.send_signal(signal.SIGINT)
        self.assertIn(dev.wait(), (0, 130))
        eventually(lambda: not subprocess.run(["pgrep", "-f", str(self.world.dir)], capture_output=True).stdout,
                   "no process of it is left")

    def test_ctrl_c_of_a_terminal_ends_stubborn_jobs_too_and_says_nothing_else(self):
        files = self.world.dir / "jobs"
        files.mkdir()
        mark = self.world.dir / "mark"
        (files / "stubborn.toml").write_text(
            'name = "stubborn"\nkill_grace = "1s"\n'
            f"""command = ["sh", "-c", "trap '' TERM; touch {mark}; while :; do sleep 1; done"]\n""")
        pid, terminal = pty.fork()  # a session of its own with a terminal, as a shell would start it
        if pid == 0:
            os.chdir(ROOT)
            os.execve(str(BINARY), ["orchestrator", "dev", "--apply", str(files), "--listen", "127.0.0.1:0",
                                    "--data-dir", str(self.world.dir / "dev")], self.world.env)
        shown = b""

        def read():
            nonlocal shown
            if select.select([terminal], [], [], 0.02)[0]:
                try:
                    shown += os.read(terminal, 65536)
                except OSError:  # the last process with this terminal is gone
                    return True
            return False
        try:
            eventually(lambda: read() or mark.exists(), "the job runs")
            os.write(terminal, b"\x03")
            eventually(read, "dev ends")
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, shown)
        finally:
            os.close(terminal)
        self.assertIn(b"Stopping", shown)
        self.assertNotIn(b"cannot reach", shown)
        self.assertFalse(subprocess.run(["pgrep", "-f", str(self.world.dir)], capture_output=True).stdout)


if __name__ == "__main__":
    unittest.main()
