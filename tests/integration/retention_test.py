"""What retention removes from a running coordinator, and what it leaves. Nobody waits a day here: while the coordinator
is stopped the test moves chosen runs into the past in the database (their times, and the time in their ids), as if they
had been there so long, and the next start finds them old.
"""
import contextlib
import datetime
import json
import sqlite3
import subprocess
import unittest
import uuid

from harness import BINARY, ROOT, WorldTest, eventually

HOUR_MS = 3_600_000


def older_id(run_id, ms):
    """The id that a run made so many milliseconds earlier has: its first six bytes are the time."""
    raw = uuid.UUID(run_id).bytes
    return uuid.UUID(bytes=(int.from_bytes(raw[:6], "big") - ms).to_bytes(6, "big") + raw[6:])


class Retention(WorldTest):
    def setUp(self):
        super().setUp()
        self.flags = ()

    def start(self):
        self.world.start_server(*self.flags)
        self.world.start_worker("--retry-delay", "50ms", "--retry-max", "200ms")

    def stop(self):
        """The worker first, and then the coordinator."""
        for child in reversed(self.world.processes):
            child.terminate()

    def database(self, name="orchestrator.db"):
        return contextlib.closing(sqlite3.connect(self.world.data / name))

    def finish(self, *command, headers=None, **spec):
        body = {"command": list(command), **spec}
        run = self.world.api("POST", "/api/v1/runs", body, headers=headers, expect=201)[1]
        self.assertEqual(self.world.wait_final(run["id"])["state"], "succeeded")
        return run["id"]

    def age(self, run_id, ms, whole_life=True):
        """Moves a run's end into the past, and with `whole_life` its beginning and its id too. Returns its id."""
        was = uuid.UUID(run_id).bytes
        now = older_id(run_id, ms).bytes if whole_life else was
        with self.database() as db, db:
            db.execute("UPDATE runs SET finished_at=finished_at-?1,submitted_at=submitted_at-?2,id=?3 WHERE id=?4",
                       (ms, ms if whole_life else 0, now, was))
            db.execute("UPDATE attempts SET finished_at=finished_at-?1,run=?2 WHERE run=?3", (ms, now, was))
            db.execute("UPDATE idempotency SET run=?1 WHERE run=?2", (now, was))
        return str(uuid.UUID(bytes=now))

    def leases_with_output(self):
        with self.database("output.db") as db:
            return {lease for (lease,) in db.execute("SELECT lease FROM streams")}

    def lease_of(self, run_id):
        return self.world.run(run_id)["attempts"][0]["lease"]

    def gone(self, run_id):
        return self.world.api("GET", f"/api/v1/runs/{run_id}")[0] == 404

    def check_invariants(self):
        done = subprocess.run([str(BINARY), "server", "check", "--data-dir", str(self.world.data)], env=self.world.env,
                              cwd=ROOT, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_by_age_final_runs_go_with_their_output_and_what_is_needed_stays(self):
        world, key = self.world, {"Idempotency-Key": "nightly-report"}
        self.flags = ("--retain-age", "2h")
        self.start()
        world.api("PUT", "/api/v1/jobs/kept", {"command": ["echo", "job"]}, expect=201)
        old = self.finish("echo", "old", headers=key)
        of_job = world.api("POST", "/api/v1/jobs/kept/run", expect=201)[1]["id"]
        world.wait_final(of_job)
        young = self.finish("echo", "young")
        waiting = world.submit(command=["echo", "waiting"], hold=True)["id"]
        old_leases = {self.lease_of(old), self.lease_of(of_job)}
        young_lease = self.lease_of(young)
        self.assertLessEqual(old_leases | {young_lease}, self.leases_with_output())
        self.stop()
        old, of_job = self.age(old, 3 * HOUR_MS), self.age(of_job, 3 * HOUR_MS)
        young = self.age(young, 1 * HOUR_MS)
        waiting = self.age(waiting, 3 * HOUR_MS)

        self.start()
        for run_id in (old, of_job):
            eventually(lambda: self.gone(run_id), "the old run goes")
            self.assertEqual(world.api("GET", f"/api/v1/runs/{run_id}/logs")[0], 404)
        eventually(lambda: not old_leases & self.leases_with_output(), "its output goes")
        self.assertEqual(world.output(young), "young\n")
        self.assertEqual(world.run(waiting)["state"], "queued")
        with self.database() as db:
            self.assertEqual([row for row in db.execute("SELECT lease FROM attempts")], [(young_lease,)])

        # The key outlives its run: the same request makes no second one.
        status, replayed, headers = world.api("POST", "/api/v1/runs", {"command": ["echo", "old"]}, headers=key)
        self.assertEqual((status, replayed), (200, {"id": old, "purged": True}))
        self.assertEqual(headers.get("Idempotency-Replayed"), "true")
        self.assertEqual(world.api("POST", "/api/v1/runs", {"command": ["echo", "other"]}, headers=key)[0], 422)
        listed = world.api("GET", "/api/v1/runs", expect=200)[1]["items"]
        self.assertEqual({run["id"] for run in listed}, {young, waiting})

        # The job, and the run that waited all the time, still do what they are for.
        again = world.api("POST", "/api/v1/jobs/kept/run", expect=201)[1]["id"]
        self.assertEqual(world.wait_final(again)["state"], "succeeded")
        world.api("POST", f"/api/v1/runs/{waiting}/release", expect=200)
        self.assertEqual(world.wait_final(waiting)["state"], "succeeded")
        self.assertEqual(world.output(waiting), "waiting\n")
        self.stop()
        self.check_invariants()

    def test_the_command_line_says_that_a_replayed_run_was_removed(self):
        world = self.world
        self.flags = ("--retain-age", "2h")
        self.start()
        done = world.cli("submit", "--idempotency-key", "once", "-o", "name", "--", "echo", "old")
        run_id = done.stdout.strip()
        world.wait_final(run_id)
        self.stop()
        run_id = self.age(run_id, 3 * HOUR_MS)
        self.start()
        eventually(lambda: self.gone(run_id), "the old run goes")
        for flags in ((), ("--wait",), ("--follow",), ("-o", "json")):
            done = world.cli("submit", "--idempotency-key", "once", *flags, "--", "echo", "old", check=False)
            self.assertEqual(done.returncode, 125 if flags in (("--wait",), ("--follow",)) else 0, (flags, done.stderr))
            if flags == ("-o", "json"):
                self.assertEqual(json.loads(done.stdout), {"id": run_id, "purged": True})
            else:
                self.assertIn(f"run {run_id} was removed by retention", done.stderr)

    def test_by_count_the_newest_stay_and_so_does_what_ended_within_a_day(self):
        self.flags = ("--retain-count", "2")
        self.start()
        runs = [self.finish("echo", str(n)) for n in range(5)]
        self.stop()
        # All but the first ended more than a day ago.
        for run_id in runs[1:]:
            self.age(run_id, 25 * HOUR_MS, whole_life=False)
        self.start()
        for run_id in runs[1:3]:
            eventually(lambda: self.gone(run_id), "a run beyond the newest two goes")
        for n in (0, 3, 4):
            self.assertEqual(self.world.output(runs[n]), f"{n}\n")
        status = self.world.api("GET", "/api/v1/status", expect=200)[1]
        self.assertEqual(status["runs"]["succeeded"], 3)
        self.stop()
        self.check_invariants()

    def test_an_instant_outlives_its_run_so_that_it_never_fires_again(self):
        world = self.world
        self.flags = ("--retain-age", "2h")
        self.start()
        then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=3)
        past = then.strftime("%Y-%m-%dT%H:%M:00Z")
        daily = {"cron": f"{then.minute} {then.hour} * * *"}
        world.api("PUT", "/api/v1/jobs/daily", {"command": ["echo", "tick"], "schedule": daily}, expect=201)
        window = {"from": past, "to": past}
        made = world.api("POST", "/api/v1/schedules/daily/backfill", window, expect=200)[1]["items"]
        self.assertEqual(len(made), 1)
        run_id = made[0]["run"]
        world.wait_final(run_id)
        self.stop()
        run_id = self.age(run_id, 3 * HOUR_MS)
        with self.database() as db, db:
            db.execute("UPDATE instants SET run=?1", (uuid.UUID(run_id).bytes,))
        self.start()
        eventually(lambda: self.gone(run_id), "the old run goes")
        answer = world.api("POST", "/api/v1/schedules/daily/backfill", window, expect=200)[1]
        self.assertEqual(answer, {"items": [], "had_runs": 1})
        row = world.api("GET", "/api/v1/schedules/daily/history", expect=200)[1]["items"][-1]
        self.assertEqual((row["run"], row["outcome"]), (run_id, "late"))


if __name__ == "__main__":
    unittest.main()
