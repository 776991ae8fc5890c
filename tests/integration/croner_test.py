"""Cron against a stranger: the instants of `schedules:preview` beside those of npm's croner, on days without a
change of the zone's offset. What differs is counted by the name of the rule that makes it differ; anything else fails.

Needs node and npm and the pinned package of tests/support/croner; without them the test is skipped and says so.
"""
import collections
import datetime
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import zoneinfo

import harness

SUPPORT = harness.ROOT / "tests/support/croner"
ZONES = ("UTC", "Asia/Hong_Kong", "America/New_York", "Europe/London", "Europe/Berlin", "Australia/Lord_Howe",
         "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca", "America/Sao_Paulo", "Asia/Tehran",
         "America/St_Johns", "Pacific/Kiritimati", "Africa/Cairo", "Antarctica/Troll")
# Both programs must agree about these to the second.
PATTERNS = (
    "30 2 * * *", "0 0 * * *", "*/15 0-6 * * *", "17 */5 * * *", "0,20,40 0-3 * * *", "45 23 * * *", "5 1-23/7 * * *",
    "0 12 L * *", "0 0 1 * *", "0 9 29 2 *", "30 4 * * MON-FRI", "0 6 * * 7", "0 6 * * FRI#2", "0 6 * * MON#L",
    "0 6 * * 5L", "15 10 15W * *", "15 10 1W * *", "15 10 31W * *", "0 8 13 * FRI", "0 8 13 * +FRI",
    "0 0 1 JAN,jul *", "59 23 31 12 *", "30 0 12 * * *", "*/20 59 23 * * SAT", "@daily", "@weekly", "@monthly",
    "@yearly", "0 0 ? * TUE", "0 22 * 3-10/3 SUN#1,SUN#3")
# What may differ: pattern, the rule's name, and on which local days.
# star_step: as in Vixie's cron both day fields must match when one begins with a star; croner takes either.
# first_of_march: with both day fields set croner 11.0.0 goes past 1 March when it searches from February.
DIFFERENT = (
    ("0 12 */2 * MON", "star_step", lambda day: True),
    ("0 12 2 * */3", "star_step", lambda day: True),
    ("0 8 1,15 * MON", "first_of_march", lambda day: (day.month, day.day) == (3, 1)))
# What croner takes and we refuse: pattern and the rule's name.
REFUSED = (("0 0 30 2 *", "never_fires"), ("0 0 LW * *", "last_weekday"), ("0 0 1 1 * 2030 *", "field_count"),
           ("5/15 * * * *", "step_without_range"), ("0 0 * * L", "bare_l_of_the_week"))
FROM = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
DAY = 86_400_000


