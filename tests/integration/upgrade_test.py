"""The program starts on the database of every schema that was ever landed, shows what is in it, and finishes the work
that waits in it."""
import json
import shutil
import subprocess
import unittest

from harness import BINARY, LIMIT, ROOT, WorldTest

FIXTURES = ROOT / "tests/support/fixtures"
WAITING, FAILED, FOLLOWING = (f"019254d3-8000-700{n}-8000-00000000{n * 7919:04x}" for n in (1, 2, 3))


class Upgrade(WorldTest):
    def check(self, data):
        done = subprocess.run([str(BINARY), "server", "check", "--data-dir", str(data), "-o", "json"],
                              env=self.world.env, capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def carry_on(self, version):
        world = self.world
        data = world.dir / f"v{version}"
        data.mkdir(mode=0o700)
        shutil.copyfile(FIXTURES / f"schema_v{version}.db", data / "orchestrator.db")
        shutil.copyfile(FIXTURES / f"output_v{version}.db", data / "output.db")
        self.check(data)  # as it is, in its own schema
        world.start_server("--retain-age", "3650d", data=data.name)  # what ended in it did so in 2024
        job = world.api("GET", "/api/v1/jobs/nightly", expect=200)[1]
        self.assertEqual((job["version"], job["definition"]["schedule"]["cron"]), (4, "0 3 1 1 *"))
        failed = world.run(FAILED)
        self.assertEqual((failed["state"], failed["attempts"][0]["exit_code"]), ("failed", 3))
        self.assertEqual(world.output(FAILED), "hello")
        history = json.loads(world.cli("schedule", "history", "nightly", "-o", "json").stdout)
        self.assertEqual((history[-1]["outcome"], history[-1]["run"]), ("ran", FAILED))
        waiting = [WAITING] + ([FOLLOWING] if version >= 3 else [])
        for run_id in waiting:
            self.assertEqual(world.run(run_id)["state"], "queued")
        worker = world.start_worker(name=f"w{version}")
        for run_id in waiting:
            self.assertEqual(world.wait_final(run_id)["state"], "succeeded")
        worker.kill()
        self.assertEqual(world.server.terminate(), 0)
        self.check(data)

    def test_a_server_starts_on_each_landed_schema_and_finishes_what_waits_there(self):
        versions = sorted(int(f.stem.split("_v")[1]) for f in FIXTURES.glob("schema_v*.db"))
        self.assertEqual(versions, list(range(1, versions[-1] + 1)))
        for version in versions:
            with self.subTest(version=version):
                self.carry_on(version)


if __name__ == "__main__":
    unittest.main()
