"""Handle of text-to-image models: denoising errors as scores, sampled pictures as responses."""

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Decoding, Handle, Response, Scored, View, weights_digest
from mmunlearn.seeds import generator
from mmunlearn.settings import build, digest, merge, plain

from . import attention, latents, sampler, scratch, storage
from .conditioning import Condition, EncodingCache, Tokens
from .dropped_prompts import with_dropped
from .families.base import embedded
from .groups import matches
from .guard import Guard
from .latents import Moments
from .parts import Parts, PipelineModule, read_parts
from .schedule import Schedule
from .settings import DiffusionSettings

Latents = Float[Tensor, "batch channel height width"]


class DiffusionHandle(Handle):
    """A text-to-image pipeline behind the core's verbs. `module` holds denoiser, text encoders and vae; further verbs
    serve methods and attacks of this sibling."""

    modality: ClassVar[str] = "diffusion"
    Settings: ClassVar = DiffusionSettings
    module: PipelineModule
    guard: Guard | None = None  # what a guard method put around the weights

    def __init__(self, settings: DiffusionSettings | Mapping[str, Any] | None = None, seed: int = 0):
        if not isinstance(settings, DiffusionSettings):
            settings = build(DiffusionSettings, settings or {}, "model")
        if settings.name.startswith(scratch.PREFIX):
            self._take(settings, scratch.make_parts(settings, seed), None)
            return
        parts = read_parts(settings.name, settings)
        name = str(Path(settings.name).resolve()) if Path(settings.name).is_dir() else settings.name
        self._take(settings, parts, storage.Base(name, None, storage.tensor_digests(parts.module)))

    def _take(self, settings: DiffusionSettings, parts: Parts, base: storage.Base | None) -> None:
        self.settings, self.parts, self.base = settings, parts, base
        self.module, self.family = parts.module, parts.family
        self.schedule = Schedule(parts.scheduler[1], flow=self.family.flow, even=self.family.even_sigmas)
        self.encodings = EncodingCache()
        self.moments = latents.moment_table(self.vae, settings.size_px)
        self._tokens: dict[str, tuple[Tensor, ...]] = {}
        if settings.size_px % self.factor:
            raise UserError(f"model.size_px: {settings.size_px} is no multiple of the vae's {self.factor} pixels.")
        self.denoiser.to(memory_format=torch.channels_last)  # convolutions of U-Nets are faster so
        self._freeze()

    def _freeze(self) -> None:
        trained = self.family.groups[self.settings.trains]
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(matches(name, trained))

    # ---- the core's verbs -------------------------------------------------------------------------------------
    def collate(self, examples: Sequence[Example], view: View | None = None) -> Batch:
        """Token ids of prompts (tokens, tokens_2 …; target_tokens … where every target is a text), and of pictures the
        posterior's mean and std, the draws `posterior` and `noise` and the time `t`, all keyed by example.

        Training views draw them from (seed, example, epoch); the evaluation view takes the posterior's mean, noise that
        belongs to the example, and one of ten times. Examples without picture have no latents. Raises UserError where
        pictures are mixed with none.
        """
        often, prompts = self.settings.augmentation.drop_prompt_frac, [self._prompt(example) for example in examples]
        tensors = self._text("", with_dropped(prompts, examples, view, often))
        if all(isinstance(example.target, str) for example in examples):
            tensors |= self._text("target_", [str(example.target) for example in examples])
        pictured = [example.image is not None for example in examples]
        if any(pictured):
            if not all(pictured):
                raise UserError(f"{examples[pictured.index(False)].id}: has no picture, others of its batch have one.")
            tensors |= self._pictures(examples, view)
        keys = np.asarray([example.key for example in examples], dtype=np.int64)
        count = torch.full((len(examples),), int(np.prod(self.latent_shape())), dtype=torch.int64)
        return Batch(tuple(example.id for example in examples), tensors, count, view, keys)

    def _prompt(self, example: Example) -> str:
        if example.prompt is None:
            raise UserError(f"{example.id}: has no prompt.")
        return example.prompt

    def _text(self, prefix: str, texts: Sequence[str]) -> dict[str, Tensor]:
        ids = self.tokenise(texts).ids
        return {f"{prefix}tokens{suffix}": part for suffix, part in zip(self._suffixes, ids, strict=True)}

    @property
    def _suffixes(self) -> list[str]:
        return [encoder.removeprefix("text_encoder") for encoder, _ in self.family.encoders]

    def _pictures(self, examples: Sequence[Example], view: View | None) -> dict[str, Tensor]:
        shape, n = self.latent_shape(), len(examples)
        noise = np.empty((n, *shape), dtype=np.float32)
        posterior = np.zeros((n, *shape), dtype=np.float32)
        uniform = np.empty((n, 2))
        for i, example in enumerate(examples):
            # One generator an example: neither the batch nor the number of processes changes what it draws.
            names = ("noise", example.key) if view is None else ("noise", example.key, int(view.epochs[i]))
            draw = generator(0 if view is None else view.seed, *names)
            uniform[i] = draw.random(2)
            noise[i] = draw.standard_normal(shape, dtype=np.float32)
            if view is not None:
                posterior[i] = draw.standard_normal(shape, dtype=np.float32)
        times = self.schedule.strata if view is None else self.schedule.times
        flips = (uniform[:, 1] < 0.5) if view is not None and self.settings.augmentation.flip else np.zeros(n, bool)
        images = [example.image for example in examples if example.image is not None]
        mean, std = self.moments.get(images, flips.tolist(), self.encode_images, self.settings.size_px)
        return {
            "mean": mean, "std": std, "posterior": torch.from_numpy(posterior), "noise": torch.from_numpy(noise),
            "t": times(torch.from_numpy(uniform[:, 0])),
        }  # fmt: skip

    def score(self, batch: Batch) -> Scored:
        """Squared error of the prediction at each example's time and noise, summed over latent values.

        Raises UserError for examples without picture.
        """
        clean = self.clean(batch)
        noise, t = batch.tensors["noise"], batch.tensors["t"]
        made = self.predict(self.noised(clean, noise, t), t, self.condition(batch))
        error = made.float() - self.target(clean, noise, t).float()
        return Scored(error.square().flatten(1).sum(1), batch.count)

    @torch.no_grad()
    def respond(self, examples: Sequence[Example], how: Decoding, seed: int) -> list[Response]:
        """One picture an example, written into `how.folder`: image (file name), image_hash, prompt, tags, seed.

        `how.fields`: the sampler's settings or a `preset`; generate, score (booleans): sample pictures, and nll and
        count for examples that have a picture. Raises UserError when `how` names no folder to write into.
        """
        words = dict(how.fields)
        generate, score = bool(words.pop("generate", True)), bool(words.pop("score", True))
        settings = sampler.sampler_settings({"batch_size": how.batch_size, **words}, self.settings.sampler)
        rows: list[dict[str, Any]] = [{"prompt": self._prompt(e), "tags": dict(e.tags)} for e in examples]
        if generate:
            if how.folder is None:
                raise UserError("pictures need a folder to be written into; none was given.")
            files = sampler.write_answers(self, examples, Path(how.folder), settings, seed)
            for example, row in zip(examples, rows, strict=True):
                file = files[example.id]
                row["image"] = file.name
                row["image_hash"] = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
                row["seed"] = sampler.request_of(example, settings, seed).seed
        if score:
            self._add_scores(examples, rows, how.batch_size)
        return [Response(example.id, row) for example, row in zip(examples, rows, strict=True)]

    def _add_scores(self, examples: Sequence[Example], rows: Sequence[dict[str, Any]], size: int) -> None:
        pictured = [i for i, example in enumerate(examples) if example.image is not None]
        modes = [(layer, layer.training) for layer in self.module.modules()]
        self.module.eval()
        for start in range(0, len(pictured), size):
            part = pictured[start : start + size]
            scored = self.score(self.collate([examples[i] for i in part]).to(self.device))
            for i, nll, count in zip(part, scored.nll.double().tolist(), scored.count.tolist(), strict=True):
                rows[i] |= {"nll": nll, "count": count}
        for layer, training in modes:
            layer.training = training

    def random_target(self, example: Example, generator: np.random.Generator, *, wrong_only: bool = False) -> str:
        """Another prompt among the example's choices. Raises UserError where it has none: a text-to-image example has
        no label that could be replaced by a random one."""
        others = [text for text in example.choices if text != example.target or not wrong_only]
        if not others:
            raise UserError(f"{example.id}: has no other prompts to draw from; text-to-image examples have no labels.")
        return others[int(generator.integers(len(others)))]

    def fresh(self, seed: int) -> Self:
        """Scratch models: the same architecture newly initialised; published ones: the published weights again."""
        twin = type(self)(self.settings, seed)
        twin.module.to(self.device)
        return twin

    def save(self, path: Path) -> None:
        """The tensors that differ from the stored model it came from; the whole pipeline where there is none."""
        storage.save(self, path)

    def export(self, path: Path, form: str = "diffusers", rank: int | None = None) -> None:
        """What plain diffusers loads: a pipeline folder, or the denoiser's change as LoRA weights.

        A model with a stand-in VAE exports without one: plain diffusers, told `vae=None`, gives latents, which
        `pixel_shuffle(latents, 2)` makes pictures. rank: of the LoRA factors; None keeps them exact. Raises UserError
        where a change fits no LoRA.
        """
        storage.export(self, path, form, rank)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """Read what `save` wrote. Raises UserError where the base is missing or has changed."""
        handle = cls.__new__(cls)
        settings, parts, base, guard = storage.load(path, cls.modality)
        handle._take(settings, parts, base)
        handle.guard = guard
        handle.module.to(device)
        return handle

    def copy(self) -> Self:
        """An independent copy; the VAE, which nothing changes, is shared."""
        twin = copy.copy(self)
        twin.parts = copy.copy(self.parts)
        twin.parts.module = copy.deepcopy(self.module, {id(self.vae): self.vae})
        twin.module, twin.encodings = twin.parts.module, EncodingCache()
        return twin

    def adapted(self, changes: Mapping[str, Any]) -> Self:
        """The same weights under changed settings: what is trained, augmentation, picture size, sampler."""
        if not changes:
            return self
        settings = build(DiffusionSettings, merge(plain(self.settings), changes), "model")
        for name in ("name", "revision", "architecture", "vae", "dtype"):
            if plain(settings)[name] != plain(self.settings)[name]:  # plain: a stored tuple comes back as a list
                raise UserError(f"model.{name}: the model to start from has its own; remove the setting.")
        twin = copy.copy(self)
        twin._take(settings, self.parts, self.base)
        return twin

    def beside_weights(self) -> Any:
        """The settings, and the guard's facts and tensors."""
        if self.guard is None:
            return plain(self.settings)
        # Parameters of a module must not have dots in their names.
        stored = {key.replace(".", "/"): nn.Parameter(t, False) for key, t in self.guard.tensors().items()}
        kept = nn.ParameterDict(stored)
        told = [self.guard.method, plain(dict(self.guard.facts())), weights_digest(kept)]
        return {"settings": plain(self.settings), "guard": told}

    def digest(self) -> str:
        """Hash of all that decides a picture beside its request and the sampler's settings."""
        return digest([weights_digest(self.module), self.beside_weights()])

    def trainable(self, role: str = "default") -> Iterator[tuple[str, nn.Parameter]]:
        """Roles: default (what requires gradients), and the family's groups: denoiser, xattn, xattn_kv, noxattn,
        selfattn, text_encoder, all."""
        if role == "default":
            yield from super().trainable()
            return
        patterns = self.family.groups[role]
        yield from ((name, p) for name, p in self.module.named_parameters() if matches(name, patterns))

    # ---- parts ------------------------------------------------------------------------------------------------
    @property
    def denoiser(self) -> Any:
        """The U-Net or transformer."""
        return self.module["denoiser"]

    @property
    def vae(self) -> Any:
        """The autoencoder; never trained."""
        return self.module["vae"]

    @property
    def tokenizer(self) -> Any:
        """The first text encoder's tokenizer."""
        return self.parts.tokenizers[0]

    @property
    def factor(self) -> int:
        """Pixels a side that a latent cell stands for."""
        return latents.pixels_per_cell(self.vae)

    def latent_shape(self, size_px: int | None = None) -> tuple[int, int, int]:
        """Channel, height and width of a picture's latents. Raises UserError for a size that makes no whole cells."""
        size = size_px or self.settings.size_px
        if size % self.factor:
            raise UserError(f"size_px: {size} is no multiple of the vae's {self.factor} pixels a cell.")
        return self.vae.config.latent_channels, size // self.factor, size // self.factor

    # ---- prompts ----------------------------------------------------------------------------------------------
    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Token ids on the CPU, padded and cut to each encoder's length."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._tokens]
        if missing:
            columns = []
            for i, tokenizer in enumerate(self.parts.tokenizers):
                length = self.family.text_length(i, tokenizer, self._text_length)
                made = tokenizer(missing, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
                columns.append(made.input_ids)
            self._tokens |= {text: tuple(c[row] for c in columns) for row, text in enumerate(missing)}
        columns = [torch.stack(part) for part in zip(*(self._tokens[text] for text in texts), strict=True)]
        return Tokens(tuple(texts), tuple(columns), self.tokenizer)

    @property
    def _text_length(self) -> int | None:
        small = self.settings.name.startswith(scratch.PREFIX)
        return self.settings.text_length or (scratch.T5_LENGTH if small else None)

    def encode(self, texts: Sequence[str]) -> Condition:
        """Encoded prompts without a graph; each text once while the text encoders' weights stay the same."""
        return self._kept(self.tokenise(texts).ids)

    def encode_ids(self, tokens: Tokens) -> Condition:
        """Encoded tokens without a graph, kept like those of `encode`."""
        return self._kept(tokens.ids)

    def encode_tokens(self, tokens: Tokens, embeddings: Tensor | Sequence[Tensor | None] | None = None) -> Condition:
        """Encoded tokens with their graph. embeddings: (batch, length, width) in place of the token embeddings, of the
        first encoder or one entry an encoder."""
        given: list[Any] = list(embeddings) if isinstance(embeddings, (list, tuple)) else [embeddings]
        given += [None] * (len(self.parts.encoders) - len(given))
        with ExitStack() as stack:
            for encoder, replacement in zip(self.parts.encoders, given, strict=True):
                stack.enter_context(embedded(encoder, replacement))
            return self.family.encode(self.parts.encoders, tokens.to(self.device).ids)

    def unconditional(self, texts: Sequence[str]) -> Condition:
        """Condition of the unconditional half; "" is zeros in families whose pipeline says so (SDXL)."""
        made = self.encode(texts)
        if not self.family.zero_empty(self.parts.facts):
            return made
        kept = torch.tensor([float(bool(text)) for text in texts], device=made.states.device)
        pooled = None if made.pooled is None else made.pooled * kept[:, None]
        return Condition(made.states * kept[:, None, None], pooled)

    def condition(self, batch: Batch, prefix: str = "") -> Condition:
        """Condition of a collated batch's prompts, or of its targets (prefix "target_"); with a graph where a text
        encoder is trained."""
        ids = [batch.tensors[f"{prefix}tokens{suffix}"] for suffix in self._suffixes]
        trained = any(p.requires_grad for encoder in self.parts.encoders for p in encoder.parameters())
        if trained and torch.is_grad_enabled():
            return self.family.encode(self.parts.encoders, [part.to(self.device) for part in ids])
        return self._kept(ids)

    def _kept(self, ids: Sequence[Tensor]) -> Condition:
        def make(rows: list[Tensor]) -> Condition:
            with torch.autocast(self.device.type, enabled=False):
                return self.family.encode(self.parts.encoders, [row.to(self.device) for row in rows])

        return self.encodings.get(ids, self.parts.encoders, make)

    # ---- latents and predictions ------------------------------------------------------------------------------
    def clean(self, batch: Batch) -> Latents:
        """A draw from the posterior of each picture of a collated batch (the mean in evaluation views)."""
        tensors = batch.tensors
        if "mean" not in tensors:
            raise UserError(f"{batch.ids[0]}: has no picture, so there is no denoising error.")
        return tensors["mean"] + tensors["std"] * tensors["posterior"]

    def noised(self, clean: Latents, noise: Latents, t: Tensor) -> Latents:
        """Latents at times t (batch,), 0..1000."""
        return self.schedule.noised(clean, noise, t)

    def target(self, clean: Latents, noise: Latents, t: Tensor) -> Latents:
        """What the training loss compares the prediction with."""
        return self.schedule.target(clean, noise, t)

    def to_noise(self, prediction: Latents, latents: Latents, t: Tensor) -> Latents:
        """The noise that a raw prediction means."""
        return self.schedule.to_noise(prediction, latents, t)

    def to_clean(self, prediction: Latents, latents: Latents, t: Tensor) -> Latents:
        """The clean latents that a raw prediction means."""
        return self.schedule.to_clean(prediction, latents, t)

    def predict(self, latents: Latents, t: Tensor, condition: Condition, guidance: float = 1.0) -> Latents:
        """The model's raw output: noise, v, clean latents or velocity. t: (batch,) or one for all. guidance: an input
        of guidance-distilled models, without effect on others."""
        return self.family.predict(self.denoiser, latents, t, condition, factor=self.factor, guidance=guidance)

    def guided(self, latents: Latents, t: Tensor, condition: Condition, empty: Condition, scale: float) -> Latents:
        """Classifier-free guidance in one pass of 2 B rows (Ho and Salimans 2022); one pass of B rows for scale 1 and
        for guidance-distilled models, which take the scale as an input."""
        if self.family.distilled(self.denoiser):
            return self.predict(latents, t, condition, scale)
        if scale == 1:
            return self.predict(latents, t, condition)
        t = torch.as_tensor(t, device=latents.device)
        both = self.predict(latents.repeat(2, 1, 1, 1), t.repeat(2) if t.dim() else t, empty.cat(condition))
        low, high = both.chunk(2)
        return low + scale * (high - low)

    def encode_images(self, pictures: UInt8[Tensor, "batch 3 height width"]) -> Moments:
        """Posterior moments in the denoiser's scale."""
        return latents.encode(self.vae, pictures.to(self.device))

    def decode(self, clean: Float[Tensor, "batch channel row column"]) -> UInt8[Tensor, "batch 3 height width"]:
        """Pictures of clean latents."""
        return latents.decode(self.vae, clean)

    # ---- attention --------------------------------------------------------------------------------------------
    def cross_attention(self) -> list[attention.CrossAttention]:
        """Layers in which the picture attends to the prompt."""
        return attention.cross_attention(self.denoiser)

    def recorded_attention(
        self, layers: Sequence[attention.CrossAttention] | None = None
    ) -> AbstractContextManager[dict[str, Tensor]]:
        """While open, probabilities of the last forward by layer: (batch, head, query, token), differentiable."""
        chosen = self.cross_attention() if layers is None else layers
        return attention.recorded_attention(chosen, text_first=self.family.name == "flux")

    def context_layers(self) -> list[tuple[str, nn.Linear]]:
        """Linear maps whose input is the encoded prompt, by name: what closed-form edits change."""
        modules = self.module.named_modules()
        return [(n, m) for n, m in modules if isinstance(m, nn.Linear) and matches(n, self.family.context)]
