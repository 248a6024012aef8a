"""Which jobs are done, and who does the next: files in the workdir, without a server.

A process that works on a job holds a lock on a file of it, which the kernel lets go when the process ends, however it
ends (flock, also over NFS 4). Done and failed jobs are files, written whole.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dfjax.benchmark.plan import Job
from dfjax.records import InputError
from dfjax.runtime import files

WAIT = 1.0  # seconds between two looks for a job that others are not working on
OPEN, DONE, FAILED = "open", "done", "failed"


class Board:
    """The jobs of a workdir, seen by one process; writes nothing before a job is to be done."""

    def __init__(self, workdir: pathlib.Path, jobs: Sequence[Job]):
        """A job that failed before this was made is open again: the command was given anew."""
        self.folder, self.jobs, self.since = workdir / "jobs", list(jobs), time.time()
        self._tried: set[str] = set()  # by this process

    def path(self, job: Job | str, ending: str) -> pathlib.Path:
        """One of a job's files."""
        id_ = job if isinstance(job, str) else job.id
        return self.folder / f"{id_.replace('/', '.')}.{ending}"

    def state(self, job: Job | str) -> str:
        """OPEN, DONE or FAILED."""
        if self.path(job, DONE).exists():
            return DONE
        id_ = job if isinstance(job, str) else job.id
        try:
            new = self.path(job, FAILED).stat().st_mtime >= self.since
        except OSError:
            return OPEN
        return FAILED if new or id_ in self._tried else OPEN

    def facts(self, job: Job | str) -> dict[str, Any]:
        """What `end` wrote of a job, such as seconds, and `problem` where it failed; empty of one that did not end."""
        for ending in (DONE, FAILED):
            if self.path(job, ending).exists():
                return json.loads(self.path(job, ending).read_text())
        return {}

    def end(self, job: Job, facts: dict[str, Any], problem: str = "") -> None:
        """Writes that a job is done, with `facts` of it; or that it failed, where there is a `problem`."""
        self._tried.add(job.id)
        self.path(job, FAILED).unlink(missing_ok=True)
        told = facts | ({"problem": problem} if problem else {})
        files.write(self.path(job, FAILED if problem else DONE), json.dumps(told, allow_nan=False) + "\n")

    def reopen(self, made: Callable[[Job], bool] = lambda job: True) -> None:
        """Jobs that were done with other datasets than those of now are to be done again.

        That is where one is to be prepared now, or where what the job has made of those of now is not there. What jobs
        did is kept by their runs, so that only what is new is work.

        Args:
          made: whether what a job that is done has made is there.
        """
        for job in self.jobs:
            new = any(self.state(id_) == OPEN for id_ in job.after)
            if new or (self.state(job) == DONE and not made(job)):
                self.path(job, DONE).unlink(missing_ok=True)

    def open_jobs(self) -> Iterator[Job]:
        """Jobs to do, each under its lock while the caller holds it, until all have ended here or elsewhere.

        A job whose need failed has failed, too. While others work on what is left, this waits for them.

        Raises:
          InputError: the workdir may not be written to.
        """
        while left := [job for job in self.jobs if self.state(job) == OPEN]:
            before = len(left)
            for job in left:
                states = [self.state(need) for need in job.needs]
                if OPEN in states or any(self.state(id_) == OPEN for id_ in job.after):
                    continue
                with self._locked(job) as mine:
                    if not mine or self.state(job) != OPEN:
                        continue
                    if FAILED in states:
                        self.end(job, {}, f"{job.needs[states.index(FAILED)]} failed")
                        continue
                    yield job
                break  # a job that comes first may have become possible
            if len([job for job in left if self.state(job) == OPEN]) == before:
                time.sleep(WAIT)

    @contextlib.contextmanager
    def _locked(self, job: Job) -> Iterator[bool]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.path(job, "lock"), "a") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True
        except PermissionError as error:
            raise InputError(f"cannot write to --workdir {self.folder.parent}: {error.strerror}") from error

    def begun(self, job: Job) -> bool:
        """Whether somebody has worked on it before and did not come to its end; notes that it is begun."""
        path = self.path(job, "begun")
        there = path.exists()
        files.write(path, f"{os.uname().nodename}\n")
        return there
