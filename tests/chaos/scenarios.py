"""What is done to a cluster while it works. Each scenario is a function of a cluster and of how often; it returns when
its faults are over. What must be true afterwards is judged by `run.py`; what only a scenario knows it checks itself.

A pause with a length from the scenario's generator is the schedule of its faults; nothing here sleeps to wait.
"""
import dataclasses
import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time

from cluster import HERE, ROOT, Client, eventually
from harness import FailingCalls
from light import LightWorkers
from proxy import Proxy

BARE_KILLS = 10  # that one bare job lives through
PATIENT = ("--ping-timeout", "2s", "--close-timeout", "1s")


@dataclasses.dataclass
class Scenario:
    run: object
    often: int  # in scripts/test
    deep: int  # in scripts/test --deep
    workers: tuple = ("w1", "w2")
    kills: str = ""  # the kind of kills that `often` counts
    prepare: object = None  # starts coordinator and workers its own way
    needs_root: bool = False
    needs_compiler: bool = False


SCENARIOS = {}


def scenario(often, deep, **options):
    def register(function):
        SCENARIOS[function.__name__] = Scenario(function, often, deep, **options)
        return function
    return register


def pause(cluster, least, most):
    time.sleep(cluster.fate.uniform(least, most))


def waiting_job(cluster, gate):
    """Runs until the file `gate` exists, and tells the ledger all the time that it lives."""
    return {"command": ["sh", str(HERE / "ticking_job.sh"), str(cluster.ledger.path), str(gate)],
            "retry": {"max_lost": 100, "backoff": "20ms"}}


def bare_job(cluster, gate):
    """The same without a word of ours in its environment, and it must be dead before it is started again."""
    job = HERE / "ticking_job.sh"
    script = f'exec env -i "PATH=$PATH" sh {job} "$0" "$1" "$ORCHESTRATOR_RUN_ID" "$ORCHESTRATOR_LEASE"'
    return waiting_job(cluster, gate) | {
        "command": ["sh", "-c", script, str(cluster.ledger.path), str(gate)],
        "on_lease_lost": "kill", "kill_grace": "200ms"}


def expect(truth, what):
    if not truth:
        raise AssertionError(what)


# ---- kills

@scenario(200, 1500, kills="coordinator")
def coordinator(cluster, often):
    """kill -9 of the coordinator 5 to 500 ms after it took work again."""
    for _ in range(often):
        cluster.wait_progress()
        pause(cluster, 0.005, 0.5)
        cluster.counts["coordinator"] += cluster.kill("server")
        cluster.restart("server")
        cluster.wait_ready()


@scenario(150, 1000, kills="daemon")
def daemon(cluster, often):
    """kill -9 of a worker's daemon; its supervisor and jobs live on, and the next daemon takes them over."""
    for _ in range(often):
        name = cluster.fate.choice(("w1", "w2"))
        pause(cluster, 0.0, 0.4)
        cluster.counts["daemon"] += cluster.kill(name)
        if cluster.fate.random() < 0.3:
            pause(cluster, 0.0, 0.4)
        cluster.restart(name)
        if cluster.fate.random() < 0.7:  # the others are killed somewhere in their start
            cluster.wait_connected(name)
            cluster.wait_progress()
    # Promise 7: what ran is neither killed nor forgotten. Lost may only be what had been offered and never started.
    started = {int(line[1]) for line in cluster.ledger.lines() if line[3] == "start"}
    lost = {e["data"]["lease"] for e in cluster.all_events() if e["type"] == "attempt.lost"}
    expect(not lost & started, f"leases {sorted(lost & started)} ran and were lost to the death of a daemon")


def wait_for_supervisor(cluster, name, old):
    """The next one: of the daemon that executed itself again, or that ended young and is started by us."""
    def there():
        code = cluster.process(name).poll()
        if code is not None:
            expect(code in (70, 74), f"the daemon ended with {code} when its supervisor died:\n{cluster.tail(name)}")
            cluster.restart(name)
        found = cluster.supervisor(name)
        return found and found != old
    try:
        eventually(there, f"{cluster.name}: {name} has a supervisor again", 30 * cluster.slowness)
    except AssertionError as error:
        raise AssertionError(f"{error}; its daemon is in\n{cluster.threads(name)}") from error


