"""A bank of tiny shadow models for the contract checks of attacks that need one."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from mmunlearn.bank import Bank
from mmunlearn.data import Role, union
from mmunlearn.handle import Decoding
from mmunlearn.records import Rows
from mmunlearn.seeds import generator
from mmunlearn.testing.tiny import TinyHandle, TinySettings, memorise, tiny_splits


@cache
def bank_file(modality: str) -> Path:
    """A bank of eight models that know half of the toy's examples by heart, kept until the process ends."""
    assert modality == "core", "banks of toys exist for the core's attacks"
    splits = tiny_splits()
    pool = union("pool", Role.TRAIN, splits["train"], splits["unseen"])
    member, unlearned, rows = np.zeros((8, len(pool)), bool), np.zeros((8, len(pool)), bool), []
    for pair in range(4):
        order = generator(0, "toy bank", pair).permutation(len(pool))
        member[2 * pair, order[::2]], member[2 * pair + 1, order[1::2]] = True, True
    for k in range(8):
        handle = memorise(TinyHandle(TinySettings(), seed=100 + k), pool.subset(np.flatnonzero(member[k])))
        unlearned[k, np.flatnonzero(member[k])[k % 2 :: 2]] = True
        rows.append(Rows.of([{"id": a.id, **a.fields} for a in handle.respond(pool.examples, Decoding(), 0)]))
    place = {key: i for i, key in enumerate(pool.ids)}
    order = np.asarray([place[key] for key in rows[0].ids])
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Bank.of(rows, member[:, order], unlearned[:, order]).save(folder / "bank.safetensors")
    return folder / "bank.safetensors"
