"""What a user's project would name in `params.yaml`, right and wrong."""

import numpy as np
from torch import nn

from tests.compress.nets import MLP, features, images
from weighbridge.data import Data, Split


def clouds():
    """Features of three classes, with a slice for each."""

    def sliced(split):
        return Split(split.inputs, split.labels, {f"class-{label}": split.labels == label for label in range(3)})

    return Data(train=sliced(features(96, 0)), test=sliced(features(60, 1)))


def pictures():
    """Images of three classes."""
    return Data(train=images(96, 0), test=images(60, 1))


def one_class_calibration():
    """A calibration split that knows one class alone."""
    data = clouds()
    return Data(train=data.train, test=data.test, calibration=data.train.take(data.train.labels == 1))


def empty_calibration():
    """A calibration split of no examples."""
    data = clouds()
    return Data(train=data.train, test=data.test, calibration=data.train.take(slice(0, 0)))


def other_inputs():
    """Train and test with inputs of different names."""
    data = clouds()
    return Data(train=data.train, test=Split({"other": data.test.inputs["features"]}, data.test.labels))


def eleven_classes():
    """Labels that the model does not have."""
    data = clouds()
    return Data(train=Split(data.train.inputs, np.arange(96) % 11), test=data.test)


def no_module():
    """Not a model."""
    return {"layers": 3}


def narrow():
    """A smaller student."""
    return MLP(width=12)


class Divergent(nn.Module):
    """A model whose loss is no number."""

    def __init__(self):
        super().__init__()
        self.classes = nn.Linear(16, 3)

    def forward(self, features):
        return self.classes(features) * float("inf") if self.training else self.classes(features)
