"""The local launcher: persistent workers, crashes, interruption, environments."""

import os
from pathlib import Path

import pytest

from mmunlearn.grid import Grid, JobSpec, Outcome
from mmunlearn.launchers.base import Resources, State
from mmunlearn.launchers.board import Board
from mmunlearn.launchers.local import Local, visible_gpus, worker_environments

ENTRY = """
import os, signal, sys
from pathlib import Path

count = 0

def main(argv):
    global count
    count += 1
    verb, *rest = argv
    print(f"job {count} of process {os.getpid()}", flush=True)
    if verb == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "exit":
        sys.exit(3)
    if verb == "raise":
        raise RuntimeError("lost")
    if verb == "env":
        print(os.environ.get(rest[0]), flush=True)
    if verb == "stdin":
        print(repr(sys.stdin.read()), flush=True)
    if verb == "compiled":
        os.write(2, b"from below\\n")
    if verb == "wait":
        try:
            print("ready", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            Path(rest[0]).write_text("checkpoint")
            return 130
    return 0
"""


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "local_entry.py").write_text(ENTRY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launchers = []

    def make(workers: int = 1) -> Local:
        launchers.append(Local(tmp_path / "logs", workers=workers, entry="local_entry:main"))
        return launchers[-1]

    yield make
    for launcher in launchers:
        launcher.close()


def finish(launcher: Local, *jobs) -> None:
    while any(job.state() in (State.WAITING, State.RUNNING) for job in jobs):
        launcher.wait(5.0)


def submit(launcher: Local, *command: str, name: str = "", env: dict[str, str] | None = None):
    return launcher.submit(command, Resources(), env or {}, name=name or command[0])


def test_one_worker_runs_many_commands_in_one_process(local) -> None:
    launcher = local()
    jobs = [submit(launcher, "ok", name=f"j{index}") for index in range(3)]
    finish(launcher, *jobs)
    assert [State.DONE] * 3 == [job.state() for job in jobs]
    lines = [job.tail(1) for job in jobs]
    assert ["job 1", "job 2", "job 3"] == [line[:5] for line in lines]
    assert 1 == len({line.rpartition(" ")[2] for line in lines})


def test_two_workers_are_two_processes(local) -> None:
    launcher = local(2)
    jobs = [submit(launcher, "ok", name=name) for name in "ab"]
    finish(launcher, *jobs)
    assert 2 == len({job.tail(1).rpartition(" ")[2] for job in jobs})


def test_crash_fails_its_job_and_the_next_gets_a_new_process(local) -> None:
    launcher = local()
    crash, after = submit(launcher, "crash"), submit(launcher, "ok")
    finish(launcher, crash, after)
    assert (State.FAILED, -9) == (crash.state(), crash.code)
    assert "died (signal SIGKILL, perhaps out of memory)" in crash.tail()
    assert State.DONE == after.state()
    assert "job 1" in after.tail()


@pytest.mark.parametrize(("verb", "code", "text"), [("exit", 3, "job 1"), ("raise", 1, "RuntimeError: lost")])
def test_job_that_ends_badly_keeps_its_worker(local, verb: str, code: int, text: str) -> None:
    launcher = local()
    bad, after = submit(launcher, verb), submit(launcher, "ok")
    finish(launcher, bad, after)
    assert (State.FAILED, code) == (bad.state(), bad.code)
    assert text in bad.tail()
    assert "job 2" in after.tail()


def test_environment_of_a_job_ends_with_it(local) -> None:
    launcher = local()
    with_it = submit(launcher, "env", "MARK", env={"MARK": "set"}, name="with")
    without = submit(launcher, "env", "MARK", name="without")
    finish(launcher, with_it, without)
    assert ("set", "None") == (with_it.tail(1), without.tail(1))


def test_output_below_python_lands_in_the_log_and_stdin_is_empty(local) -> None:
    launcher = local()
    compiled, stdin = submit(launcher, "compiled"), submit(launcher, "stdin")
    finish(launcher, compiled, stdin)
    assert "from below" == compiled.tail(1)
    assert "''" == stdin.tail(1)


def test_crash_of_one_job_does_not_stop_the_grid(local) -> None:
    jobs = [
        JobSpec("a", ("ok",)),
        JobSpec("bad", ("crash",)),
        JobSpec("b", ("ok",)),
        JobSpec("c", ("ok",), after=("bad",)),
    ]
    done = Grid(jobs).run(local(), Board([job.name for job in jobs]))
    assert [Outcome.DONE, Outcome.FAILED, Outcome.DONE, Outcome.BLOCKED] == [result.outcome for result in done]


def test_interrupt_lets_running_jobs_leave_their_state_and_drops_the_rest(local, tmp_path: Path) -> None:
    class Impatient(Board):
        def show(self, name: str, state: str, note: str = "", seconds: float = 0.0) -> None:
            if note == "ready":
                raise KeyboardInterrupt

    jobs = [JobSpec("a", ("wait", str(tmp_path / "kept"))), JobSpec("b", ("ok",))]
    launcher = local()
    with pytest.raises(KeyboardInterrupt):
        Grid(jobs).run(launcher, Impatient(["a", "b"]))
    assert "checkpoint" == (tmp_path / "kept").read_text()
    assert not (tmp_path / "logs" / "b.log").exists()
    assert all(worker.process is None for worker in launcher.workers)


def test_close_leaves_no_process(local) -> None:
    launcher = local()
    job = submit(launcher, "ok")
    finish(launcher, job)
    pid = int(job.tail(1).rpartition(" ")[2])
    launcher.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_each_gpu_gets_a_worker() -> None:
    found = worker_environments(None, 2, ["0", "3"])
    assert ["0", "3"] == [env["CUDA_VISIBLE_DEVICES"] for env in found]
    assert ["2", "2"] == [env["OMP_NUM_THREADS"] for env in found]


def test_more_workers_than_gpus_share_them() -> None:
    assert ["0", "1", "0"] == [env["CUDA_VISIBLE_DEVICES"] for env in worker_environments(3, 1, ["0", "1"])]


def test_without_gpus_threads_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    assert 7 == len(worker_environments(None, 1, []))
    assert 3 == len(worker_environments(None, 2, []))
    assert 1 == len(worker_environments(None, 16, []))


@pytest.mark.parametrize(("value", "expected"), [("2,5", ["2", "5"]), ("", []), ("-1", [])])
def test_visible_gpus_respects_what_the_user_set(monkeypatch: pytest.MonkeyPatch, value: str, expected: list) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert expected == visible_gpus()
