import matplotlib.image
import numpy as np
import pytest


def _draw(commands, path, *flags):
    return commands("draw_data", "--config=tests/tiny.py", f"--output={path}", *flags)


def test_the_command_draws_the_batches_from_a_step_on(commands, tmp_path):
    first, later = tmp_path / "new" / "first.png", tmp_path / "later.png"
    code, output = _draw(commands, first, "--images=10")
    assert code == 0, output
    # Batches of 8: ten images are one batch and a part of the next. Every image has objects.
    assert f"{first}: 10 images of 50" in output
    assert int(output.split()[-2]) >= 10
    code, output = _draw(
        commands, later, "--images=8", "--step=1", "--config.data.augmentation.expand_ratio=4.0"
    )
    assert code == 0, output
    shapes = [matplotlib.image.imread(path).shape for path in (first, later)]
    # Four columns of 2.75 inches; three rows and two.
    assert shapes[0][1] == shapes[1][1] == round(150 * (4 * 2.75 + 5 * 0.08))
    assert shapes[0][0] > shapes[1][0]
    # An expanded image lies on the color of the padding.
    padding = np.array([124, 116, 104]) / 255
    drawn = np.abs(matplotlib.image.imread(later)[..., :3] - padding).max(axis=-1) < 0.01
    assert drawn.mean() > 0.1


@pytest.mark.parametrize(
    ("output", "flag", "sentence"),
    [
        ("no.png", "--config.data.augmentation.expand_ratio=0.5", "expand_ratio is 0.5"),
        ("file/no.png", "--images=1", "/file, choose another folder; this is a file: "),
    ],
)
def test_a_mistake_is_told_in_one_sentence(commands, tmp_path, output, flag, sentence):
    (tmp_path / "file").write_text("no folder")
    code, said = _draw(commands, tmp_path / output, flag)
    assert code == 1
    assert said.strip().count("\n") == 0 and sentence in said
