"""Who may do what, against the real program: every route of the program's own list with every role and every kind of
credential, tokens from creation to revocation, sessions of browsers, and the audit trail."""
import asyncio
import base64
import http.client
import json
import os
import re
import sqlite3
import threading
import time
import unittest

import websockets

from harness import LIMIT, ROOT, WorldTest, eventually

TABLE = ROOT / "tests/golden/access.txt"
RANK = {"read": 1, "operator": 2, "admin": 3}
JSON = {"Content-Type": "application/json"}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


class AccessTest(WorldTest):
    def ask(self, method, path, headers=None, body=None):
        """Status, decoded problem or document, headers; sends nothing by itself but the JSON type."""
        connection = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=LIMIT)
        try:
            data = json.dumps(body) if body is not None else "" if method in ("POST", "PUT", "PATCH") else None
            connection.request(method, path, body=data, headers={**JSON, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            kind = answer.headers.get("Content-Type", "")
            is_json = "json" in kind and "ndjson" not in kind
            return answer.status, json.loads(text) if is_json and text else text, answer.headers
        finally:
            connection.close()

    def make(self, name, role, **more):
        return self.world.api("POST", "/api/v1/tokens", {"name": name, "role": role, **more}, expect=201)[1]["token"]

    def revoke(self, token):
        return self.world.api("POST", f"/api/v1/tokens/{token}/revoke", expect=200)[1]

    def audit(self, query=""):
        return self.world.api("GET", f"/api/v1/audit?limit=500{query}", expect=200)[1]["items"]

    def let_expire(self, name):
        """Ends a token as time does, in the database of a server that is stopped."""
        with sqlite3.connect(self.world.data / "orchestrator.db") as db:
            past = int(time.time() * 1000) - 1000
            self.assertEqual(db.execute("UPDATE tokens SET expires_at=? WHERE name=?", (past, name)).rowcount, 1)
        db.close()


class Matrix(AccessTest):
    def test_every_route_with_every_role_and_every_kind_of_credential(self):
        server = self.world.start_server("--log-level", "debug")
        served = [re.search(r"Serves (\S+) (\S+) to (\S+)", line) for line in server.lines]
        rows = [m.groups() for m in served if m]
        files = [r for r in rows if not r[1].startswith(("/api", "/healthz", "/readyz", "/metrics"))]
        table = sorted(r for r in rows if r not in files)
        text = "".join(f"{need:9} {method:6} {pattern}\n" for method, pattern, need in table)
        if os.environ.get("ORCHESTRATOR_GOLDEN") == "write":
            TABLE.write_text(text)
        self.assertEqual(text, TABLE.read_text(), "the table of routes has changed")
        self.assertTrue(all(need == "nobody" for _, _, need in files))

        tokens = {role: self.make(f"t-{role}", role) for role in ("read", "operator", "admin", "worker")}
        bound = self.make("t-bound", "worker", worker_id="w-7")
        for name in ("expired", "revoked"):
            tokens[name] = self.make(name, "admin")
        self.revoke("revoked")
        self.world.server.terminate()
        self.let_expire("expired")
        self.world.start_server()

        wrong = tokens["admin"][:-1] + ("0" if tokens["admin"][-1] != "0" else "1")
        holders = {**{role: tokens[role] for role in ("read", "operator", "admin", "worker")}, "bound": bound,
                   "admin.token": self.world.token(), "worker.token": self.world.token("worker")}
        roles = {"bound": "worker", "admin.token": "admin", "worker.token": "worker"}
        nobody = {"none": {}, "wrong": bearer(wrong), "malformed": {"Authorization": "Bearer"},
                  "other scheme": {"Authorization": f"Digest {tokens['admin']}"},
                  "basic": {"Authorization": "Basic " + base64.b64encode(b"worker:" + wrong.encode()).decode()},
                  "cookie": {"Cookie": f"orchestrator={tokens['admin']}"},
                  "expired": bearer(tokens["expired"]), "revoked": bearer(tokens["revoked"])}
        methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        need_of = {(method, pattern): need for method, pattern, need in table}
        patterns = sorted({pattern for _, pattern, _ in table})
        checks = 0
        for pattern in patterns:
#What nobody has, so that whoever may ask changes nothing of ours.
            path = re.sub(r"\{\w+\}", "nothing-of-that-name", pattern)
            for method in methods:
                need = need_of.get(("GET" if method == "HEAD" else method, pattern))
                least = need or "read"
                for kind, headers in nobody.items():
                    status, body, got = self.ask(method, path, headers)
                    self.assertEqual(status == 401, least != "nobody", (method, path, kind, status))
                    if status == 401:
                        self.assertEqual(got["WWW-Authenticate"], "Bearer", (method, path, kind))
                        if method != "HEAD":
                            said = {"expired": "`expired` expired at", "revoked": "`revoked` was revoked at"}.get(
                                kind, "this request needs a valid token")
                            self.assertIn(said, body["detail"])
                    checks += 1
                for kind, token in holders.items():
                    role = roles.get(kind, kind)
                    allowed = least == "nobody" or RANK.get(role, 0) >= RANK[least]
                    status, body, _ = self.ask(method, path, bearer(token))
                    if allowed and need is None:
                        self.assertEqual(status, 405, (method, path, kind))
                    elif allowed:
                        self.assertNotIn(status, (401, 403, 405, 500, 501), (method, path, kind, body))
                    else:
                        self.assertEqual(status, 403, (method, path, kind))
                        if method != "HEAD":
                            self.assertIn(f"the role {least},", body["detail"])
                            self.assertIn(f"has the role {role}", body["detail"])
                    checks += 1
        print(f"access: {checks} checks of {len(table)} routes on {len(patterns)} paths", flush=True)
        self.assertGreater(checks, 4000)

    def test_what_an_unknown_path_answers_depends_on_nothing_but_the_token(self):
        self.world.start_server()
        self.assertEqual(self.ask("GET", "/api/v1/nothing")[0], 401)
        self.assertEqual(self.ask("POST", "/api/v1/nothing", bearer(self.world.token("worker")))[0], 403)
        self.assertEqual(self.ask("GET", "/api/v1/nothing", bearer(self.make("r", "read")))[0], 404)
        self.assertEqual(self.ask("GET", f"/api/v1/runs?token={self.world.token()}")[0], 401)


class Tokens(AccessTest):
    def test_a_token_is_made_used_listed_and_revoked_on_the_command_line(self):
        self.world.start_server()
        secret = self.world.cli("token", "create", "--role", "operator", "--name", "ci", "-o", "name").stdout.strip()
        self.assertRegex(secret, r"^orc_operator_[0-9a-f]{12}_[0-9a-f]{64}$")
        file = self.world.dir / "ci.token"
        file.write_text(secret + "\n")
        self.world.cli("--token-file", file, "submit", "--", "true")
        done = self.world.cli("--token-file", file, "token", "list", check=False)
        self.assertEqual(done.returncode, 4)
        self.assertIn("takes a token with the role admin, and `ci` has the role operator", done.stderr)
        listed = json.loads(self.world.cli("token", "list", "-o", "json").stdout)
        self.assertEqual([t["name"] for t in listed], ["admin.token", "worker.token", "ci"])
        self.assertEqual((listed[2]["role"], listed[2]["state"]), ("operator", "active"))
        self.assertIsNotNone(listed[2]["last_used_at"])
        again = self.world.cli("token", "create", "--role", "read", "--name", "ci", check=False)
        self.assertEqual(again.returncode, 5)
        self.world.cli("token", "revoke", "ci")
        done = self.world.cli("--token-file", file, "run", "list", check=False)
        self.assertEqual(done.returncode, 4)
        self.assertIn("`ci` was revoked at", done.stderr)
        self.assertEqual(self.world.cli("token", "revoke", "ci", check=False).returncode, 3)
        for wrong in (["--expires", "soon"], ["--role", "root"], ["--worker-id", "w"]):
            flags = {"--role": "read", "--name": "x"} | {wrong[0]: wrong[1]}
            done = self.world.cli("token", "create", *[w for pair in flags.items() for w in pair], check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
        everything = b"".join(f.read_bytes() for f in self.world.data.iterdir() if f.is_file()
                              and not f.name.endswith(".token")) + self.world.server.log().encode()
        for text in (secret, self.world.token(), self.world.token("worker"), secret.rpartition("_")[2]):
            self.assertNotIn(text.encode(), everything, "a secret is on the disk or in the log")

    def test_tokens_and_what_became_of_them_survive_a_kill(self):
        self.world.start_server()
        kept, gone = self.make("kept", "read"), self.make("gone", "read")
        self.revoke("gone")
        self.world.server.kill()
        self.world.start_server()
        self.assertEqual(self.ask("GET", "/api/v1/runs", bearer(kept))[0], 200)
        self.assertEqual(self.ask("GET", "/api/v1/runs", bearer(gone))[0], 401)

    def test_revoking_ends_streams_waits_and_worker_links_within_a_second_and_leaves_others_alone(self):
        self.world.start_server()
        reader, other = self.make("reader", "read"), self.make("other", "read")
        worker = self.make("fleet", "worker")
        run = self.world.submit(command=["true"])["id"]
        ended = {}

        def hold(name, path, token, headers=()):
            connection = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=LIMIT)
            connection.request("GET", path, headers={**bearer(token), **dict(headers)})
            try:
                answer = connection.getresponse()
                started.release()
                while answer.read1(1024):
                    pass
            except (http.client.HTTPException, ConnectionError):
                pass
            ended[name] = time.monotonic()
            connection.close()
        started = threading.Semaphore(0)
        sse = {"Accept": "text/event-stream"}
        threads = [threading.Thread(target=hold, args=a, daemon=True) for a in (
            ("events", "/api/v1/events", reader, sse), ("logs", f"/api/v1/runs/{run}/logs?follow=1", reader),
            ("other", "/api/v1/events", other, sse), ("waiting", f"/api/v1/runs/{run}?wait=60", reader))]
        for t in threads:
            t.start()
        for _ in range(3):  # the fourth has no answer before the run ends
            self.assertTrue(started.acquire(timeout=LIMIT))

        async def link():
            async with websockets.connect(f"ws://127.0.0.1:{self.world.port}/ws/heartbeat",
                                          extra_headers=bearer(worker)) as ws:
                await ws.send(json.dumps({"type": "worker_register", "worker_id": "w", "hostname": "h",
                                          "platform": "p"}))
                await ws.recv()
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, self.revoke, "fleet")
                begin = time.monotonic()
                await loop.run_in_executor(None, self.revoke, "reader")
                try:
                    while True:
                        await ws.recv()
                except websockets.ConnectionClosed as closed:
                    return begin, time.monotonic(), closed.code
        begin, end, code = asyncio.run(asyncio.wait_for(link(), LIMIT))
        self.assertEqual(code, 1008)
        eventually(lambda: {"events", "logs", "waiting"} <= set(ended), "the reader's connections end")
        took = {"link": end - begin, **{k: ended[k] - begin for k in ("events", "logs", "waiting")}}
        print("access: connections ended after their token's end, in s:", {k: round(v, 2) for k, v in took.items()},
              flush=True)
        self.assertLess(max(took.values()), 1.0 if "asan" not in str(os.environ.get("ORCHESTRATOR_BIN")) else 5.0)
        self.assertNotIn("other", ended)

    def test_a_worker_whose_token_ends_is_told_why_and_comes_back_with_another(self):
        self.world.start_server()
        file = self.world.dir / "fleet.token"
        file.write_text(self.make("fleet", "worker") + "\n")
        worker = self.world.start_worker("--token-file", file, "--retry-delay", "50ms", "--retry-max", "100ms")
        self.revoke("fleet")
        worker.wait_for_line(r"code: 1008, reason: the token has ended")
        worker.wait_for_line(r"401.*`fleet` was revoked at")
        file.write_text(self.make("fleet", "worker") + "\n")
        eventually(lambda: self.world.worker_state("w1") == "online", "the worker is back")

    def test_a_token_of_one_worker_can_be_no_other_and_a_legacy_worker_uses_it_by_basic(self):
        self.world.start_server()
        token = self.make("only-w7", "worker", worker_id="w-7")

        async def talk(*messages):
            async with websockets.connect(f"ws://worker:{token}@127.0.0.1:{self.world.port}/ws/heartbeat") as ws:
                got = []
                try:
                    for m in messages:
                        await ws.send(json.dumps(m))
                        got.append(json.loads(await ws.recv()))
                    return got, None
                except websockets.ConnectionClosed as closed:
                    return got, (closed.code, closed.reason)
        register = {"type": "worker_register", "worker_id": "w-7", "hostname": "h", "platform": "p"}
        beat = {"type": "heartbeat", "worker_id": "w-7", "status": "idle"}
        run = lambda *m: asyncio.run(asyncio.wait_for(talk(*m), LIMIT))
        self.assertEqual(run(register, beat)[1], None)
        refused = (4003, "this token is for the worker w-7 only")
        self.assertEqual(run({**register, "worker_id": "w-8"}), ([], refused))
        self.assertEqual(run({**beat, "worker_id": "w-8"}), ([], refused))
        self.assertEqual(run(register, {**beat, "worker_id": "w-8"})[1], refused)
        self.assertEqual(run(register, {"type": "event", "event": "x", "worker_id": "w-8"})[1], refused)
        self.assertEqual(run({"type": "news", "worker_id": "w-8"})[1], refused)

        # Who can read sees every instance; a token of one worker takes no other's leases by it.
        other = self.world.start_worker(name="w-8")
        instance = self.world.api("GET", "/api/v1/workers/w-8", expect=200)[1]["instance"]
        self.assertEqual(other.terminate(), 0, other.log())
        modern = {**register, "protocol": 1, "features": [], "slots": 1, "credit": 0, "boot_id": "b", "process": "p",
                  "opened": 1, "highest_lease": 0, "running": [], "unacked": [], "lost": []}
        stolen = (4003, "this instance is another worker's")
        self.assertEqual(run({**modern, "instance": instance}), ([], stolen))
        own = "0b54a8a4-1b9a-4f1a-8f6a-1d2f3c4b5a69"
        self.assertEqual(run({**modern, "instance": own})[1], None)
        self.assertEqual(run({**modern, "instance": own})[1], None)

    def test_a_token_that_is_named_by_its_secret_does_not_stay_in_the_audit_trail(self):
        self.world.start_server()
        secret = self.make("leaked", "read")
        self.assertEqual(self.world.api("POST", f"/api/v1/tokens/{secret}/revoke")[0], 404)
        path = self.audit()[0]["path"]
        self.assertNotIn(secret.rsplit("_", 1)[1], path)
        self.assertEqual(path, f"/api/v1/tokens/{secret.rsplit('_', 1)[0]}_.../revoke")

    def test_the_worker_link_takes_workers_tokens_only(self):
        self.world.start_server()

        async def status(headers):
            url = f"ws://127.0.0.1:{self.world.port}/ws/heartbeat"
            try:
                async with websockets.connect(url, extra_headers=headers):
                    return 101
            except websockets.InvalidStatusCode as refused:
                return refused.status_code
        at = lambda headers: asyncio.run(asyncio.wait_for(status(headers), LIMIT))
        self.assertEqual(at(bearer(self.world.token("worker"))), 101)
        self.assertEqual(at(bearer(self.make("w", "worker"))), 101)
        for role in ("read", "operator", "admin"):
            self.assertEqual(at(bearer(self.make(role, role))), 403, role)
        for headers in ({}, bearer("nonsense"), {"Authorization": "Basic bm9uc2Vuc2U="}):
            self.assertEqual(at(headers), 401, headers)

    def test_a_token_file_is_revoked_by_a_new_secret_and_by_being_replaced(self):
        self.world.start_server()
        first = self.world.token()
        shown = json.loads(self.world.cli("token", "revoke", "admin.token", "-o", "json").stdout)
        self.assertEqual((shown["id"], shown["state"]), ("admin.token", "active"))
        self.assertNotEqual(self.world.token(), first)
        self.assertEqual(self.ask("GET", "/api/v1/runs", bearer(first))[0], 401)
        self.world.cli("run", "list")  # finds the new one by itself
        second, third = self.world.token(), "t" * 40
        draft = self.world.data / "draft"
        draft.touch(mode=0o600)
        draft.write_text(third)
        draft.rename(self.world.data / "admin.token")
        eventually(lambda: self.ask("GET", "/api/v1/runs", bearer(third))[0] == 200, "the new content lets in")
        self.assertEqual(self.ask("GET", "/api/v1/runs", bearer(second))[0], 401)
        (self.world.data / "admin.token").unlink()
        eventually(lambda: self.ask("GET", "/api/v1/runs", bearer(third))[0] == 401, "a file that is gone lets none in")
        self.world.server.wait_for_line(r"admin.token: it is not there: it lets nobody in")

    def test_wishes_that_cannot_be_are_refused_with_their_place(self):
        self.world.start_server()
        good = {"name": "n", "role": "worker"}
        for change, pointer in (({"name": "a b"}, "/name"), ({"name": 1}, "/name"), ({"role": "root"}, "/role"),
                                ({"role": None}, "/role"), ({"worker_id": "../x"}, "/worker_id"),
                                ({"role": "read", "worker_id": "w"}, "/worker_id"), ({"expires_in": 0}, "/expires_in"),
                                ({"expires_in": "1h"}, "/expires_in"), ({"expires_in": 1e12}, "/expires_in"),
                                ({"secret": "x"}, "/secret")):
            status, problem, _ = self.world.api("POST", "/api/v1/tokens", {**good, **change})
            self.assertEqual((status, problem["errors"][0]["pointer"]), (400, pointer), change)
        self.assertEqual(self.world.api("POST", "/api/v1/tokens", good)[1]["expires_at"], None)
        brief = self.make("brief", "read", expires_in=1)
        eventually(lambda: self.ask("GET", "/api/v1/runs", bearer(brief))[0] == 401, "it expires")

    def test_without_authentication_everybody_on_loopback_is_an_admin_and_is_written_down_as_such(self):
        self.world.start_server(auth="off")
        self.assertEqual(self.ask("GET", "/api/v1/session")[1]["name"], "everybody")
        self.assertEqual(self.ask("POST", "/api/v1/jobs:apply", body={"jobs": []})[0], 200)
        self.assertEqual(self.ask("GET", "/api/v1/audit")[1]["items"][0]["name"], "everybody")
        self.assertEqual(self.ask("POST", "/api/v1/tokens", body={"name": "x", "role": "read"})[0], 409)


class Sessions(AccessTest):
    def setUp(self):
        super().setUp()
        self.world.start_server()
        self.origin = {"Origin": f"http://127.0.0.1:{self.world.port}"}

    def log_in(self, token, **body):
        status, shown, headers = self.ask("POST", "/api/v1/session", {**bearer(token), **self.origin}, body)
        self.assertEqual(status, 201, shown)
        cookie = headers["Set-Cookie"]
        self.assertIn("; HttpOnly; SameSite=Strict", cookie)
        mine = {"Cookie": cookie.split(";")[0]}
        return mine, {**mine, **self.origin, "Orchestrator-CSRF": self.ask("GET", "/api/v1/session", mine)[1]["csrf"]}

    def test_a_cookie_changes_something_only_with_the_page_s_origin_and_secret(self):
        mine, write = self.log_in(self.make("ada", "operator"))
        self.assertEqual(self.ask("GET", "/api/v1/runs", mine)[0], 200)
        post = lambda headers: self.ask("POST", "/api/v1/runs", headers, {"command": ["true"]})[0]
        self.assertEqual(post(write), 201)
        self.assertEqual(post(mine), 403)
        for without in ("Origin", "Orchestrator-CSRF"):
            self.assertEqual(post({
              k: v for k, v in write.items() if k != without}), 403, without)
        for change in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Orchestrator-CSRF": "0" * 64},
                       {"Orchestrator-CSRF": ""}, {"Origin": f"http://127.0.0.1:{self.world.port + 1}"}):
            self.assertEqual(post({**write, **change}), 403, change)
        for method in ("PUT", "DELETE"):
            self.assertEqual(self.ask(method, "/api/v1/jobs/none", mine, {} if method == "PUT" else None)[0], 403)
        self.assertEqual(self.ask("GET", "/api/v1/tokens", mine)[0], 403)
        self.assertEqual(self.ask("POST", "/api/v1/session", write)[0], 409)  # a session begins with a token
        self.assertEqual(self.ask("DELETE", "/api/v1/session", bearer(self.world.token()))[0], 409)

    def test_a_session_survives_a_restart_and_ends_by_logout_or_with_its_token(self):
        ada = self.make("ada", "read")
        mine, write = self.log_in(ada)
        second, _ = self.log_in(ada, remember=True)
        self.world.server.kill()
        self.world.start_server()
        self.assertEqual(self.ask("GET", "/api/v1/runs", mine)[0], 200)
        status, _, headers = self.ask("DELETE", "/api/v1/session", write)
        self.assertEqual(status, 200)
        self.assertIn("Max-Age=0", headers["Set-Cookie"])
        self.assertEqual(self.ask("GET", "/api/v1/runs", mine)[0], 401)
        self.assertEqual(self.ask("GET", "/api/v1/runs", second)[0], 200)
        self.revoke("ada")
        self.assertEqual(self.ask("GET", "/api/v1/runs", second)[0], 401)

    def test_a_worker_has_no_session(self):
        self.assertEqual(self.ask("POST", "/api/v1/session", bearer(self.world.token("worker")))[0], 403)


