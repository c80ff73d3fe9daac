"""EraseAnything: adapters on the prompt's queries and keys, erasing and preserving by turns."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term

from ..handle import DiffusionHandle
from ._base_weights import without_graph
from ._draws import draws_of, normal
from ._low_rank import attach, detach, strength
from ._partial_sampling import partial_samples, random_stops
from ._prompts import phrase_of
from ._words_at import words_at
from .esd import esd_target


class EraseAnything(GradientMethod):
    """Even steps minimise ESD's loss + `attention_weight`·A, odd ones `reconstruction_weight`·R + `contrast_weight`·C,
    over low-rank changes of the prompt's query and key projections (`add_q_proj`, `add_k_proj`), folded in at the end.

    A: the attention of picture cells to the concept's tokens, 2-norm over heads, summed over cells and tokens, mean
    over layers. R: denoising loss of retained pictures. C = log softmax_0(cos(a₀, [a, r_1 … r_K])/τ): a and r_k are the
    attention maps (mean over layers, heads and the concept's positions) of the concept's prompt and of K prompts drawn
    from split `anchor` at the same latents, a₀ the original's map; minimising C turns a away from a₀, towards the r_k.
    Sources: Gao et al. 2025 (arXiv 2412.20413); diffusion sheet 4.15 (tomguluson92/EraseAnything, FLUX.1-dev: rank 8,
    AdamW 1e-3, 200 steps, weights 1, 0.001, 0.1, 0.1, τ 0.07, K 3, 28 sampling steps, guidance 3). Differs from the
    paper: related prompts come from the benchmark, not from a language model, and the original's map stands for that
    of a synonym; how maps are reduced is our reading. Differs from the repository: there the adapters are on while the
    original is asked, latents are sampled to the end whatever the time, R reads the concept's own pictures and maps
    are those of one head; adapters start uniform, not normal. On U-Nets the projections are `to_q` and `to_k` of
    cross-attention.
    """

    needs = frozenset({"concept", "anchor", Need.RETAIN})
    paper = "Gao et al. 2025 (EraseAnything)"

    toy = {
        "rank": 2, "steps": 6, "batch_size": 2, "walk_steps": 4, "optimiser": {"name": "sgd", "lr": 15.0},
    }  # fmt: skip

    class Config(GradientMethod.Config):
        """related: K. eta, guidance, walk_steps: as in esd. retain_batch: pictures of R."""

        rank: int = Field(8, ge=1)
        eta: float = 1.0
        attention_weight: float = 0.001
        reconstruction_weight: float = 0.1
        contrast_weight: float = 0.1
        temperature: float = Field(0.07, gt=0)
        related: int = Field(3, ge=1)
        retain_batch: int = Field(1, ge=1)
        walk_steps: int = Field(28, ge=1)
        guidance: float = 3.0
        optimiser: Optimiser = Optimiser(name="adamw", lr=1e-3, weight_decay=1e-5)
        steps: int = Field(200, ge=1)
        batch_size: int = 1

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Adapters; positions of the concept's words; the related prompts."""
        concept = data["concept"]
        texts = [example.prompt or "" for example in concept]
        spans = words_at(handle, texts, phrase_of(concept))
        self._spans = dict(zip(concept.ids, spans, strict=True))
        self._related = list(dict.fromkeys(example.prompt or "" for example in data["anchor"]))
        if not self._related:
            raise UserError("split 'anchor' is empty; method[erase_anything] takes its related prompts from it.")
        self._layers = prompt_projections(handle)
        if not self._layers:
            raise UserError("method[erase_anything]: this model has no attention between picture and prompt.")
        self._changes = attach(self._layers, self.config.rank, run.seed)

    def finish(self, handle, data: Mapping[str, Split], run):
        """An ordinary model again."""
        detach(self._layers, fold=True)
        return handle

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase whose steps take turns."""
        mine = {id(p) for change in self._changes.values() for p in change.parameters()}
        names = frozenset(name for name, p in handle.module.named_parameters() if id(p) in mine)
        streams = {
            "concept": self.stream(data["concept"], augment=True),
            "retain": self.stream(data["retain"], batch_size=self.config.retain_batch),
        }
        return [self.simple_phase(self._terms, streams, "concept", steps=self.config.steps, trainable=names)]

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        batch, c = batches["concept"], self.config
        draws = draws_of(batch, step.seed, self.name())
        at = random_stops(draws, c.walk_steps, 1)
        noise = normal(draws, handle.latent_shape()).to(handle.device)
        named, empty = handle.condition(batch), handle.unconditional([""] * len(batch))
        with without_graph(handle):
            found, times = partial_samples(handle, noise, at, (named, empty), steps=c.walk_steps, scale=c.guidance)
        x, t = found[:, 0], times[:, 0]
        spans = [self._spans[name] for name in batch.ids]
        if step.index % 2 == 0:
            with without_graph(handle), strength(self._changes, 0.0):
                aim = esd_target(handle, x, t, (named, empty, empty), c.eta)
            with handle.recorded_attention() as maps:
                made = handle.predict(x, t, named)
            return {
                "esd": Term((made.float() - aim.float()).square().sum(), "concept"),
                "attention": Term(suppressed(maps, spans).sum(), "concept.examples", c.attention_weight),
            }
        with without_graph(handle), strength(self._changes, 0.0), handle.recorded_attention() as maps:
            handle.predict(x, t, named)
        original = token_maps(maps, spans)
        with handle.recorded_attention() as maps:
            handle.predict(x, t, named)
        others = [token_maps(maps, spans)]
        count = min(c.related, len(self._related))
        chosen = [draw.choice(len(self._related), size=count, replace=False) for draw in draws]
        for k in range(count):
            related = handle.encode([self._related[int(row[k])] for row in chosen])
            with handle.recorded_attention() as maps:
                handle.predict(x, t, related)
            others.append(token_maps(maps, spans))
        value = contrast(original, torch.stack(others, 1), c.temperature)
        return {
            "reconstruction": Term(handle.score(batches["retain"]).nll.sum(), "retain", c.reconstruction_weight),
            "contrast": Term(value.sum(), "concept.examples", c.contrast_weight),
        }


def prompt_projections(handle: DiffusionHandle) -> dict[str, nn.Linear]:
    """Query and key projections of the prompt by name; those of cross-attention in U-Nets."""
    found: dict[str, nn.Linear] = {}
    for layer in handle.cross_attention():
        joint = getattr(layer.module, "add_k_proj", None) is not None
        for part in ("add_q_proj", "add_k_proj") if joint else ("to_q", "to_k"):
            module = getattr(layer.module, part, None)  # SD3's last block has no queries of the prompt
            if module is not None:
                found[f"{layer.name}.{part}"] = module
    return found


def suppressed(maps: Mapping[str, Tensor], spans: Sequence[slice]) -> Float[Tensor, " batch"]:
    """Attention to the concept's tokens: 2-norm over heads, sum over cells and tokens, mean over layers, a picture."""
    rows = []
    for row, span in enumerate(spans):
        # The square root of zero has no slope.
        each = [(m[row, :, :, span].float().square().sum(0) + 1e-20).sqrt().sum() for m in maps.values()]
        rows.append(torch.stack(each).mean())
    return torch.stack(rows)


def token_maps(maps: Mapping[str, Tensor], spans: Sequence[slice]) -> Float[Tensor, "batch cell"]:
    """Attention of picture cells to the concept's positions, mean over heads, positions and the layers of the commonest
    number of cells."""
    sizes = [m.shape[2] for m in maps.values()]
    common = max(sorted(set(sizes)), key=sizes.count)
    chosen = [m.float() for m in maps.values() if m.shape[2] == common]
    rows = [torch.stack([m[row, :, :, span].mean((0, 2)) for m in chosen]).mean(0) for row, span in enumerate(spans)]
    return torch.stack(rows)


def contrast(
    original: Float[Tensor, "batch cell"], others: Float[Tensor, "batch one_and_related cell"], temperature: float
) -> Float[Tensor, " batch"]:
    """log softmax of the first of cos(original, others)/τ."""
    cosines = nn.functional.cosine_similarity(original[:, None], others, dim=-1)
    return (cosines / temperature).log_softmax(-1)[:, 0]
