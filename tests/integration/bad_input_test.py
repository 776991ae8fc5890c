"""Malformed, unknown, oversize and out-of-order input of every kind: each gets the answer that the design names, the
process stays up, and nothing already accepted is harmed."""
import asyncio
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import time
import unittest
import uuid

import websockets

from harness import BINARY, LIMIT, ROOT, WorldTest, eventually


class Frames(WorldTest):
    """Frames of a hostile or broken worker."""

    def setUp(self):
        super().setUp()
        self.world.start_server()

    def url(self):
        return f"ws://worker:{self.world.token('worker')}@127.0.0.1:{self.world.port}/ws/heartbeat"

    def talk(self, conversation):
        return asyncio.run(asyncio.wait_for(conversation(), LIMIT))

    @staticmethod
    def register(name="bad", **fields):
        return json.dumps({"type": "worker_register", "worker_id": name, "hostname": "h", "platform": "p", **fields})

    async def until_closed(self, ws):
        frames = []
        try:
            while True:
                frames.append(json.loads(await ws.recv()))
        except websockets.ConnectionClosed as closed:
            return frames, closed.code

    def test_a_frame_that_is_no_message_is_answered_and_ten_in_a_row_close_1008(self):
        bad = ["", "not json", "null", "[]", "42", '"text"', "{}", '{"type":7}', '{"type":"a","type":"b"}',
               "[" * 100, '{"type":"heartbeat","x":1e999}']

        async def conversation():
            async with websockets.connect(self.url()) as ws:
                await ws.send(self.register())
                first = json.loads(await ws.recv())
                for text in bad[:9]:
                    await ws.send(text)
                    answer = json.loads(await ws.recv())
                    self.assertEqual((answer["type"], answer["code"]), ("error", "bad_message"), text)
                await ws.send(json.dumps({"type": "heartbeat", "worker_id": "bad", "status": "idle",
                                          "jobs_processed": 0,
                                          "uptime_seconds": 1, "timestamp": "2026-01-01T00:00:00+00:00"}))
                ack = json.loads(await ws.recv())
                for text in bad[:10]:
                    await ws.send(text)
                frames, code = await self.until_closed(ws)
                return first, ack, frames, code
        first, ack, frames, code = self.talk(conversation)
        self.assertEqual(first, {"type": "ack", "msg": "registered"})
        self.assertEqual(ack, {"type": "ack", "received": True})  # a good frame between them starts the count anew
        self.assertEqual(code, 1008)
        self.assertEqual({f["code"] for f in frames}, {"bad_message"})

    def test_output_with_a_hole_is_shown_to_its_end(self):
        run = self.world.submit(command=["true"])

        async def conversation():
            async with websockets.connect(self.url()) as ws:
                await ws.send(self.register("gappy", protocol=1, instance=str(uuid.uuid4()), slots=1))
                job = {}
                while job.get("type") != "execute_job":
                    job = json.loads(await ws.recv())
                await ws.send(json.dumps({"type": "ack", "received": True, "seq": job["seq"]}))
                about = {"job_id": job["job_id"], "worker_id": "gappy", "lease": job["lease"]}
                for offset, data, gap in ((0, "head", {}), (1000, "tail", {"gap_from": 4})):
                    await ws.send(json.dumps({"type": "event", "event": "job_output", "stream": "stdout",
                                              "offset": offset, "data": data, **gap, **about}))
                await ws.send(json.dumps({"type": "job_result", "status": "SUCCESS", "log_output": "",
                                          "run_time": "2026-01-01T00:00:00+00:00", "duration_seconds": 0.1,
                                          "exit_code": 0, "output_bytes": {"stdout": 1004}, **about}))
                verdict = {}
                while "disposition" not in verdict:
                    verdict = json.loads(await ws.recv())
                return verdict["disposition"]
        self.assertEqual(self.talk(conversation), "accepted")
        self.assertEqual(self.world.output(run["id"]), "head\n[996 bytes of stdout were dropped]\ntail")

    def test_oversize_binary_and_invalid_utf8_frames_have_their_close_codes(self):
        async def one(send):
            async with websockets.connect(self.url(), max_size=None) as ws:
                await ws.send(self.register())
                await ws.recv()
                try:
                    await send(ws)
                except websockets.ConnectionClosed as closed:  # while it was still being sent
                    return closed.code
                return (await self.until_closed(ws))[1]

        async def invalid_utf8(ws):
            # A text frame by hand: FIN + text, masked, payload 0xff (never valid in UTF-8).
            ws.transport.write(bytes([0x81, 0x81, 0, 0, 0, 0, 0xFF]))

        async def unmasked(ws):
            ws.transport.write(bytes([0x81, 0x02]) + b"{}")

        self.assertEqual(self.talk(lambda: one(lambda ws: ws.send("x" * (17 * 1024 * 1024)))), 1009)
        self.assertEqual(self.talk(lambda: one(lambda ws: ws.send(b"\x00\x01"))), 1003)
        self.assertEqual(self.talk(lambda: one(invalid_utf8)), 1007)
        self.assertEqual(self.talk(lambda: one(unmasked)), 1002)

    def test_only_the_result_of_a_legacy_worker_may_be_larger_than_a_mebibyte(self):
        large = "x" * (2 * 1024 * 1024)
        heartbeat = {"type": "heartbeat", "worker_id": "bad", "status": "idle", "jobs_processed": 0,
                     "uptime_seconds": 1, "timestamp": "2026-01-01T00:00:00+00:00"}
        others = [{**heartbeat, "status": large}, {**heartbeat, "extra": large}, {"type": "surprise", "x": large},
                  {"type": "event", "event": "note", "worker_id": "bad", "data": large},
                  json.loads(self.register(hostname=large))]

        async def one(message):
            async with websockets.connect(self.url(), max_size=None) as ws:
                await ws.send(self.register())
                await ws.recv()
                await ws.send(message if isinstance(message, str) else json.dumps(message))
                try:
                    return json.loads(await ws.recv())
                except websockets.ConnectionClosed as closed:
                    return closed.code
        for message in others:
            with self.subTest(message["type"]):
                self.assertEqual(self.talk(lambda: one(message)), 1009)
        self.assertEqual(self.talk(lambda: one("[" + large)), 1009)
        result = {"type": "job_result", "job_id": 1, "worker_id": "bad", "status": "SUCCESS", "log_output": large,
                  "duration_seconds": 1, "run_time": "2026-01-01T00:00:00+00:00"}
        self.assertEqual(self.talk(lambda: one(result)), {"type": "ack", "received": True})
        events = self.world.api("GET", "/api/v1/events?limit=500", expect=200)[1]["items"]
        self.assertNotIn("event.note", [e["type"] for e in events])

    def test_a_huge_registration_and_none_within_ten_seconds_are_closed(self):
        async def large():
            async with websockets.connect(self.url()) as ws:
                await ws.send(self.register(hostname="h" * 1100000))
                return (await self.until_closed(ws))[1]

        async def silent():
            async with websockets.connect(self.url()) as ws:
                return (await self.until_closed(ws))[1]
        self.assertEqual(self.talk(large), 1009)
        self.assertEqual(self.talk(silent), 4002)

    def test_sequence_numbers_out_of_order_close_1008(self):
        def ours(seq):
            return self.register(seq=seq, protocol=1, features=[], slots=1, credit=0, labels={}, version="t", pid=1,
                                 instance="6f0d2a3e-7c1b-4d5e-9f80-112233445566", boot_id="b", process="p", opened=1,
                                 highest_lease=0, running=[], unacked=[], lost=[])

        async def gap():
            async with websockets.connect(self.url()) as ws:
                await ws.send(ours(1))
                ack = json.loads(await ws.recv())
                self.assertEqual((ack["msg"], ack["seq"]), ("registered", 1))
                self.assertIn("session", ack)
                await ws.send(json.dumps({"type": "heartbeat", "seq": 3, "worker_id": "bad", "status": "idle",
                                          "jobs_processed": 0, "uptime_seconds": 1, "timestamp": "t"}))
                return (await self.until_closed(ws))[1]
        self.assertEqual(self.talk(gap), 1008)

    def test_a_protocol_nobody_speaks_closes_4010(self):
        async def conversation():
            async with websockets.connect(self.url()) as ws:
                await ws.send(self.register(seq=1, protocol=0, instance="6f0d2a3e-7c1b-4d5e-9f80-112233445566",
                                            boot_id="b", process="p", opened=1, highest_lease=0))
                return (await self.until_closed(ws))[1]
        self.assertEqual(self.talk(conversation), 4010)

    def test_a_result_nobody_issued_changes_nothing_and_is_acknowledged(self):
        async def conversation():
            async with websockets.connect(self.url()) as ws:
                await ws.send(self.register())
                await ws.recv()
                await ws.send(json.dumps({"type": "job_result", "job_id": 987654321, "worker_id": "bad",
                                          "status": "SUCCESS", "log_output": "", "duration_seconds": 1,
                                          "run_time": "2026-01-01T00:00:00+00:00"}))
                return json.loads(await ws.recv())
        self.assertEqual(self.talk(conversation), {"type": "ack", "received": True})
        self.assertEqual(self.world.api("GET", "/api/v1/runs", expect=200)[1]["items"], [])


