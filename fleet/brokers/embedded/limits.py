"""Every bound of the embedded broker, in one place."""

from dataclasses import dataclass, field

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Bounds of what waits for one client. A message counts payload, topic and 256 bytes of bookkeeping."""

    #: Bytes that wait or are on their way, unacknowledged. Beyond it the oldest are dropped, artifact blocks first.
    total_bytes: int
    #: From here on publishers wait for their acknowledgement, until half of it is left. The distance to total_bytes is
    #: room for what a publisher has under way when that begins (20 blocks of 128 KiB is paho's default window).
    mark_bytes: int
    #: Seconds that publishers wait for a client before it counts as a laggard, for which nobody waits.
    patience: float
    #: QoS 1 messages, and their bytes, that may be unacknowledged at a time.
    window_messages: int
    window_bytes: int
    #: Bytes kept while the client is away. Blocks are not kept: a device asks again for those that it lacks.
    away_bytes: int


#: 64 messages of 4 kB or 8 blocks under way: 10 MB/s on a link with a round trip of 100 ms.
DEVICE_LANE = LaneLimits(
    total_bytes=4 * MIB,
    mark_bytes=MIB,
    patience=2.0,
    window_messages=64,
    window_bytes=MIB,
    away_bytes=256 * KIB,
)
#: The gateway acknowledges when its database has committed, so what is under way is a whole batch of the whole fleet.
SERVER_LANE = LaneLimits(
    total_bytes=64 * MIB,
    mark_bytes=32 * MIB,
    patience=10.0,
    window_messages=20_000,
    window_bytes=32 * MIB,
    away_bytes=64 * MIB,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the whole broker. Times in seconds, sizes in bytes."""

    max_connections: int = 5000
    #: The largest body of the contract (agent.wire.codec) with its topic; blocks have 128 KiB.
    max_packet: int = 257 * KIB
    #: The first packet: names, secret and last will.
    max_connect_packet: int = 16 * KIB
    #: From the first byte to a successful login; also for the TLS handshake, and for the farewell of a connection.
    connect_timeout: float = 10.0
    #: A client that asks for more, or for none, gets this; half as much again passes before it is cut off.
    max_keepalive: float = 300.0
    #: Failed logins from one address: this many at once, then this many a second. Beyond it, connections from there
    #: are closed unread. A device with a wrong secret tries once a minute, so it does not lock its neighbours out.
    failed_logins: int = 50
    failed_logins_per_second: float = 5.0
    #: Publishes of one client whose acknowledgement is held back; beyond it, the client is not read.
    max_unacknowledged: int = 64
    #: Subscribe and unsubscribe requests of one client that wait for their answer; beyond it, the client is not read.
    max_requests: int = 16
    #: Answers that a client has not fetched. One that sends and never reads is cut off here.
    max_unread: int = 2 * MIB
    #: Topic filters of one client, also in one request, and characters of one filter.
    max_filters: int = 32
    max_filter_length: int = 256
    #: The one retained message of a device, its state.
    max_device_retained: int = 16 * KIB
    #: Payload bytes in all lanes together; a payload that many clients wait for counts once.
    max_queued: int = 512 * MIB
    #: Sessions of absent clients are forgotten after this long.
    session_expiry: int = 3600
    device_lane: LaneLimits = field(default=DEVICE_LANE)
    server_lane: LaneLimits = field(default=SERVER_LANE)
