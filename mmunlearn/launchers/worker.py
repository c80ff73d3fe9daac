"""Worker of the local launcher: runs command lines of `mmunlearn` one after another in one process.

It reads a JSON line {"argv", "env", "log"} from stdin and answers with {"code"} on the descriptor named in its first
argument; the second names the function that runs a command ("mmunlearn.cli:main"). Imports are paid once; a crash costs
one job, since the launcher starts another worker.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import traceback
from typing import Any

from mmunlearn.launchers.base import run_entry

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until stdin ends."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a launcher in the background has it switched off
    os.set_inheritable(int(sys.argv[1]), False)
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    # Commands must not read the orders, so they get an empty stdin.
    orders = os.fdopen(os.dup(0), "r", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    while line := _next(orders):
        code = _do(json.loads(line), sys.argv[2])
        with contextlib.suppress(BrokenPipeError):
            answers.write(json.dumps({"code": code}) + "\n")
            answers.flush()
        gc.collect()


def _next(orders: Any) -> str:
    try:
        return orders.readline()
    except KeyboardInterrupt:  # interrupted while idle
        return ""


def _do(order: dict[str, Any], entry: str) -> int:
    before = {key: os.environ.get(key) for key in order["env"]}
    os.environ.update(order["env"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)  # descriptors, so that output of compiled code and of subprocesses arrives as well
        os.dup2(log, 2)
        return run_entry(entry, order["argv"])
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os.close(log)
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _die_with_parent() -> None:
    """End with the launcher even when it was killed (Linux); elsewhere the end of stdin does it between jobs."""
    try:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        pass


if __name__ == "__main__":
    main()
