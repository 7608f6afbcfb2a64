"""Share weights: few distinct values, each used by many weights, found by k-means or dealt out by a hash.

By k-means, a codebook of 2^bits values stands for the weights of a tensor, a layer or the whole model, and is then
fine-tuned by the summed gradients of the weights that use each value (Han, Mao and Dally, "Deep Compression", 2016,
arXiv:1510.00149). Weights that are exactly zero keep a code of their own, so that pruning survives.

By hashing, the position of a weight decides which value it uses, so that no codes need to be stored (Chen et al.,
"Compressing Neural Networks with the Hashing Trick", 2015, arXiv:1504.04788).

Sharing alone changes no file size: `pack` after it stores codes and codebooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn

from weighbridge.compress.graph.fold import fold_batchnorm
from weighbridge.compress.graph.layers import Weight, calls, choose_weights, matching, row
from weighbridge.compress.steps import Context, Facts, Graph, StepConfig, Subject
from weighbridge.compress.techniques.share.codebook import (
    Codebook,
    Init,
    codebook_of,
    hashed_codebook,
    shared_parameters,
)
from weighbridge.compress.techniques.share.share_graph import HASHED, hash_weights, share_weights
from weighbridge.compress.training.finetune import facts_of, finetune
from weighbridge.compress.training.objective import batch
from weighbridge.compress.training.settings import Finetune
from weighbridge.core.errors import InputError, InvariantError


class ShareConfig(StepConfig):
    """Let weights share values. Normalisations are folded into the weights before them first."""

    method: Literal["kmeans", "hash"] = "kmeans"
    """`kmeans`: the nearest of 2^`bits` values found in the weights. `hash`: a value by position."""
    on: Literal["module", "file"] = "module"
    """`module`: before export, with fine-tuning. `file`: the weights of the ONNX file, as they are; for models that
    come without PyTorch, and after quantization."""
    bits: int = Field(default=4, ge=1, le=8)
    """Bits of a code, for `kmeans`: 2^`bits` values, and zero besides on tensors that hold zeros."""
    bits_by_layer: dict[str, Annotated[int, Field(ge=1, le=8)]] = Field(default_factory=dict)
    """Other bits for some layers, by name or pattern: `{hidden: 2}`. The first pattern that matches decides."""
    scope: Literal["tensor", "layer", "model"] = "tensor"
    """What has one codebook: each tensor, each layer (a recurrent layer has several tensors), or all together."""
    init: Init | None = None
    """Where k-means starts: evenly between smallest and largest weight (`linear`, keeps large weights), at
    evenly spaced ranks (`density`), or at the least squared error (`least_squares`). By default `linear` on the module,
    whose values are trained, and `least_squares` on a file, whose values stay."""
    ratio: float | None = Field(default=None, gt=0, lt=1)
    """Values per weight, for `hash`: 0.125 leaves one value for eight weights."""
    layers: list[str] | None = None
    """Names or patterns of layers or parameters to share; all where it is not set."""
    keep: list[str] = Field(default_factory=list)
    """Names or patterns of layers or parameters to leave alone."""
    biases: int | None = Field(default=None, ge=1, le=8)
    """Bits of one codebook for the biases of all these layers together; they stay as they are where it is not set."""
    agreement: float = Field(default=0.9, ge=0, le=1)
    """For `on: file`: least share of the calibration inputs on which the file must answer as the model did before."""
    finetune: Finetune | None = None
    """Train the shared values, and all weights that are not shared, after sharing."""

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if self.method == "hash" and self.ratio is None:
            raise ValueError("method hash needs 'ratio', values per weight")
        beyond = {"finetune", "biases"} & self.model_fields_set if self.on == "file" else set()
        if beyond or (self.on == "file" and self.method == "hash"):
            raise ValueError(f"{', '.join(sorted(beyond)) or 'method hash'} needs the module; leave out 'on: file'")
        if self.on == "module" and "agreement" in self.model_fields_set:
            raise ValueError("agreement is for 'on: file'; on the module, what is lost is for the budgets to say")
        if self.bits_by_layer and (self.on == "file" or self.scope == "model"):
            raise ValueError("bits_by_layer needs the module, and a codebook for each tensor or layer")
        foreign = {"kmeans": {"ratio"}, "hash": {"bits", "bits_by_layer", "scope", "init"}}
        unused = foreign[self.method] & self.model_fields_set
        if unused:
            raise ValueError(f"{', '.join(sorted(unused))} does not apply to method {self.method}")
        return self


def share(config: ShareConfig, subject: Subject, context: Context) -> tuple[Subject, Facts]:
    """Replace weights by shared values, fine-tune them, and leave codebooks that later steps must preserve.

    Raises `InputError` where a pattern matches nothing, a weight is shared already or a normalisation cannot be
    folded; `InvariantError` where nothing changed or fine-tuning diverged.
    """
    example, _ = batch(context.data.train, slice(0, 2))
    module = fold_batchnorm(subject.module, example)
    chosen = choose_weights(module, config.layers, config.keep, "share")
    _refuse_shared(chosen, shared_parameters(subject.constraints))
    books = _codebooks(config, module, chosen, context.seed)
    if all(book.violation(module) is None for book in books):
        raise InvariantError("the weights hold no more distinct values than asked for: sharing changed nothing")
    for book in books:
        book.project(module)
    shared = replace(subject, module=module, constraints=[*subject.constraints, *books])
    history = None
    if config.finetune is not None:
        history = finetune(module, config.finetune, context, constraints=shared.constraints, stage="share")
    if config.method == "hash":
        hashed = {book.owner: {"size": book.size, "seed": context.seed} for book in books if book.signs is not None}
        shared.notes = {**shared.notes, HASHED: {**shared.notes.get(HASHED, {}), **hashed}}
    return shared, _facts(config, books, module) | facts_of(history)


def lower(config: ShareConfig, graph: Graph, _: Context) -> tuple[Graph, Facts]:
    """Share the weights of a file, or store what was hashed in the module by its values alone."""
    if config.method == "hash":
        return hash_weights(graph)
    return share_weights(graph, 2**config.bits, config.init or "least_squares", config.layers, config.keep)


def phases(config: ShareConfig) -> tuple[str, ...]:
    """On the file alone, on the module alone, or for hashing on both."""
    if config.on == "file":
        return ("lower",)
    return ("module", "lower") if config.method == "hash" else ("module",)


def falls(config: ShareConfig) -> tuple[str, ...]:
    """Codes are no smaller before `pack` stores them, but compress better; hashed weights are smaller at once."""
    return ("bytes",) if config.method == "hash" else ("zstd",)


def explain(config: ShareConfig, subject: Subject, context: Context) -> list[Facts]:
    """Codes and codebook bytes of each tensor, as rows; nothing is trained."""
    chosen = choose_weights(subject.module, config.layers, config.keep, "share")
    cost = calls(subject.module, batch(context.data.train, slice(0, 1))[0])
    owners = {name: list(group) for name, group in groupby(chosen, key=lambda weight: _group(config, weight))}
    bits = _bits(config, chosen)
    rows = []
    for weight in chosen:
        count = weight.tensor.numel()
        macs = cost[weight.layer].macs * count // _elements(chosen, weight.layer) if weight.layer in cost else 0
        own = bits[weight.name]
        after = _stored(config, weight, own) + _book_bytes(config, count, own) // len(owners[_group(config, weight)])
        rows.append(row(weight.name, weight.tensor.shape, (count, macs, 4 * count), (count, macs, after)))
    if config.biases is not None:
        for name, bias in _biases(subject.module, chosen).items():
            size = (bias.size, 0, 4 * bias.size)
            rows.append(row(name, bias.shape, size, (bias.size, 0, -(-bias.size * config.biases // 8))))
    return rows


def _refuse_shared(chosen: Iterable[Weight], shared: frozenset[str]) -> None:
    for weight in chosen:
        if weight.name in shared:
            raise InputError(f"{weight.name!r} is shared already", where="share", fix="name it in 'keep' of one step")


def _group(config: ShareConfig, weight: Weight) -> str:
    if config.method == "hash":
        return weight.name
    return {"tensor": weight.name, "layer": weight.layer, "model": "all layers"}[config.scope]


def _bits(config: ShareConfig, chosen: list[Weight]) -> dict[str, int]:
    """Bits of a code of each weight, by its name; a pattern that matches none is an `InputError`."""
    names = {weight.name: {weight.name, weight.layer} for weight in chosen}
    for pattern in config.bits_by_layer:
        matching(sorted(set().union(*names.values())), [pattern], "share: bits_by_layer")
    found = {}
    for weight, known in names.items():
        own = (bits for item, bits in config.bits_by_layer.items() if any(fnmatchcase(name, item) for name in known))
        found[weight] = next(own, config.bits)
    return found


def _codebooks(config: ShareConfig, module: nn.Module, chosen: list[Weight], seed: int) -> list[Codebook]:
    books = []
    bits = _bits(config, chosen)
    for name, group in groupby(chosen, key=lambda weight: _group(config, weight)):
        tensors = {weight.name: weight.tensor.detach().numpy() for weight in group}
        if any(not np.isfinite(tensor).all() for tensor in tensors.values()):
            raise InputError(f"{name!r} contains NaN or infinite weights", where="share")
        if config.method == "hash":
            assert config.ratio is not None
            books.append(hashed_codebook(name, tensors[name], config.ratio, seed))
        else:
            books.append(codebook_of(name, tensors, 2 ** bits[next(iter(tensors))], config.init or "linear"))
    biases = _biases(module, chosen)
    if config.biases is not None and biases:
        books.append(codebook_of("all biases", biases, 2**config.biases, "density"))
    return books


def _biases(module: nn.Module, chosen: list[Weight]) -> dict[str, NDArray[Any]]:
    """The biases of the layers chosen, by name."""
    layers = {weight.layer for weight in chosen}
    return {
        name: tensor.detach().numpy()
        for name, tensor in module.named_parameters()
        if tensor.ndim == 1 and name.rpartition(".")[0] in layers
    }


def _facts(config: ShareConfig, books: list[Codebook], module: nn.Module) -> Facts:
    parameters = dict(module.named_parameters())
    tensors = {
        name: {
            "distinct": len(np.unique(values := parameters[name].detach().numpy())),
            "zeros": int((values == 0).sum()),
            "weights": values.size,
        }
        for book in books
        for name in book.codes
    }
    return {"method": config.method, "codebooks": {book.owner: book.size for book in books}, "tensors": tensors}


def _elements(chosen: list[Weight], layer: str) -> int:
    return sum(weight.tensor.numel() for weight in chosen if weight.layer == layer)


def _stored(config: ShareConfig, weight: Weight, own: int) -> int:
    """Bytes of a tensor's codes; for a sparse one, a mask of one bit a weight and the codes of what is kept."""
    count, kept = weight.tensor.numel(), int((weight.tensor != 0).sum())
    bits = (0 if config.method == "hash" else kept * own) + (count if kept < count else 0)
    return -(-bits // 8)


def _book_bytes(config: ShareConfig, count: int, own: int) -> int:
    if config.method == "hash":
        assert config.ratio is not None
        return 4 * max(1, round(config.ratio * count))
    return int(4 * 2**own)
