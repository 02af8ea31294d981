import numpy as np
import pytest

from ioub_jax.data.sources.index_files import write_index


def test_an_index_is_written_for_all_to_read(tmp_path):
    path = tmp_path / "new folder" / "index.npz"
    for value in (1, 2):  # a second one takes the place of the first
        write_index(path, {"value": np.array(value)})
        with np.load(path) as arrays:
            assert arrays["value"] == value
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "index.npz"
    write_index(path, {"value": np.array(1)})

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        write_index(path, {"value": np.array(2)})
    assert list(tmp_path.iterdir()) == [path]
    assert np.load(path)["value"] == 1
