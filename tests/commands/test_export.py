import json

import pytest

from tests import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tiny.train_two_steps(tmp_path_factory.mktemp("run"))


def test_the_whole_command(commands, workdir, tmp_path):
    code, output = commands(
        "export", f"--model={workdir}", f"--output={tmp_path}", "--platforms=cpu", "--batch_size=2",
        "--canvases=64x64,32x64", "--checkpoint=last", "--noema", "--score=0.25",
    )  # fmt: skip
    assert code == 0, output
    described = json.loads((tmp_path / "detector.json").read_text())
    assert (described["pixels"]["exif"], described["pixels"]["bit_depth"]) == ("ignore", 16)
    assert described["platforms"] == ["cpu"] and described["batch_size"] == 2
    assert {class_["lowest_score"] for class_ in described["classes"]} == {0.25}
    for program in described["programs"]:
        assert (tmp_path / program["file"]).stat().st_size > 10_000
        assert program["file"] in output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "detector.json", "detector_32x64.stablehlo", "detector_64x64.stablehlo"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--canvases=64"], "--canvases has '64'; write height and width as 800x1344."),
        (["--format=safetensors"], "is not a detector that torchvision can build"),
        (["--format=safetensors", "--score=best"], "--score is for programs, but"),
        (["--format=onnx", "--batch_size=8"], "--batch_size does not apply to --format=onnx"),
        (["--format=safetensors", "--canvases=64x64"], "--canvases does not apply to"),
    ],
)
def test_a_mistake_is_one_sentence(commands, workdir, tmp_path, flags, words):
    code, output = commands("export", f"--model={workdir}", f"--output={tmp_path / 'out'}", *flags)
    assert code == 1
    assert words in output and "Traceback" not in output
    assert not (tmp_path / "out").exists()
