"""MME and POPE: yes-or-no questions, as folders of text files, JSON lines or parquet."""

from collections.abc import Iterator
from pathlib import Path

from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.tables import IMAGE_SUFFIXES, Record, image_files, read_jsonl, read_parquet, read_text

from .source import UtilitySource

VARIANTS = ("random", "popular", "adversarial")
ANSWERS = ("yes", "no")


def read_mme(source: UtilitySource) -> Iterator[Example]:
    """MME: a folder a category; beside each picture (or in questions_answers_YN/, pictures in images/) a text file of
    its name with lines "question<TAB>Yes|No", two a picture. Tags: category, group (the picture, for acc+)."""
    root = source.folder
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    folders = [folder for folder in folders if source.split in ("", folder.name)]
    if not folders:
        called = f" called {source.split}" if source.split else ""
        raise UserError(f"{root}: holds no folder of an MME category{called}.")
    for folder in folders:
        apart = folder / "questions_answers_YN"
        texts = sorted((apart if apart.is_dir() else folder).glob("*.txt"))
        place = folder / "images" if apart.is_dir() else folder
        if not place.is_dir():
            raise UserError(f"{place}: no such folder; MME's pictures of {folder.name} are expected there.")
        pictures = {path.stem: path for path in image_files(place).values()}
        if not texts:
            raise UserError(f"{folder}: holds no text file with questions. MME has one a picture.")
        for text in texts:
            if text.stem not in pictures:
                raise UserError(f"{text}: no picture {text.stem} ({', '.join(IMAGE_SUFFIXES)}) beside it.")
            yield from _mme_pair(source, folder.name, text, pictures[text.stem])


def _mme_pair(source: UtilitySource, category: str, text: Path, picture: Path) -> Iterator[Example]:
    lines = [(number, line) for number, line in enumerate(read_text(text).splitlines(), 1) if line.strip()]
    if len(lines) != 2:
        raise UserError(f"{text}: {len(lines)} questions, MME has two a picture.")
    for index, (number, line) in enumerate(lines):
        question, _, answer = line.rpartition("\t")
        if not question.strip() or answer.strip().lower() not in ANSWERS:
            got = line.strip()[-60:]
            raise UserError(f"{text}, line {number}: expected a question, a tab and Yes or No, got {got!r}.")
        yield Example(
            id=f"utility/{source.title}/{category}/{text.stem}/{index}", image=ImageRef(path=picture),
            prompt=source.asked(question), target=answer.strip().lower(),
            tags={"category": category, "group": f"{category}/{text.stem}"},
        )  # fmt: skip


COLUMNS = {"question": ("text",), "answer": ("label",), "question_id": (), "image": (), "category": ()}


def read_pope(source: UtilitySource) -> Iterator[Example]:
    """POPE: coco_pope_{random,popular,adversarial}.json (a JSON object a line: question_id, image, text, label) with
    pictures below the root, or parquet (question, answer, image bytes, category). Tag: category."""
    for path in _pope_files(source):
        named = next((variant for variant in VARIANTS if variant in path.name.lower()), "")
        reader = read_parquet if path.suffix == ".parquet" else read_jsonl
        for record in reader(path, COLUMNS, optional=("category", "question_id")):
            category = str(record.get("category") or named or "all")
            answer = str(record["answer"]).strip().lower()
            if answer not in ANSWERS:
                raise record.fault(f"answer is {record['answer']!r}, must be yes or no.")
            if not isinstance(record["question"], str) or not record["question"].strip():
                raise record.fault("question is empty.")
            yield Example(
                id=f"utility/{source.title}/{category}/{record.get('question_id', record.line)}",
                image=_pope_picture(source, record), prompt=source.asked(record["question"]), target=answer,
                tags={"category": category},
            )  # fmt: skip


def _pope_files(source: UtilitySource) -> list[Path]:
    if source.folder.is_file():
        return [source.folder]
    for pattern in ("*pope*.json*", "*.parquet", "*.jsonl", "*.json"):
        found = sorted(source.folder.rglob(pattern))
        found = [path for path in found if source.split in path.name]
        if found:
            return found
    raise UserError(
        f"{source.folder}: holds no POPE file (coco_pope_*.json or parquet). Correct benchmark.utility.root."
    )


def _pope_picture(source: UtilitySource, record: Record) -> ImageRef:
    value = record["image"]
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return ImageRef(content=value["bytes"])
    return source.picture(value, f"{record.path}, line {record.line}", "", "images", "val2014")
