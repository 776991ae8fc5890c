"""A TCP proxy between a worker and its coordinator that misbehaves on request. One thread, an asyncio loop of its own.

A fault holds for every connection of the proxy, those that exist and those that come, until `heal` is called.
"""
import asyncio
import dataclasses
import socket
import struct
import threading

CHUNK = 16 * 1024


@dataclasses.dataclass
class Weather:
    """What happens to bytes on their way. `up` is from the worker to the coordinator, `down` the other way."""
    delay: float = 0.0  # seconds for each chunk
    trickle: int = 0  # at most so many bytes at a time, 5 ms apart; 0: no limit
    swallow: frozenset = frozenset()  # directions whose bytes vanish, while the connections stay open
    refuse: bool = False  # new connections are reset
    orphan: bool = False  # an end that closes is not told on to the other one


class Pair:
    """One connection of a worker and ours to the coordinator for it."""

    def __init__(self, down, up):
        self.writers = {"down": down, "up": up}
        self.corrupt = set()  # directions of which one byte is to be damaged


class Proxy:
    def __init__(self, port):
        self.target = port
        self.weather = Weather()
        self.pairs = set()
        self.tasks = set()
        self.accepted = 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait()

    # ---- from the test's thread

    def change(self, **weather):
        self._call(lambda: setattr(self, "weather", Weather(**weather)))

    def heal(self):
        """Good weather for new connections. What was damaged is not repaired: bytes that vanished stay away, and an
        end that was not told of its peer's death learns it now, as with a network that comes back."""
        def calm():
            damaged = bool(self.weather.swallow) or self.weather.orphan
            self.weather = Weather()
            if damaged:
                self._cut()
        self._call(calm)

    def cut(self):
        """Resets every connection on both ends."""
        self._call(self._cut)

    def half_open(self):
        """The coordinator's end is reset, the worker's is not told."""
        def act():
            self.weather = Weather(orphan=True, refuse=True)
            for pair in self.pairs:
                reset(pair.writers["up"])
        self._call(act)

    def corrupt(self, direction):
        """Damages one byte of what comes next: its high bit, so that text stops being UTF-8 and framing breaks. A
        changed digit would be a different message, which no protocol without TLS can tell from a true one."""
        self._call(lambda: [pair.corrupt.add(direction) for pair in self.pairs])

    def close(self):
        def stop():
            self.server.close()
            self._cut()
            for task in list(self.tasks):
                task.cancel()
            self.loop.call_later(0.05, self.loop.stop)
        self._call(stop)
        self.thread.join(10)

    def _call(self, function):
        done = threading.Event()

        def act():
            function()
            done.set()
        self.loop.call_soon_threadsafe(act)
        done.wait(10)

    # ---- in the loop

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        self.loop.close()

    def _cut(self):
        for pair in self.pairs:
            for writer in pair.writers.values():
                reset(writer)

    async def _serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.accepted += 1
        pair = None
        try:
            if self.weather.refuse:
                reset(writer)
                return
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            except OSError:
                reset(writer)
                return
            pair = Pair(writer, far_writer)
            self.pairs.add(pair)
            await asyncio.gather(self._pump(pair, reader, "up"), self._pump(pair, far_reader, "down"))
        except asyncio.CancelledError:
            pass
        finally:
            self.pairs.discard(pair)
            for end in pair.writers.values() if pair else [writer]:
                end.transport.abort()
            self.tasks.discard(asyncio.current_task())

    async def _pump(self, pair, reader, direction):
        """Until its sender is gone; then the receiver is told, unless the weather keeps that from it."""
        writer = pair.writers[direction]
        try:
            while data := await reader.read(self.weather.trickle or CHUNK):
                await self._deliver(pair, writer, direction, data)
        except OSError:
            pass
        while self.weather.orphan:
            await asyncio.sleep(0.05)
        writer.transport.abort()

    async def _deliver(self, pair, writer, direction, data):
        weather = self.weather
        if weather.delay or weather.trickle:
            await asyncio.sleep(max(weather.delay, 0.005 if weather.trickle else 0))
        if direction in self.weather.swallow:
            return
        if direction in pair.corrupt:
            pair.corrupt.discard(direction)
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 0x80]) + data[middle + 1:]
        writer.write(data)
        await writer.drain()


def reset(writer):
    """RST instead of FIN: what is in the buffers is lost, as when a firewall drops a connection."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
