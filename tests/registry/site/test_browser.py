"""The site in real Chromium: without JavaScript everything is there, with it tables sort and filter."""

import html
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or "chromium"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., str]:
    """Open a page in a fresh profile; what the browser made of it."""

    def run(path: Path, *flags: str) -> str:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, f"file://{path}"]
        return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()

    return run


def cells(dom: str, column: int) -> list[str]:
    """A column of the first table, as the browser shows it."""
    body = re.search(r"<tbody>(.*?)</tbody>", dom, re.DOTALL)[1]
    rows = [row for row in re.findall(r"<tr(.*?)</tr>", body, re.DOTALL) if not row.startswith(' hidden=""')]
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)[column] for row in rows]
    return [html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in found]


def with_script(site: Path, folder: Path, script: str) -> Path:
    """A copy of the model's page that runs a script of the test's after the site's own."""
    shutil.copytree(site, folder)
    (folder / "_/test.js").write_text(script)
    page = folder / "fashion-cnn/index.html"
    page.write_text(page.read_text().replace("</head>", '<script src="../_/test.js" defer></script></head>'))
    return page


def test_without_javascript_everything_is_there(site: Path, browse: Callable[..., str], tmp_path: Path) -> None:
    """Nine versions and a baseline in order, and no control that would do nothing. (Chromium's `--dump-dom` needs
    JavaScript itself, so it is the site's script that is taken away.)
    """
    shutil.copytree(site, tmp_path / "copy")
    page = tmp_path / "copy/fashion-cnn/index.html"
    (tmp_path / "copy/_/script.js").unlink()
    dom = browse(page, "--dump-dom")
    assert cells(dom, 0) == [*(f"v{number}" for number in range(9, 0, -1)), "b1"]
    assert "<button" not in dom
    assert "<input" not in dom


def test_a_click_on_a_head_sorts_by_the_value_not_by_the_text(
    site: Path, browse: Callable[..., str], tmp_path: Path
) -> None:
    """34.0 kB comes before 237 kB, and sorting says so to a screen reader."""
    click = "document.querySelectorAll('thead button')[3].click();"
    page = with_script(site, tmp_path / "copy", click)
    dom = browse(page, "--dump-dom")
    assert cells(dom, 0) == ["v9", "v8", "v5", "v7", "v6", "v4", "v3", "v2", "v1", "b1"]
    assert 'aria-sort="ascending"' in dom
    page.parent.parent.joinpath("_/test.js").write_text(click * 2)
    dom = browse(page, "--dump-dom")
    assert cells(dom, 0)[0] == "b1"
    assert 'aria-sort="descending"' in dom


def test_the_filter_keeps_the_rows_that_hold_every_word(site: Path, browse: Callable[..., str], tmp_path: Path) -> None:
    """Two words, and the count is said aloud."""
    typed = """
      const input = document.querySelector("input[type=search]");
      input.value = "Slim INT8";
      input.dispatchEvent(new Event("input"));
    """
    dom = browse(with_script(site, tmp_path / "copy", typed), "--dump-dom")
    assert cells(dom, 0) == ["v8", "v5"]
    assert '<span role="status">2 of 10</span>' in dom


def test_the_content_policy_stops_a_script_that_is_not_the_sites_own(
    site: Path, browse: Callable[..., str], tmp_path: Path
) -> None:
    """Even if markup got through, an inline script would not run."""
    shutil.copytree(site, tmp_path / "copy")
    page = tmp_path / "copy/fashion-cnn/index.html"
    page.write_text(page.read_text().replace("</body>", "<script>document.title = 'owned'</script></body>"))
    assert "<title>owned</title>" not in browse(page, "--dump-dom")


@pytest.mark.parametrize(("flags", "size"), [((), "1200,1400"), (("--force-dark-mode",), "1200,1400"), ((), "500,900")])
def test_a_page_is_drawn_without_overflowing_its_window(
    site: Path, browse: Callable[..., str], tmp_path: Path, flags: tuple[str, ...], size: str
) -> None:
    """Light, dark and narrow: there is a picture, and the page itself never scrolls sideways."""
    measure = "document.title = `${document.documentElement.scrollWidth} of ${window.innerWidth}`;"
    page = with_script(site, tmp_path / "copy", measure)
    picture = tmp_path / "page.png"
    browse(page, *flags, f"--window-size={size}", f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
    dom = browse(page, *flags, f"--window-size={size}", "--dump-dom")
    wide, window = re.search(r"<title>(\d+) of (\d+)</title>", dom).groups()
    assert int(wide) <= int(window)
