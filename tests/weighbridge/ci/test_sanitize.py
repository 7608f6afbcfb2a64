"""Text from a pull request, rendered as CommonMark with GitHub's extensions, does nothing but format."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from weighbridge.ci.sanitize import BREAK, neutralise, plain

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(text: str) -> Iterator[Token]:
    """All tokens of rendered Markdown, those within lines included."""
    for token in RENDERER.parse(text):
        yield token
        yield from token.children or ()


def text_of(text: str) -> str:
    """What a reader sees outside code, where GitHub looks for mentions, references and addresses."""
    return "\n".join(token.content for token in tokens(text) if token.type == "text")


FOLDING = re.compile(r"(?:</?details>|(?:<details>)?<summary>[^<>]*</summary>)(?:\s*)")


def harmless(text: str) -> bool:
    """Whether no construct that acts is left."""
    for token in tokens(text):
        if token.type in ("link_open", "image"):
            return False
        if token.type in ("html_block", "html_inline") and not all(
            FOLDING.fullmatch(line) or not re.search(r"<(?!\u200b)|@(?!\u200b)", line)
            for line in token.content.splitlines()
        ):
            return False
        if token.type == "fence" and token.info not in (
            "",
            "bash",
            "console",
            "diff",
            "json",
            "python",
            "sh",
            "text",
            "yaml",
        ):
            return False
    seen = text_of(text)
    return not re.search(r"@\w|#\d|GH-\d|https?://|www\.\w|javascript:", seen)


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=https://evil.example/track.png>",
    "<!-- weighbridge-gate run=999 attempt=1 commit=aaaa -->",
    "![t](https://evil.example/track.png)",
    "[click](javascript:alert(1))",
    "[click][x]\n\n[x]: https://evil.example",
    "[x]: <https://evil.example> 'title'",
    "<https://evil.example>",
    "https://github.com/o/r/issues/1 www.evil.example",
    "cc @octocat @org/team",
    "&#64;octocat &commat;octocat \\@octocat",
    "fixes #12, GH-12, o/r#3, o/r@abcdef1",
    "/approve\n  /merge\n::error::boo\n##[error]boo",
    "```mermaid\ngraph TD\n```",
    "```\nnever closed @octocat <b>",
    "````text\n```\n</details>\n````\n@octocat",
    "~~~\n```\n~~~\n@octocat\n```",
    "- item\n    ```\n    @octocat\n```\n@octocat",
    "> ```\n> @octocat\n```\n<b>x</b>",
    "`` ` @octocat `` <b>",
    "$$\\unicode{x}$$ $`x`$",
    "- [ ] tick me\n1. [x] and me",
    "a\u202eb\u2066c\u200d\u0000d",
    "<details><summary>x</summary><img src=x></details>",
    "<details open ontoggle=alert(1)>",
    "<summary>@octocat ![x](y)</summary>",
    "[^1]\n\n[^1]: @octocat",
    "| a | b |\n|---|---|\n| <b>x</b> | @octocat |",
    "    @octocat indented code",
    "\t<b>",
    "> ```mermaid\n> graph TD\n> ```\n- ~~~geojson\n  {}\n  ~~~",
    "text\n```not`a`fence\n@octocat\n```\n@octocat",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_known_attacks_do_nothing(attack: str) -> None:
    """Each way to act through Markdown that GitHub offers is broken apart."""
    assert harmless(neutralise(attack)), neutralise(attack)


PIECES = st.lists(
    st.sampled_from(
        ["@octocat", "#1", "<b>", "<!--", "-->", "```", "~~~", "````", "`", "\n", "\n\n", "    ", "\t", "> ", "- ",
         "1. ", "](", "![", "[x]", ":", "http://e.example", "<details>", "</details>", "<summary>", "</summary>",
         "&#64;", "\\", "|", "---", "mermaid", "x", "<", ">", "\u202e", "\r", "*", "_", "$"]
    ),
    max_size=40,
)  # fmt: skip


@given(PIECES)
@example(["- ", "```", "\n", "@octocat", "\n", "```", "\n", "@octocat"])
def test_no_combination_of_pieces_acts(pieces: list[str]) -> None:
    """However the pieces of attacks are put together, nothing acts."""
    assert harmless(neutralise("".join(pieces)))


@given(PIECES)
def test_neutralising_twice_changes_nothing_more(pieces: list[str]) -> None:
    """The result is a fixed point: text that went through once is as safe as text that went through twice."""
    once = neutralise("".join(pieces))
    assert neutralise(once) == once


def test_our_own_report_keeps_its_form() -> None:
    """Headings, tables, emphasis, folding and code blocks come through; a command can be copied out of its block."""
    report = (
        "# fashion-cnn: **pass**\n\n## Budgets\n\n| limit | verdict |\n| --- | --- |\n| ≤ 200 kB | ✅ pass |\n\n"
        "<details><summary>Reproduce</summary>\n\n```bash\ndvc repro compress@int8 # two\n```\n\n</details>\n"
    )
    made = neutralise(report)
    assert re.sub(r"\n+", "\n", made) == re.sub(r"\n+", "\n", report)
    assert "dvc repro compress@int8 # two" in made


def test_links_and_pictures_leave_their_words() -> None:
    """A link's text stays readable."""
    assert neutralise("see [the plots](plots.png) and ![Pareto](p.png)\n") == "see the plots and (picture: Pareto)\n"


def test_digests_and_recipe_names_stay_readable() -> None:
    """What a reader needs is not disfigured: only invisible spaces are added."""
    text = "sha256:0a1b `compress@int8-static` 5 % & 3 < 4"
    assert neutralise(text).replace(BREAK, "").strip() == text


def test_plain_escapes_all_markdown() -> None:
    """A branch name in a sentence cannot format, link or mention."""
    made = plain("**x** [a](http://b) | @c <i>\n`d`" + "y" * 400)
    assert "\n" not in made
    quiet = ("text", "paragraph_open", "paragraph_close", "inline", "text_special")
    assert [token.type for token in tokens(made) if token.type not in quiet] == []
    assert harmless(made)
