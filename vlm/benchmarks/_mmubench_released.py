"""Reader of the released slice of MMUBench (one concept): traindon/, testdon/, finetunedata/ and evaldata/.

Source of the layout: SIU folder of jujingliuzy/Unlearning-LLM-papers at 66f7c83 (vlm_fiu_mmu_safe 2.1 and 2.2).
Paths in its files are those of the authors' machine, so pictures are found by file name. Ids repeat there; ours count
the items.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mmunlearn.data import Example, ImageRef, Role, Split, union
from mmunlearn.errors import UserError
from mmunlearn.tables import IMAGE_SUFFIXES, read_text

from ..concepts import items
from ..concepts.book import Book, Concept

CONCEPT = "Donald Trump"
NONE = "none"  # the file's word for "no target phrase"


def is_released(root: Path) -> bool:
    """Whether `root` (or its folder SIU) is in the released layout."""
    return any((folder / "finetunedata").is_dir() for folder in (root, root / "SIU"))


def splits(root: Path, book: Book) -> dict[str, Split]:
    """Splits of the released files; what they lack (knowledge, specificity) comes from the packaged cards.

    Raises UserError naming file, item and field for a broken conversation, a picture that is missing, an empty list.
    """
    folder = root if (root / "finetunedata").is_dir() else root / "SIU"
    concept = book[CONCEPT]
    train, test = _pictures(folder / "traindon"), _pictures(folder / "testdon")
    siu = _conversations(folder / "finetunedata" / "SIU.json", "siu", train, concept)
    ga = _conversations(folder / "finetunedata" / "GA.json", "forget", train, concept)
    po = _conversations(folder / "finetunedata" / "PO.json", "refusal", train, concept)
    asked = folder / "evaldata"
    others = [c for c in book.concepts.values() if c.slug != concept.slug]
    kept = [e for e in siu if e.tags["part"] == "T4"]
    groups: dict[str, tuple[Role, Sequence[Example]]] = {
        "forget": (Role.FORGET, ga),
        "siu": (Role.FORGET, siu),
        "refusal": (Role.FORGET, _refusals(po, others)),
        "retain": (Role.RETAIN, _renamed(kept, "retain")),
        "test": (Role.HOLDOUT, _recognition(asked / "execcuatedata.json", test, concept, book)),
        "multilingual": (Role.HOLDOUT, _cycled(asked / "multilanguage.json", "multilingual", test, concept)),
        "multihop": (Role.HOLDOUT, _cycled(asked / "Multi-hop.json", "multihop", test, concept, named=True)),
        "queries": (Role.HOLDOUT, _cycled(asked / "miadata.json", "queries", test, concept)),
        "query_text": (Role.HOLDOUT, _texts(_cycled(asked / "miadata.json", "query_text", test, concept))),
        "knowledge": (Role.RETAIN, _facts("knowledge", [concept])),
        "specificity": (Role.UTILITY, _facts("specificity", others)),
        "fluency_source": (Role.UTILITY, _open("fluency_source", book, concept, test)),
        "fluency": (Role.UTILITY, _open("fluency", book, concept, test)),
    }
    made = {name: Split(name, role, tuple(group)) for name, (role, group) in groups.items()}
    return made | {"train": union("train", Role.TRAIN, made["forget"], made["retain"])}


def read_list(path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects with something in it."""
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}).") from None
    if not isinstance(content, list) or not content or not all(isinstance(item, dict) for item in content):
        raise UserError(f"{path}: must be a list of objects with at least one entry. Restore the file.")
    return content


def _pictures(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by name, in the order of their names."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. The released slice has its pictures there.")
    found = {p.name: p for p in sorted(folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES}
    if not found:
        raise UserError(f"{folder}: holds no picture ({', '.join(IMAGE_SUFFIXES)}).")
    return found


def _conversations(path: Path, split: str, pictures: Mapping[str, Path], concept: Concept) -> list[Example]:
    made = []
    for number, item in enumerate(read_list(path)):
        turns = item.get("conversations")
        where = f"{path}, item {number}"
        if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(turn, dict) for turn in turns):
            raise UserError(f"{where}: conversations must be one question and one answer.")
        if [turn.get("from") for turn in turns] != ["human", "gpt"]:
            raise UserError(f"{where}: conversations must come from human and then gpt.")
        said = [turn.get("value") for turn in turns]
        if not all(isinstance(value, str) and value.replace("<image>", "").strip() for value in said):
            raise UserError(f"{where}: a value is empty or no text.")
        image = _picture(item["image"], pictures, where) if item.get("image") else None
        question, answer = (value.replace("<image>", "").strip() for value in said)
        phrase = item.get("target_phrase", NONE)
        if not isinstance(phrase, str):
            raise UserError(f"{where}: target_phrase {phrase!r} is no text.")
        phrase = "" if phrase.strip().lower() == NONE else phrase.strip()
        if phrase and phrase not in answer:
            raise UserError(f"{where}: target_phrase {phrase!r} does not stand in the answer.")
        tags = _tags(concept, "name") | {"part": _part(image, phrase, question, answer, concept), "phrase": phrase}
        made.append(
            Example(
                id=f"mmubench/{split}/{concept.slug}/{number:03d}", image=image, prompt=question, target=answer,
                tags=tags,
            )
        )  # fmt: skip
    return made


def _part(image: ImageRef | None, phrase: str, question: str, answer: str, concept: Concept) -> str:
    """Which of the four targets an item is: pictures with a substitute or a denial, words about the concept or not."""
    if image is not None:
        return "T2" if phrase == answer else "T1"
    about = any(name.lower() in question.lower() for name in concept.names)
    return "T3" if about else "T4"


