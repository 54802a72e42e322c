"""`edge-agent service`: the systemd unit of the agent that is installed here, printed or put in its place.

The unit gives the agent a user of its own, a data folder in /var/lib/edge-agent, and no rights that it does not use.
systemd restarts it when it ends, and when its watchdog is not told in time that every part is alive (`agent.systemd`).
"""

import os
import sys
from pathlib import Path

UNIT, SETTINGS, SECRETS = (
    Path("etc/systemd/system/edge-agent.service"),
    Path("etc/edge-agent/agent.toml"),
    Path("etc/edge-agent/environment"),
)
DATA = "/var/lib/edge-agent"

_UNIT = """\
# Written by `edge-agent service`. Change it with `systemctl edit edge-agent`, which keeps your changes apart.
[Unit]
Description=Edgefleet agent
# The agent works without a network, so it does not wait for one.
After=network.target time-sync.target
# Never give up: nobody is there to start it again.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} run --config /etc/edge-agent/agent.toml
# The enrollment token, where only root can read it.
EnvironmentFile=-/etc/edge-agent/environment
Environment=EDGE_AGENT_DATA={data} PYTHONUNBUFFERED=1
Restart=always
RestartSec=5
# Pinged at half this time, and only while every part of the agent is alive.
WatchdogSec=60
TimeoutStopSec=15
# A model that takes too much memory in its self-test is killed alone, and not the agent with it.
OOMPolicy=continue
OOMScoreAdjust=-200

DynamicUser=yes
User=edge-agent
# Cameras.
SupplementaryGroups=video
StateDirectory=edge-agent
StateDirectoryMode=0700
RuntimeDirectory=edge-agent
UMask=0077
LimitCORE=0

CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# Cameras and nothing else. For an accelerator add its devices, for example DeviceAllow=/dev/nvidia0 rw.
DevicePolicy=closed
DeviceAllow=char-video4linux rw

[Install]
WantedBy=multi-user.target
"""

_SETTINGS = f"""\
# Settings of the Edgefleet agent; every one of them is described in agent/README.md.
# The enrollment token belongs into /etc/edge-agent/environment: EDGE_AGENT_TOKEN=id.secret
server = "mqtts://fleet.example.org"
data = "{DATA}"
"""

_SECRETS = """\
# Read by root before the agent starts. The token is needed until the device is enrolled.
#EDGE_AGENT_TOKEN=
"""


def command() -> str:
    """What starts this agent: the console script of its environment, or the module."""
    script = Path(sys.prefix) / "bin" / "edge-agent"
    return str(script) if script.exists() else f"{sys.executable} -m agent"


def unit() -> str:
    """The text of the unit. An agent that lies in a home folder must be allowed to read it."""
    start = command()
    in_home = start.startswith(("/home/", "/root/"))
    return _UNIT.format(command=start, data=DATA, home="read-only" if in_home else "yes")


def install(root: Path = Path("/")) -> str:
    """Write the unit, and settings and secrets where there are none yet. What to do next. Raises OSError."""
    _write(root / UNIT, unit(), 0o644)
    for path, text, mode in ((root / SETTINGS, _SETTINGS, 0o644), (root / SECRETS, _SECRETS, 0o600)):
        if not path.exists():
            _write(path, text, mode)
    return (
        f"Wrote {root / UNIT}.\n"
        f"1. Set the server in {root / SETTINGS}, and the enrollment token in {root / SECRETS}.\n"
        "2. systemctl daemon-reload && systemctl enable --now edge-agent\n"
        "3. edge-agent status; edge-agent doctor; journalctl -u edge-agent"
    )


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
