"""No GET and no HEAD changes anything. Every GET route of the running server is asked, in ordinary and in odd ways;
what is on disk, the revision, the event list and the answers themselves stay as they were.

The routes come from the server itself, which logs its table at debug level. A route that is not in `ROUTES` fails the
test, so a new GET has to be asked here; and the page of the API has to name it.
"""
import contextlib
import http.client
import re
import sqlite3
import unittest

from harness import LIMIT, ROOT, WorldTest, eventually

# What stands for each parameter of a path; {run}, {job}, {calendar}, {queue} and {worker} are this world's.
RUNS = ["{run}", "{held}", "last", "kept", "0", "00000000-0000-7000-8000-000000000000", "nobody", "%2e%2e", "a%2Fb",
        "%00", "%F0%9F%90%88", "x" * 3000]
NAMES = ["never-heard-of", "last", "%2e%2e", "a%2Fb", "%00", "%F0%9F%90%88", "-", "x" * 3000]

# Each GET route, what its parameter may be, and the queries that are its own.
ROUTES = {
    "/api/v1/runs": ([], ["state=failed", "state=queued,active&job=kept", "tag=a=b", "since=1h", "worker=w1",
                          "limit=1"]),
    "/api/v1/runs/{id}": (RUNS, ["wait=0"]),
    "/api/v1/runs/{id}/why": (RUNS, []),
    "/api/v1/runs/{id}/logs": (RUNS, ["attempt=1", "stream=stderr", "tail=3", "follow=0"]),
    "/api/v1/jobs": ([], ["limit=1", "limit=1&cursor=kept"]),
    "/api/v1/jobs/{name}": (["kept", *NAMES], []),
    "/api/v1/jobs/{name}/why": (["kept", *NAMES], ["at=1h", "at=2026-01-01T00:00:00Z"]),
    "/api/v1/schedules": ([], []),
    "/api/v1/schedules/{job}/next": (["kept", *NAMES], ["count=100", "from=1999-12-31T00:00:00Z",
                                                        "from=2399-01-01T00:00:00Z"]),
    "/api/v1/schedules/{job}/history": (["kept", *NAMES], ["limit=1", "cursor=2026-01-01T00:00:00Z"]),
    "/api/v1/calendars": ([], ["limit=1"]),
    "/api/v1/calendars/{name}": (["rest", *NAMES], []),
    "/api/v1/workers": ([], ["limit=1"]),
    "/api/v1/workers/{id}": (["w1", *NAMES], []),
    "/api/v1/queues": ([], ["limit=1"]),
    "/api/v1/queues/{name}": (["slow", "default", *NAMES], []),
    "/api/v1/events": ([], ["after=0", "after=1&limit=2"]),
    "/api/v1/status": ([], []),
    "/api/v1/version": ([], []),
    "/api/worker-status": ([], []),
    "/healthz": ([], []),
    "/readyz": ([], []),
    "/metrics": ([], []),
    "/api/v1/tokens": ([], ["limit=1"]),
    "/api/v1/tokens/{id}": (["admin.token", *NAMES], []),
    "/api/v1/audit": ([], ["limit=1", "refused=1", "name=admin.token", "since=1h"]),
    "/api/v1/session": ([], []),
}
# Queries that might mean something to somebody.
ODD_QUERIES = ["", "x=1", "limit=0", "limit=-1", "limit=99999999999999999999", "limit=1&limit=2", "cursor=%00",
               "cursor=../..", "cancel=1", "dry_run=false", "as=succeeded", "paused=true", "hold=1", "retry",
               "_method=DELETE", "%", "=", "&&"]
ODD_HEADERS = [
    {"X-HTTP-Method-Override": "DELETE"}, {"Idempotency-Key": "a-get"}, {"If-Match": '"1"'}, {"If-None-Match": "*"},
    {"Accept": "text/plain"}, {"Last-Event-ID": "1"}, {"Content-Type": "application/json"},
]
BODY = b'{"command":["true"],"paused":true,"concurrency":1,"builtin":"noop","as":"failed"}'
# Answers that follow something do not end by themselves: their beginning is read, then the connection is closed.
STREAMS = [("/api/v1/events", {"Accept": "text/event-stream"}),
           ("/api/v1/events?after=0", {"Accept": "text/event-stream", "Last-Event-ID": "2"}),
           ("/api/v1/runs/{run}/logs?follow=1", {"Accept": "text/plain"}),
           ("/api/v1/runs/{held}/logs?follow=1", {}), ("/api/v1/runs/{run}?wait=60", {})]


def routes_on_the_page():
    """The GET routes that src/docs/api.md names, with their parameters unnamed."""
    text = (ROOT / "src/docs/api.md").read_text()
    found = set()
    for path in re.findall(r"`GET (/[^`? ]*)`", text):
        outside = path.startswith("/api/") or path in ("/healthz", "/readyz", "/metrics")
        found.add(path if outside else "/api/v1" + path)
    return {unnamed(path) for path in found}


def unnamed(pattern):
    return re.sub(r"\{\w+\}", "{}", pattern)


