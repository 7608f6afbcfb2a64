"""What training minimizes, on what: losses, augmentation, batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weighbridge.core.callables import import_callable
from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError
from weighbridge.core.ragged import buckets, is_ragged, stacked, token_width
from weighbridge.data import Split

Augment = Callable[[dict[str, Tensor], Tensor], tuple[dict[str, Tensor], Tensor]]
"""(inputs by name, labels) of a batch → both, changed."""


def _cuda_devices() -> list[int]:
    """The GPU whose random state is to come back; none where CUDA was not started."""
    started: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return [torch.cuda.current_device()] if started else []


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """One thread, deterministic kernels and a seeded generator; the process's own state comes back afterwards."""
    threads, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=_cuda_devices()):
        try:
            torch.manual_seed(seed)
            torch.set_num_threads(1)
            torch.use_deterministic_algorithms(True)
            # Nothing here reads memory that it did not write; filling it would only cost time.
            memory.fill_uninitialized_memory = False
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(was)
            memory.fill_uninitialized_memory = fill


@contextmanager
def everything_seeded(seed: int) -> Iterator[None]:
    """`deterministic`, with the generators of Python and numpy seeded as well."""
    before, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  # users' data sets draw from it
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        with deterministic(seed):
            yield
    finally:
        random.setstate(before)
        np.random.set_state(legacy)  # noqa: NPY002


def augmentation(settings: TrainSection, generator: torch.Generator) -> Augment | None:
    """The user's `train.augment`, which draws from `generator`; None where there is none."""
    if settings.augment is None:
        return None
    where = "params.yaml: train.augment"
    change = import_callable(settings.augment, where)

    def augmented(inputs: dict[str, Tensor], labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        try:
            found, kept = change(inputs, labels, generator)
            shapes = {name: tensor.shape[1:] for name, tensor in found.items()}
        except Exception as error:  # a user's function may raise anything
            raise InputError(f"{settings.augment} failed: {error!r}", where=where) from error
        if set(shapes) != set(inputs) or {len(tensor) for tensor in found.values()} != {len(kept)}:
            raise InputError(
                f"{settings.augment} gave the inputs {', '.join(sorted(shapes))} with {len(kept)} labels",
                where=where,
                fix=f"give back {', '.join(inputs)}, each with as many examples as there are labels",
            )
        return found, kept

    return augmented


def batch(split: Split, chosen: NDArray[Any] | slice) -> tuple[dict[str, Tensor], Tensor]:
    """The chosen examples as tensors: floats as float32, labels as int64 classes or float32 values.

    Where examples differ in length, those of a slice that are alike with its first one; indices must be alike.
    """
    if any(is_ragged(array) for array in split.inputs.values()):
        places = np.arange(len(split))[chosen]
        if isinstance(chosen, slice):
            places = places[buckets(split.take(chosen).inputs)[0]]
        return _of_one_length(split, places)
    inputs_of, labels_of = split.rows(chosen)
    inputs = {name: _tensor(array) for name, array in inputs_of.items()}
    labels = _tensor(labels_of)
    return inputs, labels if labels.is_floating_point() else labels.long()


def _of_one_length(split: Split, places: NDArray[Any]) -> tuple[dict[str, Tensor], Tensor]:
    """Examples of one length, with the labels of as many tokens as they have where labels are of tokens."""
    arrays, labels = stacked(split.inputs, places), split.labels[places]
    width = token_width(labels)
    for name, array in split.inputs.items():
        if width and is_ragged(array) and array.shapes[:, 0].max() <= width:
            labels = labels[:, : arrays[name].shape[1]]
            break
    wanted = _tensor(labels)
    inputs = {name: _tensor(array) for name, array in arrays.items()}
    return inputs, wanted if wanted.is_floating_point() else wanted.long()


def _tensor(array: NDArray[Any]) -> Tensor:
    if array.dtype.kind == "f" and array.dtype != np.float32:
        array = array.astype(np.float32)
    # Arrays from a memory map or of broadcasting are read-only, which torch warns about.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