def _recognition(path: Path, pictures: Mapping[str, Path], concept: Concept, book: Book) -> list[Example]:
    """The released questions, pictures in turn. Targets lose the blanks around them; "yes trump" becomes both words."""
    made = []
    for number, item in enumerate(read_list(path)):
        prompt, raw = (_text(item, key, path, number) for key in ("prompt", "target"))
        keywords = raw.lower().split()
        tags = _tags(concept, "presence" if "yes" in keywords else "name")
        made.append(
            Example(
                id=f"mmubench/test/{concept.slug}/{number:03d}", image=_turn(pictures, number), prompt=prompt.strip(),
                target=raw.strip(), choices=_answers(book, concept),
                tags=tags | {"keywords": "\n".join(keywords), "raw_target": raw},
            )
        )  # fmt: skip
    return made


def _answers(book: Book, concept: Concept) -> tuple[str, ...]:
    carrier = book.of(concept).name_answers[0]
    return tuple(items.sentence(carrier, name) for name in concept.names)


def _cycled(
    path: Path, split: str, pictures: Mapping[str, Path], concept: Concept, *, named: bool = False
) -> list[Example]:
    """Prompts of a file with pictures in turn; `named`: each item says its picture (imgid)."""
    made = []
    for number, item in enumerate(read_list(path)):
        prompt = _text(item, "prompt", path, number).strip()
        where = f"{path}, item {number}"
        image = _picture(_text(item, "imgid", path, number), pictures, where) if named else _turn(pictures, number)
        kind = {"multilingual": "language", "multihop": "hop"}.get(split, "open")
        tags = _tags(concept, kind) | ({"language": language(prompt)} if kind == "language" else {})
        if kind == "hop":
            tags["keywords"] = ""  # the released file has no answers; a judge grades
        made.append(
            Example(id=f"mmubench/{split}/{concept.slug}/{number:03d}", image=image, prompt=prompt, tags=tags)
        )  # fmt: skip
    return made


def language(prompt: str) -> str:
    """The language of a prompt of the released file, by its letters: ru, ja, zh, es, de, fr; en for what is left."""
    if any("\u0400" <= c <= "\u04ff" for c in prompt):
        return "ru"
    if any("\u3040" <= c <= "\u30ff" for c in prompt):
        return "ja"
    if any("\u4e00" <= c <= "\u9fff" for c in prompt):
        return "zh"
    if "¿" in prompt or "¡" in prompt:
        return "es"
    first = prompt.split()[0].lower().strip("?,.") if prompt.split() else ""
    if first in ("wer", "wie", "ist", "können", "kannst", "hat", "trägt", "könnte", "zeigt", "stellt", "welche"):
        return "de"
    return "en" if first in ("what", "who", "is", "can", "does", "could") else "fr"


def _texts(queries: Sequence[Example]) -> list[Example]:
    """The same questions as texts to be scored after an empty prompt."""
    return [Example(id=e.id, image=e.image, prompt=None, target=e.prompt, tags=e.tags) for e in queries]


def _facts(split: str, concepts: Sequence[Concept]) -> list[Example]:
    return [
        Example(
            id=f"mmubench/{split}/{c.slug}/{n:03d}", prompt=qa.question, target=qa.answer,
            tags={"concept": c.slug, "kind": "fact", "keywords": "\n".join(qa.keywords), "source": "fact"},
        )
        for c in concepts
        for n, qa in enumerate(items.facts(c))
    ]  # fmt: skip


def _open(split: str, book: Book, concept: Concept, pictures: Mapping[str, Path]) -> list[Example]:
    kind = book.of(concept)
    asked = (*kind.describe, *kind.name_questions)
    return [
        Example(
            id=f"mmubench/{split}/{concept.slug}/{number:03d}", image=ImageRef(path=path),
            prompt=asked[number % len(asked)], tags=_tags(concept, "open"),
        )
        for number, path in enumerate(pictures.values())
    ]  # fmt: skip


def _refusals(items_: Sequence[Example], others: Sequence[Concept]) -> list[Example]:
    """The refusal sentences of PO.json without their questions; its items about other people are no refusals."""
    names = [name.lower() for c in others for name in c.names]
    mine = [e for e in items_ if not any(name in str(e.prompt).lower() for name in names)]
    texts = dict.fromkeys(str(e.target) for e in mine)
    return [Example(id=f"mmubench/refusal/{n:03d}", target=text) for n, text in enumerate(texts)]


def _renamed(examples: Sequence[Example], split: str) -> list[Example]:
    return [
        Example(id=e.id.replace("/siu/", f"/{split}/"), prompt=e.prompt, target=e.target, tags=e.tags) for e in examples
    ]


def _tags(concept: Concept, kind: str) -> dict[str, str]:
    names = "\n".join(concept.names)
    return {"concept": concept.slug, "kind": kind, "keywords": names, "names": names, "entity": concept.spoken}


def _turn(pictures: Mapping[str, Path], number: int) -> ImageRef:
    paths = list(pictures.values())
    return ImageRef(path=paths[number % len(paths)])


def _picture(value: Any, pictures: Mapping[str, Path], where: str) -> ImageRef:
    name = PurePosixPath(str(value).replace("\\", "/")).name
    if name not in pictures:
        folder = next(iter(pictures.values())).parent
        raise UserError(f"{where}: picture {name} is not in {folder}.")
    return ImageRef(path=pictures[name])


def _text(item: Mapping[str, Any], key: str, path: Path, number: int) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{path}, item {number}: {key} is empty or no text ({value!r}).")
    return value