class Reads(WorldTest):
    def setUp(self):
        super().setUp()
        world = self.world
        world.start_server("--log-level", "debug")
        served = {m.group(1) for line in world.server.lines if (m := re.search(r"Serves GET (\S+) to \S+$", line))}
        # Those of the dashboard are its own business (dashboard_test.py), but they change nothing either.
        self.routes = {route for route in served if route in ROUTES or route.startswith("/api")}
        pages = {page: (["kept"] if "{" in page else [], []) for page in served - self.routes}
        self.assertIn("/", pages)
        self.asked = {**ROUTES, **pages}
        world.start_worker()
        yearly = {"cron": "0 0 1 1 *", "exclude": ["rest"], "time_zone": "Asia/Hong_Kong"}
        world.api("PUT", "/api/v1/calendars/rest", {"days": ["sat", "sun"]}, expect=200)
        world.api("PUT", "/api/v1/jobs/kept", {"command": ["sh", "-c", "echo out; echo err >&2"], "schedule": yearly},
                  expect=201)
        world.api("PUT", "/api/v1/queues/slow", {"concurrency": 1, "rate": "10/m"}, expect=200)
        done = world.api("POST", "/api/v1/jobs/kept/run", expect=201)[1]
        world.wait_final(done["id"])
        failed = world.submit(command=["false"], tags={"a": "b"})
        world.wait_final(failed["id"])
        # The worker goes, and what is left changes nothing by itself: the answer to the last change shows that
        # all before it is on disk.
        worker = world.processes[-1]
        self.assertEqual(worker.terminate(), 0, worker.log())
        eventually(lambda: world.worker_state("w1") is None, "the worker is gone")
        held = world.submit(command=["true"], hold=True, queue="slow")
        self.names = {"run": done["id"], "held": held["id"]}
        # What came of each change is put into the audit trail a moment behind it.
        trail = lambda: world.api("GET", "/api/v1/audit?limit=500", expect=200)[1]["items"]
        eventually(lambda: all(entry["status"] for entry in trail()), "the audit trail is complete")

    def dump(self):
        """All that is in both databases, row by row."""
        rows = []
        for name in ("orchestrator.db", "output.db"):
            with contextlib.closing(sqlite3.connect(f"file:{self.world.data / name}?mode=ro", uri=True)) as db:
                rows += [(name, line) for line in db.iterdump()]
        return rows

    def revision(self):
        return int(self.world.api("GET", "/api/v1/version", expect=200)[2]["Orchestrator-Revision"])

    def events(self):
        return self.world.api("GET", "/api/v1/events?after=0&limit=500", expect=200)[1]["items"]

    def answers(self):
        """What the server knows beside the disk: a queue or a worker that a question made would be in here."""
        lists = ("queues", "workers", "jobs", "calendars", "schedules", "runs", "status")
        return {name: self.world.api("GET", f"/api/v1/{name}", expect=200)[1] for name in lists}

    def ask(self, connection, method, path, headers=None, body=None):
        sent = {"Authorization": f"Bearer {self.world.token()}", **(headers or {})}
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        return answer, answer.read()

    def paths(self, pattern):
        segments, queries = self.asked[pattern]
        shown = re.sub(r"\{\w+\}", "{}", pattern)
        for segment in segments or [""]:
            filled = shown.replace("{}", segment).format(**self.names)
            for query in [*queries, *ODD_QUERIES]:
                yield filled + ("?" + query if query else "")

    def test_every_route_is_asked_here_and_is_on_the_page_of_the_api(self):
        self.assertGreater(len(self.routes), 10, "the server did not log its routes")
        self.assertEqual(set(ROUTES), self.routes, "a GET route that this test does not ask, or that is gone")
        self.assertEqual(routes_on_the_page(), {unnamed(r) for r in self.routes}, "src/docs/api.md differs")

    def test_no_get_and_no_head_changes_anything(self):
        before = self.dump(), self.revision(), self.events(), self.answers()
        asked, statuses = 0, set()
        connection = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=LIMIT)
        watch = sqlite3.connect(f"file:{self.world.data / 'orchestrator.db'}?mode=ro", uri=True)
        with contextlib.closing(connection), contextlib.closing(watch):
            version = watch.execute("PRAGMA data_version").fetchone()
            for pattern in sorted(self.asked):
                for path in self.paths(pattern):
                    got, body = self.ask(connection, "GET", path)
                    head, empty = self.ask(connection, "HEAD", path)
                    self.assertEqual((head.status, empty), (got.status, b""), path)
                    self.assertNotIn(got.status, (201, 202, 500), path)
                    statuses.add(got.status)
                    asked += 2
                first = next(self.paths(pattern))
                for headers in ODD_HEADERS:
                    for method in ("GET", "HEAD"):
                        if "events" in pattern and "Last-Event-ID" in headers and method == "GET":
                            headers = {**headers, "Accept": "application/json"}
                        self.ask(connection, method, first, headers)
                        asked += 1
                for method in ("GET", "HEAD"):
                    self.ask(connection, method, first, {"Content-Type": "application/json"}, BODY)
                    asked += 1
                self.assertEqual(watch.execute("PRAGMA data_version").fetchone(), version, f"{pattern} made a commit")
        for path, headers in STREAMS:
            for method in ("HEAD", "GET"):
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=LIMIT)) as one:
                    sent = {"Authorization": f"Bearer {self.world.token()}", **headers}
                    one.request(method, path.format(**self.names), headers=sent)
                    self.assertEqual(one.getresponse().status, 200, path)
                    asked += 1
        self.assertEqual({200, 400, 404} - statuses, set())
        self.assertEqual((self.dump(), self.revision(), self.events(), self.answers()), before)

        # A commit of ours is behind whatever those questions may have left in the writer's queue: it adds its own
        # rows and nothing else, as the next one does.
        revisions, counts = [before[1]], [len(before[2])]
        for _ in range(2):
            self.world.submit(command=["true"], hold=True, queue="slow")
            revisions.append(self.revision())
            counts.append(len(self.events()))
        for numbers in (revisions, counts):
            self.assertEqual(numbers[1] - numbers[0], numbers[2] - numbers[1], numbers)
        print(f"\n{asked} questions of {len(self.asked)} routes changed nothing; statuses {sorted(statuses)}")


if __name__ == "__main__":
    unittest.main()
