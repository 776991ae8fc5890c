"""The judge: compares what the jobs wrote, what clients were told, and what the database says at the end.

Pure functions over plain data, so that `selftest.py` can feed them doctored evidence. `Evidence.of` gathers the real
one. What the database alone can show, `orchestrator server check` looks for.
"""
import collections
import dataclasses
import json
import pathlib
import re
import subprocess

FINAL = ("succeeded", "failed", "cancelled", "expired", "skipped")
LIVE = ("offered", "accepted", "running")
NEVER_RAN = ("rejected", "not_started")
SILENCE_MS = 2_000 + 10_000  # lease TTL of the clusters and the slack on top


@dataclasses.dataclass
class Evidence:
    ledger: list  # [run, lease, pid, what, uptime] as words
    accepted: dict  # run id -> submission
    cancelled: dict  # run id -> the run as the cancel showed it
    finals: dict  # run id -> first final state a client saw
    runs: list  # of the API
    events: list  # of the API
    outputs: dict = dataclasses.field(default_factory=dict)  # run id -> (lease, stdout), of those looked at
    disk_was_low: bool = False  # then output may have been dropped, and says so
    faults: list = dataclasses.field(default_factory=list)  # what clients noticed themselves

    @classmethod
    def of(cls, cluster, looked_at=60):
        record = cluster.record
        runs = cluster.all_runs()
        evidence = cls(cluster.ledger.lines(), dict(record.accepted), dict(record.cancelled), dict(record.finals),
                       runs, list(cluster.all_events()), disk_was_low=cluster.counts["fills"] > 0,
                       faults=list(record.faults))
        printing = [r for r in runs if r["state"] == "succeeded" and lines_of(record.accepted.get(r["id"], {}))]
        for run in cluster.random.sample(printing, min(looked_at, len(printing))):
            evidence.outputs[run["id"]] = (run["attempts"][-1]["lease"], cluster.output(run["id"]))
        return evidence


def lines_of(body):
    command = body.get("command", [])
    return int(command[5]) if len(command) > 5 else 0


class Book:
    """The ledger, sorted."""

    def __init__(self, lines):
        self.starts = collections.defaultdict(list)  # lease -> [(run, time)]
        self.exits = {}  # lease -> exit status
        self.ticks = {}  # lease -> last sign of life
        self.malformed = []
        for words in lines:
            if len(words) != 5:
                self.malformed.append(" ".join(words))
                continue
            run, lease, _, what, uptime = words
            lease = int(lease)
            if what == "start":
                self.starts[lease].append((run, float(uptime)))
            elif what.startswith("exit:"):
                self.exits[lease] = int(what[5:])
            self.ticks[lease] = float(uptime)


def judge(e):
    """Every violation found, each a sentence that begins with its invariant."""
    book = Book(e.ledger)
    by_id = {run["id"]: run for run in e.runs}
    found = list(e.faults)
    found += [f"the ledger has a line that no job writes: {line}" for line in book.malformed]
    found += conservation(e, by_id)
    found += starts(e, book, by_id)
    found += ends(e, book, by_id)
    found += attempts(e)
    found += cancels(e, book, by_id)
    found += facts(e)
    found += outputs(e)
    found += overlaps(e)
    return found


def conservation(e, by_id):
    """I1 and I21: submitted and acknowledged is a subset of final, and nothing else is there."""
    for run_id in e.accepted:
        run = by_id.get(run_id)
        if run is None:
            yield f"I1: accepted run {run_id} is not there"
        elif run["state"] not in FINAL and not is_unknown_by_right(run):
            yield f"I21: accepted run {run_id} is {run['state']} at the end"
    for run_id in by_id.keys() - e.accepted.keys():
        yield f"I21: run {run_id} was never submitted"
    for run_id, state in e.finals.items():
        if run_id in by_id and by_id[run_id]["state"] != state:
            yield f"I2: run {run_id} was shown as {state} and is {by_id[run_id]['state']}"


def is_unknown_by_right(run):
    return run["state"] == "unknown" and run["spec"].get("at_most_once") and run["attempts"][-1]["state"] == "lost"


