"""The how-to pages as tests read them: their blocks of code, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs/howto"
_BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = {"sh", "console", "bash"}


@dataclass(frozen=True)
class Block:
    """One block of code: its language and its text."""

    page: str
    kind: str
    text: str

    @property
    def title(self) -> str | None:
        """The file that a first comment names, as `# waivers/larger-head.yaml`."""
        found = re.match(r"# ([\w./-]+\.\w+)$", self.text.partition("\n")[0])
        return found[1] if found else None

    @property
    def commands(self) -> list[Any]:
        """Each command as the shell would split it, without prompt, comment and output; none for another language."""
        if self.kind not in SHELLS:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.kind == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found = []
        for line in lines:
            words = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word == "&&":
                    found += [words] if words else []
                    words = []
                else:
                    words.append(word)
        return found


def blocks(page: str) -> list[Block]:
    """The blocks of a page."""
    return [Block(page, found["kind"], found["text"]) for found in _BLOCK.finditer((FOLDER / f"{page}.md").read_text())]


def commands(page: str, first: str | None = None) -> list[Any]:
    """All commands of a page in their order; those of one program where `first` names it."""
    return [words for block in blocks(page) for words in block.commands if first in (None, words[0])]


def pages() -> list[Any]:
    """The names of all pages."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))
