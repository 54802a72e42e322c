"""A socket with one deadline for everything that is done with it, as http.client uses sockets.

A socket's own timeout begins anew with every byte that drips in.
"""

import io
import socket
import ssl
from collections.abc import Callable
from typing import Any


class BoundedSocket:
    """A socket whose every operation ends by `until`, as http.client uses it."""

    def __init__(self, inner: socket.socket, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._clock = clock
        self._readers = 0
        self._closing = False
        self.until = clock()

    def sendall(self, data: bytes) -> None:
        self._inner.settimeout(self.left())
        self._inner.sendall(data)

    def receive_into(self, buffer: Any) -> int:
        self._inner.settimeout(self.left())
        return self._inner.recv_into(buffer)

    def left(self) -> float:
        left = self.until - self._clock()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left

    def makefile(self, _mode: str) -> io.BufferedReader:
        self._readers += 1
        return io.BufferedReader(_Reading(self), 256 * 1024)

    def alive(self) -> bool:
        """Whether nothing came, not even the end, while nothing was asked."""
        self._inner.settimeout(0)
        try:
            self._inner.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Now, or once the answer is read: http.client closes a connection before it reads the last answer of it."""
        self._closing = True
        if not self._readers:
            self._inner.close()

    def read_to_the_end(self) -> None:
        """A file that `makefile` made was closed."""
        self._readers -= 1
        if self._closing:
            self.close()


class _Reading(io.RawIOBase):
    def __init__(self, bounded: BoundedSocket) -> None:
        self._bounded = bounded

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._bounded.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._bounded.read_to_the_end()