@scenario(100, 700, kills="supervisor")
def supervisor(cluster, often):
    """kill -9 of a supervisor: its processes are killed by the daemon and reported lost."""
    for _ in range(often):
        name = cluster.fate.choice(("w1", "w2"))
        cluster.wait_connected(name)
        cluster.wait_progress()
        pause(cluster, 0.0, 0.4)
        pid = cluster.supervisor(name)
        expect(pid, f"{name} has a supervisor")
        os.kill(pid, signal.SIGKILL)
        cluster.counts["supervisor"] += 1
        wait_for_supervisor(cluster, name, pid)


@scenario(50, 400, kills="whole tree")
def tree(cluster, often):
    """kill -9 of everything at once but the jobs, which become orphans that nobody owns. One of them carries nothing
    in its environment by which it could be found; that it is dead before it runs again is judged."""
    client = Client(cluster)
    for number in range(often):
        if number % BARE_KILLS == 0:
            gate = cluster.dir / f"gate-{number}"
            bare = cluster.submit(client, f"bare-{number}", bare_job(cluster, gate))
        starts = number % BARE_KILLS + 1
        eventually(lambda: sum(line[0] == bare and line[3] == "start" for line in cluster.ledger.lines()) >= starts,
                   f"start {starts} of the bare job", 60 * cluster.slowness)
        cluster.wait_progress()
        pause(cluster, 0.0, 0.5)
        supervisors = [cluster.supervisor(name) for name in ("w1", "w2")]
        cluster.process("server").kill()
        for pid in supervisors:
            if pid:
                os.kill(pid, signal.SIGKILL)
        for name in ("w1", "w2", "server"):
            cluster.kill(name)
        cluster.counts["whole tree"] += 1
        for name in ("server", "w1", "w2"):
            cluster.restart(name)
        cluster.wait_ready()
        cluster.wait_connected("w1", "w2")
        if (number + 1) % BARE_KILLS == 0 or number + 1 == often:
            gate.touch()


@scenario(2, 6, workers=("w1",))
def own_restart(cluster, often):
    """A daemon that is no newborn executes itself again when its supervisor died: same process, new supervisor."""
    for _ in range(often):
        daemon_process = cluster.process("w1")
        born = time.monotonic()
        eventually(lambda: time.monotonic() - born > 11, "the daemon has its age", 60)
        cluster.wait_progress()
        pid = cluster.supervisor("w1")
        os.kill(pid, signal.SIGKILL)
        cluster.counts["supervisor"] += 1
        eventually(lambda: cluster.supervisor("w1") not in (0, pid), "the daemon has a supervisor again",
                   30 * cluster.slowness)
        expect(daemon_process.poll() is None, f"the daemon ended with {daemon_process.returncode}")
        cluster.wait_connected("w1")


# ---- stops and the network

@scenario(10, 80)
def stops(cluster, often):
    """SIGSTOP of coordinator or worker for 0.1 to 5 s: less than TTL + 10 s, so nothing at all may be lost."""
    for number in range(often):
        name = ("server", "w1", "w2")[number % 3]
        cluster.wait_progress()
        cluster.process(name).send_signal(signal.SIGSTOP)
        pause(cluster, 0.1, 5.0)
        cluster.process(name).send_signal(signal.SIGCONT)
        cluster.counts["stops"] += 1
        cluster.wait_connected("w1", "w2")
    expect(not losses_of(cluster), f"I13: a stop of less than 5 s lost attempts: {losses_of(cluster)}")


def losses_of(cluster):
    found = {}
    for event in cluster.all_events():
        if event["type"] == "attempt.lost":
            reason = event["data"].get("reason")
            found[reason] = found.get(reason, 0) + 1
    return found


def start_behind_proxies(cluster):
    cluster.proxies = {name: Proxy(cluster.port) for name in ("w1", "w2")}
    for proxy in cluster.proxies.values():
        cluster.server_flags += ["--allowed-host", f"127.0.0.1:{proxy.port}"]
    cluster.start_coordinator()
    for name, proxy in cluster.proxies.items():
        cluster.start_daemon(name, *PATIENT, port=proxy.port)


