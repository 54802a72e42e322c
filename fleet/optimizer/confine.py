"""The first thing that a child process does: give up what it will not need.

    python -m fleet.optimizer.confine LIMITS PARENT MODULE ARGUMENTS

Only then is the module that does the work imported, and with it anything that reads what somebody uploaded. The limits
are set here, in the child, because code between fork and exec in a parent with threads can hang.
"""

import ctypes
import os
import resource
import runpy
import signal
import sys

import msgspec

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a child may use. Bytes and seconds; `wall_seconds` is the parent's to hold."""

    memory_bytes: int = 6 * 1024**3
    file_bytes: int = 9 * 1024**3
    cpu_seconds: int = 3600
    wall_seconds: float = 1800
    nice: int = 10
    files: int = 256


def confine(limits: Limits, parent: int) -> list[str]:
    """Set the limits for this process and those it starts. Returns, in sentences, what this system does not allow."""
    libc = ctypes.CDLL(None, use_errno=True)
    # A killed parent must not leave work behind.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent had ended before the child began")
    missing = _without_network(libc)
    os.nice(limits.nice)
    # Memory that is written to, as opposed to address space: torch reserves far more than it uses.
    _limit(resource.RLIMIT_DATA, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    # Beyond the soft limit comes SIGXCPU, which says why; at the hard one SIGKILL, which does not.
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 5)
    _limit(resource.RLIMIT_NOFILE, limits.files)
    _limit(resource.RLIMIT_CORE, 0)
    return missing


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    most = resource.getrlimit(kind)[1]
    hard = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))


def _without_network(libc: ctypes.CDLL) -> list[str]:
    """A network namespace of its own has no interface that is up, not even the loopback."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        reason = os.strerror(ctypes.get_errno())
        return [f"This system allows no network namespace ({reason}): the work ran with the network in reach."]
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return []


def main() -> None:
    limits = msgspec.json.decode(sys.argv[1], type=Limits)
    parent, module, arguments = int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    missing = confine(limits, parent)
    # Libraries print to standard output, the parent reads it: theirs goes where errors go.
    channel = os.dup(1)
    os.dup2(2, 1)
    os.set_inheritable(channel, False)
    os.environ["EDGEFLEET_CHANNEL"] = str(channel)
    if missing:
        os.write(channel, msgspec.json.encode({"notes": missing}) + b"\n")
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
