"""Calendars, the ledger and backfill as people use them: job files, the command line and the API."""
import datetime
import json
import unittest

import harness
from harness import eventually

JOB_FILE = """name = "nightly"
command = ["true"]
[schedule]
daily = "02:30"
time_zone = "Europe/Berlin"
exclude = ["closed"]
start = "2026-01-01"
jitter = "10m"
gap = "skip"
[[calendars]]
name = "closed"
description = "days without work"
days = ["sat", "sun", "12-25", "2026-12-28..2026-12-31"]
"""


def utc(**ago):
    return (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(**ago)).isoformat(timespec="seconds")


class CalendarTest(harness.WorldTest):
    def setUp(self):
        super().setUp()
        self.world.start_server()

    def write(self, name, text):
        path = self.world.dir / name
        path.write_text(text)
        return path

    def as_json(self, *arguments):
        return json.loads(self.world.cli(*arguments, "-o", "json").stdout)

    def test_a_job_file_brings_its_calendar_and_its_days_are_left_out(self):
        path = self.write("nightly.toml", JOB_FILE)
        self.world.cli("job", "validate", "-f", path)
        self.world.cli("job", "apply", "-f", path)
        shown = self.as_json("calendar", "show", "closed")
        self.assertEqual(shown["days"], ["sun", "sat", "12-25", "2026-12-28..2026-12-31"])
        self.assertEqual([c["name"] for c in self.as_json("calendar", "list")], ["closed"])
        found = self.as_json("schedule", "preview", "30 2 * * *", "--tz", "Europe/Berlin", "--exclude", "closed",
                             "--from", "2026-12-23T12:00:00Z", "-n", "3")
        self.assertEqual([i["instant"][:10] for i in found], ["2026-12-24", "2027-01-01", "2027-01-04"])
        for instant in self.as_json("schedule", "next", "nightly", "-n", "20"):
            day = datetime.datetime.fromisoformat(instant["instant"])
            self.assertLess(day.weekday(), 5)
            begins = datetime.datetime.fromisoformat(instant["starts"].replace("Z", "+00:00"))
            self.assertLess((begins - day).total_seconds(), 600)
        refused = self.world.cli("calendar", "delete", "closed", check=False)
        self.assertEqual(refused.returncode, 5)
        self.assertIn("nightly", refused.stderr)
        # A calendar survives a restart, and a change of it is one line of a file.
        self.world.server.terminate()
        self.world.start_server()
        days = self.write("days.toml", '[[calendars]]\nname = "closed"\ndays = ["sun"]\n')
        self.assertEqual(self.as_json("calendar", "apply", "-f", days)[0]["changed"], True)
        self.assertEqual(self.as_json("calendar", "apply", "-f", days)[0]["changed"], False)
        weekdays = {datetime.datetime.fromisoformat(i["instant"]).weekday()
                    for i in self.as_json("schedule", "next", "nightly", "-n", "20")}
        self.assertEqual(weekdays, {0, 1, 2, 3, 4, 5})

    def test_mistakes_are_refused_at_their_place_and_nothing_is_half_imported(self):
        for text, place in (
                (JOB_FILE.replace('exclude = ["closed"]', 'exclude = ["closd"]'), ":6:"),
                (JOB_FILE.replace('"12-25"', '"12-32"'), ":13:"),
                (JOB_FILE.replace('start = "2026-01-01"', 'start = "2026-01-01"\nend = "2025-12-31"'), ":8:"),
                (JOB_FILE.replace('jitter = "10m"', 'jiter = "10m"'), ":8:")):
            done = self.world.cli("job", "apply", "-f", self.write("bad.toml", text), check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("bad.toml" + place, done.stderr)
        self.assertEqual(self.as_json("calendar", "list"), [])
        self.assertEqual(self.as_json("job", "list"), [])
        self.world.api("PUT", "/api/v1/calendars/x", {"days": ["noday"]}, expect=400)
        self.world.api("PUT", "/api/v1/calendars/x", {"name": "y", "days": []}, expect=400)
        self.world.api("GET", "/api/v1/calendars/x", expect=404)
        self.world.api("DELETE", "/api/v1/calendars/x", expect=404)
        self.world.api("PUT", "/api/v1/calendars/x", {"days": ["mon"]}, expect=200)
        self.world.api("DELETE", "/api/v1/calendars/x", expect=200)

    def test_a_past_window_is_filled_in_once_and_the_ledger_tells(self):
        self.world.start_worker()
        self.world.cli("schedule", "add", "report", "--cron", "0 * * * *", "--", "true")
        window = ("--from", utc(hours=10), "--to", utc(minutes=1))
        planned = self.as_json("schedule", "backfill", "report", *window, "--dry-run")
        self.assertIn(len(planned), (9, 10))
        self.assertTrue(all(i["run"] is None for i in planned))
        made = self.as_json("schedule", "backfill", "report", *window)
        self.assertEqual([i["instant"] for i in made], [i["instant"] for i in planned])
        self.assertEqual(self.as_json("schedule", "backfill", "report", *window), [])
        for item in made:
            self.assertEqual(self.world.wait_final(item["run"])["state"], "succeeded")
        history = self.as_json("schedule", "history", "report")
        rows = {row["instant"]: row for row in history}
        for item in made:
            self.assertEqual(rows[item["instant"]]["outcome"], "late")
            self.assertEqual(rows[item["instant"]]["rule"], "backfill")
            self.assertEqual(rows[item["instant"]]["run"], item["run"])
        pages, cursor = [], ""
        while cursor is not None:
            page = self.world.api("GET", f"/api/v1/schedules/report/history?limit=4&cursor={cursor}"
                                  if cursor else "/api/v1/schedules/report/history?limit=4", expect=200)[1]
            pages += page["items"]
            cursor = page["next_cursor"]
        self.assertEqual(pages, history)
        self.world.api("GET", "/api/v1/schedules/report/history?cursor=x", expect=400)
        refused = self.world.cli("schedule", "backfill", "report", "--from", utc(hours=1), "--to", utc(hours=-1),
                                 check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("future", refused.stderr)

    def test_an_instant_that_is_filled_in_alone_splits_the_row_it_was_in(self):
        self.world.start_worker()
        self.world.cli("schedule", "add", "tick", "--every", "1s", "--", "true")
        self.world.cli("schedule", "pause", "tick")

        def paused():
            rows = [r for r in self.as_json("schedule", "history", "tick") if r["outcome"] == "paused"]
            return rows and rows[0]["count"] >= 6 and rows[0]
        row = eventually(paused, "six instants were paused")
        self.world.cli("schedule", "resume", "tick")
        first = datetime.datetime.fromisoformat(row["instant"].replace("Z", "+00:00"))

        def after(seconds):
            at = first + datetime.timedelta(seconds=seconds)
            return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        made = self.as_json("schedule", "backfill", "tick", "--from", after(2), "--to", after(2))
        self.assertEqual(len(made), 1)
        rows = [(r["outcome"], r["instant"], r["until"], r["count"])
                for r in self.as_json("schedule", "history", "tick") if r["instant"] <= after(5)]
        rows = sorted(rows, key=lambda r: r[1])
        rows = rows[[r[1] for r in rows].index(row["instant"]):]
        self.assertEqual([r[0] for r in rows], ["paused", "late", "paused"])
        self.assertEqual([r[1] for r in rows], [row["instant"], made[0]["instant"], rows[2][1]])
        self.assertEqual(rows[0][3], 2)
        self.assertLess(rows[0][2], rows[1][1])
        self.assertEqual(rows[2][1][:19], after(3)[:19])
        for seconds, outcome in ((0.1, "paused"), (1.1, "paused"), (2.1, "late"), (3.1, "paused"), (4.1, "paused")):
            why = self.as_json("why", "tick", "--at", after(seconds))
            self.assertEqual(why["outcome"], outcome, seconds)

    def test_why_of_a_job_says_what_its_schedule_does(self):
        missing = self.world.cli("why", "nobody", check=False)
        self.assertEqual(missing.returncode, 3)
        self.world.api("PUT", "/api/v1/jobs/byhand", {"command": ["true"]}, expect=201)
        why = self.as_json("why", "byhand")
        self.assertEqual([(r["code"], r["remedy"]) for r in why["reasons"]],
                         [("no_schedule", "orchestrator job run byhand")])
        self.assertEqual((why["next"], why["last"], why["run"]), (None, None, None))
        self.world.cli("schedule", "add", "nightly", "--daily", "02:30", "--", "true")
        self.world.cli("schedule", "pause", "nightly")
        why = self.as_json("why", "nightly")
        self.assertEqual([r["code"] for r in why["reasons"]], ["schedule_paused"])
        self.assertIsNotNone(why["next"])
        text = self.world.cli("why", "nightly").stdout
        self.assertIn("-> orchestrator schedule resume nightly", text)
        self.assertIn("next instant", text)
        self.world.cli(*why["reasons"][0]["remedy"].split()[1:])
        self.world.cli("job", "pause", "nightly")
        why = self.as_json("why", "nightly")
        self.assertEqual([r["remedy"] for r in why["reasons"]], ["orchestrator job resume nightly"])
        self.world.cli("job", "resume", "nightly")
        run = json.loads(self.world.cli("job", "run", "nightly", "-o", "json").stdout)
        why = self.as_json("why", "nightly")
        self.assertEqual((why["reasons"], why["run"]["run"]), ([], run["id"]))
        self.assertEqual([r["code"] for r in why["run"]["reasons"]], ["no_worker"])
        self.assertEqual(self.as_json("why", run["id"])["run"], run["id"])
        self.assertEqual(self.as_json("why", "last")["run"], run["id"])
        # A worker that is to be started is told of the server.
        self.assertIn(f"orchestrator --role=worker --server http://127.0.0.1:{self.world.port}",
                      self.world.cli("why", "nightly").stdout)
        # A name without a job is that of its newest run, as before.
        self.world.cli("submit", "--name", "adhoc", "--", "true")
        self.assertEqual(self.as_json("why", "adhoc")["job"], "adhoc")
        self.assertIn("run", self.as_json("why", "adhoc"))

    def test_of_a_time_to_come_nothing_is_decided(self):
        self.world.cli("schedule", "add", "nightly", "--daily", "02:30", "--", "true")
        refused = self.world.cli("why", "nightly", "--at", utc(hours=-2), check=False)
        self.assertEqual(refused.returncode, 2, refused.stderr)
        self.assertIn("still to come", refused.stderr)
        self.assertIn("the next instant of nightly is 20", refused.stderr)

    def test_one_time_schedules_and_a_paused_one_as_one_row(self):
        self.world.start_worker()
        self.world.cli("schedule", "add", "soon", "--in", "1s", "--", "true")
        run = eventually(lambda: self.world.api("GET", "/api/v1/runs?job=soon", expect=200)[1]["items"], "it ran")[0]
        self.world.wait_final(run["id"])
        why = self.as_json("why", "soon")
        self.assertEqual([r["code"] for r in why["reasons"]], ["no_next_instant"])
        self.assertEqual((why["last"]["outcome"], why["last"]["run"], why["run"]["state"]),
                         ("ran", run["id"], "succeeded"))
        past = self.world.cli("schedule", "add", "gone", "--at", utc(hours=1), "--", "true", check=False)
        self.assertEqual(past.returncode, 2, past.stderr)
        self.world.cli("schedule", "add", "ticker", "--every", "1s", "--", "true")
        self.world.cli("schedule", "pause", "ticker")

        def paused():
            rows = self.as_json("schedule", "history", "ticker")
            return [r for r in rows if r["outcome"] == "paused" and r["count"] >= 3]
        row = eventually(paused, "three paused instants share a row")
        self.assertEqual(len(row), 1)
        self.assertEqual(row[0]["rule"], "paused")
        self.assertIsNone(row[0]["run"])


if __name__ == "__main__":
    unittest.main()
