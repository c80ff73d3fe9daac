"""Forms of English questions by rule: what is asked as a clause, and the statement that the answer would end.

"When was this person born?" is "when this person was born" and "This person was born on". The rules read wh-questions
with an auxiliary, wh-questions about the subject, and requests ("Please name the job of this person."); what they do
not read is None, and whoever asks falls back to frames around the untouched question.
"""

import re
from typing import NamedTuple


class Form(NamedTuple):
    """clause: the question as a subordinate clause. statement: the opening of a sentence that the answer completes ("":
    no rule). relation, subject: "job" and "this person" where a property of something is asked, else ""."""

    clause: str
    statement: str = ""
    relation: str = ""
    subject: str = ""


_POLITE = re.compile(
    r"^(?:please,? |(?:can|could|would|will) you (?:please )?(?=tell|say|name|give)|do you know |i wonder )+",
    re.IGNORECASE,
)
_REQUEST = re.compile(r"^(?:tell me|say|name|give(?: me)?|state|provide) ", re.IGNORECASE)
_WH = r"(?:(?:in|on|at|to|for|from|with|by|of) )?(?:what|which|who|whose|whom|where|when|why|how)(?: [\w-]+){0,3}?"
_AUX = r"(?:is|are|was|were|does|do|did|has|have|had|can|will)"
_NOUN = (
    r"(?:(?:this|that|the|these|those|his|her|their|its) [\w-]+(?:['’]s [\w-]+)?"
    r"(?: (?:shown |seen )?(?:in|on) (?:the|this|that) [\w-]+)?"
    r"|(?-i:[A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*)*)|he|she|it|they)"
)
_ASKED = re.compile(rf"^(?P<wh>{_WH}) (?P<aux>{_AUX}) (?P<rest>.+)$", re.IGNORECASE)
_INDIRECT = re.compile(rf"^(?P<wh>{_WH}) (?P<noun>{_NOUN}) (?P<rest>.+)$", re.IGNORECASE)
_SUBJECT = re.compile(rf"^(?P<noun>{_NOUN})(?: (?P<rest>.+))?$", re.IGNORECASE)
_OF = re.compile(r"^the (?P<relation>[\w' -]+) of (?P<subject>(?:(?! of ).)+)$", re.IGNORECASE)
_DOER = re.compile(r"^(?:which|what) (?P<noun>[\w-]+) (?P<verb>[\w-]+s) (?P<rest>.+)$", re.IGNORECASE)
_PREPOSITION = re.compile(r"^(in|on|at|to|for|from|with|by|of) ", re.IGNORECASE)
_PLURAL = re.compile(r"^(?:these|those|they|you|we)\b", re.IGNORECASE)


def read_form(question: str) -> Form | None:
    """The form of a question; None where no rule reads it."""
    text = " ".join(question.split()).rstrip(" ?.!")
    text = _POLITE.sub("", text)
    wanted = _REQUEST.sub("", text)
    if wanted != text:
        if wanted.lower().startswith("the ") and not _OF.match(wanted):
            return Form(f"what {_lower(wanted)} is", f"{_upper(wanted)} is")
        return _property(wanted, "is") or _reported(wanted)
    asked = _ASKED.match(text)
    if asked is not None:
        found = _with_auxiliary(asked["wh"], asked["aux"].lower(), asked["rest"])
        if found is not None:
            return found
    doer = _DOER.match(text)
    if doer is not None and asked is None:
        return Form(_lower(text), f"The {doer['noun']} that {doer['verb']} {doer['rest']} is")
    return None


def opening(question: str) -> str:
    """The start of an answer to the question, without the answer."""
    form = read_form(question)
    statement = form.statement if form is not None and form.statement else "The answer is"
    return statement[:1].lower() + statement[1:]


def _property(text: str, aux: str, wh: str = "what") -> Form | None:
    """"the job of this person"."""
    found = _OF.match(text)
    if found is None:
        return None
    relation, subject = found["relation"], found["subject"]
    return Form(f"{wh} {_lower(text)} {aux}", f"The {relation} of {subject} {aux}", relation, subject)


def _reported(text: str) -> Form | None:
    """"where this person lives", already a clause."""
    found = _INDIRECT.match(text)
    if found is None:
        return None
    return Form(_lower(text), _ended(f"{_upper(found['noun'])} {found['rest']}", found["wh"]))


def _with_auxiliary(wh: str, aux: str, rest: str) -> Form | None:
    wh = _lower(wh)
    if aux in {"is", "are", "was", "were"} and (found := _property(rest, aux, wh)) is not None:
        return found
    parts = _SUBJECT.match(rest)
    if parts is None:
        return None
    noun, tail = parts["noun"], parts["rest"] or ""
    if aux in {"do", "does", "did"}:
        verb, _, more = tail.partition(" ")
        if not verb:
            return None
        kind = " ".join(wh.split()[1:])
        if verb == "have" and not more and kind and wh.split()[0] in {"what", "which"}:
            return Form(f"{wh} {noun} {_bent(verb, aux, noun)}", f"The {kind} of {noun} is", kind, noun)
        said = f"{noun} {_bent(verb, aux, noun)}{' ' + more if more else ''}"
        statement = "" if verb == "do" else _ended(_upper(said), wh)
        return Form(f"{wh} {said}", statement)
    said = f"{noun} {aux}{' ' + tail if tail else ''}"
    return Form(f"{wh} {said}", _ended(_upper(said), wh) if tail or wh in {"who", "what"} else "")


def _bent(verb: str, aux: str, noun: str) -> str:
    """The verb of a "does" question as the statement has it."""
    if aux == "did":
        return f"did {verb}"
    if aux == "do" or _PLURAL.match(noun):
        return verb
    if verb in {"have", "do", "go"}:
        return {"have": "has", "do": "does", "go": "goes"}[verb]
    if re.search(r"(?:s|sh|ch|x|z|o)$", verb):
        return verb + "es"
    return verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + "s"


def _ended(said: str, wh: str) -> str:
    """The statement with the word that its answer needs before it."""
    moved = _PREPOSITION.match(wh)
    if moved is not None:
        return f"{said} {moved[1].lower()}"
    first = wh.split()[0].lower()
    return f"{said} {'in' if first == 'where' else 'on'}" if first in {"where", "when"} else said


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
