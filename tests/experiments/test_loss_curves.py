import math

import numpy as np
import pytest
from PIL import Image

from experiments.benchmark import loss_arms, loss_curves


def test_curves_are_those_of_one_positive():
    # Inside of the target, 1 - IoU is 1 - e^(dw + dh): at an IoU of .5 each derivative is -.5.
    inside = loss_curves.curves_of(
        loss_curves.options_of("iou"), loss_curves.smaller(np.array([0.5]))
    )
    np.testing.assert_allclose(inside.losses, [0.5], rtol=1e-5)
    np.testing.assert_allclose(inside.gradients, [0.5 * math.sqrt(2)], rtol=1e-5)
    # Half a side beside it, (1 - .5) / (1 + .5) is shared; smooth L1 with beta .11 is .5 - .055.
    beside = loss_curves.shifted(np.array([0.5]))
    iou = loss_curves.curves_of(loss_curves.options_of("iou"), beside)
    np.testing.assert_allclose(iou.losses, [2 / 3], rtol=1e-5)
    smooth_l1 = loss_curves.curves_of(loss_curves.options_of(loss_arms.BASELINE), beside)
    np.testing.assert_allclose(smooth_l1.losses, [0.445], rtol=1e-5)
    np.testing.assert_allclose(smooth_l1.gradients, [1.0], rtol=1e-5)


def test_the_mean_of_wise_iou_is_given_and_no_weight_is_in_the_curves():
    # b = .5 / (.99 * .5 + .01 * .5) = 1 at an IoU of .5, where v2 is v1, which is 1 - IoU there.
    deltas = loss_curves.smaller(np.array([0.5]))
    v2 = loss_curves.curves_of(loss_curves.options_of("wiou_v2"), deltas)
    np.testing.assert_allclose(v2.losses, [0.5], rtol=1e-5)
    assert loss_arms.LOCALIZATION["ciou"]["weight"] == 12.0
    assert loss_curves.options_of("ciou").weight == 1.0


@pytest.mark.slow
def test_every_loss_is_drawn(tmp_path):
    drawn = {arm for arms in loss_curves._ROWS.values() for arm in arms}
    # Which normalizes in a batch of one positive, and is the plain loss there.
    assert set(loss_arms.LOCALIZATION) - drawn == {"iou_balanced_dynamic"}
    loss_curves.draw(tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert np.asarray(image.convert("L")).std() > 10
