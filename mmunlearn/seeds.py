"""One root seed, named streams: every random draw of a run is a pure function of (root seed, names).

Nothing here touches a global generator. Streams: init, data, pair, augment, noise, labels, sample, attack, judge.
"""

import hashlib

import numpy as np

_MASK = (1 << 63) - 1


def derive(root: int, *names: object) -> int:
    """63-bit seed of the stream `names` under `root`: blake2b of the root and the names (house rule B10)."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(str(int(root)).encode())
    for name in names:
        digest.update(b"\x1f" + str(name).encode())
    return int.from_bytes(digest.digest(), "little") & _MASK


def generator(root: int, *names: object) -> np.random.Generator:
    """A NumPy generator of its own for the stream `names`."""
    return np.random.Generator(np.random.PCG64(derive(root, *names)))


def uniforms(keys: np.ndarray, stream: int, columns: int) -> np.ndarray:
    """Uniform draws in [0, 1) for many items at once: shape (len(keys), columns), float64.

    keys: one 63-bit key an item (`derive(0, example.id)`), stream: seed of the stream. A draw depends on nothing but
    (key, stream, column), so neither batch size nor order nor the number of processes changes it. Counter-based
    SplitMix64 (Steele, Lea and Flood, 2014).
    """
    with np.errstate(over="ignore"):
        state = keys.astype(np.uint64)[:, None] ^ (np.uint64(stream) * np.uint64(0x9E3779B97F4A7C15))
        state = _mix(state) + (np.arange(1, columns + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))[None, :]
        return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