def starts(e, book, by_id):
    """I8 and I9, and that each start in the ledger is explained by an attempt that may have run."""
    leases = {a["lease"]: (run, a) for run in e.runs for a in run["attempts"]}
    per_run = collections.Counter()
    for lease, seen in book.starts.items():
        per_run[seen[0][0]] += len(seen)
        if len(seen) > 1:
            yield f"I9: lease {lease} was started {len(seen)} times"
        run, attempt = leases.get(lease, (None, None))
        if attempt is None:
            yield f"I21: lease {lease} was started, but no attempt has it"
        elif run["id"] != seen[0][0]:
            yield f"I4: lease {lease} belongs to run {run['id']}, but run {seen[0][0]} was started under it"
        elif attempt["state"] in NEVER_RAN:
            yield f"I9: lease {lease} is {attempt['state']}, but was started"
    for run_id, count in per_run.items():
        run = by_id.get(run_id)
        if run is None:
            continue
        if run["spec"].get("at_most_once") and count > 1:
            yield f"I8: at_most_once run {run_id} was started {count} times"


def ends(e, book, by_id):
    """I10: what is recorded as an exit is what the process said of itself."""
    for run in e.runs:
        if run["spec"].get("builtin"):
            continue
        for a in run["attempts"]:
            said = book.exits.get(a["lease"])
            if a["state"] == "succeeded" and said != 0:
                yield f"I10: lease {a['lease']} of run {run['id']} succeeded, but its process said {said}"
            if a["state"] == "failed" and a.get("signal"):
                yield f"I10: lease {a['lease']} was killed by signal {a['signal']}, and nobody had asked for that"
            if a["state"] == "failed" and a["exit_code"] is not None and said != a["exit_code"]:
                yield f"I10: lease {a['lease']} failed with {a['exit_code']}, but its process said {said}"
        if run["state"] == "succeeded" and run["attempts"] and run["reason"] != "resolved" \
                and not any(a["state"] == "succeeded" for a in run["attempts"]):
            yield f"I10: run {run['id']} succeeded without an attempt that did"


def attempts(e):
    """I3, I4, I5, I7 and I13 on what the API shows of attempts."""
    for run in e.runs:
        spec, list_ = run["spec"], run["attempts"]
        live = [a for a in list_ if a["state"] in LIVE]
        if len(live) > 1:
            yield f"I3: run {run['id']} has {len(live)} live attempts"
        if live and run["state"] in FINAL:
            yield f"I5: run {run['id']} is {run['state']} and its lease {live[0]['lease']} is {live[0]['state']}"
        leases = [a["lease"] for a in list_]
        if leases != sorted(set(leases)):
            yield f"I4: the leases of run {run['id']} do not rise: {leases}"
        if run["finished_at"] and any(a["offered_at"] > run["finished_at"] for a in list_):
            yield f"I5: run {run['id']} was offered after its end"
        retry = spec.get("retry", {})
        failed = sum(a["state"] in ("failed", "timed_out") for a in list_)
        lost = sum(a["state"] == "lost" for a in list_)
        if failed > retry.get("max_attempts", 1) or lost > retry.get("max_lost", 3):
            yield f"I7: run {run['id']} has {failed} failed and {lost} lost attempts; its rule is {retry}"
        for earlier, later in zip(list_, list_[1:]):
            if earlier["state"] in ("succeeded", "cancelled"):
                yield f"I5: lease {later['lease']} follows lease {earlier['lease']}, which is {earlier['state']}"


def cancels(e, book, by_id):
    """I14: after an acknowledged cancel the run is cancelled, or what it was before."""
    for run_id, shown in e.cancelled.items():
        run = by_id.get(run_id)
        if run is None:
            continue  # said by I1
        expected = shown["state"] if shown["state"] in FINAL else "cancelled"
        if run["state"] != expected:
            yield f"I14: run {run_id} was {shown['state']} when its cancel was taken, and is {run['state']}"
        known = {a["lease"] for a in shown["attempts"]}
        for a in run["attempts"]:
            if shown["state"] != "queued" and a["lease"] not in known and a["lease"] in book.starts \
                    and shown["attempts"]:
                yield f"I14: run {run_id} was started under lease {a['lease']} after its cancel was taken"


def facts(e):
    """I2 by the log: one final fact a run. I13: a loss by silence names a silence that was long enough."""
    final = collections.Counter()
    for event in e.events:
        kind, _, word = event["type"].partition(".")
        if kind == "run" and word in FINAL:
            final[event["subject"]] += 1
        if event["type"] == "attempt.lost" and event["data"].get("reason") == "silence":
            if event["data"]["silence_ms"] - event["data"]["stall_ms"] < SILENCE_MS:
                yield f"I13: an attempt was lost too early: {event['data']}"
    for subject, count in final.items():
        if count > 1:
            yield f"I2: {subject} ended {count} times"
    shown = {f"run/{run['id']}" for run in e.runs if run["state"] in FINAL}
    for subject in sorted(shown - final.keys()):
        yield f"I2: {subject} is final, and no fact says so"


