"""What element-wise operations refuse, and gradients through them and through reductions."""

from __future__ import annotations

import pytest
import torch

from moka.errors import ProgramError
from moka.ops import lookup


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (2.0, -1.0)])
def test_the_range_of_clip_must_not_be_empty_from_ios17_on(alpha: float, beta: float) -> None:
    x = torch.tensor([0.0, 5.0])
    with pytest.raises(ProgramError, match="alpha must be below beta"):
        lookup("clip", "ios17").kernel(x, alpha=alpha, beta=beta)
    assert lookup("clip", "ios16").kernel(x, alpha=alpha, beta=beta).tolist() == [beta, beta]


SMOOTH = {
    "gelu": {"mode": "TANH_APPROXIMATION"},
    "log": {"epsilon": 0.5},
    "rsqrt": {"epsilon": 0.5},
    "reduce_log_sum_exp": {"axes": (1,)},
    "reduce_l2_norm": {"axes": (0, 1)},
    "reduce_prod": {},
    "scaled_tanh": {"alpha": 2.0, "beta": 0.5},
    "softmax": {"axis": 0},
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    x = torch.tensor([[0.3, 1.2, 2.0], [0.7, 0.1, 1.5]], dtype=torch.float64, requires_grad=True)
    kernel = lookup(name, "ios15").kernel
    assert torch.autograd.gradcheck(lambda value: kernel(value, **SMOOTH[name]), (x,))
