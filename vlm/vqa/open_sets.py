"""VQAv2, GQA, TextVQA and VizWiz: questions with free answers, as the JSON files that their authors publish."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmunlearn.data import Example
from mmunlearn.errors import UserError

from .source import UtilitySource, field, one_file, read_json, text_of


def read_vqav2(source: UtilitySource) -> Iterator[Example]:
    """VQAv2: *OpenEnded*questions.json {"questions": [{question_id, image_id, question}]} and *annotations.json
    {"annotations": [{question_id, answers: [{answer}]}]}; pictures COCO_<part>_<image_id, 12 digits>.jpg."""
    questions = one_file(source, ("*questions.json",), "questions")
    annotations = questions.with_name(questions.name.replace("OpenEnded_", "").replace("questions", "annotations"))
    if not annotations.is_file():
        raise UserError(f"{annotations}: no such file; the answers to {questions.name} are expected there.")
    answers: dict[Any, list[str]] = {}
    for index, row in enumerate(_list(read_json(annotations), "annotations", annotations)):
        where = f"{annotations}, annotation {index}"
        answers[field(row, "question_id", where)] = _answers(row, where)
    part = "train2014" if "train2014" in questions.name else "val2014"
    for index, row in enumerate(_list(read_json(questions), "questions", questions)):
        where = f"{questions}, question {index}"
        key = field(row, "question_id", where)
        if key not in answers:
            raise UserError(f"{where}: question {key} has no annotation in {annotations.name}.")
        number = field(row, "image_id", where)
        if not isinstance(number, int):
            raise UserError(f"{where}: image_id is {number!r}, not a number.")
        yield _example(source, key, row, where, (f"COCO_{part}_{number:012d}.jpg", part, "images", ""), answers[key])


def read_gqa(source: UtilitySource) -> Iterator[Example]:
    """GQA: *questions.json {question_id: {imageId, question, answer}}; pictures images/<imageId>.jpg."""
    path = one_file(source, ("*testdev_balanced_questions.json", "*questions.json"), "questions")
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not questions by their id.")
    for key, row in content.items():
        where = f"{path}, question {key}"
        name = f"{text_of(row, 'imageId', where)}.jpg"
        yield _example(source, key, row, where, (name, "images", ""), [text_of(row, "answer", where)])


def read_textvqa(source: UtilitySource) -> Iterator[Example]:
    """TextVQA: TextVQA_*.json {"data": [{question_id, image_id, question, answers: [text]}]}; pictures
    train_images/<image_id>.jpg."""
    path = one_file(source, ("TextVQA*val*.json", "TextVQA*.json", "*.json"), "questions")
    for index, row in enumerate(_list(read_json(path), "data", path)):
        where = f"{path}, question {index}"
        name = f"{text_of(row, 'image_id', where)}.jpg"
        key = field(row, "question_id", where)
        yield _example(source, key, row, where, (name, "train_images", "images", ""), _answers(row, where))


def read_vizwiz(source: UtilitySource) -> Iterator[Example]:
    """VizWiz: val.json [{image, question, answers: [{answer}]}]; pictures val/<image>."""
    path = one_file(source, ("val.json", "*.json"), "questions")
    for index, row in enumerate(_list(read_json(path), "", path)):
        where = f"{path}, question {index}"
        name = text_of(row, "image", where)
        yield _example(source, name, row, where, (name, path.stem, "images", ""), _answers(row, where))


def _list(content: Any, name: str, path: Path) -> list[Any]:
    found = field(content, name, str(path)) if name else content
    if not isinstance(found, list) or not found:
        what = f"{name} is" if name else "holds"
        raise UserError(f"{path}: {what} {'empty' if found == [] else 'no list'}. Restore the file.")
    return found


def _answers(row: Any, where: str) -> list[str]:
    found = field(row, "answers", where)
    if not isinstance(found, list) or not found:
        raise UserError(f"{where}: answers is {found!r}, not a list of answers.")
    texts = [field(answer, "answer", where) if isinstance(answer, Mapping) else answer for answer in found]
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"{where}: answer {text!r} is not text.")
    # An annotator who gave a blank still counts as one who disagrees with every answer.
    return [" ".join(text.split()) or "(blank)" for text in texts]


def _example(
    source: UtilitySource, key: Any, row: Any, where: str, picture: tuple[str, ...], answers: list[str]
) -> Example:
    most = max(dict.fromkeys(answers), key=answers.count)
    tags = {"answers": "\n".join(answers)} if len(answers) > 1 else {}
    return Example(
        id=f"utility/{source.title}/{key}", image=source.picture(picture[0], where, *picture[1:]),
        prompt=source.asked(text_of(row, "question", where)), target=most, tags=tags,
    )  # fmt: skip
