"""Kill -9 of the coordinator and of worker daemons while commits are in flight and attempts run. The judge is a ledger
that the jobs themselves write: starts per lease at most 1, and every accepted run ends."""
import collections
import json
import os
import random
import threading
import time
import unittest

from harness import WorldTest, eventually

KILLS = int(os.environ.get("ORCHESTRATOR_KILLS", "30"))


class Ledger:
    """Each job appends `run lease pid` in one write with O_APPEND; nobody else writes."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def command(self, seconds):
        line = "echo \"$ORCHESTRATOR_RUN_ID $ORCHESTRATOR_LEASE $$\" >> " + str(self.path)
        return ["sh", "-c", f"{line}; sleep {seconds}"]

    def starts(self):
        return [line.split() for line in self.path.read_text().splitlines()]


class Submitter(threading.Thread):
    """Submits without pause, each with a key of its own, and asks again with the same key until it is answered."""

    def __init__(self, world, ledger):
        super().__init__(daemon=True)
        self.world, self.ledger = world, ledger
        self.accepted = {}
        self.replays = 0
        self.ending = False

    def submit(self, key, body):
        first = True
        while True:
            try:
                status, run, headers = self.world.api("POST", "/api/v1/runs", body, {"Idempotency-Key": key})
                if status == 201:
                    self.accepted[key] = run["id"]
                    self.replays += not first and headers.get("Idempotency-Replayed") == "true"
                    return
            except (OSError, ValueError, EOFError):
                pass
            except Exception as error:  # http.client's family for a connection cut in the middle
                if type(error).__module__ != "http.client":
                    raise
            first = False
            time.sleep(0.01)

    def run(self):
        number = 0
        while not self.ending:
            number += 1
            self.submit(f"key-{number}", {"command": self.ledger.command(random.choice(("0", "0.05", "0.3"))),
                                          "retry": {"max_lost": 10}})


class Crashes(WorldTest):
    def test_kill_9_of_the_coordinator_loses_and_doubles_nothing(self):
        world = self.world
        world.start_server()
        ledger = Ledger(world.dir / "ledger")
        for name in ("w1", "w2"):
            world.start_worker("--retry-delay", "50ms", "--retry-max", "200ms", name=name, slots=4)
        submitter = Submitter(world, ledger)
        submitter.start()
        chosen = random.Random(2026)
        in_flight = 0
        for kill in range(KILLS):
            before = len(submitter.accepted)
            eventually(lambda: len(submitter.accepted) > before + 3, "work is accepted between kills")
            time.sleep(chosen.uniform(0.0, 0.05))  # the moment of the kill, not a wait for anything
            in_flight += world.server.process.poll() is None
            world.server.kill()
            world.start_server()
        submitter.ending = True
        submitter.join(60)
        self.assertEqual(in_flight, KILLS)
        states = collections.Counter(world.wait_final(run_id)["state"] for run_id in submitter.accepted.values())
        self.judge(ledger, submitter, states)

    def judge(self, ledger, submitter, states):
        starts = ledger.starts()
        per_lease = collections.Counter(lease for _, lease, _ in starts)
        self.assertEqual([l for l, n in per_lease.items() if n > 1], [], "a lease was started twice")
        self.assertEqual(set(states), {"succeeded"}, states)
        started_runs = {run for run, _, _ in starts}
        accepted = set(submitter.accepted.values())
        self.assertEqual(len(accepted), len(submitter.accepted), "two keys got one run")
        self.assertEqual(accepted - started_runs, set(), "succeeded without a start")
        per_run = collections.Counter(run for run, _, _ in starts)
        print(f"{KILLS} kills -9 of the coordinator: {len(accepted)} runs accepted, {submitter.replays} answers "
              f"replayed by key, {len(starts)} starts, most starts of one lease "
              f"{max(per_lease.values())}, most of one run {max(per_run.values())}, 0 lost", flush=True)

    def test_kill_9_of_the_worker_daemon_neither_kills_nor_forgets_its_jobs(self):
        world = self.world
        world.start_server()
        ledger = Ledger(world.dir / "ledger")
        worker = world.start_worker(slots=4)
        go = world.dir / "go"
        line = "echo \"$ORCHESTRATOR_RUN_ID $ORCHESTRATOR_LEASE $$\" >> " + str(ledger.path)
        runs = [world.submit(command=["sh", "-c", f"{line}; echo before; "
                                           f"until test -e {go}; do sleep 0.05; done; echo after"]) for _ in range(3)]
        eventually(lambda: len(ledger.starts()) == 3, "three jobs run")
        for run in runs:
            eventually(lambda: world.output(run["id"]) == "before\n", "the first line is shown")
        worker.kill()
        go.touch()  # they end while no daemon is there
        pids = [int(pid) for _, _, pid in ledger.starts()]
        eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the jobs ended without a daemon")
        world.start_worker(slots=4)
        for run in runs:
            final = world.wait_final(run["id"])
            self.assertEqual(final["state"], "succeeded")
            self.assertEqual(len(final["attempts"]), 1)
            self.assertEqual(world.output(run["id"]), "before\nafter\n")
        self.assertEqual(len(ledger.starts()), 3)

    def test_jobs_run_on_while_the_coordinator_is_down_and_their_results_arrive(self):
        world = self.world
        world.start_server()
        world.start_worker("--retry-delay", "50ms", "--retry-max", "200ms")
        mark = world.dir / "mark"
        gate = world.dir / "gate"
        os.mkfifo(gate)
        run = world.submit(command=["sh", "-c", f"touch {mark}; read x < {gate}; echo done"])
        eventually(mark.exists, "the job runs")
        world.server.kill()
        with open(gate, "w") as f:
            f.write("go\n")
        world.start_server()
        final = world.wait_final(run["id"])
        self.assertEqual(final["state"], "succeeded")
        self.assertEqual(len(final["attempts"]), 1)
        self.assertEqual(world.output(run["id"]), "done\n")

    def test_a_restart_finds_every_queued_run_again(self):
        world = self.world
        world.start_server()
        runs = [world.submit(command=["true"]) for _ in range(50)]
        world.server.kill()
        world.start_server()
        for run in runs:
            self.assertEqual(world.run(run["id"])["state"], "queued")
        world.start_worker(slots=4)
        for run in runs:
            self.assertEqual(world.wait_final(run["id"])["state"], "succeeded")


if __name__ == "__main__":
    unittest.main()
