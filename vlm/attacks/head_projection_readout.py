"""Head projection attack: the answer among the tokens that some late layer thinks likeliest."""

from torch import Tensor

from ._lens import LensReadout, LensSettings


class HeadProjectionReadout(LensReadout):
    """Candidates are the k likeliest tokens of the logit lens at each chosen state.

    Source: vlm_unlok_offside_med 1.5 (HP; LLaVA-1.5-7B: states 25 29 30 31 32, k = 4, so B = 20). Differs from the
    paper: see LensSettings.reference for what the released code computes otherwise."""

    paper = "Patil et al. 2025 (UnLOK-VQA); Patil et al. 2024 (ICLR)"
    suite = "vqa"
    suite_settings = {"k": 1}
    usual = 5

    class Config(LensSettings):
        """Defaults of the reference."""

    def rows(self, p: Tensor) -> Tensor:
        """The probabilities themselves."""
        return p
