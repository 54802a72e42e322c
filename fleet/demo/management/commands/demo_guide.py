"""`manage.py demo_guide`: walks the loop beside the demo's processes, and says what to look at. The demo starts it."""

import os
import signal
import sys

from django.conf import settings
from django.core.management.base import BaseCommand

from fleet.accounts.first_start import ADMIN
from fleet.demo.client import ApiError, Client, wait_for
from fleet.demo.loop import CHECK_REPORT, MODEL, Loop, last_line


class Command(BaseCommand):
    help = "Part of `manage.py demo`."

    def add_arguments(self, parser):
        parser.add_argument("--check", default="")

    def handle(self, **options):
        address = os.environ["EDGEFLEET_ADDRESS"]
        client = Client(address, os.environ["EDGEFLEET_API_TOKEN"])
        loop = Loop(client, self._say)
        wait_for("the pages", lambda: client.get("/me"), 60)
        if options["check"]:
            sys.exit(self._check(loop, options["check"]))
        fresh = not has_model(client)
        self._say(banner(address, os.environ.get("EDGEFLEET_FIRST_PASSWORD", ""), fresh))
        try:
            if fresh:
                walk(loop)
                self._say("All six devices run their variant. Next: open a device and press Re-optimize.")
        except Exception as problem:  # the pages show what went wrong, so the demo goes on
            self._say(f"The guided part ended early: {problem}")
        signal.pause()

    def _check(self, loop: Loop, name: str) -> int:
        try:
            walk(loop)
            loop.infer()
            loop.telemetry()
            loop.reoptimize()
        except Exception as problem:  # recorded in the failed step; the report is the answer
            self._say(f"The check ended early: {problem}")
        result = loop.result(name)
        self._say(loop.table())
        (settings.DATA_DIR / CHECK_REPORT).write_text(last_line(result))
        return 0 if result["passed"] else 1

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def walk(loop: Loop) -> None:
    """From nothing to six devices that run their variant."""
    loop.register()
    loop.upload()
    loop.optimize()
    loop.release_and_roll_out()


def has_model(client: Client) -> bool:
    """Whether an earlier start got as far as the upload."""
    try:
        return bool(client.get(f"/models/{MODEL}/versions"))
    except ApiError as problem:
        if problem.status == 404:
            return False
        raise


def banner(address: str, password: str, fresh: bool) -> str:
    """What to look at: on fresh data what is about to happen, later what is there."""
    if password:
        login = f"Log in as  {ADMIN}  with the password  {password}  (shown this once; change it under Account)"
    else:
        login = f"Log in as  {ADMIN}  (password lost? .venv/bin/python manage.py changepassword {ADMIN})"
    if fresh:
        look = f"""Look first at  {address}/jobs      the model is being optimized for each device class,
    then at        {address}/rollouts  how it reaches six simulated devices,
    then at        {address}/devices   and press Re-optimize on one of them."""
    else:
        look = f"""The data of the last start are still here; nothing is uploaded or optimized anew.
    Look first at  {address}/devices   the simulated devices come back with what they ran; press Re-optimize on one,
    then at        {address}/models    what was uploaded and made of it,
    then at        {address}/rollouts  how it reached the devices."""
    return f"""
    Edgefleet is running at  {address}
    {login}

    {look}
    Ctrl-C ends everything; the data stay. `make demo-reset` clears them.
"""
