"""A project's files by name, and the one reader of `dvc.lock`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from weighbridge.core.errors import InputError

PARAMS = "params.yaml"
PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"
WAIVERS = "waivers"
DATA = "artifacts/data/data.json"
DEVICE = "artifacts/device.json"
RERUN = "run `dvc repro` and commit what it changes"


def without_anchors(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Without the keys at top level that start with `x-`: they only keep YAML anchors."""
    return {str(key): value for key, value in content.items() if not str(key).startswith("x-")}


@dataclass(frozen=True)
class Lock:
    """What `dvc.lock` says of each stage that ran, by its name (`compress@int8`)."""

    stages: Mapping[str, Mapping[str, Any]]
    where: str

    @classmethod
    def parse(cls, content: Any, where: str = LOCK) -> Lock:
        """From the parsed YAML of the file; an `InputError` where it contains no stages."""
        stages = content.get("stages") if isinstance(content, Mapping) else None
        if not isinstance(stages, Mapping) or not all(isinstance(stage, Mapping) for stage in stages.values()):
            raise InputError("contains no stages", where=where, fix=RERUN)
        return cls({str(name): stage for name, stage in stages.items()}, where)

    def md5(self, stage: str, kind: Literal["deps", "outs"], path: str) -> str | None:
        """The md5 that a stage has for a dependency or an output; None where it names none.

        A folder's ends in `.dir`. Raises `InputError` for a list that DVC would not write.
        """
        return dict(self._entries(stage, kind)).get(path)

    def outs(self) -> dict[str, str]:
        """Every output's path → its md5."""
        return {path: md5 for stage in self.stages for path, md5 in self._entries(stage, "outs")}

    def _entries(self, stage: str, kind: str) -> Iterator[tuple[str, str]]:
        entries = self.stages.get(stage, {}).get(kind) or []
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            raise InputError(f"expected a list of files under stages.{stage}.{kind}", where=self.where, fix=RERUN)
        for entry in entries:
            if "path" in entry and "md5" in entry:
                yield str(entry["path"]), str(entry["md5"])


def md5s(content: Any) -> Iterator[str]:
    """Every md5 in a parsed lock file, of any version of DVC: what must not be collected."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key == "md5" and isinstance(value, str):
                yield value
            else:
                yield from md5s(value)
    elif isinstance(content, list):
        for item in content:
            yield from md5s(item)
