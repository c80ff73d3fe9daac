"""Local launcher: one worker process a GPU, or as many as the cores allow; each runs many commands in turn."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmunlearn.errors import UserError
from mmunlearn.launchers.base import ENTRY, Job, Launcher, Resources, State, log_file

GRACE_S = 30.0  # what an interrupted job gets to leave resumable state
IDLE_EXIT_S = 5.0


class LocalJob(Job):
    """A command in the queue of the local launcher."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path):
        self.name, self.log = name, log
        self.command, self.env = list(command), dict(env)
        self.started_s: float | None = None
        self.code: int | None = None

    def state(self) -> State:
        """Read from what the launcher has seen; `Launcher.wait` looks again."""
        if self.code is not None:
            return State.DONE if self.code == 0 else State.FAILED
        return State.WAITING if self.started_s is None else State.RUNNING


class _Worker:
    """A worker process and the job it runs."""

    def __init__(self, env: Mapping[str, str], entry: str):
        self.env, self.entry = env, entry
        self.process: subprocess.Popen | None = None
        self.answers: int | None = None
        self.job: LocalJob | None = None

    def give(self, job: LocalJob) -> None:
        """Hand over a job, starting the process where there is none."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process is not None and self.process.stdin is not None
        order = {"argv": job.command, "env": job.env, "log": str(job.log)}
        self.job, job.started_s = job, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # died at once: `look` finds the end of its answers
            self.process.stdin.write((json.dumps(order) + "\n").encode())
            self.process.stdin.flush()

    def _start(self) -> None:
        self.stop()
        read, write = os.pipe()
        root = Path(__file__).parent.parent.parent
        env = {**os.environ, **self.env}
        if (root / "pyproject.toml").is_file():  # a checkout that need not be installed
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), env.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmunlearn.launchers.worker", str(write), self.entry],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=env,
            pass_fds=(write,),
            start_new_session=True,  # Ctrl-C reaches the launcher, which tells the workers
        )
        os.close(write)
        self.answers = read

    def look(self) -> None:
        """Take the answer to the current job, if there is one; a dead worker's job has failed."""
        if self.job is None or self.answers is None or self.process is None:
            return
        answered = bool(select.select([self.answers], [], [], 0)[0])
        if not answered and self.process.poll() is None:
            return
        text = os.read(self.answers, 4096).decode() if answered else ""
        self.job.seconds = time.monotonic() - (self.job.started_s or 0.0)
        if text:
            self.job.code = int(json.loads(text)["code"])
        else:
            code = self.process.wait()
            self.job.code = code if code else 1
            with open(self.job.log, "a", encoding="utf-8") as stream:
                stream.write(f"The process that ran this job died ({_death(code)}).\n")
            self.stop()
        self.job = None

    def stop(self) -> None:
        """End the process: one that is idle ends by itself when its orders end, one at work is killed."""
        process, self.process = self.process, None
        if process is not None:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            try:
                process.wait(IDLE_EXIT_S if self.job is None else 0.0)
            except subprocess.TimeoutExpired:
                _kill_group(process)
        if self.answers is not None:
            os.close(self.answers)
            self.answers = None


def _kill_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _death(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
    return f"signal {signal.Signals(-code).name}{hint}"


class Local(Launcher):
    """Workers on this machine. Log files lie in `logs`.

    workers: how many at once (None: one a GPU, else cores // threads). threads: CPU threads of a worker.
    entry: "module:function" that runs a command and returns its exit code.
    """

    def __init__(self, logs: Path, *, workers: int | None = None, threads: int = 1, entry: str = ENTRY):
        if threads < 1:
            raise UserError(f"threads must be at least 1 (got {threads}).")
        if workers is not None and workers < 1:
            raise UserError(f"workers must be at least 1 (got {workers}).")
        self.logs = logs
        self.queue: deque[LocalJob] = deque()
        self.workers = [_Worker(env, entry) for env in worker_environments(workers, threads, visible_gpus())]

    def submit(self, command: Sequence[str], resources: Resources, env: Mapping[str, str], *, name: str = "") -> Job:
        """Queue a command; the next idle worker takes it."""
        self.logs.mkdir(parents=True, exist_ok=True)
        more = {"OMP_NUM_THREADS": str(resources.threads)} if resources.threads is not None else {}
        job = LocalJob(name, command, {**more, **env}, log_file(self.logs, name or "job"))
        self.queue.append(job)
        self._hand_out()
        return job

    def _hand_out(self) -> None:
        for worker in self.workers:
            if worker.job is None and self.queue:
                worker.give(self.queue.popleft())

    def wait(self, timeout_s: float) -> None:
        """Until a worker answers, or `timeout_s`."""
        waiting = [worker.answers for worker in self.workers if worker.job is not None and worker.answers is not None]
        if waiting:
            select.select(waiting, [], [], timeout_s)
        else:
            time.sleep(timeout_s)
        for worker in self.workers:
            worker.look()
        self._hand_out()

    def close(self, *, interrupt: bool = False) -> None:
        """Stop all workers together; with `interrupt` running jobs get a moment to leave resumable state."""
        self.queue.clear()
        if interrupt:
            for worker in self.workers:
                if worker.job is not None and worker.process is not None and worker.process.poll() is None:
                    worker.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + GRACE_S
        for worker in self.workers:
            if interrupt and worker.job is not None and worker.process is not None:
                left = max(deadline - time.monotonic(), 0.1)
                if worker.answers is not None:
                    select.select([worker.answers], [], [], left)
                worker.look()
            worker.stop()


def worker_environments(workers: int | None, threads: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Environment of each worker: a GPU each where there are GPUs (more workers share them), else CPU threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if not gpus:
        count = workers or max(1, cores // threads)
        return [dict(limits) for _ in range(count)]
    count = workers or len(gpus)
    return [{**limits, "CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} for index in range(count)]


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, found without importing torch."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [part.strip() for part in allowed.split(",") if part.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(index) for index, line in enumerate(answer.splitlines()) if line.startswith("GPU ")]
