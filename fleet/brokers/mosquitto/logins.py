"""Which logins mosquitto has, which it should have, and the commands in between. Pure: no socket, no clock.

The database holds hashes, and mosquitto's live commands take plain text. So a login that is new since the state file
was written needs its secret once: an enrollment token's is derived from its id (`credentials.token_secret`), a
device's is in its enrollment request, which the keeper hears as the gateway does, and forgets once it is told. A login
whose secret was missed waits for the next start, which writes the hash.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from fleet.brokers.identities import ENROLL, SERVERS, Credential, name_ok, token_of
from fleet.brokers.mosquitto import dynsec
from fleet.brokers.mosquitto.dynsec import Command, Document
from fleet.devices.credentials import matches

#: Secrets that are remembered until their device's row is there. A request that nobody answers must not fill memory.
HEARD = 10_000


class Logins:
    """The follower's table (`update`, `replace`), for a broker that is told of changes."""

    def __init__(self, token_secret: Callable[[str], str]) -> None:
        self._token_secret = token_secret
        self._rows: dict[str, Credential] = {}
        #: What the broker has: the row as it was told, or None where only the name was found there.
        self._there: dict[str, Credential | None] = {}
        self._heard: OrderedDict[str, str] = OrderedDict()
        self._due: dict[str, None] = {}
        #: Logins that cannot be made live, because their secret was not heard.
        self.waiting: set[str] = set()
        #: Called when something is due.
        self.wake: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """Logins that are known, the server's included."""
        return len(self._rows) + 1

    # --- What should be there ---

    def update(self, credentials: Mapping[str, Credential]) -> list[str]:
        for name, row in credentials.items():
            if name_ok(name, row.kind) and self._rows.get(name) != row:
                self._rows[name] = row
                self._mark(name)
        return []  # the broker itself ends the connections of whom it shuts out

    def replace(self, credentials: Mapping[str, Credential]) -> list[str]:
        for name in self._rows.keys() - credentials.keys():
            del self._rows[name]
            self._mark(name)
        return self.update(credentials)

    def heard(self, name: str, secret: str) -> None:
        """A device's own secret, from its enrollment request."""
        self._heard[name] = secret
        self._heard.move_to_end(name)
        if len(self._heard) > HEARD:
            self._heard.popitem(last=False)
        if name in self.waiting:
            self._mark(name)

    # --- What is there ---

    def written(self, server_secret: str) -> Document:
        """The state file with everything in it: nothing is due after a start with it."""
        self._there = dict(self._rows)
        self._due.clear()
        self.waiting.clear()
        return dynsec.state(self._rows, server_secret)

    def found(self, names: Mapping[str, bool]) -> None:
        """After a reconnect: these logins are there (and whether they are let in); what differs is due."""
        known, self._there = self._there, {}
        for name, active in names.items():
            if name in SERVERS or (name not in self._rows and not name.startswith((ENROLL, "d-"))):
                continue  # somebody else's
            row = known.get(name) or self._rows.get(name)
            self._there[name] = Credential(row.kind, active, row.salt, row.digest) if row else None
        for name in self._rows.keys() | self._there.keys():
            if self._there.get(name) != self._rows.get(name):
                self._mark(name)

    def take(self, commands: int) -> dict[str, list[Command]]:
        """What is due next, by name: about so many commands in all. `done` or `failed` is said of each."""
        taken: dict[str, list[Command]] = {}
        count = 0
        while self._due and count < commands:
            name = next(iter(self._due))
            del self._due[name]
            wanted = self._commands(name)
            if wanted:
                taken[name] = wanted
                count += len(wanted)
        return taken

    def done(self, name: str) -> None:
        row = self._rows.get(name)
        if row is None:
            self._there.pop(name, None)
            return
        shut_out = name in self.waiting
        self._there[name] = Credential(row.kind, False, row.salt, row.digest) if shut_out else row
        if not shut_out:
            self._heard.pop(name, None)

    def failed(self, name: str) -> None:
        self._mark(name)

    def _mark(self, name: str) -> None:
        self._due[name] = None
        self.wake()

    def _commands(self, name: str) -> list[Command]:
        row, there = self._rows.get(name), self._there.get(name)
        self.waiting.discard(name)
        if row is None:
            return dynsec.delete(name, "enroll" if name.startswith(ENROLL) else "device")
        if name not in self._there:
            secret = self._secret(name, row)
            if secret is None:
                self.waiting.add(name)
                return []
            return dynsec.create(name, row.kind, secret, active=row.active)
        if there is not None and there.digest != row.digest:
            secret = self._secret(name, row)
            if secret is None:
                self.waiting.add(name)
                return [dynsec.switch(name, active=False)]
            return [dynsec.new_secret(name, secret), dynsec.switch(name, active=row.active)]
        if there is None or there.active != row.active:
            return [dynsec.switch(name, active=row.active)]
        return []

    def _secret(self, name: str, row: Credential) -> str | None:
        """The plain text, if it is known and is the one that was hashed."""
        secret = self._token_secret(token_of(name)) if name.startswith(ENROLL) else self._heard.get(name, "")
        return secret if secret and matches(secret, row.salt, row.digest) else None
