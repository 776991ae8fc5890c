"""Backup, restore, check and status as operators use them, and a disk that runs full under a running coordinator."""
import http.client
import json
import os
import pathlib
import select
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import unittest

from harness import BINARY, LIMIT, ROOT, FailingCalls, WorldTest, compiler, eventually

MIB = 1024 * 1024


def can_mount():
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@unittest.skipUnless(can_mount(), "mounting a file system of its own needs root")
class FullWorkDir(WorldTest):
    def test_a_worker_starts_again_on_a_full_disk_and_goes_on_with_its_job(self):
        world = self.world
        world.start_server()
        disk, gate = pathlib.Path(tempfile.mkdtemp(prefix="orc-")), world.dir / "gate"
        self.addCleanup(disk.rmdir)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(disk)], check=True)

        def start():
            worker = world.spawn("--role=worker", "--server", f"127.0.0.1:{world.port}", "--worker-id", "w1",
                                 "--work-dir", disk / "work", "--retry-delay", "50ms", "--retry-max", "200ms")
            eventually(lambda: world.worker_state("w1") == "online", "the worker is online")
            return worker

        worker = start()
        run = world.submit(command=["sh", "-c", f"until test -e {gate}; do sleep 0.05; done; echo done"])["id"]
        eventually(lambda: world.run(run)["attempts"] and world.run(run)["attempts"][0]["state"] == "running",
                   "the job runs")
        worker.kill()
        eventually(lambda: world.worker_state("w1") is None, "the coordinator has seen that")
        with open(disk / "fill", "wb", buffering=0) as fill, self.assertRaises(OSError):
            while True:
                fill.write(bytes(4096))
        start()
        gate.touch()
        eventually(lambda: world.run(run)["state"] == "succeeded", "the job that ran meanwhile ends")
        (disk / "fill").unlink()
        self.assertEqual(world.wait_final(world.submit(command=["true"])["id"])["state"], "succeeded")


