"""The tree of an invented hospital world: institutions, patients, studies, and the four sections of each report."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmunlearn import seeds

INSTITUTIONS = ("Northgate", "Eastfield", "Southmoor", "Westbrook", "Riverside", "Hillcrest", "Lakeview", "Oakwood")
SURNAMES = (
    "Abbott", "Barker", "Carter", "Dawson", "Ellis", "Foster", "Gibson", "Harper", "Irwin", "Jensen", "Keller",
    "Lawson", "Mercer", "Norris", "Osborn", "Parker", "Quinn", "Ramsey", "Sutton", "Turner", "Usher", "Vaughn",
    "Walker", "Yates",
)  # fmt: skip
# Words that name studies: digits take a mini model long to learn by heart.
CODES = (
    "amber", "basalt", "copper", "diamond", "ember", "flint", "garnet", "hazel", "indigo", "jasper", "karst", "lilac",
    "maple", "nickel", "onyx", "pearl", "quartz", "ruby", "silver", "topaz", "umber", "violet", "willow", "yarrow",
    "zinc", "acorn", "birch", "cedar", "daisy", "elder", "fern", "ginger", "heather", "iris", "juniper", "laurel",
)  # fmt: skip
EXAMINATIONS = (
    "portable chest film", "frontal chest film", "lateral chest film", "upright chest film", "supine chest film",
    "repeat chest film", "bedside chest film", "inspiratory chest film",
)  # fmt: skip
INDICATIONS = (
    "fever and cough", "chest pain", "shortness of breath", "fall on the ribs", "line placement", "weight loss",
    "wheezing at night", "pain after surgery", "coughing blood", "new heart murmur",
)  # fmt: skip
FINDINGS = ("nodule", "opacity", "effusion", "calcification", "cavity", "consolidation")
SIZES = ("small", "moderate", "large")
ZONES = ("left upper", "left lower", "right upper", "right lower")
IMPRESSIONS = (
    "bacterial pneumonia", "healed fracture", "heart failure", "lung abscess", "old tuberculosis", "early tumour",
    "pleural disease", "viral infection", "normal recovery", "chronic bronchitis",
)  # fmt: skip


class Study(NamedTuple):
    """One study of a patient: ids of its path, the word that names it, the finding, the text of its sections."""

    institution: str
    patient: str
    study: str
    surname: str
    code: str
    finding: tuple[str, str, str]  # size, kind, zone
    sections: dict[str, str]

    @property
    def path(self) -> tuple[str, str, str]:
        """Ids from institution to study."""
        return self.institution, self.patient, self.study


def draw_studies(institutions: int, patients: int, studies: int, seed: int, first: int = 0) -> Iterator[Study]:
    """Studies of `institutions` institutions from the `first` on; ids count on over the whole world."""
    for place in range(first, first + institutions):
        for number in range(patients):
            patient = place * patients + number
            for at in range(studies):
                study = patient * studies + at
                rng = seeds.generator(seed, "medforget", "study", study)
                finding = (_pick(rng, SIZES), _pick(rng, FINDINGS), _pick(rng, ZONES))
                yield Study(
                    INSTITUTIONS[place % len(INSTITUTIONS)].lower(),
                    f"P{patient + 1:02d}",
                    f"S{study + 1:02d}",
                    SURNAMES[patient % len(SURNAMES)],
                    CODES[study % len(CODES)],
                    finding,
                    {
                        "EXAMINATION": _pick(rng, EXAMINATIONS),
                        "INDICATION": _pick(rng, INDICATIONS),
                        "FINDINGS": " ".join((finding[0], finding[2], finding[1])),
                        "IMPRESSION": _pick(rng, IMPRESSIONS),
                    },
                )


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]