def to_ms(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


class CronerTest(harness.WorldTest):
    @classmethod
    def setUpClass(cls):
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise unittest.SkipTest("the differential against croner did NOT run: there is no node or npm here")
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="orc-croner-"))
        for name in ("package.json", "package-lock.json", "instants.js"):
            shutil.copy(SUPPORT / name, cls.dir)
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=cls.dir,
                              capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            shutil.rmtree(cls.dir)
            raise unittest.SkipTest("the differential against croner did NOT run: npm ci failed: "
                                    + done.stderr.strip()[-300:])

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def ask_croner(self, questions):
        done = subprocess.run(["node", "instants.js"], cwd=self.dir, input=json.dumps(questions), capture_output=True,
                              text=True, timeout=300, check=True)
        return json.loads(done.stdout)

    def ours(self, pattern, zone, count=100):
        body = {"schedule": {"cron": pattern, "time_zone": zone}, "count": count,
                "from": (FROM - datetime.timedelta(milliseconds=1)).isoformat(timespec="milliseconds")}
        status, answer, _ = self.world.api("POST", "/api/v1/schedules:preview", body)
        return [to_ms(i["utc"]) for i in answer] if status == 200 else None

    def is_steady(self, zone, ms):
        """No change of the offset within a day and a half, so that the whole local day is an ordinary one."""
        at = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
        offsets = {(at + datetime.timedelta(hours=h)).astimezone(zone).utcoffset() for h in range(-36, 37, 3)}
        return len(offsets) == 1

    def of_other_zone_data(self, zone, instants):
        """Those near which Node, which brings zone data of its own, knows another offset than this machine."""
        near = [ms + hours * 3_600_000 for ms in instants for hours in range(-36, 37, 6)]
        theirs = self.ask_croner([{"zone": zone, "at": near}])[0]["offsets"]
        known = zoneinfo.ZoneInfo(zone)
        other = set()
        for at, minutes in zip(near, theirs):
            ours = datetime.datetime.fromtimestamp(at / 1000, known).utcoffset()
            if ours != datetime.timedelta(minutes=minutes):
                other.update(ms for ms in instants if abs(ms - at) <= 36 * 3_600_000)
        return other

    def test_instants_are_those_of_croner_on_days_without_a_transition(self):
        self.world.start_server()
        named = [(p, "") for p in PATTERNS] + [(p, rule) for p, rule, _ in DIFFERENT]
        asked = [(pattern, rule, zone) for zone in ZONES for pattern, rule in named]
        mine = [self.ours(pattern, zone) for pattern, _, zone in asked]
        self.assertNotIn(None, mine)
        questions = [{"pattern": pattern, "zone": zone, "from": round(FROM.timestamp() * 1000), "to": found[-1] + 1}
                     for (pattern, _, zone), found in zip(asked, mine)]
        compared, left_out, differences, unexplained = 0, 0, collections.Counter(), []
        for (pattern, rule, zone), found, theirs in zip(asked, mine, self.ask_croner(questions)):
            self.assertIn("found", theirs, f"{pattern}: {theirs}")
            known = zoneinfo.ZoneInfo(zone)
            both = set(found) | set(theirs["found"])
            steady = {ms for ms in both if self.is_steady(known, ms)}
            left_out += len(both) - len(steady)
            compared += len(steady)
            apart = steady & (set(found) ^ set(theirs["found"]))
            may_differ = next((days for p, r, days in DIFFERENT if (p, r) == (pattern, rule)), lambda day: False)
            named_apart = {ms for ms in apart if may_differ(datetime.datetime.fromtimestamp(ms / 1000, known))}
            differences[rule] += len(named_apart)
            apart -= named_apart
            if apart:
                other = self.of_other_zone_data(zone, sorted(apart))
                differences["zone_data"] += len(other)
                apart -= other
            if apart:
                unexplained.append((pattern, zone, len(apart), sorted(apart)[:2]))
        del differences[""]
        for rule in {rule for _, rule, _ in DIFFERENT}:
            self.assertGreater(differences[rule], 0, f"{rule} is no difference any more")
        print(f"\ncroner: {compared} instants of {len(named)} patterns in {len(ZONES)} zones compared, {left_out} near "
              f"a transition left out, differences by name: {dict(differences)}, unexplained: {len(unexplained)}")
        self.assertEqual(unexplained, [])
        self.assertGreater(compared, 20_000)

    def test_what_only_croner_takes_is_refused_by_us_with_the_place(self):
        self.world.start_server()
        taken = self.ask_croner([{"pattern": p, "zone": "UTC", "from": 0, "to": DAY} for p, _ in REFUSED])
        counts = collections.Counter()
        for (pattern, rule), theirs in zip(REFUSED, taken):
            status, problem, _ = self.world.api("POST", "/api/v1/schedules:preview", {"schedule": {"cron": pattern}})
            self.assertEqual(status, 400, pattern)
            self.assertRegex(problem["detail"], r"cron, position \d+: ")
            counts[f"{rule}: croner {'takes it' if 'found' in theirs else 'refuses it too'}"] += 1
        print(f"\ncroner: refused by us: {dict(counts)}")


if __name__ == "__main__":
    unittest.main()
