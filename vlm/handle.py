"""Handle of image-text-to-text models: supervised answers in, token statistics and generated text out."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Decoding, Handle, Response, Scored, View, weights_digest
from mmunlearn.settings import build, merge, plain
from mmunlearn.token_stats import LogitForm, TokenStats, token_logprobs, token_stats

from . import adapters, response_rows, single_edits, storage
from .families.base import Picture
from .families.find import family_of
from .features import FeatureCache, model_inputs, served
from .prompts import AS_WRITTEN, IGNORED, Prompt, Prompter, Tokens, cased, prompt_tokens, tokenize
from .refusals import REFUSALS
from .scratch import make_model
from .settings import VlmSettings
from .storage import Base

Drawn = tuple[tuple[int, ...], int]  # expanded token ids, first supervised position


class VlmHandle(Handle):
    """A vision-language model behind the core's verbs. Scores cover answer tokens only; further verbs serve methods of
    this sibling: `hidden`, `score_everywhere`, `token_stats`, `complete`."""

    modality: ClassVar[str] = "vlm"
    folder: str | None = None  # where a model with adapters was read from
    Settings: ClassVar = VlmSettings
    keep_logits = False

    def __init__(self, settings: VlmSettings | Mapping[str, Any] | None = None, seed: int = 0):
        if not isinstance(settings, VlmSettings):
            settings = build(VlmSettings, settings or {}, "model")
        self.take(settings, *make_model(settings, seed))
        self._attach(seed)

    def take(self, settings: VlmSettings, model: Any, processor: Any) -> None:
        """Become the handle of this model and processor, on nothing else, frozen as the settings say."""
        self.settings, self.module, self.processor = settings, model, processor
        self.base = Base()
        self.family = family_of(model.config.model_type)
        template = self.family.template if settings.template == "auto" else settings.template
        self.prompter = Prompter(processor, self.family.placeholder(processor), template, settings.system)
        self.pictures: dict[str, Picture] = {}  # by digest of the encoded file
        self.cache = FeatureCache(self.family)
        self._freeze()

    def _attach(self, seed: int) -> None:
        if self.settings.lora is not None:
            self.base = Base(self.base.folder, weights_digest(self.module))
            self.module = adapters.attach(self.module, self.family, self.settings.lora, seed)
            self.module.eval()

    def _freeze(self) -> None:
        """What the settings say is trained; adapters freeze the rest themselves."""
        s, parts = self.settings, self.family
        for part, state in (
            (parts.language(self.module), s.language), (parts.tower(self.module), s.tower),
            (parts.projector(self.module), s.projector),  # last: it may lie inside the tower
        ):  # fmt: skip
            part.requires_grad_(state == "full")
        head = self.module.get_output_embeddings()  # type: ignore[operator]
        if head is not None:
            head.requires_grad_(s.language == "full")

    # ---- the core's verbs -------------------------------------------------------------------------------------
    def collate(self, examples: Sequence[Example], view: View | None = None) -> Batch:
        """input_ids, attention_mask and labels (batch, token), padded on the right, and the pictures' tensors.

        Pictures have no training views: `view` is kept and changes nothing.
        """
        return self.collated(examples, [self.tokens(example) for example in examples], view)

    def collated(
        self,
        examples: Sequence[Example],
        drawn: Sequence[Drawn],
        view: View | None = None,
        pictures: Sequence[Picture | None] | None = None,
    ) -> Batch:
        """As `collate`, for the caller's token ids and prepared pictures; pictures with a graph pass the tower."""
        pictures = pictures if pictures is not None else [self.picture(example) for example in examples]
        tensors = self.padded([ids for ids, _ in drawn], left=False)
        labels = torch.full_like(tensors["input_ids"], IGNORED)
        for row, (ids, start) in enumerate(drawn):
            labels[row, start : len(ids)] = torch.tensor(ids[start:])
        tensors["labels"] = labels
        answers = [torch.tensor(ids[start:]) for ids, start in drawn]
        tensors["target"] = pad_sequence(answers, batch_first=True, padding_value=IGNORED)
        tensors |= self._pictures(examples, pictures, drawn, tensors)
        count = torch.tensor([len(answer) for answer in answers])
        keys = np.asarray([example.key for example in examples], dtype=np.int64)
        return Batch(tuple(example.id for example in examples), tensors, count, view, keys)

    def score(self, batch: Batch) -> Scored:
        """Negative log-likelihood of the answer's tokens; logits at their positions where `keep_logits` is set."""
        hidden = self.hidden(batch)
        mask = batch.tensors["labels"][:, 1:] != IGNORED
        targets = batch.tensors["labels"][:, 1:][mask]
        states = hidden[:, :-1][mask]
        rows = mask.nonzero()[:, 0]
        if not self.keep_logits:
            weight, bias = self.head()
            logprob = token_logprobs(states, weight, targets, bias, form=self.form)
            nll = logprob.new_zeros(len(batch)).index_add(0, rows, -logprob)
            return Scored(nll, batch.count)
        logits = self.form.apply_(nn.functional.linear(states, *self.head()).float())
        logprob = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        nll = logprob.new_zeros(len(batch)).index_add(0, rows, -logprob)
        width = int(batch.count.max())
        there = torch.arange(width, device=mask.device) < batch.count[:, None]
        padded = logits.new_zeros(len(batch), width, logits.shape[-1]).masked_scatter(there[..., None], logits)
        wanted = targets.new_zeros(len(batch), width).masked_scatter(there, targets)
        return Scored(nll, batch.count, padded, there, wanted)

    @torch.inference_mode()
    def respond(self, examples: Sequence[Example], how: Decoding, seed: int) -> list[Response]:
        """Rows as the package's README lists them: prompt, target, tags, generated text, token statistics of the target
        and of the choices. `how.fields`: generate, score, token_text (booleans), top_p."""
        modes = [(layer, layer.training) for layer in self.module.modules()]
        self.module.eval()
        rows = [response_rows.asked(example) for example in examples]
        edits = single_edits.edits_of(self.model)
        if edits is not None:
            rows = [row | {"edit_kind": edits.kind} for row in rows]
        size = max(1, how.batch_size)
        if how.fields.get("score", True):
            response_rows.add_scores(self, examples, rows, size)
            if how.fields.get("token_text", False):
                response_rows.add_words(self, examples, rows)
        if how.max_new_tokens > 0 and how.fields.get("generate", True):
            texts = self.complete(examples, how, seed)
            for row, text in zip(rows, texts, strict=True):
                row["text"] = text
        for layer, training in modes:
            layer.training = training
        return [Response(example.id, row) for example, row in zip(examples, rows, strict=True)]

    def random_target(self, example: Example, generator: np.random.Generator, *, wrong_only: bool = False) -> str:
        """A refusal of the built-in list, never the example's own answer."""
        others = [text for text in REFUSALS if text != example.target]
        return others[int(generator.integers(len(others)))]

    def fresh(self, seed: int) -> Self:
        """Scratch models: the same architecture newly initialised; published ones: the published weights again."""
        twin = copy.copy(self)
        twin.take(self.settings, *make_model(self.settings, seed))
        twin._attach(seed)
        twin.module.to(self.device)
        return twin

    def save(self, path: Path) -> None:
        """A plain transformers folder (loads without this package); with adapters what they changed, and what they lie
        on: a pointer to its folder or name with its hash, or the whole base where it was never stored."""
        storage.save(self, path)

    def export(self, path: Path) -> None:
        """A plain transformers folder with adapters merged into the weights."""
        storage.export(self, path)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """Read what `save` wrote; adapters need their base model, unchanged. Raises UserError where they differ."""
        return storage.load(cls, path, device)

    def bare(self) -> Self:
        """The model under the adapters, as a handle of its own; nothing is copied."""
        settings = self.settings.model_copy(update={"lora": None})
        twin = copy.copy(self)
        twin.take(settings, adapters.bare_model(self.module), self.processor)
        return twin

    def adapted(self, changes: Mapping[str, Any]) -> Self:
        """The same weights under changed settings: adapters, frozen parts, another template or label builder."""
        if not changes:
            return self
        settings = build(VlmSettings, merge(plain(self.settings), changes), "model")
        if (settings.name, settings.architecture) != (self.settings.name, self.settings.architecture):
            raise UserError(
                "model.name: the model to start from has its own weights; remove model.name and architecture."
            )
        if adapters.is_adapted(self.module):
            return self.merged().adapted(changes)
        twin = copy.copy(self)
        twin.take(settings, self.module, self.processor)
        twin.base, twin.pictures = self.base, self.pictures
        twin._attach(0)
        return twin

    def merged(self) -> Self:
        """The same model with its adapters added to the weights they lie on; what is stored on disk stays."""
        if not adapters.is_adapted(self.module):
            return self
        twin = copy.copy(self)
        settings = self.settings.model_copy(update={"lora": None})
        twin.take(settings, copy.deepcopy(self.module).merge_and_unload(), self.processor)  # type: ignore[operator]
        twin.base, twin.pictures = Base(self.folder), self.pictures
        return twin

    def trainable(self, role: str = "default") -> Iterator[tuple[str, nn.Parameter]]:
        """Roles: default (all that the settings train), adapters, tower, projector, language."""
        if role == "default":
            yield from super().trainable()
            return
        if role == "adapters":
            yield from ((n, p) for n, p in self.module.named_parameters() if ".lora_" in n)
            return
        if role not in {"tower", "projector", "language"}:
            raise KeyError(role)
        part = getattr(self.family, role)(adapters.base_of(self.module))
        wanted = {id(p) for p in part.parameters()}
        yield from ((n, p) for n, p in self.module.named_parameters() if id(p) in wanted)

    # ---- verbs of this sibling --------------------------------------------------------------------------------
    @property
    def model(self) -> Any:
        """The transformers model itself, adapters in place."""
        return adapters.base_of(self.module)

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def form(self) -> LogitForm:
        """What the model does to the head's product before the softmax."""
        text = self.model.config.get_text_config()
        return LogitForm(getattr(text, "logit_scale", None) or 1.0, getattr(text, "final_logit_softcapping", None))

    def hidden(self, batch: Batch) -> Float[Tensor, "batch token width"]:
        """Last hidden states at every position."""
        with self.serving(batch.tensors):
            inputs = model_inputs(batch.tensors)
            pictured = batch.tensors.get("pictured")
            if pictured is None or pictured.all() or not pictured.any():
                return self._states(inputs)
            rows = {name: tensor for name, tensor in inputs.items() if tensor.shape[:1] == pictured.shape}
            bare = self._states({name: tensor[~pictured] for name, tensor in rows.items()})
            seen = self._states({**inputs, **{name: tensor[pictured] for name, tensor in rows.items()}})
        order = torch.cat([(~pictured).nonzero()[:, 0], pictured.nonzero()[:, 0]]).argsort()
        return torch.cat([bare, seen])[order]

    def _states(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.model.model(**inputs, use_cache=False, return_dict=True).last_hidden_state

    def score_everywhere(self, batch: Batch) -> tuple[Float[Tensor, "batch token vocab"], Tensor]:
        """Logits that predict the next token at every position, padding included, and the mask of real tokens (batch,
        token); for the reference objectives that average over everything."""
        logits = self.form.apply_(nn.functional.linear(self.hidden(batch), *self.head()).float())
        return logits, batch.tensors["attention_mask"].bool()

    def token_stats(self, batch: Batch) -> tuple[TokenStats, Tensor]:
        """Statistics of every supervised token of a batch, in order, and the row of each."""
        mask = batch.tensors["labels"][:, 1:] != IGNORED
        states = self.hidden(batch)[:, :-1][mask]
        weight, bias = self.head()
        stats = token_stats(states, weight, batch.tensors["labels"][:, 1:][mask], bias, form=self.form)
        return stats, mask.nonzero()[:, 0]

    def complete(self, examples: Sequence[Example], how: Decoding, seed: int) -> list[str]:
        """Generated continuations of the examples' questions, decoded and stripped; batches of similar length."""
        return response_rows.complete(self, examples, how, seed)

    def prompts(self, examples: Sequence[Example], drawn: Sequence[Drawn]) -> dict[str, Tensor]:
        """Tensors of prompts without answers, padded on the left, on this handle's device."""
        tensors = self.padded([ids for ids, _ in drawn], left=True)
        tensors |= self._pictures(examples, [self.picture(example) for example in examples], drawn, tensors)
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}

    def end_ids(self) -> list[int]:
        """Tokens that end an answer: the template's and the tokenizer's."""
        end = self.prompter.render("?", image=False).end
        ids = self.tokenizer(end, add_special_tokens=False).input_ids[:1] if end else []
        own = self.tokenizer.eos_token_id
        return sorted({*ids, *([own] if own is not None else [])})

    def prompt_ids(self, example: Example) -> tuple[int, ...]:
        """Expanded tokens of everything before the answer."""
        prompt = self._prompt(example)
        return self._expanded(example, Tokens(prompt_tokens(self.tokenizer, prompt.text), 0))[0]

    def tokens(self, example: Example) -> Drawn:
        """Expanded tokens of question and answer, and where the supervised part starts.

        Raises UserError when the example has no answer or is longer than `max_length`.
        """
        if not isinstance(example.target, str):
            raise UserError(f"{example.id}: has no answer text to score (target {example.target!r}).")
        # A picture decides how many tokens stand for it.
        fold = AS_WRITTEN not in example.tags
        key = (example.prompt, example.target, example.image.digest if example.image else "", fold)
        found = self._tokens.get(key)
        if found is None:
            drawn = tokenize(
                self.tokenizer, self._prompt(example), example.prompt or "", example.target, self.settings.labels,
                fold=fold,
            )  # fmt: skip
            found = self._expanded(example, drawn)
            if len(found[0]) > self.settings.max_length:
                raise UserError(
                    f"{example.id}: {len(found[0])} tokens, more than model.max_length={self.settings.max_length}."
                )
            if len(self._tokens) > 200_000:
                self._tokens.clear()
            self._tokens[key] = found
        return found

    def picture(self, example: Example) -> Picture | None:
        """The example's picture as the processor prepares it, once a picture."""
        if example.image is None:
            return None
        digest = example.image.digest
        if digest not in self.pictures:
            # Processors keep constants of their first call: made in inference mode, no gradient would pass them later.
            with torch.inference_mode(False):
                self.pictures[digest] = self.family.picture(self.processor, example.image.open())
        return self.pictures[digest]

    @property
    def _tokens(self) -> dict[tuple[str | None, str, str, bool], Drawn]:
        # Keyed by what the tokens depend on beside the example; a handle under other settings has its own.
        tables = self.__dict__.setdefault("_token_tables", {})
        s = self.settings
        return tables.setdefault((s.template, s.labels, s.system, s.max_length), {})

    def _prompt(self, example: Example) -> Prompt:
        question = cased(example.prompt or "", self.settings.labels)
        return self.prompter.render(question, image=example.image is not None)

    def _expanded(self, example: Example, tokens: Tokens) -> Drawn:
        """Tokens with the picture's placeholder replaced by what it stands for."""
        picture = self.picture(example)
        if picture is None:
            return tuple(tokens.ids), tokens.start
        place = self.family.placeholder_id(self.processor)
        if tokens.ids.count(place) != 1:
            raise UserError(f"{example.id}: its text holds the picture's placeholder itself. Remove it.")
        at = tokens.ids.index(place)
        ids = (*tokens.ids[:at], *picture.ids, *tokens.ids[at + 1 :])
        return ids, tokens.start + len(picture.ids) - 1

    def padded(self, rows: Sequence[Sequence[int]], *, left: bool) -> dict[str, Tensor]:
        """input_ids and attention_mask of rows of token ids, padded on one side."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id())
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for i, row in enumerate(rows):
            part = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, part], mask[i, part] = torch.tensor(row), 1
        return {"input_ids": ids, "attention_mask": mask}

    def _pictures(
        self,
        examples: Sequence[Example],
        pictures: Sequence[Picture | None],
        drawn: Sequence[Drawn],
        tensors: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        ids, attention = tensors["input_ids"], tensors["attention_mask"]
        made = self.family.batch(pictures, ids, attention)
        for row, (tokens, start) in enumerate(drawn):
            for name, tensor in self.family.text(tokens, start, pictures[row]).items():
                whole = made.setdefault(name, tensor.new_zeros(*ids.shape))
                whole[row, attention[row].bool()] = tensor
        edits = single_edits.edits_of(self.model)
        if edits is not None:
            made["edit"] = edits.rows(examples)
        if not self.family.mixed:
            made["pictured"] = torch.tensor([picture is not None for picture in pictures])
        pixels = made.get(self.family.pixels)
        if pixels is not None and not pixels.requires_grad and self._keeps_features():
            present = [(e.image.digest, p) for e, p in zip(examples, pictures, strict=True) if e.image and p]
            kept = self.cache.get(self.model, [digest for digest, _ in present], [p for _, p in present])
            made["features"] = self.family.stand_in(kept)
            del made[self.family.pixels]
        return made

    def _keeps_features(self) -> bool:
        if not (self.settings.features and self.family.separable):
            return False
        return not any(p.requires_grad for p in self.family.tower_parameters(self.model))

    @contextmanager
    def serving(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        """While open, the tower answers with the kept features among `tensors`, and every row's own edit is in place;
        nothing where there are none."""
        with ExitStack() as stack:
            if "features" in tensors:
                stack.enter_context(served(self.family, self.model))
            edits = single_edits.edits_of(self.model)
            if edits is not None and "edit" in tensors:
                stack.enter_context(single_edits.applied(self.model, edits, tensors["edit"]))
            yield

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Weight (vocabulary, width) and bias of the lm head."""
        head = self.model.get_output_embeddings()
        return head.weight, getattr(head, "bias", None)

    def pad_id(self) -> int:
        """The token that fills up rows: the tokenizer's, else its end, else the first."""
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else (self.tokenizer.eos_token_id or 0)
