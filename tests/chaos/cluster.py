"""One coordinator with its workers on the real binary: started, killed and started again on the same port and
directories; with a load of jobs that write a ledger, and a record of everything the coordinator acknowledged.
"""
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
from harness import BINARY, ROOT, World, eventually, free_port  # noqa: E402

FINAL = ("succeeded", "failed", "cancelled", "expired", "skipped")
FAST = ("--retry-delay", "50ms", "--retry-max", "300ms")  # a worker that comes back at once


def measured_slowness():
    """How much slower than a quiet machine of the year this one is: limits stretch by it."""
    began = time.monotonic()
    for _ in range(20):
        subprocess.run(["true"], check=True)
    return max(1.0, (time.monotonic() - began) / 0.1)


class Ledger:
    """What the jobs themselves say happened. Only they write it."""

    def __init__(self, path):
        self.path = path
        path.touch()

    def lines(self):
        return [line.split() for line in self.path.read_text().splitlines()]

    def write(self, run, lease, pid, what):
        """As a job does, for a worker that only pretends to run it."""
        uptime = pathlib.Path("/proc/uptime").read_text().split()[0]
        with open(self.path, "ab", buffering=0) as file:
            file.write(f"{run} {lease} {pid} {what} {uptime}\n".encode())

    def count(self, word):
        return sum(1 for line in self.lines() if line[3].startswith(word))


class Record:
    """What the coordinator acknowledged to clients: it must be so at the end."""

    def __init__(self):
        self.lock = threading.Lock()
        self.accepted = {}  # run id -> body of the submission
        self.keys = {}  # idempotency key -> run id
        self.cancelled = {}  # run id -> the run as the acknowledged cancel showed it
        self.finals = {}  # run id -> the first final state that was shown
        self.revision = 0
        self.faults = []  # what a client saw that must never be seen
        self.replays = 0
        self.refused = collections.Counter()  # statuses of submissions that were not taken

    def saw(self, run):
        if run.get("state") not in FINAL:
            return
        with self.lock:
            first = self.finals.setdefault(run["id"], run["state"])
        if first != run["state"]:
            self.faults.append(f"I2: run {run['id']} was shown as {first} and later as {run['state']}")


