"""What all tests that compress share."""

import functools
from collections.abc import Iterator

import pytest
from torch.onnx._internal.exporter._registration import ONNXRegistry


@pytest.fixture(autouse=True, scope="session")
def registry_of_operators() -> Iterator[None]:
    """The exporter's own table, made once: it reads a thousand functions from their source for each export."""
    made = functools.cache(ONNXRegistry.from_torchlib.__func__)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", classmethod(made))
        yield