class Audit(AccessTest):
    def test_every_change_is_entered_with_who_when_from_where_and_what_became_of_it(self):
        self.world.start_server()
        ci = self.make("ci", "operator")
        _, run, _ = self.ask("POST", "/api/v1/runs", bearer(ci), {"command": ["true"]})
        self.ask("POST", f"/api/v1/runs/{run['id']}/cancel", bearer(ci))
        self.ask("POST", "/api/v1/runs", bearer(ci), {"command": 7})
        self.ask("GET", "/api/v1/runs", bearer(ci))
        self.ask("POST", "/api/v1/schedules:preview", bearer(ci), {"schedule": {"cron": "* * * * *"}})
        self.ask("POST", "/api/v1/tokens", bearer(ci), {"name": "x", "role": "admin"})
        self.revoke("ci")
        self.ask("POST", "/api/v1/runs", bearer(ci), {"command": ["true"]})
        entries = self.audit()
        seen = [(e["name"], e["role"], e["method"], e["path"], e["status"], e["made"]) for e in reversed(entries)]
        made = f"/api/v1/runs/{run['id']}"
        token_of_ci = next(t["id"] for t in self.world.api("GET", "/api/v1/tokens")[1]["items"] if t["name"] == "ci")
        self.assertEqual(seen, [
            ("admin.token", "admin", "POST", "/api/v1/tokens", 201, f"/api/v1/tokens/{token_of_ci}"),
            ("ci", "operator", "POST", "/api/v1/runs", 201, made),
            ("ci", "operator", "POST", f"{made}/cancel", 200, None),
            ("ci", "operator", "POST", "/api/v1/runs", 400, None),
            ("ci", "operator", "POST", "/api/v1/tokens", 403, None),
            ("admin.token", "admin", "POST", "/api/v1/tokens/ci/revoke", 200, None),
            (None, None, "POST", "/api/v1/runs", 401, None)])
        self.assertEqual({e["address"] for e in entries}, {"127.0.0.1"})
        self.assertEqual([e["id"] for e in entries], sorted((e["id"] for e in entries), reverse=True))
        self.assertEqual(len(self.audit("&name=ci")), 4)
        self.assertEqual([e["status"] for e in self.audit("&refused=1")], [401, 403])
        self.assertEqual(self.audit("&since=2099-01-01T00:00:00Z"), [])
        page = self.world.api("GET", "/api/v1/audit?limit=3", expect=200)[1]
        rest = self.audit(f"&cursor={page['next_cursor']}")
        self.assertEqual([e["id"] for e in page["items"] + rest], [e["id"] for e in entries])
        lines = self.world.cli("audit", "list", "--name", "ci").stdout.splitlines()
        self.assertEqual(len(lines), 1 + 4)
        listed = json.loads(self.world.cli("audit", "list", "--refused", "-o", "json").stdout)
        self.assertEqual(len(listed), 2)

    def test_the_entry_of_an_acknowledged_change_survives_a_kill(self):
        self.world.start_server()
        for i in range(20):
            run = self.world.submit(command=["true"])
            self.world.server.kill()
            self.world.start_server()
            newest = self.audit()[0]
            self.assertEqual((newest["method"], newest["path"]), ("POST", "/api/v1/runs"), i)
            self.assertIn(newest["made"], (None, f"/api/v1/runs/{run['id']}"))
            self.assertEqual(len(self.audit()), i + 1)

    def test_a_flood_of_refusals_makes_few_entries_and_none_of_the_changes_goes(self):
        self.world.start_server()
        self.world.submit(command=["true"])
        connection = http.client.HTTPConnection("127.0.0.1", self.world.port, timeout=LIMIT)
        for i in range(2000):
            connection.request("DELETE", f"/api/v1/jobs/j{i}", headers=bearer("nonsense"))
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, 401)
        connection.close()
        self.assertLessEqual(len(self.audit("&refused=1")), 4)
        self.assertEqual(self.world.server.terminate(), 0)  # what was counted is written
        self.world.start_server()
        refused = self.audit("&refused=1")
        self.assertLessEqual(len(refused), 4)
        self.assertEqual(sum(e["count"] for e in refused), 2000)
        self.assertEqual(sum(e["status"] == 201 for e in self.audit()), 1)

    def test_old_entries_go_by_count_and_refusals_are_counted_apart(self):
        self.world.start_server()
        self.world.submit(command=["true"])
        self.world.server.terminate()
        with sqlite3.connect(self.world.data / "orchestrator.db") as db:
            now = int(time.time() * 1000)
            db.executemany("INSERT INTO audit(id,at,name,role,address,method,path,status,made,count,refused) "
                           "VALUES(?,?,'x','admin','::1','POST','/p',?,'',1,?)",
                           [(1000 + i, now, 401 if i % 2 else 200, i % 2) for i in range(6000)])
        db.close()
        self.world.start_server("--audit-count", "1000")

        def counts():
            db = sqlite3.connect(self.world.data / "orchestrator.db")
            found = dict(db.execute("SELECT refused,count(*) FROM audit GROUP BY refused"))
            db.close()
            return found
        eventually(lambda: counts() == {0: 1000, 1: 100}, "what is beyond the count is gone")
        self.assertEqual(self.audit()[0]["id"], 6999)
        self.assertEqual(self.world.submit(command=["true"])["state"], "queued")
        self.assertEqual(self.audit()[0]["id"], 7000)


if __name__ == "__main__":
    unittest.main()