@scenario(18, 150, prepare=start_behind_proxies)
def network(cluster, often):
    """Faults between worker and coordinator, of every kind in turn; then one partition longer than a lease."""
    kinds = ("cut", "half open", "swallow up", "swallow down", "swallow both", "delay", "trickle", "corrupt up",
             "corrupt down")
    for number in range(often):
        kind = kinds[number % len(kinds)]
        proxy = cluster.proxies[cluster.fate.choice(("w1", "w2"))]
        if kind == "cut":
            proxy.cut()
        elif kind == "half open":
            proxy.half_open()
        elif kind.startswith("swallow"):
            which = kind.split()[1]
            proxy.change(swallow=frozenset(("up", "down") if which == "both" else (which,)))
        elif kind == "delay":
            proxy.change(delay=cluster.fate.uniform(0.02, 0.4))
        elif kind == "trickle":
            proxy.change(trickle=cluster.fate.randint(1, 64))
        else:
            proxy.corrupt(kind.split()[1])
        cluster.counts[kind] += 1
        pause(cluster, 0.2, 2.5)
        proxy.heal()
        cluster.wait_connected("w1", "w2")
        cluster.wait_progress()
    long_partition(cluster)


def long_partition(cluster):
    """Silence beyond TTL + 10 s: the attempts are lost, run elsewhere, and what comes back late is heard out."""
    before = losses_of(cluster).get("silence", 0)
    gate = cluster.dir / "gate"
    client = Client(cluster)
    run_id = cluster.submit(client, "long-partition", waiting_job(cluster, gate))
    eventually(lambda: any(line[0] == run_id for line in cluster.ledger.lines()), "the long job runs")
    name = client.call("GET", f"/api/v1/runs/{run_id}")[1]["attempts"][-1]["worker_id"]
    cluster.proxies[name].change(swallow=frozenset(("up", "down")))
    eventually(lambda: losses_of(cluster).get("silence", 0) > before, "its attempt is lost by silence",
               60 * cluster.slowness)
    eventually(lambda: len({line[1] for line in cluster.ledger.lines() if line[0] == run_id}) == 2,
               "it runs elsewhere", 30 * cluster.slowness)
    cluster.proxies[name].heal()
    cluster.wait_connected("w1", "w2")
    gate.touch()
    cluster.counts["long partition"] += 1


# ---- leases that kill

@scenario(2, 10)
def kill_on_lease_lost(cluster, often):
    """A worker whose daemon is dead or frozen must stop such a job before the coordinator starts it elsewhere."""
    client = Client(cluster)
    for number in range(often):
        gate = cluster.dir / f"gate-{number}"
        body = waiting_job(cluster, gate) | {"on_lease_lost": "kill", "kill_grace": "200ms"}
        run_id = cluster.submit(client, f"ticking-{number}", body)
        eventually(lambda: any(line[0] == run_id for line in cluster.ledger.lines()), "the job ticks")
        attempt = client.call("GET", f"/api/v1/runs/{run_id}")[1]["attempts"][-1]
        name = attempt["worker_id"]
        frozen = number % 2 == 1
        cluster.process(name).send_signal(signal.SIGSTOP if frozen else signal.SIGKILL)
        cluster.counts["frozen" if frozen else "dead"] += 1
        eventually(lambda: len({line[1] for line in cluster.ledger.lines() if line[0] == run_id}) == 2,
                   f"the job runs elsewhere\n{cluster.tail('server')}", 60 * cluster.slowness)
        gate.touch()
        if frozen:
            cluster.process(name).send_signal(signal.SIGCONT)
        else:
            cluster.process(name).wait(30)
            cluster.restart(name)
        cluster.wait_connected("w1", "w2")


# ---- the disk

def start_on_small_disk(cluster):
    """The coordinator alone sees a file system in memory at its data dir."""
    cluster.data.mkdir(mode=0o700)
    mount = f"mount -t tmpfs -o size=512m,mode=700 chaos {cluster.data}"
    cluster.start_coordinator(prefix=("unshare", "--mount", "--propagation", "private", "sh", "-c",
                                      f"{mount} && exec \"$@\"", "sh"))
    cluster.token_from_inside()
    for name in ("w1", "w2"):
        cluster.start_daemon(name)


