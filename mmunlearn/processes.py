"""Starts the processes that accelerate's launcher leaves out on a machine without accelerators.

`accelerate launch --num_processes 2` starts one process there, whatever the number (its simple launcher expects mpirun
to start the others), and says nothing. A train script calls `start_missing` first; torch's launcher then starts all.
"""

import logging
import os
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

log = logging.getLogger(__name__)

ALONE = ("accelerate launch was asked for several processes and started one. Use this instead:\n"
         "python -m torch.distributed.run --nproc_per_node N -m {module} …")  # fmt: skip


def start_missing(module: str, words: Sequence[str]) -> None:
    """Replace this process by all that were asked for, running `module` with `words`; return when none is missing."""
    if not _left_alone():
        return
    wanted = asked_for(_parent())
    if wanted is None:
        log.warning(ALONE.format(module=module))
    elif wanted > 1:
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(wanted)]
        meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
        os.execv(sys.executable, [sys.executable, *launcher, *meeting, "-m", module, *words])


def _left_alone() -> bool:
    """Whether accelerate's simple launcher meant several processes on this machine's CPUs (it sets a meeting point
    then) and nobody, such as mpirun, has numbered this one."""
    env = os.environ
    if "ACCELERATE_MIXED_PRECISION" not in env or "MASTER_ADDR" not in env:
        return False
    if any(name in env for name in ("LOCAL_RANK", "RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")):
        return False
    if env.get("ACCELERATE_USE_CPU", "").lower() == "true":
        return True
    import torch

    return not torch.accelerator.is_available()


def asked_for(words: Sequence[str]) -> int | None:
    """Processes on one machine that a command line of accelerate's launcher names; None when it does not say."""
    launchers = {"launch", "launch.py", "accelerate-launch", "accelerate.commands.launch"}
    begin = next((number for number, word in enumerate(words) if Path(word).name in launchers), len(words))
    words = words[begin + 1 :]
    values: dict[str, int] = {}
    for word, following in pairwise([*words, ""]):
        if word in ("-m", "--module"):
            break
        found = re.fullmatch(r"--num[-_](processes|machines)(?:=(\d+))?", word)
        if found and (found[2] or following).isdigit():
            values[found[1]] = int(found[2] or following)
    return values.get("processes") if values.get("machines", 1) == 1 else None


def _parent() -> list[str]:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # not Linux
        return []
