"""Texts that a language model and its baseline continue, as `weighing.sample` asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.callables import import_callable
from weighbridge.core.documents import Continued
from weighbridge.core.documents.text_sample import TextSample
from weighbridge.core.errors import InputError
from weighbridge.data import Split
from weighbridge.gate.devices.place import Place
from weighbridge.gate.measure.continuation import continued, reader
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.weighing.job import Job

WHERE = "weighing.sample"
LONGEST = 2000
"""Characters of one text in the record."""
Tokens = Sequence[int]


def texts_of(
    job: Job, sample: TextSample, place: Place, artifacts: Mapping[str, StagedArtifact], timeout: float
) -> dict[str, list[Continued]]:
    """By reference: the same beginnings, continued by it and by the candidate.

    Raises `UnfitError` with the reason where a model's texts cannot be continued, `MeasurementError` for a model that
    goes wrong, `InputError` where the user's function does.
    """
    chosen = _beginnings(job.split, sample.prompts)
    said: dict[str, list[Tokens]] = {}
    prompts: list[Tokens] = []
    for model in job.models:
        how = reader(model.signature, job.feeding, job.outputs[model.name])
        parts = [how.beginning(job.split.inputs, index, sample.prompt_tokens) for index in chosen]
        prompts = [part[how.tokens][0].tolist() for part in parts]
        opened = place.process(artifacts[model.name], timeout)
        if isinstance(opened, str):
            raise UnfitError(opened)
        with opened as worker:
            said[model.name] = [continued(worker, how, part, sample.tokens) for part in parts]
    decode = decoder(sample)
    return {
        reference.name: [
            _continued(*found, decode) for found in zip(prompts, said[reference.name], said["candidate"], strict=True)
        ]
        for reference in job.references
    }


def _beginnings(split: Split, count: int) -> list[int]:
    """Examples with which texts begin, spread over the data."""
    starts = np.arange(len(split))
    if split.groups is not None:
        starts = np.flatnonzero(np.append(True, split.groups[1:] != split.groups[:-1]))
    places = np.linspace(0, len(starts) - 1, min(count, len(starts))).round().astype(int)
    return [int(index) for index in starts[places]]


def _continued(prompt: Tokens, ours: Tokens, theirs: Tokens, decode: Callable[[Tokens], str]) -> Continued:
    tokens = min(len(ours), len(theirs))
    same = next((place for place in range(tokens) if ours[place] != theirs[place]), tokens)
    texts = [decode(tokens)[:LONGEST] for tokens in (prompt, ours, theirs)]
    return Continued(prompt=texts[0], reference=texts[1], candidate=texts[2], tokens=tokens, same=same)


def decoder(sample: TextSample) -> Callable[[Tokens], str]:
    """From tokens to text; a function of the user's that cannot be imported is an `InputError`, as one that fails."""
    if sample.decode == "bytes":
        return _as_bytes
    function = import_callable(sample.decode, f"{WHERE}.decode")

    def decode(tokens: Tokens) -> str:
        try:
            found = function(list(tokens))
        except Exception as error:  # a user's function may raise anything
            raise InputError(f"{sample.decode} failed: {error!r}", where=f"{WHERE}.decode") from error
        if not isinstance(found, str):
            raise InputError(f"{sample.decode} gave {type(found).__name__}, not text", where=f"{WHERE}.decode")
        return found

    return decode


def _as_bytes(tokens: Tokens) -> str:
    if max(tokens, default=0) > 255:
        raise InputError(
            f"token {max(tokens)} is no byte", where=f"{WHERE}.decode", fix="name a function: module:callable"
        )
    return bytes(tokens).decode(errors="replace")
