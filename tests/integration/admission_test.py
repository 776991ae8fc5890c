"""Limits beside the workers, through the real binary: queues, locks, resources, why, and dead runs in bulk."""
import json
import shlex
import unittest

from harness import WorldTest, eventually


class Admission(WorldTest):
    def setUp(self):
        super().setUp()
        self.world.start_server()

    def codes(self, run):
        answer = json.loads(self.world.cli("why", run["id"], "-o", "json").stdout)
        return [reason["code"] for reason in answer["reasons"]]

    def state(self, run):
        return self.world.run(run["id"])["state"]

    def become(self, run, state):
        eventually(lambda: self.state(run) == state, f"the run becomes {state}")

    def test_a_queue_keeps_its_limits_over_a_restart_and_lets_go_when_they_are_taken_away(self):
        self.world.cli("queue", "set", "etl", "--concurrency", "1", "--rate", "100/m", "--priority", "3")
        self.world.cli("queue", "pause", "etl")
        self.world.server.terminate()
        self.world.start_server(port=self.world.port)
        shown = json.loads(self.world.cli("queue", "show", "etl", "-o", "json").stdout)
        self.assertEqual(shown, {"name": "etl", "paused": True, "concurrency": 1, "rate": "100/1m", "priority": 3,
                                 "waiting": 0, "running": 0})
        self.world.start_worker(slots=4)
        first = self.world.submit(command=["sleep", "600"], queue="etl")
        self.assertEqual(self.codes(first), ["queue_paused"])
        self.world.cli("queue", "resume", "etl")
        self.become(first, "active")
        second = self.world.submit(command=["sleep", "600"], queue="etl")
        why = json.loads(self.world.cli("why", second["id"], "-o", "json").stdout)["reasons"]
        self.assertEqual([(r["code"], r["holders"]) for r in why], [("queue_full", [f"run/{first['id']}"])])
        self.world.cli(*why[0]["remedy"].split()[1:])
        self.become(second, "active")

    def test_what_why_suggests_is_a_command_that_lets_the_run_go(self):
        self.world.start_worker(slots=3)
        locks = ["--lock", "db:read", "--", "sleep", "600"]
        readers = [{"id": self.world.cli("submit", "-o", "name", *locks).stdout.strip()} for _ in range(2)]
        for reader in readers:
            self.become(reader, "active")
        cases = (("lock_held", ["--lock", "db", "--", "true"]), ("not_before", ["--in", "5h", "--", "true"]),
                 ("held", ["--hold", "--", "true"]), ("dependency", ["--after", "DEAD:any", "--", "true"]))
        waiting = self.world.submit(command=["true"], queue="closed", hold=True)
        for code, arguments in cases:
            arguments = [a.replace("DEAD", waiting["id"]) for a in arguments]
            with self.subTest(code=code):
                run = self.world.cli("submit", "-o", "name", *arguments).stdout.strip()
                why = json.loads(self.world.cli("why", run, "-o", "json").stdout)["reasons"]
                self.assertEqual([r["code"] for r in why], [code])
                self.world.cli(*shlex.split(why[0]["remedy"])[1:])
                self.assertEqual(self.world.wait_final(run)["state"], "succeeded")

    def test_a_lock_is_held_until_the_attempt_ends(self):
        self.world.start_worker(slots=4)
        first = self.world.submit(command=["sleep", "600"], locks=["db"])
        self.become(first, "active")
        second = self.world.submit(command=["true"], locks=["db:read"])
        self.assertEqual(self.codes(second), ["lock_held"])
        self.world.cli("run", "cancel", first["id"])
        self.assertEqual(self.world.wait_final(second["id"])["state"], "succeeded")

    def test_resources_are_offered_by_flag_and_never_promised_twice(self):
        self.world.start_worker("--resource", "gpu=2", "--resource", "memory=4GiB", slots=8)
        worker = self.world.api("GET", "/api/v1/workers/w1", expect=200)[1]
        self.assertEqual((worker["resources"]["gpu"], worker["resources"]["memory"]), (2, 4 << 30))
        self.assertGreater(worker["resources"]["cpu"], 0)
        submit = ("submit", "-o", "name", "--require-resource", "gpu=1.5", "--")
        first = {"id": self.world.cli(*submit, "sleep", "600").stdout.strip()}
        self.become(first, "active")
        second = {"id": self.world.cli(*submit, "true").stdout.strip()}
        self.assertEqual(self.codes(second), ["resources_taken"])
        self.world.cli("run", "cancel", first["id"])
        self.assertEqual(self.world.wait_final(second["id"])["state"], "succeeded")

    def test_dead_runs_are_retried_in_bulk_once(self):
        self.world.start_worker(slots=4)
        for _ in range(3):
            run = self.world.submit(name="bad", command=["sh", "-c", "exit 9"])
            self.assertEqual(self.world.wait_final(run["id"])["state"], "failed")
        retry = ("run", "retry", "--all", "--state", "failed", "--job", "bad", "-o", "json")
        dry = json.loads(self.world.cli(*retry, "--dry-run").stdout)
        self.assertEqual((dry["matched"], dry["retried"], len(dry["items"])), (3, 0, 3))
        done = json.loads(self.world.cli(*retry, "--limit", "2").stdout)
        self.assertEqual((done["retried"], done["more"]), (2, True))
        for item in done["items"]:
            self.assertEqual(self.world.wait_final(item["id"])["retry_of"], item["retry_of"])
        # Five are dead by now, and two of them have been retried.
        again = json.loads(self.world.cli(*retry, "--dry-run").stdout)
        self.assertEqual((again["matched"], again["retried_before"], len(again["items"])), (5, 2, 3))

    def test_exit_codes_decide_about_another_attempt(self):
        self.world.start_worker()
        for code, attempts in ((75, 2), (9, 1)):
            with self.subTest(code=code):
                flags = ("--retries", "1", "--backoff", "10ms", "--max-backoff", "1s", "--max-lost", "2",
                         "--lost-after", "30s", "--on-lease-lost", "kill", "--retry-on", "75")
                name = self.world.cli("submit", "-o", "name", *flags, "--", "sh", "-c", f"exit {code}").stdout.strip()
                self.assertEqual(len(self.world.wait_final(name)["attempts"]), attempts)

    def test_runs_wait_for_others_over_a_kill_and_are_skipped_when_that_was_in_vain(self):
        gate = self.world.dir / "gate"
        first = self.world.submit(command=["sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.05; done; exit 3"])
        submit = ("submit", "-o", "name", "--after")
        names = {on: self.world.cli(*submit, f"{first['id'][-8:]}:{on}", "--", "true").stdout.strip()
                 for on in ("ok", "any", "failed")}
        last = self.world.cli("submit", "-o", "name", "--after", names["any"], "--after", f"{names['ok']}:any", "--",
                              "true").stdout.strip()
        self.world.server.kill()
        self.world.server.wait()
        self.world.start_server(port=self.world.port)
        self.world.start_worker()
        why = json.loads(self.world.cli("why", last, "-o", "json").stdout)["reasons"]
        self.assertEqual([(r["code"], r["holders"]) for r in why],
                         [("dependency", [f"run/{names['any']}", f"run/{names['ok']}"])])
        gate.touch()
        for on, state in (("ok", "skipped"), ("any", "succeeded"), ("failed", "succeeded")):
            self.assertEqual(self.world.wait_final(names[on])["state"], state, on)
        self.assertEqual(self.world.run(names["ok"])["reason"], "dependency")
        self.assertEqual(self.world.wait_final(last)["state"], "succeeded")
        done = self.world.cli("submit", "--wait", "--after", names["ok"], "--", "true", check=False)
        self.assertEqual(done.returncode, 125)  # that can no longer be
        waiting = self.world.submit(command=["sleep", "600"])
        free = self.world.cli(*submit, waiting["id"], "--", "true").stdout.strip()
        self.world.cli("run", "release", "--after", free)
        self.assertEqual(self.world.cli("wait", free).returncode, 0)
        self.world.cli("run", "cancel", waiting["id"])

    def test_a_dependency_that_cannot_be_is_refused_with_its_place(self):
        for after, code, place in (([{"run": "0" * 8 + "-0000-7000-8000-" + "0" * 12}], 404, "/after/0/run"),
                                   ([{"run": "nobody"}], 404, "/after/0/run"), ([{"on": "ok"}], 400, "/after/0/run"),
                                   ([{"run": "x", "on": "soon"}], 400, "/after/0/on"), (["x"], 400, "/after/0"),
                                   ({"run": "x"}, 400, "/after"), ([{"run": "x"}] * 1001, 400, "/after")):
            with self.subTest(after=str(after)[:60]):
                problem = self.world.api("POST", "/api/v1/runs", {"command": ["true"], "after": after}, expect=code)[1]
                self.assertEqual(problem["errors"][0]["pointer"], place)

    def test_a_job_run_by_hand_waits_for_another_run_and_for_its_turn(self):
        self.world.api("PUT", "/api/v1/jobs/nap", {"command": ["sleep", "600"], "schedule": {"daily": "00:00"}},
                       expect=201)
        self.world.start_worker(slots=4)
        before = self.world.submit(command=["true"], hold=True)
        after = [{"run": before["id"], "on": "any"}]
        first = self.world.api("POST", "/api/v1/jobs/nap/run", {"after": after}, expect=201)[1]
        self.assertEqual(self.codes(first), ["dependency"])
        self.world.cli("run", "release", before["id"])
        self.become(first, "active")
        second = self.world.api("POST", "/api/v1/jobs/nap/run", expect=201)[1]
        why = json.loads(self.world.cli("why", second["id"], "-o", "json").stdout)["reasons"]
        self.assertEqual([(r["code"], r["holders"]) for r in why], [("overlap", [f"run/{first['id']}"])])
        self.world.cli(*why[0]["remedy"].split()[1:])
        self.become(second, "active")

    def test_an_action_that_takes_no_field_refuses_one_with_its_place(self):
        run = self.world.submit(command=["true"], hold=True)["id"]
        self.world.api("PUT", "/api/v1/jobs/nap", {"command": ["sleep", "600"]}, expect=201)
        for path in (f"runs/{run}/cancel", f"runs/{run}/retry", f"runs/{run}/hold", "jobs/nap/pause", "jobs/nap/resume",
                     "schedules/nap/pause", "schedules/nap/resume", "queues/etl/pause", "queues/etl/resume",
                     "workers/w1/drain", "workers/w1/resume"):
            with self.subTest(path):
                problem = self.world.api("POST", "/api/v1/" + path, {"force": True}, expect=400)[1]
                self.assertEqual((problem["type"], problem["errors"][0]["pointer"]),
                                 ("/problems/unknown_field", "/force"))
                problem = self.world.api("POST", "/api/v1/" + path, ["force"], expect=400)[1]
                self.assertEqual(problem["type"], "/problems/bad_json")
        self.world.api("POST", f"/api/v1/runs/{run}/cancel", {}, expect=200)

    def test_the_past_of_a_job_is_read_from_its_ledger(self):
        self.world.cli("schedule", "add", "tick", "--every", "1s", "--", "true")
        eventually(lambda: self.world.api("GET", "/api/v1/schedules/tick/history", expect=200)[1]["items"],
                   "an instant is decided")
        why = json.loads(self.world.cli("why", "tick", "--at", "0s", "-o", "json").stdout)
        self.assertEqual(why["outcome"], "ran")
        self.assertTrue(why["run"])
        refused = self.world.cli("why", "nobody", "--at", "1h", check=False)
        self.assertEqual(refused.returncode, 3)
        self.assertIn("there is no job `nobody`", refused.stderr)


if __name__ == "__main__":
    unittest.main()