class Http(WorldTest):
    """Requests a web page or a broken client could send."""

    def setUp(self):
        super().setUp()
        self.world.start_server()

    def raw(self, text):
        with socket.create_connection(("127.0.0.1", self.world.port), timeout=LIMIT) as s:
            s.sendall(text.encode("latin-1"))
            s.shutdown(socket.SHUT_WR)
            data = b""
            while chunk := s.recv(65536):
                data += chunk
        return int(data.split(b" ", 2)[1]) if data else None

    def test_the_guards_of_the_first_day(self):
        token = f"Authorization: Bearer {self.world.token()}\r\n"
        host = f"Host: 127.0.0.1:{self.world.port}\r\n"
        body = '{"command":["true"]}'
        post = f"POST /api/v1/runs HTTP/1.1\r\n{host}{token}"
        bare = f"POST /api/v1/jobs/nobody/pause HTTP/1.1\r\n{host}{token}Content-Length: 0\r\n"
        json_type = "Content-Type: application/json\r\n"
        length = f"Content-Length: {len(body)}\r\n"
        cases = [
            ("no token", f"GET /api/v1/runs HTTP/1.1\r\n{host}\r\n", 401),
            ("wrong token", f"GET /api/v1/runs HTTP/1.1\r\n{host}Authorization: Bearer nonsense\r\n\r\n", 401),
            ("no host", f"GET /healthz HTTP/1.1\r\n\r\n", 400),
            ("foreign host", f"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
            ("foreign origin", f"{post}Origin: http://evil.example\r\n{json_type}{length}\r\n{body}", 403),
            ("a form's content type", f"{post}Content-Type: text/plain\r\n{length}\r\n{body}", 415),
            ("no content type", f"{post}{length}\r\n{body}", 415),
            ("a command without a body, as a form", f"{bare}Content-Type: text/plain\r\n\r\n", 415),
            ("a command without a body or a type", f"{bare}\r\n", 415),
            ("a command without a body, as JSON", f"{bare}{json_type}\r\n", 404),
            ("chunked", f"{post}{json_type}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
            ("two lengths", f"{post}{json_type}{length}{length}\r\n{body}", 400),
            ("no length", f"{post}{json_type}\r\n", 411),
            ("too large", f"{post}{json_type}Content-Length: 2000000\r\n\r\n", 413),
            ("unknown path", f"GET /api/v1/nothing HTTP/1.1\r\n{host}{token}\r\n", 404),
            ("wrong method", f"PATCH /api/v1/runs HTTP/1.1\r\n{host}{token}Content-Length: 0\r\n\r\n", 405),
            ("many headers", f"GET /healthz HTTP/1.1\r\n{host}" + "A: b\r\n" * 80 + "\r\n", 431),
            ("a good one", f"{post}{json_type}{length}\r\n{body}", 201),
        ]
        for name, text, status in cases:
            with self.subTest(name):
                self.assertEqual(self.raw(text), status)
        self.assertEqual(len(self.world.api("GET", "/api/v1/runs", expect=200)[1]["items"]), 1)

    def test_bad_bodies_name_their_place_and_leave_nothing_behind(self):
        cases = [
            ({"comand": ["true"]}, "/comand", "command"),
            ({"command": "true"}, "/command", ""),
            ({"command": []}, "/command", ""),
            ({"command": ["true"], "timeout": "soon"}, "/timeout", ""),
            ({"command": ["true"], "env": {"LD_PRELOAD": "x"}}, "/env/LD_PRELOAD", ""),
            ({"command": ["true"], "retry": {"max_attempts": 101}}, "/retry/max_attempts", ""),
            ({"command": ["true"], "script": "x.py"}, "", ""),
            ({"script": "x.py", "args": "'open quote"}, "/args", "close the quotation"),
            ({}, "", ""),
        ]
        for body, pointer, hint in cases:
            with self.subTest(body=body):
                status, problem, _ = self.world.api("POST", "/api/v1/runs", body)
                self.assertEqual(status, 400, problem)
                if pointer:
                    self.assertEqual(problem["errors"][0]["pointer"], pointer)
                self.assertIn(hint, json.dumps(problem))
        self.assertEqual(self.world.api("GET", "/api/v1/runs", expect=200)[1]["items"], [])


class CommandLine(WorldTest):
    """Wrong flags, files, ports and directories."""

    def run_binary(self, *arguments):
        return subprocess.run([str(BINARY), *[str(a) for a in arguments]], env=self.world.env, cwd=ROOT,
                              capture_output=True, text=True, timeout=LIMIT)

    def check(self, done, code, *words):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertNotIn("terminate", done.stderr)

    def test_wrong_flags_and_commands_say_which_and_what_was_meant(self):
        self.check(self.run_binary(), 2, "--role=server", "submit")
        self.check(self.run_binary("sumbit"), 2, "sumbit", "submit")
        self.check(self.run_binary("run", "lst"), 2, "lst", "list")
        self.check(self.run_binary("submit", "--retires", "3", "--", "true"), 2, "--retires", "--retries")
        self.check(self.run_binary("run", "list", "--limit", "many"), 2, "many", "orchestrator run list --help")
        self.check(self.run_binary("event", "follow", "--after", "x"), 2, "--after")
        self.check(self.run_binary("submit", "--retries", "many", "--", "true"), 2,
                   "--retries takes a number, not `many`")
        self.check(self.run_binary("schedule", "add", "x", "--", "true"), 2, "give one of --cron,--every,--hourly")
        self.check(self.run_binary("-o", "xml", "status"), 2, "orchestrator: --output", "table|json|jsonl|name")
        self.check(self.run_binary("--role=coordinator"), 64, "coordinator")
        self.check(self.run_binary("--role=server", "--lsten", "x"), 64, "--lsten", "--listen")
        self.check(self.run_binary("--role=worker", "--slots", "many"), 64, "--slots", "many")
        self.check(self.run_binary("--role=server", "submit"), 2, "submit")
        self.check(self.run_binary("run", "list", "--server", "127.0.0.1:1"), 6, "127.0.0.1:1")

    def test_nobody_who_reads_is_no_reason_to_crash(self):
        self.world.start_server()
        self.world.start_worker()
        server = f"--server 127.0.0.1:{self.world.port}"
        noisy = "submit --follow -- sh -c 'yes | head -n 200000 >&2; exit 4'"
        for line, code in ((f"run list {server} 2>&-", 0), (f"run lst {server} 2>&-", 2),
                           (f"run lst {server} 2>/dev/full", 2), (f"--role=server --lsten x 2>&-", 64),
                           (f"run list {server} >/dev/full", 74), ("--help >/dev/full", 74),
                           (noisy.replace("--follow", f"--follow {server}") + " 2>/dev/full", 74)):
            with self.subTest(line):
                done = subprocess.run(["sh", "-c", f"{BINARY} {line}"], env=self.world.env, cwd=ROOT, timeout=LIMIT,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.assertEqual(done.returncode, code)

    def test_help_is_there_for_everything(self):
        for words in (["--help"], ["--role=server", "--help"], ["--role=worker", "--help"], ["submit", "--help"],
                      ["job", "apply", "--help"], ["schedule", "add", "--help"], ["dev", "--help"], ["run", "--help"]):
            done = self.run_binary(*words)
            self.assertEqual(done.returncode, 0, words)
            self.assertGreater(len(done.stdout), 100, words)

    def test_a_busy_port_a_locked_directory_and_an_open_address_are_refused(self):
        self.world.start_server()
        busy = self.run_binary("--role=server", "--listen", f"127.0.0.1:{self.world.port}", "--data-dir",
                               self.world.dir / "b")
        self.check(busy, 75, str(self.world.port))
        locked = self.run_binary("--role=server", "--listen", "127.0.0.1:0", "--data-dir", self.world.data)
        self.check(locked, 75, str(self.world.server.pid))
        self.check(self.run_binary("--role=server", "--listen", "0.0.0.0:0", "--data-dir", self.world.dir / "c"), 78,
                   "--insecure-plaintext")
        self.check(self.run_binary("--role=server", "--listen", "0.0.0.0:0", "--auth=off", "--data-dir",
                                   self.world.dir / "c"), 78, "loopback")
        self.world.start_worker()
        second = self.run_binary("--role=worker", "--server", f"127.0.0.1:{self.world.port}", "--work-dir",
                                 self.world.dir / "work-w1")
        self.check(second, 75, "work-w1")

    def test_who_has_no_token_is_told_how_to_give_it(self):
        self.world.start_server()
        elsewhere = {**self.world.env, "XDG_STATE_HOME": str(self.world.dir / "elsewhere")}
        command = [str(BINARY), "status", "--server", f"127.0.0.1:{self.world.port}"]
        done = subprocess.run(command, env=elsewhere, capture_output=True, text=True, timeout=LIMIT)
        self.check(done, 4, "--token-file", "admin.token")
        self.assertNotIn("Authorization", done.stderr)
        command += ["--token-file", str(self.world.data / "admin.token")]
        done = subprocess.run(command, env=elsewhere, capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(self.run_binary("status", "--token-file", "nowhere"), 2, "nowhere")

    def test_a_worker_whose_token_file_cannot_be_read_says_so_and_does_not_start(self):
        work = self.world.dir / "work-w1"
        for content, reason in ((None, "No such file"), ("\n", "it is empty")):
            token = self.world.dir / "token"
            if content is not None:
                token.write_text(content)
            done = self.run_binary("--role=worker", "--server", "127.0.0.1:1", "--work-dir", str(work),
                                   "--token-file", str(token))
            self.check(done, 64, str(token), reason, "worker.token")
            self.assertFalse(work.exists())

    def test_ctrl_c_leaves_the_run_that_was_followed_and_says_how_to_find_it(self):
        self.world.start_server()
        self.world.start_worker()
        follower = self.world.spawn("submit", "--server", f"127.0.0.1:{self.world.port}", "--follow", "--",
                                    "sh", "-c", "echo ready >&2; exec sleep 600")
        follower.wait_for_line("ready")
        follower.process.send_signal(signal.SIGINT)
        self.assertEqual(follower.wait(), 130)
        run_id = self.world.api("GET", "/api/v1/runs/last", expect=200)[1]["id"]
        for hint in (f"orchestrator logs {run_id} -f", f"orchestrator run cancel {run_id}"):
            self.assertIn(hint, follower.log())
        self.assertEqual(self.world.run(run_id)["state"], "active")
        self.world.api("POST", f"/api/v1/runs/{run_id}/cancel", expect=200)
        self.assertEqual(self.world.wait_final(run_id)["state"], "cancelled")

    def test_damaged_and_newer_databases_are_refused_untouched(self):
        self.world.start_server()
        self.world.submit(command=["true"])
        self.world.server.terminate()
        database = self.world.data / "orchestrator.db"
        good = database.read_bytes()
        for name, content in (("random", os.urandom(65536)), ("truncated", good[:len(good) // 2])):
            with self.subTest(name):
                directory = self.world.dir / name
                directory.mkdir(mode=0o700)
                (directory / "orchestrator.db").write_bytes(content)
                done = self.run_binary("--role=server", "--listen", "127.0.0.1:0", "--data-dir", directory)
                self.check(done, 65)
                self.assertEqual((directory / "orchestrator.db").read_bytes(), content)
        directory = self.world.dir / "newer"
        directory.mkdir(mode=0o700)
        newer = bytearray(good)
        newer[60:64] = (99999).to_bytes(4, "big")  # user_version in the header of an SQLite file
        (directory / "orchestrator.db").write_bytes(newer)
        self.check(self.run_binary("--role=server", "--listen", "127.0.0.1:0", "--data-dir", directory), 78)
        self.assertEqual((directory / "orchestrator.db").read_bytes(), bytes(newer))

    def test_times_that_are_none_and_a_limit_on_no_wait_are_refused_before_anything_is_sent(self):
        nobody = ("--server", "127.0.0.1:1")
        for words in (("submit", "--at", "9999", *nobody, "--", "true"),
                      ("schedule", "add", "x", "--at", "9999", *nobody, "--", "true")):
            self.check(self.run_binary(*words), 2, "--at takes a time with its zone, such as 2026-01-31T23:59:00Z",
                       "not `9999`", "--in 20m")
        self.check(self.run_binary("schedule", "preview", "@daily", "--from", "noon", *nobody), 2, "--from", "`noon`")
        self.check(self.run_binary("schedule", "backfill", "x", "--from", "2026-01-01T00:00:00Z", "--to", "now",
                                   *nobody), 2, "--to", "`now`")
        for words in (("submit", "--wait-timeout", "5s", *nobody, "--", "true"),
                      ("job", "run", "x", "--wait-timeout", "5s", *nobody)):
            self.check(self.run_binary(*words), 2, "nothing is waited for; add --wait or --follow")

    def test_what_is_given_twice_or_means_nothing_is_refused_with_its_place(self):
        self.world.start_server()
        for flag, one, two in (("--require", "k=v", "k=w"), ("--require-resource", "gpu=1", "gpu=2"),
                               ("--tag", "a=b", "a=c"), ("--env", "A=b", "A=c")):
            done = self.world.cli("submit", flag, one, flag, two, "--", "true", check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(f"{flag} gives", done.stderr)
            self.world.cli("submit", flag, one, flag, one, "--", "true")
        self.assertEqual(self.world.cli("queue", "set", "", "--priority", "1", check=False).returncode, 2)

        def preview(expect=400, **body):
            return self.world.api("POST", "/api/v1/schedules:preview", body, expect=expect)[1]
        daily = {"cron": "0 0 * * *"}
        for wrong in (5, None, "soon", "9999-01-01T00:00:00Z", "2401-01-01T00:00:00Z"):
            self.assertEqual(preview(schedule=daily, **{"from": wrong})["errors"][0]["pointer"], "/from", wrong)
        self.assertEqual(len(preview(200, schedule=daily, **{"from": "2399-01-01T00:00:00Z"})), 5)
        for cron, position in (("", 1), ("  ", 1), ("0 0 * * " + "1" * 300, 257)):
            problem = preview(schedule={"cron": cron})
            self.assertEqual(problem["errors"][0]["pointer"], "/schedule/cron")
            self.assertIn(f"cron, position {position}:", problem["detail"])
        self.assertIn("monthly, at, manual", json.dumps(preview(schedule={})))

    def test_job_names_that_would_be_taken_for_another_are_refused_when_new(self):
        self.world.start_server()
        self.world.api("PUT", "/api/v1/jobs/Report", {"command": ["true"]}, expect=201)
        problem = self.world.api("PUT", "/api/v1/jobs/report", {"command": ["true"]}, expect=400)[1]
        self.assertIn("differ in case alone", problem["detail"])
        self.assertEqual(problem["errors"][0]["pointer"], "/name")
        self.world.api("PUT", "/api/v1/jobs/Report", {"command": ["false"]}, expect=200)
        problem = self.world.api("PUT", "/api/v1/jobs/last", {"command": ["true"]}, expect=400)[1]
        self.assertIn("newest run", problem["detail"])
        problem = self.world.api("POST", "/api/v1/jobs:apply", {"jobs": [
            {"name": "a", "command": ["true"]}, {"name": "A", "command": ["true"]}]}, expect=400)[1]
        self.assertEqual(problem["errors"][0]["pointer"], "/jobs/1/name")
        self.world.api("GET", "/api/v1/jobs/a", expect=404)

    def test_a_schedule_that_never_fires_is_refused_and_one_that_has_run_out_says_so(self):
        self.world.start_server()
        self.check(self.world.cli("schedule", "add", "gone", "--daily", "02:30", "--end", "2020-01-01", "--", "true",
                                  check=False), 2, "Job gone: its schedule never fires", "up to its end",
                   "give a later end")
        self.assertEqual(self.world.api("GET", "/api/v1/jobs", expect=200)[1]["items"], [])
        self.world.cli("schedule", "add", "hand", "--manual", "--", "true")
        done = self.world.cli("schedule", "next", "hand", "-o", "json")
        self.assertEqual(json.loads(done.stdout), [])
        self.assertIn("the schedule of hand fires no more", done.stderr)

    def test_a_job_file_is_named_with_or_without_its_flag_and_needs_a_name_in_it(self):
        self.world.start_server()
        path = self.world.dir / "plain.toml"
        path.write_text('command = ["true"]\n')
        for words in (("validate", path), ("validate", "-f", path), ("apply", path), ("apply", "-f", path)):
            done = self.world.cli("job", *words, check=False)
            self.check(done, 2, "plain.toml:1:1", "the job has no name", 'add a line such as name = "nightly-report"')
        path.write_text('name = "plain"\ncommand = ["true"]\n')
        for words in (("validate", path), ("validate", "-f", path), ("apply", path), ("apply", "-f", path)):
            self.assertEqual(self.world.cli("job", *words, "-o", "name").stdout, "plain\n")
        self.assertIn("-f may be left out", self.world.cli("job", "apply", "--help").stdout)
        self.check(self.world.cli("job", "validate", check=False), 2, "--file is required")

    def test_job_files_are_all_or_nothing_and_errors_name_their_place(self):
        self.world.start_server()
        files = self.world.dir / "jobs"
        files.mkdir()
        (files / "good.toml").write_text('name = "good"\ncommand = ["true"]\n')
        (files / "typo.toml").write_text('name = "typo"\ncomand = ["true"]\n')
        done = self.world.cli("job", "apply", "-f", files, check=False)
        self.check(done, 2, "typo.toml:2:1", "comand", "command")
        self.assertEqual(self.world.api("GET", "/api/v1/jobs", expect=200)[1]["items"], [])
        for name, text, words in (("syntax", 'name = "x\n', ["syntax.toml:1"]),
                                  ("zone", 'name = "z"\ncommand = ["true"]\n[schedule]\ndaily = "02:30"\n'
                                           'time_zone = "Asia/Hongkong"\n', ["Hongkong"]),
                                  ("cron", 'name = "c"\ncommand = ["true"]\n[schedule]\ncron = "61 * * * *"\n',
                                   ["61"])):
            with self.subTest(name):
                path = self.world.dir / f"{name}.toml"
                path.write_text(text)
                refused = self.world.cli("job", "apply", "-f", path, check=False)
                self.assertEqual(refused.returncode, 2, refused.stderr)
                for word in words:
                    self.assertIn(word, refused.stderr)
        self.assertEqual(self.world.api("GET", "/api/v1/jobs", expect=200)[1]["items"], [])

    def test_settings_come_from_flags_environment_file_and_defaults_in_this_order(self):
        config = self.world.dir / "orchestrator.toml"
        config.write_text('[server]\nlisten = "127.0.0.1:1111"\nlease_ttl = "30s"\nretain_age = "7d"\n')
        env = dict(self.world.env, ORCHESTRATOR_LEASE_TTL="40s", ORCHESTRATOR_CONFIG=str(config))
        done = subprocess.run([str(BINARY), "config", "show", "--origin", "-o", "json"], env=env, capture_output=True,
                              text=True, timeout=LIMIT)
        rows = {(r["role"], r["setting"]): r for r in json.loads(done.stdout)}
        self.assertEqual(rows["server", "listen"]["value"], "127.0.0.1:1111")
        self.assertEqual(rows["server", "listen"]["origin"], f"{config}:2")
        self.assertEqual((rows["server", "lease-ttl"]["value"], rows["server", "lease-ttl"]["origin"]),
                         ("40s", "ORCHESTRATOR_LEASE_TTL"))
        self.assertEqual(rows["server", "ping-interval"]["origin"], "default")
        config.write_text("[server]\nlistn = 1\n")
        done = subprocess.run([str(BINARY), "config", "show"], env=env, capture_output=True, text=True, timeout=LIMIT)
        self.check(done, 2, f"{config}:2", "listn", "listen")


class Stopping(WorldTest):
    """SIGTERM while connections of every kind are open, most of them in the middle of something."""

    def connect(self, text):
        s = socket.create_connection(("127.0.0.1", self.world.port), timeout=LIMIT)
        self.addCleanup(s.close)
        s.sendall(text.encode("latin-1"))
        return s

    @staticmethod
    def until(s, mark):
        data = b""
        while mark not in data:
            more = s.recv(65536)
            if not more:
                raise AssertionError(f"the connection ended without {mark}: {data}")
            data += more

    def test_half_requests_followers_and_workers_do_not_hold_a_stop_up(self):
        world = self.world
        world.start_server()
        run = world.submit(command=["true"], hold=True)
        common = f"Host: 127.0.0.1:{world.port}\r\nAuthorization: Bearer {world.token()}\r\n"
        get = "GET {} HTTP/1.1\r\n" + common
        open_ones = [self.connect(""), self.connect(get.format("/api/v1/runs")[:30]),
                     self.connect("POST /api/v1/runs HTTP/1.1\r\n" + common + "Content-Type: application/json\r\n"
                                  "Content-Length: 20\r\n\r\n{\"comm")]
        idle = self.connect(get.format("/healthz") + "\r\n")
        self.until(idle, b"\r\n\r\n")
        sse = self.connect(get.format("/api/v1/events") + "Accept: text/event-stream\r\n\r\n")
        self.until(sse, b"\r\n\r\n")
        logs = self.connect(get.format(f"/api/v1/runs/{run['id']}/logs?follow=1") + "\r\n")
        self.until(logs, b"\r\n\r\n")
        waits = self.connect(get.format(f"/api/v1/runs/{run['id']}?wait=60") + "\r\n")
        legacy = self.connect(get.format("/ws/heartbeat").replace(world.token(), world.token("worker")) +
                              "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        self.until(legacy, b"\r\n\r\n")
        worker = world.start_worker()
        began = time.monotonic()
        world.server.process.terminate()
        for s in (*open_ones, idle, sse, logs, waits):  # each of them ends while the WebSocket below is still open
            try:
                while s.recv(65536):
                    pass
            except ConnectionResetError:
                pass
            s.close()
        goodbye = legacy.recv(2)
        self.assertEqual(goodbye[0], 0x88)  # a close frame
        legacy.close()
        self.assertEqual(world.server.wait(), 0)
        self.assertLess(time.monotonic() - began, 5)  # the time that interface.md names
        self.assertIn("code: 1001", eventually(lambda: "\n".join(l for l in worker.lines if "1001" in l), "its end"))


class Scripts(WorldTest):
    """Scripts that cannot run, and workers that die."""

    def setUp(self):
        super().setUp()
        self.world.start_server()
        self.world.start_worker()

    def ended(self, **body):
        return self.world.wait_final(self.world.submit(**body)["id"])

    def test_missing_and_unrunnable_scripts_fail_with_the_reason(self):
        plain = self.world.dir / "plain"
        plain.write_text("no program\n")
        plain.chmod(stat.S_IRUSR)
        garbage = self.world.dir / "garbage"
        garbage.write_bytes(b"\x00\x01\x02")
        garbage.chmod(0o700)
        cases = [({"script": "no/such.py"}, "no/such.py", 127), ({"script": str(plain)}, "plain", 126),
                 ({"command": [str(garbage)]}, "garbage", 126),
                 ({"command": ["true"], "cwd": "/no/such/dir"}, "/no/such/dir", None)]
        for body, word, code in cases:
            with self.subTest(body=body):
                run = self.ended(**body)
                self.assertEqual(run["state"], "failed")
                attempt = run["attempts"][-1]
                self.assertIn(word, attempt["error"] or "")
                if code is not None:
                    self.assertEqual(attempt["exit_code"], code)

    def test_a_worker_killed_for_good_loses_its_attempt_and_the_run_goes_elsewhere(self):
        world = self.world
        world.server.terminate()
        world.start_server("--lease-ttl", "2s", "--ping-interval", "500ms", "--ping-timeout", "500ms")
        gone = world.start_worker(name="w2", slots=1)
        for child in world.processes:
            if child.pid not in (gone.pid, world.server.pid):
                child.kill()
        mark = world.dir / "mark"
        run = world.submit(command=["sh", "-c", f"test -e {mark} || {{ touch {mark}; sleep 600; }}"])
        eventually(mark.exists, "the first attempt runs")
        gone.kill()
        world.start_worker(name="w3")
        final = world.wait_final(run["id"], limit=120)
        self.assertEqual(final["state"], "succeeded")
        self.assertEqual([a["state"] for a in final["attempts"]], ["lost", "succeeded"])


if __name__ == "__main__":
    unittest.main()
