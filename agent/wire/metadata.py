"""Release metadata on the wire: The Update Framework's files under names that can stand in a topic.

`cast/tuf/<name>` carries the bytes of one file: `timestamp`, and `<version>-root`, `<version>-snapshot`,
`<version>-targets`. A target is a manifest; its path is the manifest's digest. What is unknown to the framework stands
in fields that it keeps and signs: in the timestamp when it was signed and the newest root's version, in a target
`Order`.
"""

import msgspec

from agent.wire.codec import MAX_BODY
from agent.wire.messages import Count, Epoch

#: Signed fields of the timestamp: seconds since 1970 at which it was signed, and the version of the newest root.
ISSUED, NEWEST_ROOT = "x-edgefleet-issued", "x-edgefleet-root"
#: Bytes of one file. A target takes some 200: beyond a thousand, the server leaves out the oldest that nobody needs.
MAX_FILE = MAX_BODY


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Signed beside a manifest's digest: devices that ran up to version `over` may go back to it, until `until`."""

    over: Count = 0
    until: Epoch = 0


def name(role: str, version: int | None = None) -> str:
    return role if version is None else f"{version}-{role}"