class Client:
    """HTTP with one connection that is kept, for one thread. Unanswered requests raise OSError."""

    def __init__(self, cluster, patience=30):
        self.cluster = cluster
        self.patience = patience
        self.connection = None

    def call(self, method, path, body=None, key=None):
        record = self.cluster.record
        before = record.revision
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=self.patience)
            headers = {"Authorization": f"Bearer {self.cluster.token()}"}
            if key:
                headers["Idempotency-Key"] = key
            if body is not None or method == "POST":
                headers["Content-Type"] = "application/json"
            self.connection.request(method, path, json.dumps(body or {}) if method == "POST" else None, headers)
            answer = self.connection.getresponse()
            value = json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise OSError(str(error)) from error
        revision = int(answer.headers.get("Orchestrator-Revision", 0))
        if revision and revision < before:
            record.faults.append(f"I20: the revision went back from {before} to {revision}")
        with record.lock:
            record.revision = max(record.revision, revision)
        return answer.status, value, answer.headers

    def until_answered(self, method, path, body=None, key=None):
        """Asks again until there is an answer. 429, 503 and 507 are answers."""
        while True:
            try:
                return self.call(method, path, body, key)
            except OSError:
                if self.cluster.over.is_set():
                    raise
                time.sleep(0.01)

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Cluster(World):
    """Directories, one coordinator on a fixed port, workers by name, and the load."""

    def __init__(self, name, seed, slowness=1.0):
        super().__init__()
        self.name = name
        self.random = random.Random(f"{seed}/{name}/load")  # of the load's thread
        self.fate = random.Random(f"{seed}/{name}/faults")  # of the scenario's thread
        self.slowness = slowness
        self.port = free_port()
        self.data = self.dir / "data"
        self.worker_token = self.data / "worker.token"
        self.ledger = Ledger(self.dir / "ledger")
        self.record = Record()
        self.over = threading.Event()
        self.counts = collections.Counter()
        self.children = {}  # name -> (process, how to start it)
        self.lock = threading.Lock()
        self.server_flags = ["--lease-ttl", "2s"]
        self.baseline = {}
        self._token = ""
        self.load = []
        self.helpers = []  # what is to be stopped with the cluster
        self.inside = None  # the data dir, where only the coordinator sees it

    def token(self, kind="admin"):
        if kind != "admin":
            return super().token(kind)
        if not self._token:
            self._token = super().token()
        return self._token

    def token_from_inside(self):
        """Where only the coordinator sees its data dir: the tokens are read past its door and left in ours, and the
        door is held open for the time after its end."""
        inside = pathlib.Path(f"/proc/{self.process('server').pid}/root{self.data}")
        self.inside = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
        for kind in ("admin", "worker"):
            (self.dir / f"{kind}.token").write_text((inside / f"{kind}.token").read_text())
        self._token = (self.dir / "admin.token").read_text().strip()
        self.worker_token = self.dir / "worker.token"

    def files(self):
        """The data dir of a coordinator that has ended."""
        if self.inside is None:
            return self.data
        for name in ("orchestrator.db", "output.db"):
            shutil.copy(f"/proc/self/fd/{self.inside}/{name}", self.data / name)
        return self.data

    # ---- processes

    def start(self, name, arguments, prefix=()):
        with open(self.dir / f"{name}.log", "ab") as log:
            child = subprocess.Popen([*prefix, str(BINARY), *[str(a) for a in arguments]], env=self.env, cwd=ROOT,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        self.children[name] = (child, arguments, prefix)
        return child

    def start_coordinator(self, prefix=()):
        self.start("server", ["--role=server", "--listen", f"127.0.0.1:{self.port}", "--data-dir", self.data,
                              *self.server_flags], prefix)
        self.wait_ready()

    def start_daemon(self, name, *flags, slots=4, port=None, worker_id=None, prefix=()):
        self.start(name, ["--role=worker", "--server", f"127.0.0.1:{port or self.port}", "--worker-id",
                          worker_id or name, "--slots", slots, "--work-dir", self.dir / f"work-{name}",
                          "--token-file", self.worker_token, *FAST, *flags], prefix)

    def wait_ready(self):
        def ready():
            code = self.children["server"][0].poll()
            if code is not None:
                raise AssertionError(f"the coordinator ended with {code}:\n{self.tail('server')}")
            door = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                door.request("GET", "/readyz")
                return door.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False
            finally:
                door.close()
        eventually(ready, f"{self.name}: the coordinator is ready", 30 * self.slowness)

    def restart(self, name):
        _, arguments, prefix = self.children[name]
        self.start(name, arguments, prefix)

    def process(self, name):
        return self.children[name][0]

    def kill(self, name):
        """SIGKILL by pid, of a process that must be alive: a kill that hit nothing is none."""
        child = self.process(name)
        alive = child.poll() is None
        child.kill()
        child.wait(30)
        return alive

    def supervisor(self, name):
        """The pid of the living supervisor of a worker, or 0."""
        try:
            words = (self.dir / f"work-{name}" / "supervisor.lock").read_text().split()
            pid = int(words[words.index("pid") + 1])
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            comm = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            return pid if state != "Z" and comm == "orch-superv" else 0
        except (OSError, ValueError, IndexError):
            return 0

    def threads(self, name):
        """Where each thread of a process is, for the report about one that hangs."""
        lines = []
        for task in pathlib.Path(f"/proc/{self.process(name).pid}/task").glob("*"):
            try:
                lines.append(" ".join((task / what).read_text().strip() for what in ("comm", "wchan", "syscall")))
            except OSError as error:
                lines.append(str(error))
        return "\n".join(lines)

    def connected(self, *names):
        client, found, cursor = Client(self), set(), ""
        try:
            while cursor is not None:
                page = client.call("GET", f"/api/v1/workers?limit=500{cursor}")[1]
                found |= {w["worker_id"] for w in page["items"] if w["connected"]}
                cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
        except OSError:
            return False
        finally:
            client.close()
        return set(names) <= found

    def wait_connected(self, *names):
        eventually(lambda: self.connected(*names), f"{self.name}: {names} are connected", 30 * self.slowness)

    def tail(self, name, lines=30):
        try:
            return "\n".join((self.dir / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def count_in_log(self, name, text):
        return (self.dir / f"{name}.log").read_text(errors="replace").count(text)

    # ---- load

    def body(self, kind=None):
        """A submission: most are short successes, some fail, some are at_most_once, some print much."""
        r = self.random
        kind = kind or r.choices(("plain", "flaky", "fails", "once", "noop", "prints"), (50, 10, 6, 14, 6, 14))[0]
        if kind == "noop":
            return {"builtin": "noop", "retry": {"max_lost": 100}}
        seconds = r.choice(("0", "0", "0.02", "0.1", "0.3"))
        status = {"flaky": "flaky", "fails": "3"}.get(kind, "0")
        lines = "400" if kind == "prints" else "3"
        body = {"command": ["sh", str(HERE / "job.sh"), str(self.ledger.path), seconds, status, lines]}
        if kind == "once":
            body["at_most_once"] = True
        else:
            body["retry"] = {"max_lost": 100, "backoff": "20ms", "max_backoff": "200ms",
                             "max_attempts": 3 if kind == "flaky" else 1}
        return body

    def submit(self, client, key, body):
        """Asks until it is taken, with one key: however often it was asked, it is one run."""
        unanswered = 0
        while not self.over.is_set():
            try:
                status, run, headers = client.call("POST", "/api/v1/runs", body, key)
            except OSError:
                unanswered += 1
                time.sleep(0.01)
                continue
            if status in (429, 503, 507):
                with self.record.lock:
                    self.record.refused[status] += 1
                time.sleep(0.05)
                continue
            if status != 201:
                self.record.faults.append(f"a submission was answered {status}: {run}")
                return None
            with self.record.lock:
                earlier = self.record.keys.setdefault(key, run["id"])
                self.record.accepted[run["id"]] = body
                self.record.replays += unanswered > 0 and headers.get("Idempotency-Replayed") == "true"
            if earlier != run["id"]:
                self.record.faults.append(f"I21: key {key} got two runs, {earlier} and {run['id']}")
            return run["id"]
        return None

    def cancel(self, client, run_id):
        try:
            status, run, _ = client.until_answered("POST", f"/api/v1/runs/{run_id}/cancel")
        except OSError:
            return
        if status == 200:
            self.record.saw(run)
            with self.record.lock:
                self.record.cancelled[run_id] = run
            self.counts["cancels"] += 1
        elif status != 409:
            self.record.faults.append(f"a cancel of an accepted run was answered {status}: {run}")

    def start_load(self, most_open=60):
        """One thread submits, now and then with a key that was used, and cancels; it keeps `most_open` jobs open."""
        thread = threading.Thread(target=self._load, args=(most_open,), daemon=True)
        thread.start()
        self.load.append(thread)

    def _load(self, most_open):
        client, number, done = Client(self), 0, 0
        while not self.over.is_set():
            if number - done > most_open:
                try:
                    counts = client.call("GET", "/api/v1/status")[1]["runs"]
                    done = sum(counts[state] for state in (*FINAL, "unknown"))
                except (OSError, KeyError):
                    pass
                time.sleep(0.02)
                continue
            number += 1
            run_id = self.submit(client, f"key-{number}", self.body())
            if run_id is None:
                continue
            dice = self.random.random()
            if dice < 0.08:
                self.cancel(client, run_id)
            elif dice < 0.12:
                key = self.random.choice(list(self.record.keys))
                self.submit(client, key, self.record.accepted[self.record.keys[key]])
            elif dice < 0.20:
                self.look(client, self.random.choice(list(self.record.keys.values())))
        client.close()

    def look(self, client, run_id):
        """What is shown as final must stay so, and what was acknowledged must be shown."""
        try:
            status, run, _ = client.call("GET", f"/api/v1/runs/{run_id}")
        except OSError:
            return
        if status != 200:
            self.record.faults.append(f"I20: accepted run {run_id} is answered {status}")
        else:
            self.record.saw(run)

    def accepted(self):
        return len(self.record.keys)

    def wait_progress(self, least=1):
        """Work is accepted: the next fault meets a cluster at work."""
        before = self.accepted()
        eventually(lambda: self.accepted() >= before + least, f"{self.name}: work is accepted", 30 * self.slowness)

    def stop_load(self):
        self.over.set()
        for thread in self.load:
            thread.join(60)

    # ---- the end

    def wait_all_final(self):
        """I6: the number of open runs falls within every 30 s, until none is left. `unknown` waits for a person."""
        client = Client(self)
        least, since = None, time.monotonic()
        while True:
            try:
                runs = client.call("GET", "/api/v1/status")[1]["runs"]
            except (OSError, KeyError):
                runs = None
            if runs is not None:
                open_runs = sum(runs[s] for s in ("queued", "active", "retry_wait"))
                if open_runs == 0:
                    return
                if least is None or open_runs < least:
                    least, since = open_runs, time.monotonic()
            if time.monotonic() - since > 30 * self.slowness:
                raise AssertionError(f"I6: no progress for 30 s, {least} runs are open: {self.open_runs(client)}")
            time.sleep(0.05)

    def open_runs(self, client):
        try:
            found = client.call("GET", "/api/v1/runs?state=queued,active,retry_wait&limit=5")[1]["items"]
            for run in found:
                run["why"] = client.call("GET", f"/api/v1/runs/{run['id']}/why")[1].get("reasons")
            return json.dumps(found)[:4000]
        except (OSError, KeyError) as error:
            return str(error)

    def pages(self, path, limit=500):
        client, cursor = Client(self), None
        while True:
            page = client.until_answered("GET", f"{path}limit={limit}" + (f"&cursor={cursor}" if cursor else ""))[1]
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                client.close()
                return

    def all_runs(self):
        return list(self.pages("/api/v1/runs?"))

    def all_events(self):
        client, after = Client(self), 0
        while True:
            items = client.until_answered("GET", f"/api/v1/events?after={after}&limit=500")[1]["items"]
            if not items:
                client.close()
                return
            yield from items
            after = items[-1]["sequence"]

    def processes_of_ours(self):
        """Every process that names this cluster's directory in its command line or environment."""
        marker, found = str(self.dir).encode(), {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                if marker in command or marker in (entry / "environ").read_bytes():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
        return found

    def close(self):
        self.over.set()
        for helper in self.helpers:
            helper.stop()
        for name, (child, _, _) in list(self.children.items()):
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
            child.wait(30)
        if self.inside is not None:
            os.close(self.inside)
        super().close()