def fill_disk(cluster):
    """As if somebody else had taken all but a few pages; the coordinator goes on writing meanwhile. The size of the
    disk stays: its twentieth is what the coordinator keeps in reserve."""
    pages = cluster.fate.randrange(8, 64)

    def full():
        found = os.fstatvfs(cluster.inside)
        rest = found.f_bfree - pages
        if rest <= 0:
            return True
        filler = os.open("filler", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=cluster.inside)
        try:
            os.posix_fallocate(filler, os.fstat(filler).st_size, rest * found.f_frsize)
        except OSError as error:  # the coordinator took some of it between the two calls
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(filler)
        return False
    eventually(full, "the disk is full")


def make_room(cluster):
    os.unlink("filler", dir_fd=cluster.inside)


def probe_until_refused(cluster):
    """Submits with keys of its own until one is answered 507; the load may be waiting for its own answer. Returns
    what was asked."""
    client, asked = Client(cluster, patience=2), {}

    def refused():
        key, body = f"probe-{cluster.counts['probes']}", cluster.body("plain")
        cluster.counts["probes"] += 1
        asked[key] = body
        try:
            return client.call("POST", "/api/v1/runs", body, key)[0] == 507
        except OSError:
            return False
    eventually(refused, "a submission is refused with 507", 60 * cluster.slowness)
    return asked


@scenario(2, 12, prepare=start_on_small_disk, needs_root=True)
def full_disk(cluster, often):
    """Full: submissions are refused with 507 and nothing acknowledged is lost; with room again work goes on."""
    for _ in range(often):
        cluster.wait_progress(5)
        fill_disk(cluster)
        asked = probe_until_refused(cluster)
        pause(cluster, 0.1, 0.8)
        fill_disk(cluster)  # what the coordinator had set aside for this may be in use by now
        pause(cluster, 0.1, 0.8)
        expect(cluster.process("server").poll() is None, f"the coordinator ended:\n{cluster.tail('server')}")
        make_room(cluster)
        cluster.counts["fills"] += 1
        client = Client(cluster)
        for key, body in asked.items():  # what was not answered may have been taken all the same
            cluster.submit(client, key, body)
        cluster.wait_progress()


# ---- calls that the kernel refuses

def start_with_failing_calls(cluster):
    cluster.calls = FailingCalls(cluster.dir)
    prefix = ("env", *(f"{name}={value}" for name, value in cluster.calls.env.items()))
    cluster.start_coordinator(prefix)
    for name in ("w1", "w2"):
        cluster.start_daemon(name, prefix=prefix)


@scenario(4, 40, prepare=start_with_failing_calls, needs_compiler=True)
def slow_disk(cluster, often):
    """fsync that is slow or hangs: work waits and nothing is lost to the wait. One that fails ends the coordinator with
    74, and the next one has everything that was acknowledged."""
    kinds = ("slow fsync", "hung fsync", "killed in a hung fsync", "failed fsync")
    for number in range(often):
        kind = kinds[number % len(kinds)]
        cluster.wait_progress()
        orders = {"slow fsync": cluster.fate.randint(20, 300), "failed fsync": "eio"}
        cluster.calls.order("sync", orders.get(kind, "hold"))
        if kind == "failed fsync":
            eventually(lambda: cluster.process("server").poll() is not None, "the coordinator ends",
                       30 * cluster.slowness)
            code = cluster.process("server").returncode
            expect(code == 74, f"after a failed fsync the coordinator ended with {code}:\n{cluster.tail('server')}")
        else:
            pause(cluster, 0.2, 2.0)
            expect(cluster.process("server").poll() is None, f"the coordinator ended:\n{cluster.tail('server')}")
        if kind == "killed in a hung fsync":
            cluster.counts["coordinator"] += cluster.kill("server")
        cluster.calls.relent("sync")
        cluster.counts[kind] += 1
        if cluster.process("server").poll() is not None:
            cluster.restart("server")
            cluster.wait_ready()
        cluster.wait_connected("w1", "w2")
    expect(not losses_of(cluster).get("silence"), f"a slow disk made workers silent: {losses_of(cluster)}")


