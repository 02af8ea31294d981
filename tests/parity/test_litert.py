"""Exported weights in LiteRT, by docs/export.md: needs what `make test-litert` makes."""

import re
import subprocess

import numpy as np
import pytest

from configs import torchvision
from ioub_jax.export import programs
from tests import tiny
from tests.export.test_programs import create, documented_program, with_small_outputs

PYTHON = tiny.ROOT / ".venv-litert" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="`make test-litert` makes its environment"),
]

# Runs the file and torch on an image.
COMPARE = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter

image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
interpreter = Interpreter("detector.tflite")
(signature,) = interpreter.get_signature_list().values()
found = interpreter.get_signature_runner()(**{signature["inputs"][0]: image})
with torch.no_grad():
    expected = before_nms(torch.from_numpy(image))
for output, value in zip(signature["outputs"], expected, strict=True):
    np.save(f"{output}.npy", np.stack([found[output], value.numpy()]))
"""


@pytest.mark.parametrize("architecture", ["retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"])
def test_litert_finds_the_boxes_and_scores_that_torch_does(architecture, tmp_path):
    detector = with_small_outputs(create(torchvision.get_config(architecture)))
    programs.write_torchvision_weights(detector, tmp_path / "exported", name="this")
    program = documented_program("import litert_torch")
    finished = subprocess.run(
        [PYTHON, "-c", program + COMPARE],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
        timeout=1500,
    )
    assert finished.returncode == 0, finished.stderr
    (side,) = set(re.findall(r"height, width = (\d+), \1", program))
    boxes, expected_boxes = np.load(tmp_path / "output_0.npy")
    scores, expected_scores = np.load(tmp_path / "output_1.npy")
    # Nine anchors at each place of levels with strides 8 to 128.
    anchors = 9 * sum((int(side) // stride) ** 2 for stride in (8, 16, 32, 64, 128))
    assert boxes.shape == (anchors, 4) and scores.shape == (anchors, 3)
    assert np.ptp(expected_boxes) > 100.0 and np.ptp(expected_scores) > 1e-3
    print(
        f"{architecture}: {anchors} boxes and {scores.size} scores differ by at most "
        f"{np.abs(boxes - expected_boxes).max():.1e} px and "
        f"{np.abs(scores - expected_scores).max():.1e}"
    )
    np.testing.assert_allclose(boxes, expected_boxes, atol=5e-2)
    np.testing.assert_allclose(scores, expected_scores, atol=1e-4)
