"""Crops of photographs: twenty of ImageNet, with their classes, to test on; those of other packages to calibrate on."""

import zipfile
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image

from weighbridge.data import Data, Split

SIDE = 224
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
OTHERS = {
    "photographs.zip": [
        f"skimage/data/{name}"
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
    ],
    "streets.zip": ["ultralytics/assets/bus.jpg", "ultralytics/assets/zidane.jpg"],
}
LEAST = 0.8
"""Of the shorter side, that a crop shows; 0.875 is what the checkpoint was evaluated on."""


def _read(package: str, names: list[str]) -> list[Image.Image]:
    found = []
    with zipfile.ZipFile(Path(__file__).with_name(package)) as archive:
        for name in names:
            with archive.open(name) as file:
                found.append(Image.open(file).convert("RGB"))
    return found


def _crops(images: list[Image.Image], count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        image = images[index % len(images)]
        side = min(image.size) * rng.uniform(LEAST, 1.0)
        left, top = (rng.uniform(0, length - side) for length in image.size)
        crop = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        pixels = np.asarray(crop, np.float64) / 255
        pixels = pixels[:, ::-1] if rng.integers(0, 2) else pixels
        rows.append(((pixels - MEAN) / SPREAD).transpose(2, 0, 1))
    return np.asarray(rows, np.float32)


def load() -> Data:
    """Groups: crops of one photograph. No photograph is in two splits."""
    others = [Image.fromarray(sklearn.datasets.load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    others += [image for package, names in OTHERS.items() for image in _read(package, names)]
    with zipfile.ZipFile(Path(__file__).with_name("labelled.zip")) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith("foolbox/data/imagenet_"))
    classes = np.array([int(Path(name).stem.rpartition("_")[2]) for name in names])
    order = np.arange(10 * len(names)) % len(names)
    test = Split({"image": _crops(_read("labelled.zip", names), len(order), 3)}, classes[order], groups=order)
    return Data(
        train=Split({"image": _crops(others, len(others), 1)}),
        calibration=Split({"image": _crops(others, 4 * len(others), 2)}),
        test=test,
    )
