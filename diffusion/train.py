"""Train, retrain or unlearn a text-to-image model: the reading entrance to the code, and what accelerate launches.

    python -m mmunlearn.diffusion.train --out runs/original modality=diffusion benchmark.name=unlearncanvas row=original
    accelerate launch --num_processes 2 -m mmunlearn.diffusion.train --config train.yaml --out runs/original

The settings are those of `mmunlearn unlearn`. What happens, in order: settings are resolved; the run directory is
opened (or resumed); the model and the splits are loaded; the method runs in the engine; pictures are sampled, judged
and reduced; the cells are printed.
"""

import sys

from mmunlearn.cli import call_guarded
from mmunlearn.processes import start_missing


def main() -> int:
    """Run the script with the process's words; returns the exit code (0, 2 for wrong input, 1 for a fault, 130)."""
    from mmunlearn.verbs import unlearn

    start_missing("mmunlearn.diffusion.train", sys.argv[1:])
    return call_guarded(unlearn, "unlearn", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
