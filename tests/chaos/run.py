#!/usr/bin/env python3
"""Chaos on the real binary: real processes, disk and sockets, killed, stopped, cut off and filled up while they work.

    tests/chaos/run.py [--kills N] [--seed N] [--scenario NAME] [--deep] [--binary FILE]

Several clusters run side by side, each a process of its own with its own ports and directories. A seed fixes the load
and the schedule of faults; what the processes make of it differs from run to run. Ends `N passed, N failed`.
"""
import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def parse():
    parser = argparse.ArgumentParser(description="Chaos on the real binary.")
    parser.add_argument("--kills", type=int, default=0, help="kill -9 in all; default 500, with --deep 3600")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--scenario", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--deep", action="store_true", help="each scenario many times more often")
    parser.add_argument("--binary", help="default ORCHESTRATOR_BIN, else build/release/orchestrator")
    parser.add_argument("--side-by-side", type=int, default=2 * (os.cpu_count() or 2), help="clusters at a time")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "TIMES"), help=argparse.SUPPRESS)
    return parser.parse_args()


def run_one(name, often, seed):
    """One scenario on a cluster of its own, in this process: a report as JSON on the last line of stdout."""
    from cluster import Cluster, measured_slowness
    from scenarios import SCENARIOS

    cluster = Cluster(name, seed, measured_slowness())
    report = {"faults": [], "counts": {}, "seconds": 0.0}
    began = time.monotonic()
    try:
        verdict(cluster, SCENARIOS[name], often, report)
    except Exception:  # whatever ended it is the scenario's fault to report
        report["faults"].append(traceback.format_exc())
    finally:
        if report["faults"]:
            report["logs"] = {n: cluster.tail(n, 25) for n in cluster.children}
            if os.environ.get("CHAOS_KEEP"):
                os.system(f"cp -r {cluster.dir} {os.environ['CHAOS_KEEP']}-{name}")
        cluster.close()
    report["counts"] = dict(cluster.counts)
    report["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(report))


def verdict(cluster, scenario, often, report):
    from judge import Evidence, database_faults, judge, leftovers, losses, open_files
    from harness import BINARY, eventually

    if scenario.prepare:
        scenario.prepare(cluster)
    else:
        cluster.start_coordinator()
        for name in scenario.workers:
            cluster.start_daemon(name)
    cluster.wait_connected(*scenario.workers)
    cluster.baseline = {name: open_files(cluster.process(name).pid) for name in (*scenario.workers, "server")}
    cluster.start_load()
    scenario.run(cluster, often)
    cluster.stop_load()
    cluster.wait_connected(*scenario.workers)
    cluster.wait_all_final()
    try:
        eventually(lambda: not list(leftovers(cluster, scenario.workers)), "nothing is left", 20 * cluster.slowness)
    except AssertionError:
        report["faults"] += list(leftovers(cluster, scenario.workers))
    evidence = Evidence.of(cluster)
    report["faults"] += judge(evidence)
    report["figures"] = figures(cluster, evidence, losses(evidence))
    report["faults"] += shut_down(cluster, scenario.workers)
    report["faults"] += list(database_faults(cluster.files(), BINARY, cluster.env))


def figures(cluster, e, lost):
    per_lease = collections.Counter(line[1] for line in e.ledger if line[3] == "start")
    states = collections.Counter(run["state"] for run in e.runs)
    return {"accepted": len(e.accepted), "starts": sum(per_lease.values()),
            "most_of_a_lease": max(per_lease.values(), default=0), "replays": cluster.record.replays,
            "results": sum(a["state"] not in ("lost", "not_started") for r in e.runs for a in r["attempts"]),
            "refused": dict(cluster.record.refused), "states": dict(states), "lost_attempts": dict(lost)}


def shut_down(cluster, workers):
    """SIGTERM to all: each ends by itself, with 0, and nothing of it stays."""
    from harness import eventually
    for name in (*workers, "server"):
        cluster.process(name).terminate()
        try:
            code = cluster.process(name).wait(20 * cluster.slowness)
        except subprocess.TimeoutExpired:
            yield f"{name} did not end on SIGTERM"
            continue
        if code != 0:
            yield f"{name} ended with {code} on SIGTERM:\n{cluster.tail(name)}"
    try:
        eventually(lambda: not cluster.processes_of_ours(), "no process is left", 20 * cluster.slowness)
    except AssertionError:
        yield f"I22: after the end of all there still are {cluster.processes_of_ours()}"


def amounts(options, scenarios):
    """How often each scenario acts. --kills is shared out among those that kill, in the proportion of their own."""
    often = {name: s.deep if options.deep else s.often for name, s in scenarios.items()}
    own = sum(often[name] for name, s in scenarios.items() if s.kills)
    if options.kills and own:
        for name, s in scenarios.items():
            if s.kills:
                often[name] = max(1, round(often[name] * options.kills / own))
    return often


class Clusters:
    """Scenarios as processes, so many at a time; the longest begin first."""

    def __init__(self, options, often):
        self.options, self.often = options, often
        self.reports = {}
        self.todo = collections.deque(often)
        self.lock = threading.Lock()

    def work(self):
        while True:
            with self.lock:
                if not self.todo:
                    return
                name = self.todo.popleft()
            done = subprocess.run([sys.executable, __file__, "--seed", str(self.options.seed), "--one", name,
                                   str(self.often[name])], capture_output=True, text=True)
            try:
                report = json.loads(done.stdout.splitlines()[-1])
            except (IndexError, ValueError):
                died = f"the scenario's process died:\n{done.stderr[-4000:]}"
                report = {"faults": [died], "counts": {}, "seconds": 0}
            self.reports[name] = report
            show(name, report)

    def run(self):
        threads = [threading.Thread(target=self.work) for _ in range(self.options.side_by_side)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def show(name, report):
    counts = ", ".join(f"{n} {what}" for what, n in sorted(report["counts"].items()))
    f = report.get("figures", {})
    print(f"{'FAIL' if report['faults'] else 'ok  '} {name} ({report['seconds']} s): {counts}", flush=True)
    if f:
        print(f"       {f['accepted']} runs accepted, {f['starts']} starts, most of one lease {f['most_of_a_lease']}, "
              f"{f['results']} acknowledged results, attempts lost {f['lost_attempts']}, "
              f"{f['replays']} answers replayed, "
              f"refused {f['refused']}, states {f['states']}", flush=True)
    for fault in report["faults"][:20]:
        print(f"       {fault}", flush=True)
    for log, text in report.get("logs", {}).items():
        print(f"       --- {log}\n{text}", flush=True)


def summary(reports, scenarios, seed):
    kills = collections.Counter()
    sums = collections.Counter()
    for name, report in reports.items():
        for what in ("coordinator", "daemon", "supervisor", "whole tree"):
            kills[what] += report["counts"].get(what, 0)
        for key in ("accepted", "starts", "results"):
            sums[key] += report.get("figures", {}).get(key, 0)
    most = max((r.get("figures", {}).get("most_of_a_lease", 0) for r in reports.values()), default=0)
    lost = sum(fault.startswith(("I1:", "I21:")) for r in reports.values() for fault in r["faults"])
    by_kind = ", ".join(f"{n} {what}" for what, n in kills.items())
    print(f"seed {seed}: {sum(kills.values())} kills -9 ({by_kind}), {sums['accepted']} runs accepted, "
          f"{sums['starts']} starts, most starts of one lease {most}, {sums['results']} acknowledged results, "
          f"lost {lost}")


def main():
    options = parse()
    if options.binary:
        os.environ["ORCHESTRATOR_BIN"] = str(pathlib.Path(options.binary).resolve())
    if options.one:
        return run_one(options.one[0], int(options.one[1]), options.seed)
    from scenarios import SCENARIOS
    from selftest import selftest
    from harness import compiler  # scenarios leads there
    unknown = set(options.scenario) - SCENARIOS.keys()
    if unknown:
        sys.exit(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    chosen = {n: s for n, s in SCENARIOS.items() if not options.scenario or n in options.scenario}
    for name in [n for n, s in chosen.items() if s.needs_root and os.geteuid() != 0]:
        print(f"skip {name}: mounting a file system of its own needs root")
        del chosen[name]
    for name in [n for n, s in chosen.items() if s.needs_compiler and not compiler()]:
        print(f"skip {name}: calls that fail on request need a C compiler")
        del chosen[name]
    passed, failures = selftest()
    for failure in failures:
        print(f"FAIL judge: {failure}")
    print(f"ok   judge: {passed} doctored ledgers and records were told from sound ones")
    clusters = Clusters(options, amounts(options, chosen))
    clusters.run()
    summary(clusters.reports, chosen, options.seed)
    failed = sum(bool(r["faults"]) for r in clusters.reports.values()) + len(failures)
    print(f"{passed + sum(not r['faults'] for r in clusters.reports.values())} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
