"""A project's folder: where the stages read and write, and how its data and model are loaded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx
from torch import nn

from weighbridge.compress.graph.feeds import fed_as
from weighbridge.compress.graph.lowering import finished
from weighbridge.compress.graph.normal import entered, refuse_foreign, refuse_ports
from weighbridge.compress.graph.parametrized import plain
from weighbridge.compress.graph.sessions import with_libraries
from weighbridge.compress.graph.spilled import opened
from weighbridge.compress.training.checkpoint import read_checkpoint
from weighbridge.compress.training.module_quality import check_module
from weighbridge.compress.training.objective import deterministic
from weighbridge.compress.training.splits import StoredSplit
from weighbridge.compress.training.weights import load_weights
from weighbridge.core.callables import call_factory, search_below
from weighbridge.core.documents import Manifest, Params, baseline_folder
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import read_json, sha256_file
from weighbridge.core.formats.onnx_file import signature
from weighbridge.core.operator_libraries import OperatorLibrary, named_libraries
from weighbridge.core.project import PARAMS
from weighbridge.data import Data, Split

SPLITS = ("train", "calibration", "test")


@dataclass(frozen=True)
class Project:
    """Paths and loaders of one project; `root` holds its `params.yaml`."""

    root: Path
    planned: Params | None = None
    """Parameters that are not written yet, for a dry run; None: those of `params.yaml`."""

    @cached_property
    def params(self) -> Params:
        """The whole of `params.yaml`."""
        params = self.planned or Params.read(self.params_file)
        search_below(self.root)  # whatever folder the command was started in
        return params

    @property
    def params_file(self) -> Path:
        """`params.yaml`."""
        return self.root / PARAMS

    @property
    def data_folder(self) -> Path:
        """Made by the stage `prepare`."""
        return self.root / "artifacts" / "data"

    @property
    def checkpoint(self) -> Path:
        """Made by the stage `train`."""
        return self.root / "artifacts" / "trained" / "checkpoint.safetensors"

    def baseline_folder(self, target: str) -> Path:
        """Made by the stage `baseline`."""
        return self.root / baseline_folder(target)

    def recipe_folder(self, name: str) -> Path:
        """Made by the stage `compress`: a folder for each target."""
        return self.root / "artifacts" / "recipes" / name

    def data(self) -> tuple[Data, str]:
        """The prepared splits, inputs in the data factory's order, and the digest over all of them.

        Each is read when a step first asks for something of it.
        """
        index = self.data_folder / "data.json"
        if not index.is_file():
            raise StateError("the data is not prepared", where=str(self.data_folder), fix="dvc repro prepare")
        order = read_json(index)["inputs"]
        splits = {name: StoredSplit(self.data_folder / f"{name}.npz", order) for name in SPLITS}
        data = Data(train=splits["train"], test=splits["test"], calibration=splits["calibration"])
        return data, sha256_file(index)

    def fresh_module(self) -> nn.Module:
        """The factory's module with weights by the seed; an `InputError` where it gives anything else."""
        where = f"{self.params_file}: model.factory"
        assert self.params.model.factory is not None  # callers ask for `onnx` first
        with deterministic(self.params.train.seed):
            module = call_factory(self.params.model.factory, where)
        if not isinstance(module, nn.Module):
            raise InputError(f"returned {type(module).__name__}", where=where, fix="expected a torch.nn.Module")
        return module

    def start_module(self) -> nn.Module:
        """What the stage `train` starts from: the fresh module, with `model.weights` where params name them."""
        module = self.fresh_module()
        if self.params.model.weights is not None:
            load_weights(self.root / self.params.model.weights, module, f"{self.params_file}: model.weights")
        return module

    def check(self, module: nn.Module, split: Split) -> None:
        """Refuse a module that does not take the data, or whose outputs do not fit the labels."""
        task, train = self.params.task, self.params.train
        lossless = task is not None and task.facts.loss is None and "loss" not in train.model_fields_set
        if lossless and task is not None and train.epochs and train.loop is None:
            raise InputError(
                f"the task {task.kind} has no loss that fits every model",
                where=f"{self.params_file}: train",
                fix="give train.loss or train.loop, or train: none with model.weights",
            )
        where = f"{self.params_file}: model.factory"
        check_module(module, Split(split.inputs) if lossless else split, train, where)

    def trained_module(self) -> nn.Module:
        """The baseline, in eval mode; an `InputError` where the model is an ONNX file."""
        if self.params.model.factory is None:
            raise InputError("the model is an ONNX file, not a PyTorch module", where=f"{self.params_file}: model.onnx")
        if not self.checkpoint.is_file():
            raise StateError("the baseline is not trained", where=str(self.checkpoint), fix="dvc repro train")
        return plain(read_checkpoint(self.checkpoint, self.fresh_module()))

    def given_model(self, data: Data) -> onnx.ModelProto:
        """The ONNX model that params name, in its finished form; its inputs must be the data's."""
        assert self.params.model.onnx is not None  # callers ask for `factory` first
        return self.finished_model(self.params.model.onnx, data)

    def finished_model(self, name: str, data: Data) -> onnx.ModelProto:
        """An ONNX model by its path from here, in its finished form; its inputs must be the data's."""
        path = self.root / name
        if not path.is_file():
            raise InputError("file not found", where=str(path))
        proto = entered(opened(path))
        assert data.calibration is not None  # `data` and `explain` set it
        for port in signature(proto).inputs:
            carried = port.name in self.params.inputs and self.params.inputs[port.name].carry is not None
            if port.name not in data.calibration.inputs and not carried:
                names = ", ".join(data.calibration.inputs)
                raise InputError(
                    f"input {port.name!r} is not among the data's inputs ({names})",
                    where=str(path),
                    fix="name the array in the data factory after the model's input",
                )
        refuse_foreign(proto, str(path), self.libraries())
        refuse_ports(proto, str(path))
        return finished(proto)

    def libraries(self) -> tuple[OperatorLibrary, ...]:
        """The libraries of custom operators that params name; one with another digest is an `InputError`."""
        return named_libraries(self.params.custom_ops, self.root, f"{self.params_file}: custom_ops")

    @contextmanager
    def as_declared(self) -> Iterator[None]:
        """Within it, inputs are fed and libraries of operators are loaded as params say."""
        with fed_as(self.params.inputs), with_libraries(self.libraries()):
            yield

    def baseline_manifest(self, target: str) -> Manifest:
        """What the stage `baseline` said of its artifact."""
        path = self.baseline_folder(target) / "manifest.json"
        if not path.is_file():
            raise StateError("there is no baseline artifact", where=str(path), fix="dvc repro baseline")
        return Manifest.read(path)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `folder`; it takes its place on success and goes on any error."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror or error}", where=str(folder)) from error
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise StateError(f"cannot be written: {error.strerror or error}", where=str(folder)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
