#!/usr/bin/env python3
"""The script of jobs/nightly-report.toml: a stand-in for real work that prints a report of one day.

It writes nothing but its output, so it may be started any number of times.
"""
import argparse
import datetime
import os
import shutil
import sys


def day_of(text: str) -> datetime.date:
    """Reads `today`, `yesterday` or a date such as 2026-01-31."""
    today = datetime.date.today()
    words = {"today": today, "yesterday": today - datetime.timedelta(days=1)}
    return words.get(text) or datetime.date.fromisoformat(text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints a report of one day.")
    parser.add_argument("--day", type=day_of, default="yesterday", help="today, yesterday or YYYY-MM-DD")
    day = parser.parse_args().day
    disk = shutil.disk_usage(".")
    load = os.getloadavg()[0]
    print(f"Report for {day:%A, %d %B %Y}")
    print(f"  host load     {load:8.2f}")
    print(f"  disk in use   {100 * disk.used / disk.total:7.1f}%")
    print(f"  free          {disk.free / 2**30:6.1f} GiB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