class Offline(WorldTest):
    def run_binary(self, *arguments):
        return subprocess.run([str(BINARY), *map(str, arguments)], env=self.world.env, cwd=ROOT, capture_output=True,
                              text=True, timeout=120)

    def server_verb(self, *arguments, expect=0):
        done = self.run_binary("server", *arguments)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def check(self, directory, expect=0):
        findings = json.loads(self.server_verb("check", "--data-dir", directory, "-o", "json", expect=expect).stdout)
        return [f["id"] for f in findings if not f["ok"]]

    def test_a_backup_drill_from_a_running_server_to_another_directory(self):
        world = self.world
        world.start_server()
        world.start_worker("--retry-delay", "50ms", "--retry-max", "200ms")
        done = world.submit(command=["echo", "kept"])
        world.wait_final(done["id"])
        world.submit(command=["true"], hold=True)
        backup = world.dir / "backup"
        self.assertIn(str(backup), self.server_verb("backup", "--data-dir", world.data, backup).stdout)
        self.assertEqual(self.check(backup), [])
        self.assertEqual(self.check(world.data), [])
        self.server_verb("backup", "--data-dir", world.data, backup / "orchestrator.db", expect=73)
        self.server_verb("restore", backup, "--data-dir", world.data, "--replace", expect=75)
        after = world.submit(command=["true"], hold=True)  # since the backup: a restore cannot know of it
        term = world.api("GET", "/api/v1/status", expect=200)[1]["term"]
        world.server.terminate()

        self.server_verb("restore", backup, "--data-dir", world.data, expect=73)
        restored = self.server_verb("restore", backup, "--data-dir", world.data, "--replace", "-o", "json")
        kept = pathlib.Path(json.loads(restored.stdout)["replaced"])
        self.assertTrue((kept / "orchestrator.db").exists())
        self.assertIn("is not in it", restored.stderr)
        world.start_server()  # on the same port: the worker comes back, with leases this database never issued
        self.assertEqual(world.output(done["id"]), "kept\n")
        self.assertEqual(world.api("GET", f"/api/v1/runs/{after['id']}")[0], 404)
        self.assertGreater(world.api("GET", "/api/v1/status", expect=200)[1]["term"], term + 2**32 - 10)
        again = world.submit(command=["true"])
        final = world.wait_final(again["id"])
        self.assertEqual(final["state"], "succeeded")
        self.assertGreater(final["attempts"][0]["lease"], 2**32)
        world.server.terminate()
        self.assertEqual(self.check(world.data), [])

    def test_status_asks_the_server(self):
        self.world.start_server()
        self.world.submit(command=["true"], hold=True)
        done = self.world.cli("server", "status", "-o", "json")
        status = json.loads(done.stdout)
        self.assertEqual(status["disk"], "ok")
        self.assertEqual(status["runs"]["queued"], 1)
        self.assertIn("1 queued", self.world.cli("server", "status").stdout)

    def test_a_broken_invariant_and_a_damaged_file_end_the_check_with_65(self):
        self.world.start_server()
        self.world.submit(command=["true"])
        self.world.server.terminate()
        with sqlite3.connect(self.world.data / "orchestrator.db") as db:
            db.execute("UPDATE progress SET fact_sequence=fact_sequence+1")
        db.close()
        self.assertEqual(self.check(self.world.data, expect=65), ["I19"])
        (self.world.data / "orchestrator.db").write_bytes(b"x" * 8192)
        done = self.server_verb("check", "--data-dir", self.world.data, expect=65)
        self.assertIn("server restore", done.stderr)

    def test_a_text_that_cannot_be_read_stops_start_check_backup_and_restore_and_is_named(self):
        world = self.world
        world.start_server()
        world.submit(command=["true"])
        world.cli("schedule", "add", "nightly", "--daily", "02:30", "--", "true")
        backup = world.dir / "backup"
        self.server_verb("backup", "--data-dir", world.data, backup)
        world.server.terminate()
        cases = [("specs", "UPDATE specs SET text=replace(text,'command','comand')", "1"),
                 ("job_versions", "UPDATE job_versions SET text=substr(text,1,9)", "nightly version 1")]
        for table, damage, row in cases:
            with self.subTest(table):
                bad = world.dir / table
                for name in (bad, world.dir / f"{table}-backup"):
                    shutil.copytree(world.data if name == bad else backup, name)
                    with sqlite3.connect(name / "orchestrator.db") as db:
                        db.execute(damage)
                    db.close()
                started = self.run_binary("--role=server", "--listen", "127.0.0.1:0", "--data-dir", bad)
                copied = self.run_binary("server", "backup", "--data-dir", bad, world.dir / "never")
                restored = self.run_binary("server", "restore", f"{bad}-backup", "--data-dir", world.dir / "never")
                for done in (started, copied, restored):
                    self.assertEqual(done.returncode, 65, done.stderr)
                    for words in (f"in table {table} the row {row} cannot be read", "orchestrator server restore"):
                        self.assertIn(words, done.stderr)
                self.assertEqual(self.check(bad, expect=65), ["texts"])
                self.assertFalse((world.dir / "never" / "orchestrator.db").exists())
                # The way that the message names leads out.
                self.server_verb("restore", backup, "--data-dir", bad, "--replace")
                self.assertEqual(self.check(bad), [])

    def test_help_of_each_verb_says_what_it_does_and_how_it_ends(self):
        for verb in ("backup", "restore", "check"):
            text = self.server_verb(verb, "--help").stdout
            self.assertIn("Exit codes", text)
            self.assertIn("--data-dir", text)


