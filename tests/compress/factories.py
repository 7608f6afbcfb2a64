"""What a user's project would name in `params.yaml`, right and wrong."""

import os
import random
import signal
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from tests.compress.nets import MLP, features, images
from weighbridge.data import Data, Split


def clouds() -> Data:
    """Features of three classes, with a slice for each."""

    def sliced(split: Split) -> Split:
        return Split(split.inputs, split.labels, {f"class-{label}": split.labels == label for label in range(3)})

    return Data(train=sliced(features(96, 0)), test=sliced(features(60, 1)))


def pictures() -> Data:
    """Images of three classes."""
    return Data(train=images(96, 0), test=images(60, 1))


def one_class_calibration() -> Data:
    """A calibration split that knows one class alone."""
    data = clouds()
    return Data(train=data.train, test=data.test, calibration=data.train.take(data.train.labels == 1))


def empty_calibration() -> Data:
    """A calibration split of no examples."""
    data = clouds()
    return Data(train=data.train, test=data.test, calibration=data.train.take(slice(0, 0)))


def other_inputs() -> Data:
    """Train and test with inputs of different names."""
    data = clouds()
    return Data(train=data.train, test=Split({"other": data.test.inputs["features"]}, data.test.labels))


def eleven_classes() -> Data:
    """Labels that the model does not have."""
    data = clouds()
    return Data(train=Split(data.train.inputs, np.arange(96) % 11), test=data.test)


def no_module() -> dict[str, int]:
    """Not a model."""
    return {"layers": 3}


def narrow() -> MLP:
    """A smaller student."""
    return MLP(width=12)


class Divergent(nn.Module):
    """A model whose loss is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Linear(16, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.classes(features) * float("inf") if self.training else self.classes(features)


def own_loop(training: Any) -> None:
    """Plain SGD, as a team's own script would train."""
    order = torch.Generator().manual_seed(training.seed)
    optimizer = torch.optim.SGD(training.module.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(1, training.epochs + 1):
        total = 0.0
        chosen = torch.randperm(len(training.data), generator=order).split(training.batch_size)
        for indices in chosen:
            inputs = {name: torch.from_numpy(array[indices.numpy()]) for name, array in training.data.inputs.items()}
            value = training.loss(inputs, torch.from_numpy(training.data.labels[indices.numpy()]))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += float(value.detach())
        training.progress(epoch, total / len(chosen))


def idle_loop(_: object) -> None:
    """Trains nothing."""


def breaking_loop(training: Any) -> None:
    """Changes weights after the last optimizer step."""
    own_loop(training)
    with torch.no_grad():
        for parameter in training.module.parameters():
            parameter.add_(0.01)


def hand_made_loop(training: Any) -> None:
    """Updates weights without a torch optimizer, and says so."""
    inputs = {name: torch.from_numpy(array) for name, array in training.data.inputs.items()}
    labels = torch.from_numpy(training.data.labels)
    for _ in range(5):
        training.module.zero_grad()
        training.loss(inputs, labels).backward()
        with torch.no_grad():
            for parameter in training.module.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.05 * parameter.grad)
        training.after_step()


def failing_loop(_: object) -> NoReturn:
    """Raises."""
    raise RuntimeError("out of patience")


def own_loss(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy that looks twice as hard at the last class."""
    return torch.nn.functional.cross_entropy(outputs, labels, weight=torch.tensor([1.0, 1.0, 2.0]))


def no_scalar(outputs: Any, _: object) -> torch.Tensor:
    """Not a loss."""
    return outputs


def noise(
    inputs: dict[str, torch.Tensor], labels: torch.Tensor, generator: torch.Generator
) -> tuple[dict[str, Any], Any]:
    """Augmentation by a little noise."""
    return {
        name: tensor + 0.01 * torch.randn(tensor.shape, generator=generator) for name, tensor in inputs.items()
    }, labels


def dropped_input(inputs: dict[str, torch.Tensor], labels: torch.Tensor, _: object) -> tuple[dict[str, Any], Any]:
    """Augmentation that loses examples."""
    return {name: tensor[1:] for name, tensor in inputs.items()}, labels


class Augmented(IterableDataset):
    """A stream without an end that draws from every generator there is."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        while True:
            noise = torch.randn(16) + random.random() + np.random.rand()  # noqa: NPY002  # as users do
            label = int(torch.randint(3, ()))
            yield (noise + label).float(), label


def streaming() -> Data:
    """An endless stream to train on, a map-style data set to test on."""
    test = features(60, 1)
    pairs = TensorDataset(torch.from_numpy(test.inputs["features"]), torch.from_numpy(test.labels))
    return Data(train=Augmented(), test=pairs, names=("features",))


def jittered(
    inputs: dict[str, torch.Tensor], labels: torch.Tensor, generator: torch.Generator
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """An augmentation."""
    return {name: x + 0.1 * torch.randn(x.shape, generator=generator) for name, x in inputs.items()}, labels


class Calls:
    """How often the loss was computed in this process."""

    count = 0


CALLS = Calls()


def counted_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross entropy; kills the process at the call that the environment names."""
    CALLS.count += 1
    if CALLS.count == int(os.environ.get("KILLED_AT", "0")):
        os.kill(os.getpid(), signal.SIGKILL)
    return nn.functional.cross_entropy(outputs, labels)


def loop_with_scratch(training: Any) -> None:
    """Fails the first time, and finds then what it left."""
    if not (training.scratch / "mine").exists():
        (training.scratch / "mine").touch()
        raise RuntimeError("first run")
    own_loop(training)
