import numpy as np
import pytest

from ioub_jax.diagnostics import gradient_norm


def test_the_closed_form_by_hand():
    # Shifted by a fifth of its width a box has IoU .8 / 1.2; beyond beta smooth L1 has slope 1.
    options = {"lambda_": 1.5, "w_loc": 3.0, "beta": 0.11}
    norm = gradient_norm.closed_form(np.array([0.2, 0.055, 1.0]), kind="shift", **options)
    assert norm == pytest.approx(
        [3 * (0.8 / 1.2) ** 1.5, 3 * (0.945 / 1.055) ** 1.5 * 0.055 / 0.11, 0]
    )
    norm = gradient_norm.closed_form(np.array([0.5]), kind="stretch", **options)
    assert norm == pytest.approx([3 * np.exp(-0.75)])


def test_autodiff_agrees_with_the_closed_form():
    curves = gradient_norm.gradient_norms()
    assert {(curve["kind"], curve["lambda"]) for curve in curves} == {
        (kind, lambda_) for kind in ("shift", "stretch") for lambda_ in (0, 0.5, 1, 1.5, 1.8)
    }
    for curve in curves:
        assert curve["delta"][0] == 0 and curve["delta"][-1] == 1
        np.testing.assert_allclose(curve["autodiff"], curve["closed_form"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["shift", "stretch"])
def test_w_loc_keeps_the_sum_of_the_loss(kind):
    assert gradient_norm.calibrated_w_loc(kind=kind, lambda_=0.0) == 1.0
    w_loc = gradient_norm.calibrated_w_loc(kind=kind, lambda_=1.0, beta=0.0)
    # Plain L1, the weight w_loc IoU, and the mean over d from 0 to the worst error a:
    # shift, a = 1/3: int d (1 - d) / (1 + d) = 2 a - a^2 / 2 - 2 ln(1 + a);
    # stretch, a = ln 2: int d exp(-d) = 1 - (1 + a) exp(-a).
    worst = {"shift": 1 / 3, "stretch": np.log(2)}[kind]
    weighted = {
        "shift": 2 * worst - worst**2 / 2 - 2 * np.log(1 + worst),
        "stretch": 1 - (1 + worst) * np.exp(-worst),
    }[kind]
    assert w_loc == pytest.approx(worst**2 / 2 / weighted, rel=1e-3)
