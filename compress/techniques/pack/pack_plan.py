"""Choose a form for every weight so that the whole file is smallest: exact bytes, shared constants counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.compress.techniques.pack.decoders import DECODERS, Decoder
from weighbridge.compress.techniques.pack.forms import Form, code, coded_forms, float_forms, tensor_bytes

Array = NDArray[Any]

FIELD = 4
"""Bytes of tag and length around one tensor, node or function in its parent; long ones take a little more."""

Key = tuple[str, tuple[int, ...], bytes]


def key(value: Array) -> Key:
    """What makes two constants the same."""
    return (value.dtype.str, value.shape, value.tobytes())


@dataclass
class _Ledger:
    """Bytes of what is stored once. Arrays that it was asked about are known by identity, and must stay alive: to hash
    the megabytes of each again for every choice takes minutes where a model has a hundred weights.
    """

    cost: dict[Key, int] = field(default_factory=dict)
    known: dict[int, tuple[Key, int]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def bytes_of(self, value: Array) -> tuple[Key, int]:
        found = self.known.get(id(value))
        if found is None:
            name = key(value)
            if name not in self.cost:
                self.cost[name] = int(tensor_bytes(value).ByteSize()) + FIELD
            found = self.known[id(value)] = name, self.cost[name]
        return found

    def constants(self, form: Form) -> dict[Key, int]:
        """What a form stores, each once."""
        return dict(self.bytes_of(value) for value in form.constants.values())

    def call(self, decoder: Decoder) -> int:
        """Bytes of a node that calls a decoder."""
        if decoder.name not in self.calls:
            node = decoder.call(dict.fromkeys(decoder.roles, "aa"), "aa")
            self.calls[decoder.name] = int(node.ByteSize()) + FIELD
        return self.calls[decoder.name]


@dataclass(frozen=True)
class PackPlan:
    """A form for each weight that is smaller packed, by the weight's name."""

    forms: Mapping[str, Form]

    @property
    def decoders(self) -> tuple[Decoder, ...]:
        """The functions that the file needs."""
        used = {form.decoder.name for form in self.forms.values()}
        return tuple(decoder for decoder in DECODERS if decoder.name in used)


def plan(weights: Mapping[str, Array], opset: int) -> PackPlan:
    """The smallest plan found: with a codebook for each weight, and with one for all where values are shared."""
    own = {name: list(_forms(values, None)) for name, values in weights.items()}
    plans = [_best(weights, own, opset)]
    for common in _common_books(weights):
        shared = {name: [*own[name], *_forms(values, common)] for name, values in weights.items()}
        plans.append(_best(weights, shared, opset))
    return min(plans, key=lambda item: item[0])[1]


def _forms(values: Array, book: Array | None) -> Iterator[Form]:
    coded = code(values, book)
    if coded is not None:
        yield from coded_forms(coded)
    elif book is None:
        yield from float_forms(values)


def _common_books(weights: Mapping[str, Array]) -> list[Array]:
    """All values of all coded weights of one type, zero first, where one codebook can hold them."""
    books = []
    for kind in sorted({values.dtype.str for values in weights.values()}):
        coded = [code(values) for values in weights.values() if values.dtype.str == kind]
        present = [item.book for item in coded if item is not None]
        if len(present) < 2:
            continue
        union = np.unique(np.concatenate(present))
        if len(union) <= 256 and len(union) < sum(map(len, present)):
            books.append(np.concatenate([union[union == 0], union[union != 0]]))
    return books


def _best(weights: Mapping[str, Array], forms: Mapping[str, Sequence[Form]], opset: int) -> tuple[int, PackPlan]:
    """Exact over which decoders the file has; within that, weights in turn take what adds fewest bytes."""
    ledger = _Ledger()
    kinds = [
        decoder for decoder in DECODERS if any(form.decoder is decoder for item in forms.values() for form in item)
    ]
    best: tuple[int, PackPlan] | None = None
    for allowed in chain.from_iterable(combinations(kinds, count) for count in range(len(kinds) + 1)):
        names = {decoder.name for decoder in allowed}
        overhead = sum(int(decoder.function(opset).ByteSize()) + FIELD for decoder in allowed)
        total, chosen = _fill(weights, forms, names, ledger)
        if best is None or total + overhead < best[0]:
            best = (total + overhead, PackPlan(chosen))
    assert best is not None
    return best


def _fill(
    weights: Mapping[str, Array], forms: Mapping[str, Sequence[Form]], allowed: set[str], ledger: _Ledger
) -> tuple[int, dict[str, Form]]:
    """Large weights first, each in the form that adds fewest bytes to what is stored already; then once more."""
    order = sorted(weights, key=lambda name: (-weights[name].size, name))
    chosen: dict[str, Form] = {}
    used: Counter[Key] = Counter()  # of the chosen forms that store a constant
    for _ in range(2):  # in the second round, what later weights store is there to be shared
        for name in order:
            if name in chosen:
                used.subtract(ledger.constants(chosen.pop(name)).keys())
            plain = ledger.bytes_of(weights[name])[1]
            options = [(plain, -1, None)] + [
                (_added(form, used, ledger), index, form)
                for index, form in enumerate(forms[name])
                if form.decoder.name in allowed
            ]
            form = min(options, key=lambda item: item[:2])[2]
            if form is not None:
                chosen[name] = form
                used.update(ledger.constants(form).keys())
    total = sum(ledger.cost[name] for name, count in used.items() if count)
    total += sum(ledger.call(form.decoder) for form in chosen.values())
    total += sum(ledger.bytes_of(weights[name])[1] for name in weights if name not in chosen)
    return total, {name: chosen[name] for name in weights if name in chosen}


def _added(form: Form, used: Counter[Key], ledger: _Ledger) -> int:
    fresh = sum(cost for name, cost in ledger.constants(form).items() if not used[name])
    return ledger.call(form.decoder) + fresh