def with_holes(text, expected):
    """Whether `text` is `expected` but for holes that are marked with their size."""
    at = 0
    for piece in re.split(r"(\n\[\d+ bytes of stdout were dropped\]\n)", text):
        hole = re.fullmatch(r"\n\[(\d+) bytes of stdout were dropped\]\n", piece)
        if not hole and expected[at:at + len(piece)] != piece:
            return False
        at += int(hole[1]) if hole else len(piece)
    return at == len(expected)


def outputs(e):
    """I11: the output of a succeeded attempt is what its process printed, whole, or marked where it is not."""
    for run_id, (lease, text) in e.outputs.items():
        expected = "".join(f"lease {lease} line {i}\n" for i in range(lines_of(e.accepted[run_id])))
        if text != expected and not (e.disk_was_low and with_holes(text, expected)):
            yield f"I11: the output of run {run_id} is {len(text)} bytes instead of {len(expected)}: {text[:200]!r}"


def overlaps(e):
    """Of jobs with on_lease_lost = kill: the process of a lease is gone before the next one starts."""
    book = Book(e.ledger)
    for run in e.runs:
        if run["spec"].get("on_lease_lost") != "kill":
            continue
        leases = [a["lease"] for a in run["attempts"] if a["lease"] in book.starts]
        for earlier, later in zip(leases, leases[1:]):
            if book.ticks[earlier] >= book.starts[later][0][1]:
                yield (f"lease {earlier} of run {run['id']} lived at {book.ticks[earlier]}, and lease {later} started "
                       f"at {book.starts[later][0][1]}")


def losses(e):
    """Reasons of the attempts that were declared lost."""
    return collections.Counter(ev["data"].get("reason") for ev in e.events if ev["type"] == "attempt.lost")


def database_faults(data_dir, binary, env):
    """What `orchestrator server check` finds in the files of a coordinator that has ended."""
    done = subprocess.run([str(binary), "server", "check", "--data-dir", str(data_dir), "-o", "json"], env=env,
                          capture_output=True, text=True)
    try:
        findings = json.loads(done.stdout)
    except ValueError:
        yield f"I19: server check ended with {done.returncode}: {done.stdout}{done.stderr}"
        return
    for finding in findings:
        if not finding["ok"]:
            yield f"{finding['id']}: server check says {finding}"
    if done.returncode != 0 and all(finding["ok"] for finding in findings):
        yield f"I19: server check found nothing and ended with {done.returncode}: {done.stderr}"


# ---- I22: nothing is left behind

def open_files(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def zombies_of(pid):
    done = subprocess.run(["ps", "--ppid", str(pid), "-o", "stat="], capture_output=True, text=True)
    return sum(line.startswith("Z") for line in done.stdout.split())


def leftovers(cluster, names, slack=3):
    """At rest: descriptors as at the beginning, no zombies, no jobs, spools and outputs empty, no temporary files."""
    allowed = {cluster.process(n).pid for n in (*names, "server")} | {cluster.supervisor(n) for n in names}
    for pid, command in cluster.processes_of_ours().items():
        if pid not in allowed:
            yield f"I22: process {pid} is left: {command[:200]}"
    for name in (*names, "server"):
        pid = cluster.process(name).pid
        before, now = cluster.baseline.get(name), open_files(pid)
        if before is not None and now > before + slack:
            yield f"I22: {name} has {now} open files, {before} at the beginning"
        if zombies_of(pid):
            yield f"I22: {name} has {zombies_of(pid)} zombies"
    for name in names:
        supervisor = cluster.supervisor(name)
        if supervisor and zombies_of(supervisor):
            yield f"I22: the supervisor of {name} has {zombies_of(supervisor)} zombies"
        work = cluster.dir / f"work-{name}"
        for folder in ("spool", "outputs"):
            left = sorted(p.name for p in (work / folder).iterdir()) if (work / folder).exists() else []
            if left:
                yield f"I22: {len(left)} files are left in {folder} of {name}: {left[:5]}"
        for temporary in work.rglob("*.new"):
            yield f"I22: {temporary} is left"
