"""Start-up of the command line: `--help` and `list` against their limits, and against importing what they avoid."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
REPEATS = 7
LIMITS_S = {"mmunlearn --help": 0.3, "mmunlearn list": 0.5}
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "mmunlearn --help": ["-m", "mmunlearn", "--help"],
    "mmunlearn list": ["-m", "mmunlearn", "list"],
    "import torch": ["-c", "import torch"],
}


def seconds(words: list[str]) -> float:
    """Median wall-clock time of `python WORDS` after one warm-up."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> int:
    """Print the times; 1 when a limit is missed."""
    found = {name: seconds(words) for name, words in COMMANDS.items()}
    for name, value in found.items():
        limit = LIMITS_S.get(name)
        verdict = "" if limit is None else f"  limit {limit:.1f} s: {'met' if value <= limit else 'MISSED'}"
        ratio = "" if limit is None else f"  {found['import torch'] / value:.1f}x faster than importing torch"
        print(f"{name:<18} {value:6.3f} s{ratio}{verdict}")
    return int(any(found[name] > limit for name, limit in LIMITS_S.items()))


if __name__ == "__main__":
    sys.exit(main())
