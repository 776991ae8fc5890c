"""Machines and containers that start anew under a worker's directory: another boot id, or the same one with other
process namespaces in which every pid is used again. Needs root for namespaces of its own, and is skipped without.
"""
import os
import pathlib
import signal
import subprocess
import unittest

from harness import BINARY, ROOT, Process, WorldTest, eventually


def can_unshare():
    return subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode == 0


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@unittest.skipUnless(can_unshare(), "namespaces need root")
class Namespaces(WorldTest):
    def setUp(self):
        super().setUp()
        self.ledger = self.world.dir / "ledger"
        self.ledger.touch()

    def worker(self, *prefix):
        """A worker behind `prefix`, which puts it into a namespace."""
        child = Process([*prefix, BINARY, "--role=worker", "--server", f"127.0.0.1:{self.world.port}", "--worker-id",
                         "w1", "--slots", "4", "--work-dir", self.world.dir / "work-w1", "--retry-delay", "50ms",
                         "--retry-max", "200ms"], env=self.world.env, cwd=ROOT)
        self.world.processes.append(child)
        return child

    def online(self):
        eventually(lambda: self.world.worker_state("w1") == "online", "the worker is online")

    def submit_waiting(self, gate):
        """A job that tells the ledger of its start and waits for a file; one that is lost runs again."""
        script = (f'echo "$ORCHESTRATOR_RUN_ID $$" >> {self.ledger}; echo before; '
                  f'until test -e {gate}; do sleep 0.05; done; echo after')
        return self.world.submit(command=["sh", "-c", script], retry={"max_lost": 5, "backoff": "10ms"})["id"]

    def starts(self, run_id):
        return sum(line.split()[0] == run_id for line in self.ledger.read_text().splitlines())

    def wait_for_start(self, run_id, count=1):
        eventually(lambda: self.starts(run_id) == count, f"start {count} of run {run_id}")

    def end_everything_of_the_worker(self):
        """As a power switch: daemon, supervisor and jobs, all by -9."""
        marker = str(self.world.dir / "work-w1").encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (marker in (entry / "environ").read_bytes()
                                             or marker in (entry / "cmdline").read_bytes()):
                    found.append(int(entry.name))
            except OSError:
                continue
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(is_alive(pid) for pid in found), "all of them are gone")

    def test_after_a_reboot_what_ran_is_lost_and_what_had_ended_is_delivered(self):
        world = self.world
        world.start_server()
        self.worker()
        self.online()
        cut_off, ended, unheard = world.dir / "gate-1", world.dir / "gate-2", world.dir / "gate-3"
        running, finished = self.submit_waiting(cut_off), self.submit_waiting(ended)
        script = (f"echo $ORCHESTRATOR_RUN_ID $$ >> {self.ledger}; echo before; until test -e {unheard}; "
                  "do sleep 0.05; done; echo unheard; sleep 600")
        printing = world.submit(command=["sh", "-c", script])["id"]
        for run in (running, finished, printing):
            self.wait_for_start(run)
        world.server.kill()
        ended.touch()
        unheard.touch()
        spool = world.dir / "work-w1" / "spool"
        eventually(lambda: any(f.read_bytes() == b"before\nunheard\n" for f in spool.glob("*.stdout.0")),
                   "what it printed is in the spool")
        outbox = world.dir / "work-w1" / "outbox"
        eventually(lambda: any(b'"SUCCESS"' in f.read_bytes() for f in outbox.rglob("segment-*")),
                   "the result is in the outbox")
        self.end_everything_of_the_worker()
        world.start_server()
        other_boot = world.dir / "boot_id"
        other_boot.write_text("11111111-2222-4333-8444-555555555555\n")
        self.worker("unshare", "--mount", "sh", "-c",
                    f'mount --bind {other_boot} /proc/sys/kernel/random/boot_id && exec "$@"', "sh")
        final = world.wait_final(finished)
        self.assertEqual([a["state"] for a in final["attempts"]], ["succeeded"])
        self.assertEqual(self.starts(finished), 1)
        self.assertEqual(world.output(finished), "before\nafter\n")
        eventually(lambda: [a["state"] for a in world.run(printing)["attempts"]][:1] == ["lost"], "the third is lost")
        lost = f"/api/v1/runs/{printing}/logs?stream=stdout&attempt=1"
        eventually(lambda: world.api("GET", lost, headers={"Accept": "text/plain"})[1] == "before\nunheard\n",
                   "what it printed is delivered")
        world.api("POST", f"/api/v1/runs/{printing}/cancel", {})
        self.wait_for_start(running, 2)
        cut_off.touch()
        final = world.wait_final(running)
        self.assertEqual([(a["state"], a["reason"]) for a in final["attempts"]][:1], [("lost", "boot_changed")])
        self.assertEqual(final["state"], "succeeded")

    def test_a_container_that_starts_again_under_the_same_boot_id_knows_that_its_processes_are_gone(self):
        world = self.world
        world.start_server()
        container = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
        first = self.worker(*container)
        self.online()
        gate = world.dir / "gate"
        run = self.submit_waiting(gate)
        self.wait_for_start(run)
        pids_before = (world.dir / "work-w1" / "supervisor.lock").read_text()
        first.kill()  # its child is the namespace's pid 1, with which all the others die
        self.worker(*container)
        self.wait_for_start(run, 2)
        lock = (world.dir / "work-w1" / "supervisor.lock").read_text()
        self.assertEqual([l for l in lock.splitlines() if l.startswith(("boot_id", "pid "))],
                         [l for l in pids_before.splitlines() if l.startswith(("boot_id", "pid "))],
                         "the new supervisor has the old one's boot id and pid")
        self.assertNotEqual(lock, pids_before)
        gate.touch()
        final = world.wait_final(run)
        self.assertEqual([a["state"] for a in final["attempts"]], ["lost", "succeeded"])
        self.assertIn(final["attempts"][0]["reason"], ("process_gone", "worker_reported"))
        self.assertEqual(world.output(run), "before\nafter\n")

    def test_a_supervisor_in_another_pid_namespace_is_not_taken_over_and_its_job_goes_on(self):
        world = self.world
        world.start_server()
        namespace = Process(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sleep", "600"],
                            env=world.env)
        world.processes.append(namespace)
        children = pathlib.Path(f"/proc/{namespace.pid}/task/{namespace.pid}/children")
        init = eventually(lambda: children.read_text().split(), "the namespace has its first process")[0]
        # With its root: to enter a mount namespace leads out of a chroot.
        enter = ("nsenter", "--target", init, "--pid", "--mount", "--root", "--wd")
        inside = self.worker(*enter)
        self.online()
        gate = world.dir / "gate"
        run = self.submit_waiting(gate)
        self.wait_for_start(run)
        daemon = pathlib.Path(f"/proc/{inside.pid}/task/{inside.pid}/children").read_text().split()
        os.kill(int(daemon[0]), signal.SIGKILL)
        inside.wait()
        outside = self.worker()
        self.assertEqual(outside.wait(), 74)
        self.assertIn("used by a supervisor in another PID namespace", outside.log())
        self.worker(*enter)
        self.online()
        gate.touch()
        final = world.wait_final(run)
        self.assertEqual([a["state"] for a in final["attempts"]], ["succeeded"])
        self.assertEqual(self.starts(run), 1)
        self.assertEqual(world.output(run), "before\nafter\n")


if __name__ == "__main__":
    unittest.main()