def wait_for_error(cluster, client, number, text):
    """Submits until an attempt cannot be started, and says why."""
    def refused():
        key = f"refused-{number}-{cluster.counts['asked in vain']}"
        cluster.counts["asked in vain"] += 1
        run_id = cluster.submit(client, key, cluster.body("fails"))
        run = client.until_answered("GET", f"/api/v1/runs/{run_id}?wait=5")[1]
        return any(text in (attempt.get("error") or "") for attempt in run["attempts"])
    eventually(refused, f"an attempt ends with {text}", 60 * cluster.slowness)


@scenario(4, 40, prepare=start_with_failing_calls, needs_compiler=True)
def no_new_process(cluster, often):
    """fork is refused, for want of processes or memory: what cannot be started says so, and work goes on after."""
    client = Client(cluster)
    for number in range(often):
        error = (errno.EAGAIN, errno.ENOMEM)[number % 2]
        cluster.wait_progress()
        cluster.calls.order("spawn", error)
        wait_for_error(cluster, client, number, os.strerror(error))
        cluster.calls.relent("spawn")
        cluster.counts[errno.errorcode[error]] += 1
        cluster.wait_progress(5)


@scenario(4, 40)
def no_descriptor_left(cluster, often):
    """EMFILE in the coordinator or a daemon while they need descriptors: said, survived, and well again after."""
    for number in range(often):
        victim = ("server", "w1")[number % 2]
        cluster.wait_progress()
        pid = cluster.process(victim).pid
        said = cluster.count_in_log(victim, "Too many open files")
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before[1]))
        if victim == "server":
            cluster.counts["daemon"] += cluster.kill("w2")  # the next one finds no place
            cluster.restart("w2")
        else:
            cluster.counts["coordinator"] += cluster.kill("server")  # it has to dial
            cluster.restart("server")
        eventually(lambda: cluster.count_in_log(victim, "Too many open files") > said, f"{victim} says what it lacks",
                   30 * cluster.slowness)
        pause(cluster, 0.0, 1.0)
        expect(cluster.process(victim).poll() is None, f"{victim} ended:\n{cluster.tail(victim)}")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        cluster.counts[f"EMFILE of {victim}"] += 1
        cluster.wait_ready()
        cluster.wait_connected("w1", "w2")


# ---- many workers

def start_light_workers(cluster):
    """200 of them, in this process: what is tried is the coordinator."""
    cluster.body = lambda kind=None: {"command": ["light"], "retry": {"max_lost": 100, "backoff": "20ms"}}
    cluster.start_coordinator()
    cluster.light = LightWorkers(cluster, 200)
    cluster.helpers.append(cluster.light)
    cluster.wait_connected(*cluster.light.names)


@scenario(3, 30, workers=(), prepare=start_light_workers)
def many_workers(cluster, often):
    """kill -9 of a coordinator with 200 workers at work: all are back, and nothing is lost or done twice."""
    for _ in range(often):
        cluster.wait_progress(20)
        pause(cluster, 0.1, 0.6)
        cluster.counts["coordinator"] += cluster.kill("server")
        cluster.restart("server")
        cluster.wait_ready()
        cluster.wait_connected(*cluster.light.names)
        cluster.counts["reconnect storms"] += 1


# ---- an upgrade

def schemas():
    """The fixtures of every schema that was ever landed, oldest first; the last one is today's."""
    found = (ROOT / "tests/support/fixtures").glob("schema_v*.db")
    return sorted(found, key=lambda file: int(file.stem.removeprefix("schema_v")))


def make_old(cluster, fixture):
    """The coordinator's main database as that version would have left it: its tables, with the rows of now."""
    now, old = cluster.data / "orchestrator.db", cluster.data / "old.db"
    shutil.copy(fixture, old)
    with sqlite3.connect(old) as base:
        base.execute("ATTACH ? AS now", (str(now),))
        tables = [name for (name,) in base.execute(
            "SELECT name FROM main.sqlite_schema WHERE type='table' AND name NOT LIKE 'sqlite_%'").fetchall()]
        for table in tables:
            columns = [[row[1] for row in base.execute(f"PRAGMA {schema}.table_info({table})")]
                       for schema in ("main", "now")]
            shared = ",".join(name for name in columns[0] if name in columns[1])
            base.execute(f"DELETE FROM main.{table}")
            base.execute(f"INSERT INTO main.{table}({shared}) SELECT {shared} FROM now.{table}")
        base.commit()
        base.execute("DETACH now")
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    base.close()
    for name in ("orchestrator.db-wal", "orchestrator.db-shm"):
        (cluster.data / name).unlink(missing_ok=True)
    old.chmod(0o600)
    old.rename(now)


