"""A worker of the original Python portal, as its published description has it: websockets with ping 20/10/5, no field
of ours, heartbeats, one job at a time, and (style `later`) nothing read while a job runs. Used by the compatibility
tests, which read the JSON line of counts it prints at its end.

usage: worker.py URL WORKER_ID [--style later|earlier] [--heartbeat SECONDS] [--jobs N] [--beats-per-job N]
"""
import argparse
import asyncio
import datetime
import json
import platform
import socket
import subprocess
import sys
import time

import websockets


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


class Worker:
    def __init__(self, options):
        self.options = options
        self.started = time.monotonic()
        self.sent = {"worker_register": 0, "heartbeat": 0, "event": 0, "job_result": 0, "surprise": 0}
        self.acks = []           # every ack as it came, decoded
        self.others = []         # anything that is neither an ack nor an execute_job
        self.jobs_processed = 0
        self.busy = False
        self.outbox = asyncio.Queue()

    async def send(self, ws, message):
        self.sent[message["type"]] = self.sent.get(message["type"], 0) + 1
        await ws.send(json.dumps(message))

    def heartbeat(self):
        return {"type": "heartbeat", "worker_id": self.options.worker_id, "status": "busy" if self.busy else "idle",
                "jobs_processed": self.jobs_processed, "uptime_seconds": time.monotonic() - self.started,
                "timestamp": now()}

    async def beat(self, ws):
        while True:
            await asyncio.sleep(self.options.heartbeat)
            await self.send(ws, self.heartbeat())

    async def run_job(self, ws, job):
        """Runs one script as the original did, sending its start, its beats and its result."""
        me = self.options.worker_id
        self.busy = True
        await self.send(ws, {"type": "event", "event": "job_started", "job_id": job["job_id"], "worker_id": me})
        began = time.monotonic()
        run_time = now()
        arguments = [sys.executable, job["script_path"]] if job["script_path"].endswith(".py") else ["bash", job["script_path"]]
        process = await asyncio.create_subprocess_exec(
            *arguments, *job.get("script_args", "").split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = asyncio.ensure_future(process.communicate())
        for _ in range(self.options.beats_per_job):
            await self.send(ws, self.heartbeat())
        text, _ = await output
        self.busy = False
        self.jobs_processed += 1
        await self.send(ws, {
            "type": "job_result", "job_id": job["job_id"], "worker_id": me,
            "status": "SUCCESS" if process.returncode == 0 else "FAILURE", "log_output": text.decode(errors="replace"),
            "run_time": run_time, "duration_seconds": time.monotonic() - began})

    def take(self, text):
        """Sorts one message of the server; returns it if it is a job."""
        message = json.loads(text)
        if message.get("type") == "ack":
            self.acks.append(message)
        elif message.get("type") == "execute_job":
            return message
        else:
            self.others.append(message)
        return None

    def all_acked(self):
        return len(self.acks) >= sum(self.sent.values())

    async def session(self, ws):
        me = self.options.worker_id
        register = {"type": "worker_register", "worker_id": me, "hostname": socket.gethostname(),
                    "platform": platform.platform()}
        if self.options.style == "later":
            register["python_version"] = platform.python_version()
        await self.send(ws, register)
        beats = asyncio.ensure_future(self.beat(ws))
        try:
            await self.send(ws, {"type": "surprise", "worker_id": me})  # a type nobody knows is acknowledged too
            while self.jobs_processed < self.options.jobs:
                job = self.take(await ws.recv())
                if job is not None:
                    beats.cancel()  # one thread of control: while the job runs, its own loop sends the beats
                    await self.run_job(ws, job)  # nothing is read meanwhile
                    beats = asyncio.ensure_future(self.beat(ws))
            beats.cancel()
            while not self.all_acked():
                self.take(await asyncio.wait_for(ws.recv(), 30))
        finally:
            beats.cancel()

    async def main(self):
        async with websockets.connect(self.options.url, ping_interval=20, ping_timeout=10, close_timeout=5) as ws:
            await self.session(ws)
        print(json.dumps({"sent": self.sent, "acks": self.acks, "others": self.others, "jobs": self.jobs_processed}))


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("worker_id")
    parser.add_argument("--style", choices=("later", "earlier"), default="later")
    parser.add_argument("--heartbeat", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--beats-per-job", type=int, default=0)
    return parser.parse_args()


asyncio.run(Worker(parse()).main())
