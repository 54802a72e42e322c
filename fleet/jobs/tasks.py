"""The Celery side of jobs. A task only names a job; everything about it is in its row."""

import logging
import threading

from django.db import close_old_connections

from fleet.celery import app
from fleet.jobs import queue, services
from fleet.jobs.models import Job

log = logging.getLogger(__name__)

#: Optimizing takes all of a core: it has a worker of its own, one job at a time. The rest only waits for devices.
QUEUES = {"optimize": "optimize", "reoptimize": "default"}
HEARTBEAT_SECONDS = 2.0


def wake(job_id: int, kind: str) -> None:
    run.apply_async((job_id,), queue=QUEUES[kind])


@app.task
def run(job_id: int) -> None:
    """Do one job, if it is still to be done. Delivered twice, it runs once."""
    job = queue.claim(job_id)
    if job is None:
        return
    try:
        with Heartbeat(job) as heartbeat:
            result = _work(job, heartbeat)
        queue.finish(job, "succeeded", result.pop("summary", ""), result)
    except queue.Canceled:
        queue.finish(job, "canceled", "canceled by request")
    except queue.Lost:
        log.warning("job %s was taken away from this worker", job_id)
    except Exception as problem:  # whatever went wrong, the row has to say it
        log.exception("job %s failed", job_id)
        queue.finish(job, "failed", str(problem) or type(problem).__name__)
    queue.tell(job)


def _work(job: Job, heartbeat: "Heartbeat") -> dict:
    from fleet.jobs import optimize, reoptimize

    return {"optimize": optimize.run, "reoptimize": reoptimize.run}[job.kind](job, heartbeat)


class Heartbeat:
    """Keeps a job's claim fresh from a thread of its own, and learns there that the job must stop."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._ended = threading.Event()
        self._stop: type[Exception] | None = None
        self._thread = threading.Thread(target=self._keep, name=f"job-{job.pk}", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def must_stop(self) -> bool:
        return self._stop is not None

    def check(self) -> None:
        """Raises Lost or Canceled once the job must stop."""
        if self._stop is not None:
            raise self._stop

    def _keep(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                close_old_connections()
                queue.beat(self.job)
            except (queue.Lost, queue.Canceled) as problem:
                self._stop = type(problem)
                return
            except Exception:  # the database may be away for a moment; the claim lives for ten beats
                log.exception("heartbeat of job %s", self.job.pk)


@app.task
def requeue_lost() -> None:
    services.requeue_lost()
