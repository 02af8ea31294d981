import pathlib
import sys

import ml_dtypes
import numpy as np
import pytest

from experiments.fuzz.torch_bytes import archive, call, stream, tensor
from ioub_jax.weights import WeightsError, read_state_dict

FILES = pathlib.Path(__file__).parent / "files"


def written(tmp_path, content, name="weights.pth"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("file_name", ["weights.pth", "weights.bin", "weights.safetensors"])
def test_the_content_tells_a_file_of_torch_not_its_name(file_name, tmp_path):
    content = (FILES / "tensors_stream.pth").read_bytes()
    assert read_state_dict(written(tmp_path, content, file_name))["scalar"] == 2.5


def test_reads_safetensors_as_it_reads_torch_files(tmp_path):
    pytest.importorskip("safetensors")
    content = (FILES / "tensors.safetensors").read_bytes()
    found = read_state_dict(written(tmp_path, content, "weights.pth"))
    expected = read_state_dict(FILES / "tensors_archive.pth")
    assert found.keys() == expected.keys()
    assert found["bfloat16"].dtype == ml_dtypes.bfloat16
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], strict=True, err_msg=key)


def test_damaged_safetensors_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    content = (FILES / "tensors.safetensors").read_bytes()
    with pytest.raises(WeightsError, match=r"weights\.pth is damaged .*get the file again"):
        read_state_dict(written(tmp_path, content[:-8]))
    with pytest.raises(WeightsError, match=r"weights\.pth is damaged .*get the file again"):
        read_state_dict(written(tmp_path, content.replace(b"float16", b"flo\0t16")))


def test_a_missing_library_of_safetensors_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(WeightsError, match="not installed: pip install safetensors"):
        read_state_dict(FILES / "tensors.safetensors")


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_a_state_dict_is_taken_out_of_a_checkpoint(key, tmp_path):
    saved = {"epoch": 3, "optimizer": {"state": {0: tensor()}}, key: {"x": tensor()}}
    assert list(read_state_dict(written(tmp_path, archive(saved)))) == ["x"]


def test_reads_the_checkpoint_of_a_training_script():
    found = read_state_dict(FILES / "checkpoint.pth")  # of DataParallel, under 'model'
    assert {name: array.shape for name, array in found.items()} == {
        "0.weight": (2, 3),
        "0.bias": (2,),
        "1.weight": (2,),
        "1.bias": (2,),
        "1.running_mean": (2,),
        "1.running_var": (2,),
        "1.num_batches_tracked": (),
    }


def test_the_prefix_of_data_parallel_goes_only_where_all_have_it(tmp_path):
    saved = {"module.x": tensor(), "module.module.y": tensor()}
    assert list(read_state_dict(written(tmp_path, stream(saved)))) == ["x", "module.y"]
    saved["z"] = tensor()
    found = read_state_dict(written(tmp_path, stream(saved)))
    assert list(found) == ["module.x", "module.module.y", "z"]


def test_what_is_no_tensor_is_left_out(tmp_path):
    saved = {
        "x": tensor(),
        "names": ["a"],
        "model": "resnet18",
        "state_dict": {"y": 1},
        3: tensor(),
    }
    assert list(read_state_dict(written(tmp_path, archive(saved)))) == ["x"]


@pytest.mark.parametrize("saved", [{}, [tensor()], tensor(), 3, {"model": {"x": 1}}])
def test_a_file_without_tensors_by_name_is_refused(saved, tmp_path):
    with pytest.raises(WeightsError, match=r"weights\.pth has no state dict; save one: torch"):
        read_state_dict(written(tmp_path, archive(saved)))


@pytest.mark.parametrize(
    ("sentence", "content"),
    [
        ("is empty; get the file again", b""),
        ("is a web page, not weights", b"<!DOCTYPE html><html>404</html>"),
        ("is a web page, not weights", b"\n\n <html>"),
        ("is not a file that torch.save wrote", b"version https://git-lfs.github.com/spec/v1"),
        ("is damaged or truncated", archive({"x": tensor()})[:-40]),
        ("is damaged or truncated", stream({"x": tensor()})[:-1]),
        (
            "asks for 'posix.system', which is not a tensor",
            archive({"x": call("posix.system", "ls")}),
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(sentence, content, tmp_path):
    with pytest.raises(WeightsError, match=rf"weights\.pth {sentence}"):
        read_state_dict(written(tmp_path, content))


def test_a_whole_model_is_refused():
    with pytest.raises(WeightsError, match=r"holds a whole model .*Save the state dict alone"):
        read_state_dict(FILES / "whole_model.pth")


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(WeightsError, match="is a folder; give the path of a file"):
        read_state_dict(tmp_path)
    with pytest.raises(WeightsError, match=r"absent\.pth does not exist; give the path of a file"):
        read_state_dict(tmp_path / "absent.pth")
