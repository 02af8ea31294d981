"""Cases to read: a few files by their paths, on disk and in the corpus."""

import hashlib
import pathlib

#: The content of each file by its path below the folder of the case.
Files = dict[str, bytes]


def write(folder: pathlib.Path, files: Files) -> None:
    """Writes the files into a folder, which is created."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read(folder: pathlib.Path) -> Files:
    """The files of a folder that `write` has written."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def name_of(files: Files) -> str:
    """The name of a case in the corpus, which is the same for the same files."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]
