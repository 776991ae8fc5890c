"""Many workers in one process: each speaks the worker's side of the protocol over a connection of its own, comes back
when that is lost, and tells the ledger what it was asked to run instead of running it. Unlike the real one it keeps its
outbox in memory, so it is never killed itself.
"""
import asyncio
import json
import os
import random
import threading
import uuid

import websockets



class LightWorker:
    def __init__(self, name, cluster):
        self.name, self.cluster = name, cluster
        self.instance = str(uuid.uuid4())
        self.opened = 0
        self.highest = 0
        self.identity = {}  # cluster and term, once known
        self.results = {}  # lease -> result that is not acknowledged

    async def live(self):
        while True:
            try:
                headers = {"Authorization": f"Bearer {self.cluster.worker_token.read_text().strip()}"}
                async with websockets.connect(f"ws://127.0.0.1:{self.cluster.port}/ws/heartbeat",
                                              extra_headers=headers, ping_interval=None, open_timeout=60) as socket:
                    await self.talk(socket)
            except (OSError, asyncio.TimeoutError, websockets.WebSocketException):
                pass
            await asyncio.sleep(random.uniform(0.02, 0.3))

    async def talk(self, socket):
        self.seq, self.sent = 0, {}
        self.opened += 1
        await self.say(socket, {
            "type": "worker_register", "worker_id": self.name, "hostname": "light", "platform": "light", "protocol": 1,
            "features": ["batch"], "slots": 2, "credit": 0, "version": "light", "pid": os.getpid(),
            "instance": self.instance, "boot_id": "light", "process": self.instance, "opened": self.opened,
            "highest_lease": self.highest, "running": [], "lost": [], **self.identity,
            "unacked": [{"job_id": r["job_id"], "lease": lease} for lease, r in sorted(self.results.items())]})
        async for text in socket:
            frame = json.loads(text)
            for message in frame if isinstance(frame, list) else [frame]:
                await self.take(socket, message)

    async def say(self, socket, message):
        self.seq += 1
        await socket.send(json.dumps(message | {"seq": self.seq}))

    async def take(self, socket, message):
        kind = message["type"]
        if kind == "ack" and message.get("msg") == "registered":
            self.identity = {"cluster": message["cluster"], "term": message["term"]}
            for lease in sorted(self.results):
                await self.deliver(socket, lease)
        elif kind == "ack":
            reach = range(message["seq"], 0, -1) if message.get("cumulative") else (message["seq"],)
            for seq in reach:
                lease = self.sent.pop(seq, None)
                self.results.pop(lease, None)
        elif kind in ("execute_job", "cancel_job", "drain"):
            if kind == "execute_job" and message["lease"] > self.highest:
                self.run(message)
            await socket.send(json.dumps({"type": "ack", "received": True, "seq": message["seq"]}))
            if kind == "execute_job" and message["lease"] in self.results:
                await self.deliver(socket, message["lease"])

    def run(self, offer):
        """In the outbox, and done: the ledger has its start and its end before anything is said of it."""
        lease = self.highest = offer["lease"]
        for what in ("start", "exit:0"):
            self.cluster.ledger.write(offer["run_id"], lease, os.getpid(), what)
        self.results[lease] = {"type": "job_result", "job_id": offer["job_id"], "worker_id": self.name,
                               "status": "SUCCESS", "log_output": "", "duration_seconds": 0.0, "lease": lease,
                               "exit_code": 0, "output_bytes": {}}

    async def deliver(self, socket, lease):
        await self.say(socket, self.results[lease])
        self.sent[self.seq] = lease


class LightWorkers:
    """So many, on a thread of their own."""

    def __init__(self, cluster, count):
        self.names = [f"light-{n}" for n in range(count)]
        self.workers = [LightWorker(name, cluster) for name in self.names]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        async def all_of_them():
            self.tasks = asyncio.gather(*(worker.live() for worker in self.workers))
            await self.tasks
        try:
            self.loop.run_until_complete(all_of_them())
        except asyncio.CancelledError:
            pass

    def stop(self):
        self.loop.call_soon_threadsafe(self.tasks.cancel)
        self.thread.join(30)
