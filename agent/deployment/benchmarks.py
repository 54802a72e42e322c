"""The command `benchmark`: measures variants on this very device, whether it runs them or not."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from agent.child import ChildStoppedError
from agent.deployment import trust
from agent.deployment.delivery import Delivery, InterruptedWaitError
from agent.deployment.download import Downloader, DownloadError
from agent.deployment.provenance import Provenance
from agent.deployment.store import Store
from agent.device.resource_manager import Budget
from agent.inference import benchmark
from agent.link.commands import CommandError, Progress
from agent.wire.fit import Need, misfits, written
from agent.wire.messages import Benchmark, BenchmarkArgs, BenchmarkResult

log = logging.getLogger(__name__)

#: A server that sends nothing for this long over a live link has not what was ordered.
GIVE_UP_SECONDS = 60.0


class BenchmarkCommand:
    """Fetches what is ordered with the deployments' own downloader, measures, and removes it again."""

    def __init__(
        self,
        *,
        store: Store,
        delivery: Delivery,
        downloader: Downloader,
        provenance: Provenance,
        budget: Callable[[], Budget],
        stopping: Callable[[], bool],
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._downloader = downloader
        self._provenance = provenance
        self._budget = budget
        self._stopping = stopping

    def run(self, args: BenchmarkArgs, progress: Progress) -> dict[str, Any]:
        """The result's fields. A variant that cannot be had or run is a row with its reason, and stops no other."""
        digests = list(dict.fromkeys(args.manifests))
        rows: dict[str, Benchmark] = {}
        folders: dict[str, Path] = {}
        try:
            for done, digest in enumerate(digests):
                try:
                    folders[digest] = self._fetch(digest)
                except (trust.TrustError, DownloadError, OSError) as problem:
                    rows[digest] = Benchmark(manifest=digest, ok=False, reason=str(problem)[:1000])
                progress((done + 1) / len(digests) / 2)
            budget = self._budget()
            figures = benchmark.compare(
                list(folders.values()),
                runs=args.runs,
                threads=budget.threads,
                memory=budget.memory,
                interrupted=self._stopping,
                progress=lambda share: progress(0.5 + share / 2),
            )
            for digest, each in zip(folders, figures, strict=True):
                rows[digest] = msgspec.convert({**each, "manifest": digest}, Benchmark)
        except (InterruptedWaitError, ChildStoppedError) as problem:
            raise CommandError("The agent was stopped before the benchmark ended. Order it again.") from problem
        finally:
            for digest in digests:
                self._store.release(_owner(digest))
            self._store.collect()
        result = BenchmarkResult(benchmarks=tuple(rows[digest] for digest in digests), runs=args.runs)
        built: dict[str, Any] = msgspec.to_builtins(result)
        return built

    def _fetch(self, digest: str) -> Path:
        """The folder of the installed artifact. Raises TrustError, DownloadError, OSError or InterruptedWaitError."""
        data = self._store.manifest_bytes(digest)
        if data is None:
            data = self._delivery.fetch_manifest(digest, self._stopping, GIVE_UP_SECONDS)
        if data is None:
            raise DownloadError(f"The server gave no manifest {digest[:12]} within {GIVE_UP_SECONDS:.0f} s.")
        manifest = trust.read(data, digest)
        self._provenance.vouched(digest, 0, self._stopping)
        self._store.claim(_owner(digest), [digest], manifest)
        folder = self._store.artifact(digest)
        if self._store.installed(digest, manifest):
            return folder
        reasons = misfits(Need(manifest.memory_bytes, written(manifest.size)), self._budget())
        if reasons:
            raise DownloadError(" ".join(reasons))
        self._downloader.fetch(manifest, self._stopping, give_up=GIVE_UP_SECONDS)
        if not self._store.install(digest, manifest, data):
            raise DownloadError("The parts, put together, have not the digest that the manifest names.")
        return folder


def _owner(digest: str) -> str:
    return f"benchmark {digest}"