@scenario(3, 30)
def upgrade(cluster, often):
    """A coordinator of an older version is killed at work; the new one takes its database over, and is itself killed
    somewhere in that. Nothing that the old one acknowledged is lost."""
    older = schemas()[:-1]
    expect(older, "there is a schema older than today's")
    for number in range(often):
        cluster.wait_progress(5)
        pause(cluster, 0.0, 0.4)
        cluster.counts["coordinator"] += cluster.kill("server")
        make_old(cluster, older[number % len(older)])
        cluster.restart("server")
        pause(cluster, 0.0, 0.15)
        cluster.counts["coordinator"] += cluster.kill("server")
        cluster.restart("server")
        cluster.wait_ready()
        cluster.counts["upgrades"] += 1
        cluster.wait_connected("w1", "w2")


# ---- two of a kind

@scenario(6, 40)
def two_coordinators(cluster, often):
    """A second coordinator on the data dir ends with 75 and disturbs nobody."""
    for number in range(often):
        cluster.wait_progress()
        second = subprocess.run([*cluster.process("server").args[:1], "--role=server", "--listen", "127.0.0.1:0",
                                 "--data-dir", str(cluster.data)], env=cluster.env, capture_output=True, text=True,
                                timeout=60)
        expect(second.returncode == 75, f"the second coordinator ended with {second.returncode}: {second.stderr}")
        cluster.counts["refused coordinators"] += 1
    expect(cluster.process("server").poll() is None, "the first one is alive")


def registrations(cluster, name):
    return sum(e["type"] == "worker.registered" and e["subject"] == f"worker/{name}" for e in cluster.all_events())


@scenario(3, 15)
def one_id_twice(cluster, often):
    """A worker with the id of another one is refused while that one lives; the first does not even notice."""
    before = registrations(cluster, "w1")
    for number in range(often):
        cluster.start_daemon(f"twin-{number}", worker_id="w1")
        eventually(lambda: "worker_id_in_use" in cluster.tail(f"twin-{number}"), "the newcomer is refused",
                   30 * cluster.slowness)
        cluster.wait_progress()
        cluster.kill(f"twin-{number}")
        cluster.counts["refused twins"] += 1
    expect(registrations(cluster, "w1") == before, "the first worker stayed connected all the time")
    expect(not losses_of(cluster), f"attempts were lost: {losses_of(cluster)}")


@scenario(3, 15)
def cloned_work_dir(cluster, often):
    """A copy of a working worker's directory, on the same machine, also at a moment in which no daemon runs there: the
    copy is refused, and must not touch a process of the original, although its outbox names the same leases."""
    client = Client(cluster)
    for number in range(often):
        gate = cluster.dir / f"gate-{number}"
        waiting = [cluster.submit(client, f"waiting-{number}-{n}", waiting_job(cluster, gate)) for n in range(4)]
        eventually(lambda: {line[0] for line in cluster.ledger.lines()} >= set(waiting), "the waiting jobs run")
        clone = f"clone-{number}"
        alone = number % 2 == 1
        if alone:
            cluster.kill("w1")
        shutil.copytree(cluster.dir / "work-w1", cluster.dir / f"work-{clone}", ignore=ignore_sockets,
                        ignore_dangling_symlinks=True, copy_function=copy_if_there)
        cluster.start_daemon(clone, worker_id="w1")
        expect(cluster.process(clone).wait(60 * cluster.slowness) == 75, f"the copy ends:\n{cluster.tail(clone)}")
        expect("is a copy of one whose supervisor" in cluster.tail(clone), "and says why")
        if alone:
            cluster.restart("w1")
            cluster.wait_connected("w1")
        cluster.wait_progress()
        gate.touch()
        cluster.counts["refused clones"] += 1
    expect(not losses_of(cluster), f"attempts were lost: {losses_of(cluster)}")


def ignore_sockets(folder, names):
    return [n for n in names if n.endswith(".sock")]


def copy_if_there(source, target):
    try:
        return shutil.copy2(source, target)
    except FileNotFoundError:
        return target
