"""From an `nn.Module` to a file for one target: one file a target.

- `target`: what a target is; `program`: the form that a model has between its lowering steps
- `onnxruntime`: ONNX by `torch.onnx.export`, metadata stripped, bytes deterministic; `exported_names`: layers, weights
- `litert`: LiteRT by litert-torch and ai-edge-quantizer; `tflite` reads and tidies its files
- `executorch`: ExecuTorch with the XNNPACK delegate; `pte` reads its files
- `pt2e`: quantization in the captured graph, for both; `capture`: what their converters share
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from weighbridge.compress.capabilities import require
from weighbridge.compress.export.target import Target
from weighbridge.core.errors import InputError
from weighbridge.core.facts.targets import TARGETS


class _Exporters(Mapping[str, Target]):
    """Each is imported when it is asked for: the converters of the others take a second."""

    def __getitem__(self, name: str) -> Target:
        if name not in TARGETS:
            raise KeyError(name)
        return _imported(name)

    def __iter__(self) -> Iterator[str]:
        return iter(TARGETS)

    def __len__(self) -> int:
        return len(TARGETS)


@cache
def _imported(name: str) -> Target:
    found = getattr(import_module(f"{__name__}.{name}"), name.upper())
    assert isinstance(found, Target)  # tests hold every module here to it
    return found


EXPORTERS: Mapping[str, Target] = _Exporters()
"""How artifacts are built for each target: its module here is named after it, and so is the constant in it."""


def find_target(name: str, where: str = "target") -> Target:
    """The target of that name.

    Raises `InputError` that lists those that are built in, or names the extra that is not installed.
    """
    if name not in EXPORTERS:
        raise InputError(f"the target {name!r} is not built in", where=where, fix=f"targets: {', '.join(EXPORTERS)}")
    require(name, where)
    return EXPORTERS[name]
