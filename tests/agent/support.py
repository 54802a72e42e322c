"""The other end of the agent's link in tests: a real MQTT peer that enrolls, wishes, serves blocks and listens."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from agent.wire import codec, topics
from agent.wire import manifest as wire
from agent.wire.messages import (
    CommandOrder,
    CommandReport,
    Config,
    DeploymentReport,
    Desired,
    EnrollReply,
    EnrollRequest,
    Link,
    Links,
    State,
    Telemetry,
    Want,
)
from tests.agent.signing import Signer
from tests.agent.variants import Variant
from tests.agent.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "tk1.not-a-secret-at-all-000000000000"


class Server:
    """What a gateway does, small enough to be looked through; everything that came is kept.

    answer_enrollment says how a request is answered; spoil may change a block before it is sent (None: not sent);
    on_want sees each want first; links is a web address that is offered in place of blocks.
    """

    def __init__(self, port: int) -> None:
        self.enrollments: list[tuple[str, EnrollRequest]] = []
        self.states: list[State] = []
        self.telemetry: list[Telemetry] = []
        self.deployments: list[DeploymentReport] = []
        self.commands: list[CommandReport] = []
        self.wanted: list[tuple[str, int]] = []
        self.blocks_sent = 0
        self.signer = Signer()
        self.answer_enrollment: Callable[[EnrollRequest], EnrollReply] = lambda _: EnrollReply(
            status="accepted", device_id="d-1", root=self.signer.root.decode()
        )
        self.spoil: Callable[[str, int, bytes], bytes | None] = lambda _digest, _number, data: data
        self.on_want: Callable[[Want], None] = lambda _: None
        self.links: str | None = None
        self._parts: dict[str, bytes] = {}
        self._version = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "server-test", protocol=paho.MQTTv311)
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(50)
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_disconnect = lambda *_: self._ready.clear()
        self._client.on_message = self._received
        self._client.reconnect_delay_set(0.05, 0.05)
        self._port = port

    def start(self) -> "Server":
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self.wait_until_subscribed()
        return self

    def wait_until_subscribed(self) -> None:
        """What is published before is lost to it: its broker keeps no session for it."""
        if not self._ready.wait(10):
            raise TimeoutError("the test server could not subscribe within 10 s")

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client._reset_sockets()  # paho itself closes them only when it is collected

    # --- Down ---

    def offer(self, variant: Variant, *, data: bytes | None = None) -> None:
        """Hold a variant's parts, vouch for it, and retain its manifest (or `data` in its stead)."""
        self._parts.update(variant.parts)
        self.signer.vouch(variant)
        self.publish_metadata()
        self.publish(topics.manifest(variant.digest), variant.data if data is None else data, retain=True)

    def publish_metadata(self) -> None:
        for name, body in self.signer.files.items():
            self.publish(topics.metadata(name), body, retain=True)

    def wish(self, manifest: str = "", deployment: str = "", config: Config | None = None, device: str = "d-1") -> None:
        """Write the device's desired state, newer than the last."""
        with self._lock:
            self._version += 1
            desired = Desired(
                version=self._version,
                config_version=self._version if config else 0,
                config=config or Config(telemetry_interval=1, watch_seconds=0.2),
                deployment_id=deployment,
                manifest=manifest,
                at=time.time(),
            )
        self.publish(topics.down(device, "desired"), codec.encode(desired), retain=True)

    def order(self, command: CommandOrder, device: str = "d-1") -> None:
        self.publish(topics.down(device, "command", command.id), codec.encode(command))

    def publish(self, topic: str, body: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, body, qos=1, retain=retain)

    # --- Up ---

    def reports(self, deployment: str) -> list[DeploymentReport]:
        return [report for report in self.deployments if report.deployment_id == deployment]

    def path(self, deployment: str) -> list[str]:
        """The states that were reported, repetitions left out."""
        states: list[str] = []
        for report in self.reports(deployment):
            if not states or states[-1] != report.state:
                states.append(report.state)
        return states

    def ended(self, deployment: str, state: str, seconds: float = 30.0) -> DeploymentReport:
        """The report of `state`; any other end fails at once, with its reason."""

        def found() -> DeploymentReport | None:
            for report in self.reports(deployment):
                if report.state == state:
                    return report
                if report.state in {"active", "failed", "rejected", "rolled_back"}:
                    raise AssertionError(f"it is {report.state} ({report.reason}), not {state}")
            return None

        report = wait_for(f"deployment {deployment} to be {state}, after {self.path(deployment)}", found, seconds)
        assert report is not None
        return report

    def command_states(self, order_id: str) -> list[str]:
        return [report.state for report in self.commands if report.id == order_id]

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(each, 1) for each in topics.GATEWAY_FILTERS])

    def _received(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        topic = topics.parse(message.topic)
        if not message.payload:
            return
        if topic.kind == "request":
            request = codec.decode(message.payload, EnrollRequest)
            self.enrollments.append((topic.owner, request))
            self.publish(topics.enroll_reply(topic.owner), codec.encode(self.answer_enrollment(request)))
        elif topic.kind == "want":
            self._serve(topic.owner, codec.decode(message.payload, Want))
        else:
            kept: dict[str, tuple[list[Any], type]] = {
                "state": (self.states, State),
                "telemetry": (self.telemetry, Telemetry),
                "deployment": (self.deployments, DeploymentReport),
                "command": (self.commands, CommandReport),
            }
            into, kind = kept[topic.kind]
            into.append(codec.decode(message.payload, kind))

    def _serve(self, device: str, want: Want) -> None:
        self.on_want(want)
        if want.links and self.links is not None:
            found = [Link(digest=part.digest, url=f"{self.links}/{part.digest}?a=b") for part in want.parts]
            self.publish(topics.down(device, "links"), codec.encode(Links(links=tuple(found), seconds=600)))
            return
        for part in want.parts:
            bits = int.from_bytes(bytes.fromhex(part.missing), "little")
            for number in (part.first + bit for bit in range(bits.bit_length()) if bits >> bit & 1):
                self.wanted.append((part.digest, number))
                start = number * wire.BLOCK
                data = self.spoil(part.digest, number, self._parts[part.digest][start : start + wire.BLOCK])
                if data is not None:
                    self.blocks_sent += 1
                    self.publish(topics.down_block(device, part.digest, number), data)


class AgentProcess:
    """The real agent in a process of its own, as a simulated embedded device."""

    def __init__(self, data: Path, port: int, **settings: str) -> None:
        self.data = data
        self._environment = {
            **os.environ,
            "EDGE_AGENT_DATA": str(data),
            "EDGE_AGENT_SERVER": f"mqtt://127.0.0.1:{port}",
            "EDGE_AGENT_TOKEN": TOKEN,
            "EDGE_AGENT_NAME": "bench-1",
            "EDGE_AGENT_THREADS": "1",
            "EDGE_AGENT_RUNTIME": "onnxruntime",
            "EDGE_AGENT_DECLARED_CORES": "4",
            "EDGE_AGENT_DECLARED_MEMORY_GIB": "4",
            "EDGE_AGENT_DECLARED_STORAGE_GIB": "32",
            **{f"EDGE_AGENT_{key.upper()}": value for key, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.log = data.parent / "agent.log"

    def start(self) -> "AgentProcess":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run"], cwd=ROOT, env=self._environment, stderr=log
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """The power goes: kill -9."""
        self._end(signal.SIGKILL)

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit status and the seconds it took."""
        start = time.monotonic()
        return self._end(signal.SIGTERM), time.monotonic() - start

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(10)
