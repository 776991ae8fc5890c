#!/usr/bin/env python3
"""The script of jobs/hello.toml: shows that both output streams arrive while a job still runs.

Every line is flushed, because Python buffers a pipe and would hand everything over at the end.
"""
import os
import sys
import time

STEPS = 5
PAUSE_SECONDS = 0.25


def main() -> int:
    name = " ".join(sys.argv[1:]) or "world"
    print(f"hello, {name}, from pid {os.getpid()}", flush=True)
    print(f"lease {os.environ.get('ORCHESTRATOR_LEASE', 'none: started by hand')}", file=sys.stderr, flush=True)
    for step in range(1, STEPS + 1):
        time.sleep(PAUSE_SECONDS)
        print(f"step {step} of {STEPS}", flush=True)
        print(f"step {step} as seen on stderr", file=sys.stderr, flush=True)
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
