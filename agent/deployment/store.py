"""The agent's files of models: parts by digest, manifests, installed artifacts, and the machine's memory.

state.json                  what the update machine remembers (written to the side, fsynced, renamed)
manifests/<digest>.json     of what is being fetched
parts/<digest>              whole parts; <digest>.partial and .blocks for those on their way
artifacts/<digest>/         installed: manifest.json model.onnx golden.npz (card.json) (tokenizer.json)
"""

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from agent.deployment import sources, trust
from agent.deployment.records import Saved
from agent.files import private_folder, sync_folder, write_atomically
from agent.wire import codec
from agent.wire import manifest as wire

log = logging.getLogger(__name__)

NAMES: dict[wire.Role, str] = {
    "model": "model.onnx",
    "card": "card.json",
    "tokenizer": "tokenizer.json",
    "golden": "golden.npz",
}
#: Digest of a part → the file that holds it, its offset there, and its size.
Holdings = dict[str, tuple[Path, int, int]]
_CHUNK = 1024 * 1024


class Store:
    """Everything below the data folder that belongs to models. Raises OSError as the disk does."""

    def __init__(self, data: Path) -> None:
        self._state = private_folder(data) / "state.json"
        self._manifests = private_folder(data / "manifests")
        self.parts = private_folder(data / "parts")
        self._artifacts = private_folder(data / "artifacts")
        #: Parts whose digest was computed since the agent started.
        self._checked: set[str] = set()
        #: owner → artifacts and parts that it needs
        self._claims: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
        self._lock = threading.Lock()
        #: Called after each chunk of a file that is read or written: gigabytes take their time on an SD card.
        self.on_progress: Callable[[], None] = lambda: None

    # --- Memory ---

    def read_state(self) -> Saved:
        """What was saved last. A file that cannot be read is put aside: the server says again what it wants."""
        try:
            return msgspec.json.decode(self._state.read_bytes(), type=Saved)
        except FileNotFoundError:
            return Saved()
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            aside = self._state.with_suffix(".damaged")
            log.error("%s cannot be read (%s); it is now %s", self._state, problem, aside.name)
            os.replace(self._state, aside)
            return Saved()

    def write_state(self, saved: Saved) -> None:
        write_atomically(self._state, msgspec.json.encode(saved))

    # --- Manifests ---

    def keep_manifest(self, digest: str, data: bytes) -> None:
        write_atomically(self._manifests / f"{digest}.json", data)

    def manifest_bytes(self, digest: str) -> bytes | None:
        """The bytes of a manifest that is installed or being fetched, if they still have that digest."""
        for path in (self.artifact(digest) / "manifest.json", self._manifests / f"{digest}.json"):
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if wire.digest_of(data) == digest:
                return data
        return None

    def manifest(self, digest: str) -> wire.Manifest:
        """Raises TrustError when it is not on the disk, or not right any more."""
        data = self.manifest_bytes(digest)
        if data is None:
            raise trust.TrustError(f"The manifest {digest[:12]} is not on the disk any more.")
        return trust.read(data, digest)

    # --- Parts ---

    def has(self, part: wire.Part) -> bool:
        """Whether the part lies here whole. Its digest is computed once after each start; a damaged one is removed."""
        path = self.parts / part.digest
        if not path.is_file():
            return False
        if part.digest not in self._checked:
            if path.stat().st_size != part.size or _digest(path) != part.digest:
                log.warning("the part %s on the disk is damaged and is removed", part.digest[:12])
                path.unlink()
                return False
            self._checked.add(part.digest)
        return True

    def checked(self, part: wire.Part) -> None:
        """The part was just written under its digest."""
        self._checked.add(part.digest)

    def holdings(self) -> Holdings:
        """Where installed artifacts hold parts. What lies there may be damaged."""
        found: Holdings = {}
        for folder in sorted(self._artifacts.iterdir()):
            try:
                data = (folder / "manifest.json").read_bytes()
                manifest = codec.decode(data, wire.Manifest, limit=wire.MAX_MANIFEST)
            except (OSError, codec.WireError):
                continue
            found.update({part.digest: (folder / name, offset, part.size) for part, name, offset in layout(manifest)})
        return found

    def adopt(self, part: wire.Part, holdings: Holdings) -> bool:
        """Take a part out of an installed artifact that holds it, so that it is not fetched again."""
        held = holdings.get(part.digest)
        return held is not None and self._copy(held[0], held[1], part)

    def make(self, source: wire.Source, part: wire.Part, holdings: Holdings) -> None:
        """The part out of a source that has come, which then goes. Raises SourceError, and OSError as the disk does."""
        came, made = self.parts / source.digest, self.parts / f"{part.digest}.made"
        try:
            sources.make(source, came, self._held(source.base, holdings), part, made)
            os.replace(made, self.parts / part.digest)
        finally:
            came.unlink(missing_ok=True)
        self.checked(part)

    def _held(self, digest: str, holdings: Holdings) -> bytes | None:
        """A small part out of an installed artifact, if it is there and right."""
        path, offset, size = holdings.get(digest, (self.parts / digest, 0, 0))
        if not 0 < size <= wire.MAX_PATCHED:
            return None
        with path.open("rb") as file:
            data = b"".join(_slice(file.fileno(), offset, size))
        return data if wire.digest_of(data) == digest else None

    def _copy(self, path: Path, offset: int, part: wire.Part) -> bool:
        """A slice of a file becomes a part, if it has the part's digest."""
        partial = self.parts / f"{part.digest}.adopted"
        digest = hashlib.sha256()
        try:
            with path.open("rb") as source, partial.open("wb") as copy:
                for chunk in _slice(source.fileno(), offset, part.size):
                    digest.update(chunk)
                    copy.write(chunk)
                    self.on_progress()
                copy.flush()
                os.fsync(copy.fileno())
            if digest.hexdigest() != part.digest:
                return False
            os.replace(partial, self.parts / part.digest)
        except FileNotFoundError:
            return False
        finally:
            partial.unlink(missing_ok=True)
        self.checked(part)
        return True

    # --- Artifacts ---

    def artifact(self, digest: str) -> Path:
        return self._artifacts / digest

    def installed(self, digest: str, manifest: wire.Manifest) -> bool:
        """Whether the artifact lies here and every byte of it is right."""
        folder = self.artifact(digest)
        whole = hashlib.sha256()
        try:
            for part, name, offset in layout(manifest):
                with (folder / name).open("rb") as file:
                    for chunk in _slice(file.fileno(), offset, part.size):
                        whole.update(chunk)
                        self.on_progress()
            sizes = {name: sum(part.size for part in manifest.of(role)) for role, name in NAMES.items()}
            exact = all((folder / name).stat().st_size == size for name, size in sizes.items() if size)
        except OSError:
            return False
        return exact and whole.hexdigest() == manifest.digest and self.manifest_bytes(digest) is not None

    def install(self, digest: str, manifest: wire.Manifest, data: bytes) -> bool:
        """Put the parts together as files. False, and nothing installed, when the whole has not the right digest."""
        folder = self.artifact(digest)
        made = folder.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700)
        whole = hashlib.sha256()
        for part, name, _ in layout(manifest):
            with (self.parts / part.digest).open("rb") as source, (made / name).open("ab") as file:
                while chunk := source.read(_CHUNK):
                    whole.update(chunk)
                    file.write(chunk)
                    self.on_progress()
        if whole.hexdigest() != manifest.digest:
            shutil.rmtree(made)
            return False
        write_atomically(made / "manifest.json", data)
        for path in made.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(made)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)
        sync_folder(self._artifacts)
        return True

    # --- What may go ---

    def claim(self, owner: str, artifacts: Iterable[str], fetching: wire.Manifest | None = None) -> None:
        """Keep these artifacts, and the parts of what is being fetched, until the owner claims anew or releases."""
        parts = frozenset(part.digest for part in fetching.parts) if fetching else frozenset()
        parts |= frozenset(source.digest for source in fetching.sources) if fetching else frozenset()
        with self._lock:
            self._claims[owner] = (frozenset(artifacts), parts)

    def release(self, owner: str) -> None:
        with self._lock:
            self._claims.pop(owner, None)

    def collect(self) -> None:
        """Remove what nobody claims. Harmless when some of it cannot be removed: the next time is soon enough."""
        with self._lock:
            artifacts = frozenset().union(*(artifacts for artifacts, _ in self._claims.values()))
            parts = frozenset().union(*(parts for _, parts in self._claims.values()))
            for folder in self._artifacts.iterdir():
                if folder.name.partition(".")[0] not in artifacts:  # `<digest>.new` is being installed
                    shutil.rmtree(folder, ignore_errors=True)
            for path in (*self.parts.iterdir(), *self._manifests.iterdir()):
                if path.name.partition(".")[0] not in parts | artifacts:
                    path.unlink(missing_ok=True)
                    self._checked.discard(path.name)


def layout(manifest: wire.Manifest) -> Iterator[tuple[wire.Part, str, int]]:
    """Each part in order, with the file it lies in and its offset there."""
    ends = dict.fromkeys(NAMES, 0)
    for part in manifest.parts:
        yield part, NAMES[part.role], ends[part.role]
        ends[part.role] += part.size


def _slice(descriptor: int, offset: int, size: int) -> Iterator[bytes]:
    """The bytes from `offset` on, in chunks; fewer than `size` when the file ends."""
    end = offset + size
    while offset < end and (chunk := os.pread(descriptor, min(_CHUNK, end - offset), offset)):
        yield chunk
        offset += len(chunk)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
