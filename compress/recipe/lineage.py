"""What an artifact came from: digests of the code, versions of the libraries, the processor's instruction sets."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path

from weighbridge.compress.capabilities import versions as installed_versions
from weighbridge.core.facts import isa
from weighbridge.core.facts.targets import DEFAULT_TARGET
from weighbridge.core.files import canonical_json, sha256_bytes, sha256_file
from weighbridge.core.formats import onnx_count, onnx_file

LIBRARIES = ("numpy", "onnx", "onnxruntime", "onnxscript", "safetensors", "torch", "torch-pruning")
ISA = isa.KERNELS


def code_digest(factories: Iterable[str]) -> str:
    """SHA-256 over the source of this room, the ONNX reader, and the modules of factories.

    It covers what the pipeline's stage depends on and no more: else a change that does not run the stage again would
    leave another digest here than in a clean clone. Sources go by their module's name, so that the digest does not
    depend on where anything is installed.
    """
    folder = Path(__file__).parents[1]
    sources = {f"compress/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
    names = [onnx_count.__name__, onnx_file.__name__, *(reference.partition(":")[0] for reference in factories)]
    for name in names:
        file = importlib.import_module(name).__file__
        if file is not None:
            sources[name] = Path(file)
    return sha256_bytes(canonical_json({name: sha256_file(path) for name, path in sorted(sources.items())}))


def environment(target: str = DEFAULT_TARGET) -> dict[str, str]:
    """Versions of Python and of the libraries that bytes depend on, and the instruction sets of this processor.

    `target` adds its converters and its runtime.
    """
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    versions |= {name: version for name, version in installed_versions(target).items() if version is not None}
    flags = sorted(isa.flags() & ISA)
    return {"python": platform.python_version(), "machine": platform.machine(), "isa": " ".join(flags), **versions}
