"""Kill -9 of the coordinator and of worker daemons while commits are in flight and attempts run. The judge is a ledger
that the jobs themselves write: starts per lease at most 1, and every accepted run ends."""
import collections
import http.client
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

    def __init__(self, world, ledger, name):
        super().__init__(daemon=True)
        self.world, self.ledger, self.prefix = world, ledger, name
        self.accepted = {}
        self.replays = 0
        self.cut = 0  # submissions that the coordinator had, and did not answer
        self.asking = False
        self.ended = 0  # questions that were answered, cut or refused
        self.ending = False

    def submit(self, key, body):
        first = True
        while True:
            try:
                self.asking = True
                status, run, headers = self.world.api("POST", "/api/v1/runs", body, {"Idempotency-Key": key})
                if status == 201:
                    self.accepted[key] = run["id"]
                    self.replays += not first and headers.get("Idempotency-Replayed") == "true"
                    return
            except ConnectionRefusedError:
                pass
            except (OSError, ValueError, EOFError, http.client.HTTPException):
                self.cut += 1
            finally:
                self.asking = False
                self.ended += 1
            first = False
            time.sleep(0.01)

    def run(self):
        number = 0
        while not self.ending:
            number += 1
            self.submit(f"{self.prefix}-{number}", {"command": self.ledger.command(random.choice(("0", "0.05", "0.3"))),
                                          "retry": {"max_lost": 10}})


class Crashes(WorldTest):
    def test_kill_9_of_the_coordinator_loses_and_doubles_nothing(self):
        world = self.world
        world.start_server()
        ledger = Ledger(world.dir / "ledger")
        for name in ("w1", "w2"):
            world.start_worker("--retry-delay", "50ms", "--retry-max", "200ms", name=name, slots=4)
        submitters = [Submitter(world, ledger, f"key-{n}") for n in range(4)]
        for submitter in submitters:
            submitter.start()

        def total(count):
            return sum(count(s) for s in submitters)

        def busy(before):
            runs = world.api("GET", "/api/v1/status", expect=200)[1]["runs"]
            return total(lambda s: len(s.accepted)) > before + 3 and runs["active"] > 0
        chosen = random.Random(2026)
        kills = met = 0  # all, and those that cut a submission which waited for its commit
        while met < KILLS:
            self.assertLess(kills, 10 * KILLS, "the kills meet nothing")
            before, cut = total(lambda s: len(s.accepted)), total(lambda s: s.cut)
            eventually(lambda: busy(before), "work is accepted and runs between kills")
            time.sleep(chosen.uniform(0.0, 0.05))  # the moment of the kill, not a wait for anything
            eventually(lambda: any(s.asking for s in submitters), "a submission waits for its answer")
            world.server.kill()
            kills += 1
            asked = [(s, s.ended) for s in submitters]
            world.start_server()
            eventually(lambda: all(s.ended > ended for s, ended in asked), "what was asked at the kill has ended")
            met += total(lambda s: s.cut) > cut
        for submitter in submitters:
            submitter.ending = True
        for submitter in submitters:
            submitter.join(60)
        runs = [run for s in submitters for run in s.accepted.values()]
        states = collections.Counter(world.wait_final(run)["state"] for run in runs)
        print(f"{kills} kills -9 of the coordinator, {met} of which cut a submission that waited, all with attempts "
              f"running: {len(runs)} runs accepted, {total(lambda s: s.replays)} answers replayed by key", flush=True)
        self.judge(ledger, runs, states)

    def judge(self, ledger, runs, states):
        starts = ledger.starts()
        per_lease = collections.Counter(lease for _, lease, _ in starts)
        self.assertEqual([l for l, n in per_lease.items() if n > 1], [], "a lease was started twice")
        self.assertEqual(set(states), {"succeeded"}, states)
        self.assertEqual(len(set(runs)), len(runs), "two keys got one run")
        self.assertEqual(set(runs) - {run for run, _, _ in starts}, set(), "succeeded without a start")
        per_run = collections.Counter(run for run, _, _ in starts)
        print(f"{len(starts)} starts, most starts of one lease {max(per_lease.values())}, most of one run "
              f"{max(per_run.values())}, 0 lost", flush=True)

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
