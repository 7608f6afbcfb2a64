"""Quantize: fp16, int8 (dynamic, static, trained) and weight-only int8, int4 and fp16 for onnxruntime.

- `config`: what a recipe can ask for
- `ranges`: ends of ranges that do not depend on the processor
- `half`, `integer`, `weight_only`: how a graph is rewritten, by family of schemes
- `gptq`: blocks of few bits, rounded so that errors on calibration data even out
- `bias_correction`: what rounding shifts on average, taken out of the biases
- `float_outputs`: answers that are not rounded
- `qat`: the module half of quantization-aware training
- `layer_sensitivity`: which layers suffer most
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from onnx import ModelProto, TensorProto

from weighbridge.compress.graph.lowering import Layer, agreement, finished, integer_tensors, layers, select
from weighbridge.compress.graph.normal import opened
from weighbridge.compress.graph.normal.readers import untied
from weighbridge.compress.graph.sessions import run
from weighbridge.compress.steps import Context, Facts, Graph
from weighbridge.compress.techniques.quantize.bias_correction import Apply, with_corrected_biases
from weighbridge.compress.techniques.quantize.config import FULLY_INTEGER, Quantize
from weighbridge.compress.techniques.quantize.gemms import with_origins, without_factors
from weighbridge.compress.techniques.quantize.half import half
from weighbridge.compress.techniques.quantize.integer import (
    calibrate,
    check_calibration,
    dynamic,
    prepared,
    reduces_range,
    static,
)
from weighbridge.compress.techniques.quantize.layer_sensitivity import as_facts, rank, too_sensitive
from weighbridge.compress.techniques.quantize.qat import train
from weighbridge.compress.techniques.quantize.refusals import (
    nothing_stored,
    refuse_inside,
    refuse_little,
    refuse_quantized,
)
from weighbridge.compress.techniques.quantize.weight_only import blockwise, folded
from weighbridge.core.errors import InputError, InvariantError
from weighbridge.data import Split

__all__ = ["Quantize", "agreement_of", "lower", "phases", "train"]

WHERE = "quantize"


def phases(config: Quantize) -> tuple[str, ...]:
    """Quantization-aware training acts on the module and on the file, every other scheme on the file alone."""
    return ("module", "lower") if config.scheme == "qat-int8" else ("lower",)


def agreement_of(config: Quantize) -> float:
    """Least share of calibration inputs on which the file answers as before: as configured, or by the scheme."""
    if config.agreement is not None:
        return config.agreement
    return 0.99 if config.scheme in ("fp16", "weight-fp16") else 0.9


def _calibration(context: Context) -> Split:
    split = context.data.calibration
    if split is None:
        raise InputError("there is no calibration split", where="data.calibration")
    check_calibration(split)
    return split


def _quantizable(config: Quantize, graph: Graph) -> tuple[Graph, list[Layer]]:
    """The graph as the scheme takes it, and its layers; `InputError` where the scheme has nothing to do in it."""
    refuse_quantized(config.scheme, graph.proto)
    source = _prepared(config, graph)
    known = layers(source)
    refuse_inside(config, source.proto, known)
    if config.scheme != "fp16":  # which converts every operator
        refuse_little(config.scheme, source.proto, known)
    if not known:
        raise nothing_stored(config.scheme, source.proto)
    return source, known


def lower(config: Quantize, graph: Graph, context: Context) -> tuple[Graph, Facts]:
    """Quantize an exported graph; inputs and outputs keep their names and types.

    Raises `InputError` where nothing can be quantized, a pattern matches no layer, a layer has no form in the
    scheme (named), or the calibration set is empty or of one class; `InvariantError` where a layer that was to be
    quantized is not, or outputs are not finite.
    """
    split = _calibration(context)
    source, known = _quantizable(config, graph)
    reference = run(source.proto, split, WHERE)
    kept = {layer.weight for layer in _kept(config, graph, known)}
    with tempfile.TemporaryDirectory(prefix="weighbridge.") as folder:
        apply = _rewriter(config, source, known, split, Path(folder) / "ranges.json")
        ranking = []
        if config.keep_sensitive is not None and config.scheme != "qat-int8":
            by_name = _by_name(layer for layer in known if layer.weight not in kept)
            ranking = rank(list(by_name), lambda name: run(apply(source.proto, by_name[name]), split, WHERE), reference)
            sensitive = too_sensitive(ranking, config.keep_sensitive)
            kept |= {layer.weight for layer in known if layer.name in sensitive}
        chosen = [layer for layer in known if layer.weight not in kept]
        if not chosen:
            key = "keep" if config.keep_sensitive is None else "keep_sensitive"
            raise InputError("no layer is left to quantize", where=f"{WHERE}.{key}")
        made, corrections = _applied(config, source, chosen, apply, split)
        after = with_origins(source, made)
    proto = after.proto
    _check_done(config, after, chosen)
    facts: Facts = {
        "scheme": config.scheme,
        "layers": sorted({layer.name for layer in chosen}),
        "kept": sorted({layer.name for layer in known if layer.weight in kept}),
        **integer_tensors(proto),
        **agreement(run(proto, split, WHERE), reference),
        **({"reduce_range": reduces_range(config)} if config.scheme in FULLY_INTEGER else {}),
        **({"sensitivity": as_facts(ranking)} if ranking else {}),
        **corrections,
    }
    return after, facts


def _applied(
    config: Quantize, source: Graph, chosen: Sequence[Layer], apply: Apply, split: Split
) -> tuple[ModelProto, Facts]:
    """The graph in which the chosen layers are quantized, and where biases are to be corrected, of which layers."""
    if not config.bias_correction:
        return apply(source.proto, chosen), {}
    made, facts = with_corrected_biases(source.proto, chosen, apply, split)
    return made, {"bias_correction": facts}


def _by_name(known: Iterable[Layer]) -> dict[str, list[Layer]]:
    found: dict[str, list[Layer]] = {}
    for layer in known:
        found.setdefault(layer.name, []).append(layer)
    return found


def _prepared(config: Quantize, graph: Graph) -> Graph:
    needs = config.scheme in (*FULLY_INTEGER, "dynamic-int8")
    proto = opened(graph.proto, half=config.scheme not in ("fp16", "weight-fp16"))
    if not needs:
        return Graph(finished(proto), graph.notes)
    ready = Graph(prepared(proto), graph.notes)
    return untied(without_factors(ready) if config.scheme == "dynamic-int8" else ready)


def _kept(config: Quantize, graph: Graph, known: Sequence[Layer]) -> list[Layer]:
    """What to keep: as configured, or for trained quantization the layers that training left in float."""
    if config.scheme != "qat-int8":
        return select(known, config.keep, f"{WHERE}.keep")
    trained = graph.notes.get("qat")
    if trained is None:
        raise InvariantError("the graph does not come from quantization-aware training", where=WHERE)
    # A module with several weights (`gru`) is a layer for each of them in the file (`gru.weight_hh_l0`).
    prefixes = tuple(f"{name}." for name in trained["kept"])
    return [
        layer
        for layer in known
        if any(f"{name}.".startswith(prefixes) for name in (layer.name, layer.node, layer.weight))
    ]


def _rewriter(config: Quantize, source: Graph, known: Sequence[Layer], split: Split, ranges: Path) -> Apply:
    """How the config's scheme quantizes chosen layers of `source`, or of a graph that differs in its biases alone."""

    def others(chosen: Sequence[Layer]) -> list[str]:
        nodes = {layer.node for layer in chosen}
        return [layer.node for layer in known if layer.node not in nodes]

    if config.scheme in FULLY_INTEGER:
        calibrate(source.proto, config, split, ranges)
        return lambda proto, chosen: static(proto, config, ranges, exclude=others(chosen))
    if config.scheme == "dynamic-int8":
        return lambda proto, chosen: dynamic(proto, config, exclude=others(chosen))
    if config.scheme == "fp16":
        return lambda proto, chosen: half(proto, split, exclude=others(chosen))
    if config.kernel == "matmulnbits":
        return lambda proto, chosen: blockwise(proto, chosen, config, split)
    return lambda proto, chosen: folded(proto, chosen, config)


def _check_done(config: Quantize, graph: Graph, chosen: Sequence[Layer]) -> None:
    """Every chosen layer's weight is really stored in fewer bits."""
    still = {layer.weight for layer in layers(graph)}
    left = sorted((layer for layer in chosen if layer.weight in still), key=lambda layer: layer.name)
    if left:
        layer = left[0]
        raise InputError(
            f"{config.scheme} has no form of layer {layer.name} ({layer.op_type}): its weight is still float32",
            where=WHERE,
            fix="name it under 'keep', or choose a weight-only scheme",
        )
    wanted = TensorProto.FLOAT16 if config.scheme in ("fp16", "weight-fp16") else None
    types = {tensor.data_type for tensor in graph.proto.graph.initializer if len(tensor.dims) >= 2}
    integers = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}
    if not ({wanted} & types if wanted else integers & types):
        raise InvariantError(f"{config.scheme} left no weight of its type in the file", where=WHERE)
