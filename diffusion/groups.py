"""Named groups of weights: which parameters a role means in each kind of model.

Patterns are those of fnmatch on names inside the handle's module ("denoiser.…", "text_encoder.…"); one that begins with
"!" takes names away again.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

_TEXT = ("text_encoder*",)

# attn2 of every transformer block attends to the prompt, attn1 to the picture itself (ESD's and UCE's scripts).
UNET: Mapping[str, tuple[str, ...]] = {
    "xattn": ("denoiser.*.attn2.*",),
    "xattn_kv": ("denoiser.*.attn2.to_k.*", "denoiser.*.attn2.to_v.*"),
    "noxattn": ("denoiser.*", "!denoiser.*.attn2.*"),
    "selfattn": ("denoiser.*.attn1.*",),
    "denoiser": ("denoiser.*",),
    "text_encoder": _TEXT,
    "all": ("denoiser.*", *_TEXT),
}
UNET_CONTEXT = ("denoiser.*.attn2.to_k", "denoiser.*.attn2.to_v")

# Joint attention: the projections of the text stream, and what brings the prompt into it.
_ADDED = tuple(f"denoiser.*.attn.{part}.*" for part in ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"))
_CROSS = (*_ADDED, "denoiser.*.attn.norm_added_*", "denoiser.context_embedder.*")
TRANSFORMER: Mapping[str, tuple[str, ...]] = {
    "xattn": _CROSS,
    "xattn_kv": ("denoiser.*.attn.add_k_proj.*", "denoiser.*.attn.add_v_proj.*"),
    "noxattn": ("denoiser.*", *(f"!{pattern}" for pattern in _CROSS)),
    "selfattn": tuple(f"denoiser.*.attn*.to_{part}.*" for part in ("q", "k", "v", "out")),
    "denoiser": ("denoiser.*",),
    "text_encoder": _TEXT,
    "all": ("denoiser.*", *_TEXT),
}
SD3_CONTEXT = ("denoiser.context_embedder",)
FLUX_CONTEXT = ("denoiser.context_embedder", "denoiser.time_text_embed.text_embedder.linear_1")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits a pattern and none of those that take away."""
    wanted = list(patterns)
    if any(fnmatchcase(name, pattern[1:]) for pattern in wanted if pattern.startswith("!")):
        return False
    return any(fnmatchcase(name, pattern) for pattern in wanted if not pattern.startswith("!"))
