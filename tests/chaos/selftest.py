"""That the judge can fail: evidence without fault passes, and each doctored copy of it is reported by name."""
import copy

from judge import Evidence, judge


def attempt(lease, state, exit_code=None, offered="2026-01-01T00:00:01.000Z"):
    return {"lease": lease, "state": state, "exit_code": exit_code, "offered_at": offered}


def run(run_id, state, attempts, spec=None, finished="2026-01-01T00:00:09.000Z"):
    return {"id": run_id, "state": state, "reason": None, "attempts": attempts, "spec": spec or {},
            "finished_at": finished if state != "unknown" else None}


def sound():
    """Four runs: a success after a loss, a failure, a cancel that came in time, an at_most_once that is unknown."""
    runs = [
        run("a", "succeeded", [attempt(1, "lost"), attempt(4, "succeeded", 0)], {"retry": {"max_lost": 3}}),
        run("b", "failed", [attempt(2, "failed", 3)]),
        run("c", "cancelled", [attempt(3, "not_started")]),
        run("d", "unknown", [attempt(5, "lost")], {"at_most_once": True}),
    ]
    ledger = ["a 1 100 start 1.0", "b 2 101 start 1.1", "b 2 101 exit:3 1.2", "a 4 102 start 2.0", "a 4 102 exit:0 2.1",
              "d 5 103 start 3.0"]
    accepted = {r["id"]: {} for r in runs}
    accepted["a"] = {"command": ["sh", "job", "ledger", "0", "0", "2"]}
    events = [{"type": f"run.{state}", "subject": f"run/{name}", "data": {}}
              for name, state in (("a", "succeeded"), ("b", "failed"), ("c", "cancelled"))]
    events.append({"type": "attempt.lost", "subject": "run/a",
                   "data": {"reason": "silence", "silence_ms": 12_500, "stall_ms": 0}})
    return Evidence([line.split() for line in ledger], accepted,
                    {"c": {"id": "c", "state": "active", "attempts": [attempt(3, "offered")]}}, {"b": "failed"}, runs,
                    events, {"a": (4, "lease 4 line 0\nlease 4 line 1\n")})


def line(text):
    return lambda e: e.ledger.append(text.split())


def set_state(index, state):
    return lambda e: e.runs[index].update(state=state)


DOCTORED = {
    "a lease started twice": ("I9", line("a 4 999 start 2.05")),
    "an attempt that is not_started was started": ("I9", line("c 3 104 start 1.0")),
    "an accepted run lost": ("I1", lambda e: e.runs.pop(1)),
    "an accepted run that never ends": ("I21", set_state(1, "queued")),
    "a run that nobody submitted": ("I21", lambda e: e.accepted.pop("b")),
    "a start that no attempt explains": ("I21", line("a 77 105 start 1.0")),
    "a lease started for another run": ("I4", lambda e: e.ledger[1].__setitem__(0, "a")),
    "an at_most_once run started twice": ("I8", lambda e: (line("d 6 106 start 4.0")(e),
                                                           e.runs[3]["attempts"].append(attempt(6, "lost")))),
    "a success that its process denies": ("I10", lambda e: e.ledger[4].__setitem__(3, "exit:1")),
    "a success that no process claims": ("I10", lambda e: e.ledger.pop(4)),
    "a failure with another exit status": ("I10", lambda e: e.runs[1]["attempts"][0].update(exit_code=4)),
    "a process killed by a stranger": ("I10", lambda e: e.runs[1]["attempts"][0].update(signal=9, exit_code=None)),
    "a process that outlives a lease that kills": ("lease 1", lambda e: (
        line("a 1 100 tick 2.5")(e), e.runs[0]["spec"].update(on_lease_lost="kill"))),
    "two live attempts": ("I3", lambda e: e.runs[0]["attempts"].extend([attempt(8, "running"), attempt(9, "offered")])),
    "a final run with a live attempt": ("I5", lambda e: e.runs[0]["attempts"].append(attempt(8, "running"))),
    "an offer after the end": ("I5", lambda e: e.runs[1]["attempts"][0].update(offered_at="2026-01-02T00:00:00.000Z")),
    "a retry after a success": ("I5", lambda e: e.runs[0]["attempts"].append(attempt(8, "lost"))),
    "leases that fall": ("I4", lambda e: e.runs[0]["attempts"].reverse()),
    "more losses than allowed": ("I7", lambda e: e.runs[0]["attempts"].__setitem__(
        slice(0, 0), [attempt(-n, "lost") for n in (5, 4, 3)])),
    "an acknowledged cancel forgotten": ("I14", set_state(2, "failed")),
    "a start after the cancel": ("I14", lambda e: (line("c 6 107 start 5.0")(e),
                                                   e.runs[2]["attempts"].append(attempt(6, "cancelled")))),
    "a final state that changed": ("I2", lambda e: e.finals.update(b="succeeded")),
    "two final facts": ("I2", lambda e: e.events.append({"type": "run.failed", "subject": "run/a", "data": {}})),
    "a final run without a fact": ("I2", lambda e: e.events.pop(1)),
    "a loss by too short a silence": ("I13", lambda e: e.events[-1]["data"].update(silence_ms=3_000)),
    "a loss while we ourselves were stopped": ("I13", lambda e: e.events[-1]["data"].update(stall_ms=5_000)),
    "output with a hole": ("I11", lambda e: e.outputs.update(a=(4, "lease 4 line 0\n"))),
    "output dropped while there was room": ("I11", lambda e: e.outputs.update(
        a=(4, "\n[30 bytes of stdout were dropped]\n"))),
    "a hole of another size": ("I11", lambda e: (e.outputs.update(a=(4, "\n[5 bytes of stdout were dropped]\n")),
                                                 setattr(e, "disk_was_low", True))),
    "a torn line in the ledger": ("the ledger", line("a 4 102")),
}


def selftest():
    """(passed, failures): each doctored evidence must be reported, the sound one must not."""
    failures = [f"sound evidence was reported: {fault}" for fault in judge(sound())]
    passed = not failures
    for what, (invariant, doctor) in DOCTORED.items():
        evidence = copy.deepcopy(sound())
        doctor(evidence)
        if any(fault.startswith(invariant) for fault in judge(evidence)):
            passed += 1
        else:
            failures.append(f"not reported: {what} ({invariant})")
    return passed, failures
