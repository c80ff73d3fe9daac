"""The checker of tests/conftest.py is at work: a promise about shapes that is broken does not pass unseen."""

import pytest
import torch
from jaxtyping import TypeCheckError

from mmunlearn.handle import Scored
from mmunlearn.losses import divergence, masked_sum


def test_right_shapes_pass() -> None:
    scored = Scored(torch.zeros(3), torch.ones(3, dtype=torch.long))
    assert [2.0, 2.0, 2.0] == masked_sum(torch.ones(3, 2), scored).tolist()


@pytest.mark.parametrize(
    "student",
    [torch.zeros(3, 2, 5), torch.zeros(3, 2), torch.zeros(3, 2, 4, dtype=torch.long), [[[0.0]]]],
    ids=["other size", "missing axis", "integers", "no array"],
)
def test_wrong_shape_or_kind_is_refused(student: object) -> None:
    with pytest.raises(TypeCheckError, match="student"):
        divergence(torch.zeros(3, 2, 4), student, "categorical")
