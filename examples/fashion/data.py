"""Fashion-MNIST: 10,000 training and 10,000 test images (MIT licence, beside this file)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weighbridge.data import Data, Split

CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip


def preprocess(raw: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """One raw image (28, 28) of bytes → the model's input (1, 1, 28, 28) in [0, 1]."""
    return {"image": (raw[None, None].astype(np.float32)) / np.float32(255)}


def postprocess(outputs: list[NDArray[np.float32]]) -> str:
    """Logits (1, 10) → the name of the class."""
    return CLASSES[int(outputs[0][0].argmax())]


def load() -> Data:
    """Named splits, one slice per class."""
    with np.load(Path(__file__).with_name("fashion_mnist_10k_10k.npz"), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    train = _split(arrays["x_train"], arrays["y_train"])
    test = _split(arrays["x_test"], arrays["y_test"])
    return Data(train=train, test=test, preprocess=preprocess, postprocess=postprocess, raw=arrays["x_test"])


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    inputs = {"image": images[:, None].astype(np.float32) / np.float32(255)}
    slices = {name: labels == index for index, name in enumerate(CLASSES)}
    return Split(inputs, labels.astype(np.int64), slices)
