"""A hall with a few real agents, and an operator's way through the pages of a rollout."""

import re
import time

from fleet.gateway.blocks import LOOK_SECONDS

#: What makes a released variant of a manifest, in the server's Django.
VARIANT = """
import io, json, tempfile
from pathlib import Path
import msgspec
import numpy as np
from agent.wire import manifest as wire
from bench.delivery.head import versions
from fleet.catalog import store
from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant
from fleet.trust import services as trust

def variant(version, manifest, name):
    data = wire.encode(manifest)
    trial = Trial.objects.create(version=version, device_class=manifest.device_class, key=wire.digest_of(data),
        name=name, verdict="won", reason="made for a test", figures={"bytes": manifest.size})
    return Variant.objects.create(version=version, device_class=manifest.device_class, trial=trial,
        bytes=manifest.size, manifest_digest=wire.digest_of(data), manifest=json.loads(data))
"""


class Hall:
    """Devices in a group, and releases that may be rolled out to them.

    agents have cores and GiB of memory; releases is code that prints the ids, the first of them of version 1; settings
    are those of each agent.
    """

    def __init__(
        self, installation, group: str, agents: dict[str, tuple[int, int]], releases: str, **settings: object
    ) -> None:
        self.installation, self.group, self.agents, self._settings = installation, group, agents, settings
        installation.api.post("/groups", {"name": group})
        order = {"name": group, "auto_accept": True, "group": group, "max_uses": len(agents)}
        self.token = installation.api.post("/enrollment-tokens", order)["token"]
        for name in agents:
            self.start(name)
        for name in agents:
            installation.wait_for(name, lambda name=name: self.device(name).get("liveness") == "online", 90)
            config = {"watch_seconds": 1, "telemetry_interval": 1}
            installation.api.call("PATCH", f"/devices/{self.device(name)['id']}", {"config": config})
        self.releases = [int(pk) for pk in installation.shell(VARIANT + releases).split()]
        self.first = self.releases[0]
        self.roll_out(self.first)

    def start(self, name: str) -> None:
        cores, memory = self.agents[name]
        self.installation.start_agent(
            name,
            self.token,
            declared_cores=cores,
            declared_memory_gib=memory,
            declared_storage_gib=32,
            **self._settings,
        )

    def device(self, name: str) -> dict:
        return self.installation.device(name)

    def runs(self) -> dict[str, str]:
        """What each device says that it runs."""
        return {name: self.device(name)["active_manifest"] for name in self.agents}

    def rollout(self, number: int) -> dict:
        return self.installation.api.get(f"/rollouts/{number}")

    def variants(self, release: int) -> set[str]:
        return {v["manifest_digest"] for v in self.installation.api.get(f"/releases/{release}")["variants"]}

    def roll_out(self, release: int, seconds: float = 90) -> None:
        """To everybody, through the API; ends when everybody says so."""
        made = self.installation.api.post("/rollouts", {"release": release, "group": self.group, "back": True})
        self.ended(made["id"], seconds)
        assert set(self.runs().values()) <= self.variants(release)

    def ended(self, number: int, seconds: float = 90) -> dict:
        self.installation.wait_for(
            f"the end of rollout {number}", lambda: self.rollout(number)["state"] == "finished", seconds
        )
        return self.rollout(number)

    def limit(self, rate: int) -> None:
        """Bytes a second for the fleet, in force when this returns."""
        self.installation.api.call("PUT", "/transfer", {"bytes_per_second": rate})
        time.sleep(LOOK_SECONDS)

    def back_to_first(self) -> None:
        self.limit(0)
        if not set(self.runs().values()) <= self.variants(self.first):
            self.roll_out(self.first)


def start(page, hall: Hall, release: int, plan: str = "canary", **fields: str) -> int:
    """Through the wizard; returns the rollout's number."""
    page.goto(f"/rollouts/new?release={release}&group={hall.group}&plan={plan}")
    for name, value in fields.items():
        page.locator(f"#rollout-form [name={name}]").fill(value)
    page.get_by_role("button", name=re.compile(f"Roll out to {len(hall.agents)} device")).click()
    page.wait_for_url(re.compile(r"/rollouts/\d+$"))
    return int(page.url.rsplit("/", 1)[1])


def order(page, name: str) -> None:
    """Press a button and confirm."""
    page.locator(".actions").get_by_role("button", name=name).click()
    page.get_by_role("dialog").get_by_role("button", name=re.compile("Roll back|Cancel the rollout")).click()
