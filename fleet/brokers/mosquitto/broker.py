"""mosquitto as a process of ours, or one that runs elsewhere; and its logins, true to the database.

1. Read every login. For a process of ours: write the state file with all of them, and start it.
2. Follow the database (fleet.brokers.follower). What changes is told live, about `BATCH` commands at a time: more of
   them at once would hold other clients up (100 for 95 ms).
3. After the administering connection was lost, compare: a broker that came back may have lost what it was told.
4. A process of ours that died is started again with a new state file. So is one with logins that cannot be told live
   (`Logins.waiting`), after `PATIENCE`: its sessions and retained messages are on its disk.
"""

import asyncio
import ctypes
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from fleet.brokers.embedded.broker import BrokerError
from fleet.brokers.follower import DatabaseAwayError, Follower
from fleet.brokers.mosquitto import configuration, dynsec
from fleet.brokers.mosquitto.configuration import Place
from fleet.brokers.mosquitto.control import Control, ControlError
from fleet.brokers.mosquitto.logins import Logins

log = logging.getLogger(__name__)

BATCH = 20
#: Seconds: until the first listening, for a farewell, before waiting logins are worth a restart, between two starts.
START, FAREWELL, PATIENCE, PAUSE = 10.0, 5.0, 60.0, 1.0
#: A process that ended this often within `PAUSE` of each start does not come up.
ATTEMPTS = 5


class MosquittoBroker:
    """`serve` until `stop`. Without a place the broker runs elsewhere, and only its logins are kept."""

    def __init__(
        self, logins: Logins, follower: Follower, server_secret: str, place: Place | None, connections: int = -1
    ) -> None:
        self._logins, self._follower, self._secret = logins, follower, server_secret
        self._place, self._connections = place, connections
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._due, self._again = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Raises BrokerError when it cannot start, or its process does not stay up."""
        self._loop = asyncio.get_running_loop()
        self._logins.wake = self._due.set
        try:
            await self._follower.load()
            work = asyncio.create_task(self._run(ready))
            follow = asyncio.create_task(self._follower.follow())
            stopping = asyncio.create_task(self._stopping.wait())
            done, pending = await asyncio.wait((work, follow, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for task in done:
                task.result()
        except DatabaseAwayError as problem:
            raise BrokerError(problem.at_start) from problem
        finally:
            self._follower.close()

    async def _run(self, ready: Callable[[], None]) -> None:
        """Start, keep, and start again."""
        failures = 0
        while True:
            begun = self._loop.time()
            try:
                if self._place is not None:
                    configuration.write_state(self._place.state, self._logins.written(self._secret))
                    await self._start(self._place)
                control = Control(self._connected, self._enrolled)
                control.start()
                try:
                    ready()
                    ready = _said
                    await self._keep(control)
                finally:
                    await asyncio.to_thread(control.close)
            finally:
                await self._end()
            failures = failures + 1 if self._loop.time() - begun < PAUSE else 0
            if failures >= ATTEMPTS:
                raise BrokerError(f"mosquitto ended {failures} times right after its start; its log above says why.")
            await asyncio.sleep(PAUSE)

    async def _keep(self, control: Control) -> None:
        """Tell what is due, until the process has to be started again."""
        waiting_since: float | None = None
        fresh = self._place is not None  # it was started with everything
        while self._process is None or self._process.returncode is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), 0.5)
            self._due.clear()
            try:
                if self._again.is_set():
                    self._again.clear()
                    if not fresh:
                        await self._compare(control)
                    fresh = False
                if not control.client.is_connected():
                    continue
                while taken := self._logins.take(BATCH):
                    await self._tell(control, taken)
            except ControlError as problem:
                log.warning("logins could not be told to the broker: %s; trying again", problem)
                self._again.set()
                await asyncio.sleep(PAUSE)
            waiting_since = (waiting_since or self._loop.time()) if self._logins.waiting else None
            if waiting_since is not None and self._loop.time() - waiting_since > PATIENCE:
                words = f"{len(self._logins.waiting)} logins, {', '.join(sorted(self._logins.waiting)[:3])} among them"
                if self._place is not None:
                    log.warning("%s, cannot be told to a running broker: it is started again", words)
                    return
                log.error("%s, wait: give the broker a new state file (manage.py broker --state FILE)", words)
                waiting_since = float("inf")  # said once
        if self._process is not None:
            log.error("mosquitto ended with %s; it is started again", self._process.returncode)

    async def _tell(self, control: Control, taken: dict[str, list[dynsec.Command]]) -> None:
        commands = [command for each in taken.values() for command in each]
        try:
            await asyncio.to_thread(control.run, commands)
        except ControlError:
            for name in taken:
                self._logins.failed(name)
            raise
        for name in taken:
            self._logins.done(name)

    async def _compare(self, control: Control) -> None:
        await asyncio.to_thread(control.run, dynsec.prepare())
        self._logins.found(await asyncio.to_thread(control.clients))

    async def _start(self, place: Place) -> None:
        """Start the process, and wait until it listens."""
        program, plugin = configuration.program(), configuration.plugin()
        if program is None or plugin is None:
            raise BrokerError(
                f"mosquitto with its dynamic-security plugin is not installed "
                f"({'its program' if program is None else configuration.PLUGIN} was not found; Debian: "
                f"apt install mosquitto). Without it, MQTT_BROKER=embedded needs nothing."
            )
        if _listens(place):
            raise BrokerError(
                f"Port {place.port} of {place.host} is taken by another process. Choose another in MQTT_URL."
            )
        place.conf.write_text(configuration.text(place, plugin, self._connections))
        self._process = await asyncio.create_subprocess_exec(program, "-c", place.conf, preexec_fn=_end_with_us)
        end = self._loop.time() + START
        while not _listens(place):
            if self._process.returncode is not None:
                raise BrokerError(
                    f"mosquitto did not start (exit status {self._process.returncode}); its message is above."
                )
            if self._loop.time() > end:
                raise BrokerError(f"mosquitto does not listen on {place.host}:{place.port} after {START:.0f} s.")
            await asyncio.sleep(0.05)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), FAREWELL)
        except TimeoutError:
            process.kill()
            await process.wait()

    # --- Called by the network thread ---

    def _connected(self) -> None:
        self._loop.call_soon_threadsafe(self._again.set)
        self._loop.call_soon_threadsafe(self._due.set)

    def _enrolled(self, name: str, secret: str) -> None:
        asyncio.run_coroutine_threadsafe(self._introduce(name, secret), self._loop)

    async def _introduce(self, name: str, secret: str) -> None:
        """A device was answered: do not wait for the next look at the database, it will log in right away."""
        self._logins.heard(name, secret)
        await self._follower.look_up(name)


def _end_with_us() -> None:
    """In the child: a broker whose keeper was killed would hold the port, and let in whom nobody keeps up with."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


def _listens(place: Place) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(place.host, place.host)  # noqa: S104  # compared, not bound
    with suppress(OSError), socket.create_connection((host, place.port), 1):
        return True
    return False


def _said() -> None:
    """It was said at the first start."""
