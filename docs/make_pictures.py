"""Writes docs/pictures/: a pull request's comment and the registry's site, as the README shows them.

It walks the tutorial in a temporary folder, takes what the gate said of the pull request that goes too far and what
`weighbridge registry site` wrote at the end, and has Chromium draw both. Needs the extras `compress`, `pipeline` and
`test`, and `chromium`; takes a few minutes.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image, ImageChops

FOLDER = Path(__file__).parent / "pictures"
LARGEST = 200_000
"""Bytes of a picture at most."""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=2",
)  # fmt: skip
SIGNS = {
    "❌": '<b style="color:#cf222e">✖</b>', "✅": '<b style="color:#1a7f37">✔</b>', "❔": '<b style="color:#9a6700">?</b>',
}  # fmt: skip
"""Emoji, for machines that have no font with them."""
COMMENT = """\
<!doctype html><meta charset="utf-8"><style>
body {{ margin: 16px; font: 14px/1.5 -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2328; background: #fff }}
.comment {{ border: 1px solid #d1d9e0; border-radius: 6px; width: 820px }}
.head {{ background: #f6f8fa; border-bottom: 1px solid #d1d9e0; padding: 8px 16px; border-radius: 6px 6px 0 0; color: #59636e }}
.head b {{ color: #1f2328 }} .body {{ padding: 4px 16px 8px }}
ul {{ padding-left: 24px }} h2 {{ font-size: 19px; border-bottom: 1px solid #d1d9e0; padding-bottom: 6px; margin: 12px 0 }} h3 {{ font-size: 16px; margin: 14px 0 8px }}
table {{ border-collapse: collapse; margin: 10px 0 }} th, td {{ border: 1px solid #d1d9e0; padding: 5px 11px }}
code {{ background: #eff1f3; border-radius: 6px; padding: 1px 5px; font: 12px ui-monospace, "DejaVu Sans Mono", monospace }}
pre {{ background: #f6f8fa; padding: 10px; border-radius: 6px }} pre code {{ background: none; padding: 0 }}
details {{ margin: 8px 0 }} summary {{ cursor: pointer }}
</style><div class="comment"><div class="head"><b>github-actions</b> commented on <b>#12 Prune 95 % of the weights</b></div>
<div class="body">{body}</div></div>"""


def tutorial() -> object:
    """The script that walks the tutorial, as a module."""
    spec = importlib.util.spec_from_file_location("make_tutorial", Path(__file__).parent / "make_tutorial.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_tutorial"] = module
    spec.loader.exec_module(module)
    return module


def comment_page(report: str) -> str:
    """A report as GitHub shows it: what is folded stays folded."""
    text = report[report.index("## ") : report.rindex("</details>") + len("</details>")]
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    for sign, drawn_as in SIGNS.items():
        body = body.replace(sign, drawn_as)
    return COMMENT.format(body=body)


def drawn(page: Path, width: int, height: int, profile: Path) -> Image.Image:
    """What Chromium makes of a page, without the empty space below it."""
    shot = profile / "shot.png"
    command = [shutil.which("chromium") or "chromium", *FLAGS, f"--user-data-dir={profile}"]
    command += [f"--window-size={width},{height}", f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    picture = Image.open(shot).convert("RGB")
    background = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height - 1)))
    box = ImageChops.difference(picture, background).getbbox()
    return picture if box is None else picture.crop((0, 0, picture.width, min(picture.height, box[3] + 32)))


def save(picture: Image.Image, path: Path) -> None:
    """A picture with a palette; `ValueError` where it is too large for a README."""
    data = io.BytesIO()
    picture.quantize(64).save(data, "PNG", optimize=True)
    if len(data.getvalue()) > LARGEST:
        raise ValueError(f"{path.name} has {len(data.getvalue()):,} bytes; {LARGEST:,} are the most")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data.getvalue())


def main() -> None:
    """Walk, draw, write."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        walked = tutorial().walk(home)  # type: ignore[attr-defined]
        (home / "comment.html").write_text(comment_page(walked.comment), encoding="utf-8")
        command = [sys.executable, "-m", "weighbridge", "registry", "site", home / "site", "--quiet"]
        subprocess.run(command, cwd=walked.root, check=True)
        profile = home / "profile"
        profile.mkdir()
        save(drawn(home / "comment.html", 870, 1400, profile), FOLDER / "comment.png")
        save(drawn(home / "site/clouds/index.html", 1100, 1300, profile), FOLDER / "site.png")
        # The page and the pictures are of one run.
        (Path(__file__).parent / "tutorial.md").write_text("\n".join(walked.page), encoding="utf-8")


if __name__ == "__main__":
    main()
