"""The command line: `edge-agent run`, `enroll`, `status`, `doctor` and `service`. Each imports only what it needs."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from agent import __version__, config
from agent.config import ConfigError, Settings
from agent.lock import DataFolderInUseError

#: Exit status: done; not done, with the reason; asked, and a person has to answer.
DONE, FAILED, PENDING = 0, 1, 3


def main(arguments: list[str] | None = None) -> int:
    """The console script `edge-agent`. Returns the exit status."""
    given = vars(_parser().parse_args(arguments))
    try:
        found = config.gather(given, os.environ, config.file_of(given["config"], os.environ))
        done: int = {"run": _run, "enroll": _enroll, "status": _status, "doctor": _doctor, "service": _service}[
            given["command"]
        ](found, given)
        return done
    except (ConfigError, DataFolderInUseError, OSError) as problem:
        print(f"edge-agent: {problem}", file=sys.stderr)
        return FAILED


def _logging(settings: Settings, level: str = "") -> None:
    from agent import logs

    logs.hide(settings.token, settings.token.partition(".")[2], settings.api_token)
    logs.set_up(settings.data, level or settings.log_level, settings.log_format)
    for name in config.unknown_variables(os.environ):
        import logging

        logging.getLogger(__name__).warning("the variable %s is no setting of the agent and is ignored", name)


def _run(found: Mapping[str, Any], _given: Mapping[str, Any]) -> NoReturn:
    import logging

    from agent import main as wiring

    settings = config.build(found)
    _logging(settings)
    wiring.run(settings)
    # A thread that is still inside the runtime would abort an interpreter that ends in good order. Nothing is lost:
    # whatever has to outlive the process is on the disk already.
    logging.shutdown()
    os._exit(DONE)


def _enroll(found: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    from agent import enroll

    settings = config.build(found)
    _logging(settings, "ERROR")
    told = enroll.ask(settings, wait=given["wait"])
    print(json.dumps(told.fields()) if given["json"] else told.words())
    return {"accepted": DONE, "pending": PENDING}.get(told.status, FAILED)


def _status(found: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    from agent import status

    told = status.read(config.data_folder(found))
    print(json.dumps(told, indent=2) if given["json"] else "\n".join(status.lines(told)))
    return DONE


def _doctor(found: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    from agent.doctor import examination

    findings = examination.examine(found)
    print(examination.as_json(findings) if given["json"] else "\n".join(examination.lines(findings)))
    return FAILED if any(finding.result == "problem" for finding in findings) else DONE


def _service(_found: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    from agent import service

    if not given["install"]:
        print(service.unit(), end="")
        return DONE
    print(service.install(Path(given["root"])))
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Runs vision-language-action models on this device, under Edgefleet's control."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="enroll if need be, then work until told to stop")
    enrolling = commands.add_parser(
        "enroll", help="ask once to be let in; status 0 when accepted, 3 while a person has to answer"
    )
    enrolling.add_argument("--wait", action="store_true", help="ask until the device is accepted")
    asking = commands.add_parser("status", help="what this device is and runs, from its data folder")
    examining = commands.add_parser("doctor", help="what is wrong with this device, and what to do; status 1 if any is")
    serving = commands.add_parser("service", help="print the systemd unit, or install it")
    serving.add_argument("--install", action="store_true", help="write the unit, and settings where there are none")
    serving.add_argument("--root", metavar="DIR", default="/", help="install below this folder, as for an image")
    for each in (enrolling, asking, examining):
        each.add_argument("--json", action="store_true", help="for programs")
    for each in (running, enrolling, asking, examining, serving):
        each.add_argument(
            "--config", metavar="FILE", help=f"TOML file with any of the settings [{config.FILE_VARIABLE}]"
        )
    for option in config.OPTIONS:
        for each in (running, enrolling, examining):
            each.add_argument(option.flag, dest=option.key, metavar="X", help=f"{option.help} [{option.variable}]")
    data = config.OPTIONS[0]
    asking.add_argument(data.flag, dest=data.key, metavar="X", help=f"{data.help} [{data.variable}]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
