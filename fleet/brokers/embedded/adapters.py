"""How amqtt sees a connection: something to read packets from, and something to write them to."""

import ssl

from amqtt.adapters import ReaderAdapter, WriterAdapter

from fleet.brokers.embedded.connection import Connection


class Requests(ReaderAdapter):
    """What amqtt reads: whole, well-formed packets, one after the other."""

    def __init__(self, connection: Connection, first: bytes) -> None:
        self._requests = connection.requests
        self._packet, self._at = first, 0

    async def read(self, n: int = -1) -> bytes:
        """amqtt cancels reads; a queue loses nothing then. Empty at the end, again and again."""
        if self._at >= len(self._packet):
            self._packet, self._at = await self._requests.get(), 0
            if not self._packet:
                self._requests.put_nowait(b"")
        end = len(self._packet) if n < 0 else self._at + n
        data, self._at = self._packet[self._at : end], end
        return data

    def feed_eof(self) -> None:
        self._requests.put_nowait(b"")


class Answers(WriterAdapter):
    """What amqtt writes to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.answer(data)

    async def drain(self) -> None:
        await self._connection.drained()

    def get_peer_info(self) -> tuple[str, int] | None:
        peer = self._connection.transport.get_extra_info("peername")
        return (peer[0], peer[1]) if peer else None

    def get_ssl_info(self) -> ssl.SSLObject | None:
        return self._connection.transport.get_extra_info("ssl_object")

    async def close(self) -> None:
        self._connection.close()