def mount_tmpfs(directory, size):
    """Whether a small file system could be mounted there; needs root with its usual powers."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True)
    return done.returncode == 0


class FullDisk(WorldTest):
    """A file system of 64 MiB: the reserve is a twentieth of it, 3.2 MiB, and the ballast half of that."""

    def setUp(self):
        super().setUp()
        self.disk = self.world.dir / "disk"
        self.disk.mkdir()
        if not mount_tmpfs(self.disk, 64 * MIB):
            self.world.close()
            self.skipTest("a tmpfs cannot be mounted here: that takes root and CAP_SYS_ADMIN")

    def tearDown(self):
        for child in self.world.processes:
            child.kill()
        subprocess.run(["umount", "-l", str(self.disk)], check=False)
        super().tearDown()

    def free(self):
        found = os.statvfs(self.disk)
        return found.f_bavail * found.f_frsize

    def fill(self, leave):
        """Takes all but `leave` bytes of the disk."""
        with open(self.disk / "filler", "ab", buffering=0) as f:
            while self.free() > leave:
                try:
                    f.write(b"x" * min(MIB, max(4096, self.free() - leave)))
                except OSError:
                    return  # the coordinator took what was left

    def status(self):
        return self.world.api("GET", "/api/v1/status", expect=200)[1]["disk"]

    def ready(self):
        return self.world.api("GET", "/readyz")[0]

    def submit_status(self):
        return self.world.api("POST", "/api/v1/runs", {"command": ["true"]})

    def test_a_disk_that_is_nearly_full_refuses_new_work_and_one_that_is_full_loses_nothing(self):
        world = self.world
        world.start_server(data="disk/data")
        eventually(lambda: (world.data / "ballast").exists(), "the ballast is made")
        self.assertGreater((world.data / "ballast").stat().st_size, MIB)
        world.start_worker("--retry-delay", "50ms", "--retry-max", "200ms", slots=4)
        go = world.dir / "go"
        waits = f"echo before; until test -e {go}; do sleep 0.05; done; echo after"
        runs = [world.submit(command=["sh", "-c", waits]) for _ in range(4)]
        for run in runs:
            eventually(lambda: world.output(run["id"]) == "before\n", "the jobs run")

        self.fill(leave=2 * MIB)
        eventually(lambda: self.status() == "low", "the coordinator sees that room is scarce")
        status, problem, _ = self.submit_status()
        self.assertEqual(status, 507, problem)
        self.assertIn("nearly full", problem["detail"])
        self.assertEqual(self.ready(), 200)
        world.api("POST", f"/api/v1/runs/{runs[3]['id']}/cancel", expect=200)
        self.assertEqual(world.wait_final(runs[3]["id"])["state"], "cancelled")

        # Not a block is left, and results come in: what was held back is let go for them.
        self.fill(leave=0)
        go.touch()
        for run in runs[:3]:
            self.assertEqual(world.wait_final(run["id"])["state"], "succeeded")
            self.assertNotIn("after", world.output(run["id"]))  # that came while room was scarce

        # Room comes back by itself, with all that was there, and what was held back is held back again.
        (self.disk / "filler").unlink()
        eventually(lambda: self.status() == "ok", "the coordinator sees the room")
        eventually(lambda: (world.data / "ballast").exists(), "the ballast is made anew")
        self.assertEqual(self.ready(), 200)
        again = world.submit(command=["echo", "again"])
        self.assertEqual(world.wait_final(again["id"])["state"], "succeeded")
        self.assertEqual(world.output(again["id"]), "again\n")
        world.server.terminate()
        done = subprocess.run([str(BINARY), "server", "check", "--data-dir", str(world.data)], env=world.env, cwd=ROOT,
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_with_nothing_held_back_a_full_disk_holds_every_answer_until_there_is_room(self):
        world = self.world
        world.start_server("--disk-reserve", "0", data="disk/data")
        eventually(lambda: (world.data / "ballast").exists(), "the ballast is made")
        accepted, enough = [], threading.Event()

        def submit():
            # Without a reserve commits find the disk full. The first is saved by the ballast, and a later
            # one is held: its answer comes when there is room.
            while not enough.is_set():
                self.fill(leave=0)
                status, run, _ = world.api("POST", "/api/v1/runs", {"command": ["true", "x" * 30_000], "hold": True})
                if status == 201:
                    accepted.append(run["id"])
        submitter = threading.Thread(target=submit, daemon=True)
        submitter.start()
        eventually(lambda: not (world.data / "ballast").exists() and all(self.ready() == 503 for _ in range(30)),
                   "commits find the disk full and nothing is held back any more")
        self.assertEqual(world.api("GET", "/api/v1/runs?limit=1")[0], 200)  # reads go on
        self.assertEqual(self.submit_status()[0], 507)
        enough.set()
        (self.disk / "filler").unlink()
        eventually(lambda: self.ready() == 200, "it resumes by itself")
        submitter.join(60)
        self.assertFalse(submitter.is_alive(), "an answer was held for ever")
        self.assertGreater(len(accepted), 0)
        for run_id in accepted:
            self.assertEqual(world.run(run_id)["state"], "queued")
        self.assertEqual(self.submit_status()[0], 201)
        world.server.kill()
        world.start_server("--disk-reserve", "0", data="disk/data")
        for run_id in accepted:
            self.assertEqual(world.run(run_id)["state"], "queued")

    def test_a_coordinator_that_was_killed_on_a_full_disk_starts_on_it(self):
        world = self.world
        world.start_server(data="disk/data")
        eventually(lambda: (world.data / "ballast").exists(), "the ballast is made")
        run = world.submit(command=["true"])
        world.server.kill()
        self.fill(leave=0)
        world.start_server(data="disk/data")
        self.assertEqual(world.run(run["id"])["state"], "queued")
        self.assertEqual(self.submit_status()[0], 507)


class HeldDisk(WorldTest):
    """A disk whose fsync does not return: row 26 of the guarantees."""

    MOST = 400  # submissions of half a MiB; 64 MiB may wait for the disk

    def ask(self, number):
        """Sends a submission and leaves its answer for later."""
        body = json.dumps({"command": ["cat"], "stdin": f"{number} " + "x" * 500_000, "hold": True})
        asked = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=LIMIT)
        asked.request("POST", "/api/v1/runs", body,
                      {"Authorization": f"Bearer {self.world.token()}", "Content-Type": "application/json"})
        self.addCleanup(asked.close)
        return asked

    def test_submissions_behind_64_mib_that_wait_for_the_disk_are_refused_and_none_is_lost(self):
        world = self.world
        if not compiler():
            self.skipTest("no C compiler: a disk that holds its fsync cannot be made")
        calls = FailingCalls(world.dir)
        world.env |= calls.env
        world.start_server()
        calls.order("sync", "hold")
        waiting = []

        def answered(patience=0.0):
            return select.select([asked.sock for asked in waiting], [], [], patience)[0]

        def refused():
            waiting.append(self.ask(len(waiting)))
            self.assertLess(len(waiting), self.MOST, "nothing is refused")
            return answered(0.02)
        eventually(refused, "a submission is refused")
        early = answered()
        for asked in [asked for asked in waiting if asked.sock in early]:
            waiting.remove(asked)
            answer = asked.getresponse()
            self.assertEqual(answer.status, 503, "nothing else is answered before the disk took it")
            self.assertIn("waiting for the disk", answer.read().decode())
        self.assertEqual(world.api("GET", "/healthz")[0], 200)

        calls.relent("sync")
        ids = set()
        for asked in waiting:
            answer = asked.getresponse()
            self.assertIn(answer.status, (201, 503))  # some may have come when the 64 MiB were full
            if answer.status == 201:
                ids.add(json.loads(answer.read())["id"])
        self.assertGreaterEqual(len(ids), 64 * MIB // 501_000)
        self.assertEqual(world.submit(command=["true"], hold=True)["state"], "queued")
        world.server.kill()
        world.start_server()
        for run_id in ids:
            self.assertEqual(world.run(run_id)["state"], "queued")


if __name__ == "__main__":
    unittest.main()
