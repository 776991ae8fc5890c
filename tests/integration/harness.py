"""Starts the real binary on ports and directories of its own, for the black-box tests beside it.

Every process started here is ended here, by its pid. Nothing sleeps to wait: `eventually` polls a condition until a
generous limit that only a hang can reach.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("ORCHESTRATOR_BIN", ROOT / "build/release/orchestrator")).resolve()
LIMIT = 60.0  # seconds; a sanitizer build on a loaded machine is slow, a hang is for ever


def eventually(condition, what, limit=LIMIT):
    """Polls until `condition` returns something true, and returns that."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {limit} s: {what}")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def compiler():
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "clang-19"))), None)


class FailingCalls:
    """System calls that fail or hang on request, in processes that are started with `env`: see failing_calls.c. Needs a
    compiler()."""

    def __init__(self, directory):
        self.orders = directory / "failing-calls"
        self.orders.mkdir()
        library = directory / "failing_calls.so"
        self.env = {"LD_PRELOAD": str(library), "FAILING_CALLS": str(self.orders)}
        subprocess.run([compiler(), "-shared", "-fPIC", "-O1", "-o", str(library),
                        str(ROOT / "tests/support/failing_calls.c"), "-ldl"], check=True)

    def order(self, call, what):
        """Whole or not at all: a process may read it at any moment."""
        draft = self.orders / f"{call}.new"
        draft.write_text(str(what))
        draft.rename(self.orders / call)

    def relent(self, call):
        (self.orders / call).unlink(missing_ok=True)


class Process:
    """A child process whose stderr is collected line by line."""

    def __init__(self, arguments, env=None, cwd=None, stdout=subprocess.DEVNULL):
        self.process = subprocess.Popen(
            [str(a) for a in arguments], env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=subprocess.PIPE, text=True, errors="replace")
        self.lines = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return "\n".join(self.lines)

    def wait_for_line(self, pattern, limit=LIMIT):
        def found():
            for line in list(self.lines):
                match = re.search(pattern, line)
                if match:
                    return match
            if self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"ended with {self.process.returncode} before `{pattern}`:\n{self.log()}")
            return None
        return eventually(found, f"a log line like `{pattern}`; the log is:\n{self.log()}", limit)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait(LIMIT)

    def close(self):
        self.kill()
        self._reader.join(LIMIT)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def terminate(self):
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return code

    def wait(self, limit=LIMIT):
        code = self.process.wait(limit)
        self._reader.join(limit)
        return code


class World:
    """One test's directories, coordinator and workers."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="orc-"))
        self.env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.dir / "home"), "LANG": "C.UTF-8",
            "XDG_STATE_HOME": str(self.dir / "state"), "XDG_CONFIG_HOME": str(self.dir / "config"),
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        (self.dir / "home").mkdir()
        self.processes = []
        self.port = None
        self.server = None

    # ---- processes

    def spawn(self, *arguments, **options):
        options.setdefault("env", self.env)
        options.setdefault("cwd", ROOT)
        child = Process([BINARY, *arguments], **options)
        self.processes.append(child)
        return child

    def start_server(self, *flags, port=None, data="data", auth="token"):
        listen = f"127.0.0.1:{port if port is not None else (self.port or 0)}"
        child = self.spawn("--role=server", "--listen", listen, "--data-dir", self.dir / data, f"--auth={auth}", *flags)
        self.port = int(child.wait_for_line(r"listening on http://127\.0\.0\.1:(\d+)").group(1))
        self.server = child
        self.data = self.dir / data
        return child

    def start_worker(self, *flags, name="w1", slots=2, wait=True, url=None):
        child = self.spawn("--role=worker", "--server", url or f"127.0.0.1:{self.port}", "--worker-id", name,
                           "--slots", slots, "--work-dir", self.dir / f"work-{name}", *flags)
        if wait:
            child.wait_for_line(r"Connected to ws://")
            eventually(lambda: self.worker_state(name) == "online", f"worker {name} is online")
        return child

    def close(self):
        for child in reversed(self.processes):
            child.kill()
        self._end_supervisors()  # a supervisor holds its daemon's stderr
        for child in self.processes:
            child.close()
        for _ in range(50):  # a dying process may still write into its directory
            shutil.rmtree(self.dir, ignore_errors=True)
            if not self.dir.exists():
                return
            time.sleep(0.02)

    def _end_supervisors(self):
        """Supervisors outlive their daemons on purpose: the ones of this world are found by their work dir."""
        marker = str(self.dir).encode()
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if marker in (entry / "environ").read_bytes() or marker in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue

    # ---- the command line

    def cli(self, *arguments, check=True, input=None):
        done = subprocess.run([str(BINARY), *[str(a) for a in arguments], "--server", f"127.0.0.1:{self.port}"]
                              if "--" not in arguments else self._with_server(arguments),
                              env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, input=input)
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def _with_server(self, arguments):
        words = [str(a) for a in arguments]
        split = words.index("--")
        return [str(BINARY), *words[:split], "--server", f"127.0.0.1:{self.port}", *words[split:]]

    # ---- the API

    def token(self, kind="admin"):
        path = self.data / f"{kind}.token"
        return path.read_text().strip() if path.exists() else ""

    def api(self, method, path, body=None, headers=None, expect=None):
        """One request; returns (status, decoded JSON or text, headers)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            sent = {"Authorization": f"Bearer {self.token()}"}
            data = None
            if body is not None:
                data = json.dumps(body)
                sent["Content-Type"] = "application/json"
            elif method in ("POST", "PUT"):
                data = ""
                sent["Content-Type"] = "application/json"
            sent.update(headers or {})
            connection.request(method, path, body=data, headers=sent)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            kind = answer.headers.get("Content-Type", "")
            value = json.loads(text) if "json" in kind and "ndjson" not in kind and text else text
            if expect is not None and answer.status != expect:
                raise AssertionError(f"{method} {path}: {answer.status} instead of {expect}: {text}")
            return answer.status, value, dict(answer.headers)
        finally:
            connection.close()

    def submit(self, **body):
        return self.api("POST", "/api/v1/runs", body, expect=201)[1]

    def run(self, run_id):
        return self.api("GET", f"/api/v1/runs/{run_id}", expect=200)[1]

    def wait_final(self, run_id, limit=LIMIT):
        final = ("succeeded", "failed", "cancelled", "expired", "skipped")

        def look():
            run = self.api("GET", f"/api/v1/runs/{run_id}?wait=5", expect=200)[1]
            return run if run["state"] in final else None
        return eventually(look, f"run {run_id} ends; it is {self.run(run_id)}", limit)

    def output(self, run_id, stream="stdout"):
        return self.api("GET", f"/api/v1/runs/{run_id}/logs?stream={stream}", headers={"Accept": "text/plain"},
                        expect=200)[1]

    def worker_state(self, name):
        status, worker, _ = self.api("GET", f"/api/v1/workers/{name}")
        return worker["state"] if status == 200 and worker["connected"] else None


class WorldTest(unittest.TestCase):
    """A test with a world of its own; on failure the coordinator's log is shown."""

    def setUp(self):
        self.world = World()

    def tearDown(self):
        outcome = getattr(self, "_outcome", None)
        failed = outcome is not None and any(error for _, error in getattr(outcome, "errors", []) if error)
        result = getattr(outcome, "result", None)
        if result is not None:
            failed = failed or any(test is self for test, _ in result.failures + result.errors)
        if failed:
            for child in self.world.processes:
                print(f"--- log of pid {child.pid} ({' '.join(child.process.args[1:4])})\n{child.log()}")
        self.world.close()
