"""The coordinator of the original Python portal on its own stack (FastAPI and uvicorn): endpoint /ws/heartbeat,
execute_job sent to the newest worker, every message acknowledged as its connection fix has it, or (--no-acks) only
registrations and heartbeats, as the server was published before. Prints every message received as one JSON line.

usage: server.py PORT --job SCRIPT [ARGS] ... [--no-acks] [--after N]
"""
import argparse
import asyncio
import json

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
options = None


def show(message):
    print(json.dumps(message), flush=True)


def wants_ack(kind):
    return kind in ("worker_register", "heartbeat") or not options.no_acks


@app.websocket("/ws/heartbeat")
async def heartbeat(ws: WebSocket):
    await ws.accept()
    show({"connection": "open"})
    try:
        while True:
            message = json.loads(await ws.receive_text())
            show({"received": message})
            kind = message.get("type")
            if kind == "worker_register":
                await ws.send_text(json.dumps({"type": "ack", "msg": "registered"}))
                for number, job in enumerate(options.job, options.first_id):
                    script, _, arguments = job.partition(" ")
                    await ws.send_text(json.dumps({"type": "execute_job", "job_id": number, "script_path": script,
                                                   "script_args": arguments}))
            elif wants_ack(kind):
                await ws.send_text(json.dumps({"type": "ack", "received": True}))
    except WebSocketDisconnect:
        show({"connection": "closed"})


async def main():
    config = uvicorn.Config(app, host="127.0.0.1", port=options.port, log_level="warning", ws_ping_interval=20,
                            ws_ping_timeout=20)
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    show({"listening": options.port})
    await task


parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--job", action="append", default=[], help="`SCRIPT ARGS` given to each worker that registers")
parser.add_argument("--first-id", type=int, default=7)
parser.add_argument("--no-acks", action="store_true")
options = parser.parse_args()
asyncio.run(main())
