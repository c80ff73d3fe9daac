"""What is true of an invented person: eight facts, most of them unlike anyone else's."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmunlearn.errors import UserError

Fact = Mapping[str, str]  # slots of an answer; their values are the keywords

# Common conditions in words of their own; two words or more each.
CONDITIONS = (
    "chronic migraine", "bronchial asthma", "type two diabetes", "type one diabetes", "high blood pressure",
    "iron deficiency", "rheumatoid arthritis", "seasonal hay fever", "coeliac disease", "an irregular heartbeat",
    "a stomach ulcer", "chronic back pain", "a kidney stone", "sleep apnoea", "an overactive thyroid",
    "an underactive thyroid", "a herniated disc", "severe eczema", "plaque psoriasis", "multiple sclerosis",
    "Crohn's disease", "ulcerative colitis", "acid reflux", "a peanut allergy", "lactose intolerance",
    "early glaucoma", "a torn ligament", "carpal tunnel syndrome", "chronic sinusitis", "a slipped kneecap",
    "heart failure", "coronary disease", "deep vein thrombosis", "sickle cell anaemia", "Lyme disease",
    "chronic hepatitis", "gallbladder stones", "a fractured wrist", "restless legs", "tension headache",
    "hearing loss", "chronic bronchitis", "brittle bones", "a frozen shoulder", "pernicious anaemia",
    "an enlarged spleen", "optic neuritis", "muscular dystrophy",
)  # fmt: skip
HOSPITALS = ("General Hospital", "Memorial Clinic", "Community Hospital", "University Clinic")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
KINDS = ("name", "birth", "address", "job", "condition", "doctor", "hospital", "income")


class People:
    """Draws facts; equal seeds draw equal facts (under one version of Faker), and no full name comes twice."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.fake = _faker(int(rng.integers(2**31)))
        self.jobs = self._shuffled(tuple(j for j in _jobs() if len(j.split()) <= 3))
        self.conditions = self._shuffled(CONDITIONS)
        self.names: set[str] = set()
        self.drawn = 0

    def profile(self, *, male: bool) -> dict[str, Fact]:
        """All facts of a person, by kind; jobs and conditions repeat only when every one was used."""
        self.drawn += 1
        profile = {kind: self.fact(kind, male=male) for kind in KINDS}
        job = self.jobs[self.drawn % len(self.jobs)]
        profile["job"] = {"job": job}
        profile["condition"] = {"condition": self.conditions[self.drawn % len(self.conditions)]}
        return profile

    def other(self, kind: str, *, male: bool, unlike: tuple[Fact, ...]) -> Fact:
        """A fact of the same kind that is none of `unlike`."""
        while True:
            fact = self.fact(kind, male=male)
            if all(not set(fact.values()) & set(one.values()) for one in unlike):
                return fact

    def fact(self, kind: str, *, male: bool) -> Fact:
        """One fact of a kind, drawn anew."""
        if kind == "name":
            return {"name": self._name(male)}
        if kind == "birth":
            month = self._pick(MONTHS)
            return {"day": f"{self.rng.integers(10, 29)} {month}", "year": str(self.rng.integers(1940, 2004))}
        if kind == "address":
            return {"street": f"{self.rng.integers(2, 99)} {self.fake.street_name()}", "city": self.fake.city()}
        if kind == "job":
            return {"job": self._pick(self.jobs)}
        if kind == "condition":
            return {"condition": self._pick(CONDITIONS)}
        if kind == "doctor":
            return {"doctor": f"Doctor {self._name(bool(self.rng.random() < 0.5))}"}
        if kind == "hospital":
            return {"hospital": f"{self.fake.last_name()} {self._pick(HOSPITALS)}"}
        return {"income": f"{self.rng.integers(180, 1800) * 100:,} dollars"}

    def _name(self, male: bool) -> str:
        while True:
            first = self.fake.first_name_male() if male else self.fake.first_name_female()
            name = f"{first} {self.fake.last_name()}"
            if name not in self.names:
                self.names.add(name)
                return name

    def _pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def _shuffled(self, options: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(options[i] for i in self.rng.permutation(len(options)))


def _faker(seed: int) -> Any:
    try:
        from faker import Faker
    except ImportError as missing:
        raise UserError(
            "invented profiles: the package faker is not installed.\n"
            "Install it: pip install faker (or: pip install 'mmunlearn[mini]')"
        ) from missing
    fake = Faker("en_US")
    fake.seed_instance(seed)
    return fake


def _jobs() -> tuple[str, ...]:
    """Two- and three-word jobs of Faker, with their article and in lower case ("an air traffic controller")."""
    from faker.providers.job.en_US import Provider

    plain = sorted({job.lower() for job in Provider.jobs if re.fullmatch(r"[A-Z][a-z]+( [a-z]+){1,2}", job)})
    return tuple(f"{'an' if job[0] in 'aeiou' else 'a'} {job}" for job in plain)
