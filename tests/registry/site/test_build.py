"""The site: whole or not at all, the same bytes for the same state, nothing that anybody wrote becomes markup."""

import html.parser
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.registry.publish.project import Project
from tests.registry.publish.richproject import UNTRUSTED
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.registry.site.build import build

VOID = {"meta", "link", "input", "br", "hr", "img"}
# SVG shapes written as `<path …></path>` are elements like any other.


class Page(html.parser.HTMLParser):
    """What a page holds; complains of elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.links, self.ids, self.tags, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def pages(folder: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(folder.rglob("*.html"))}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_model_and_every_version_has_its_page(site: Path) -> None:
    """Index, one page a model, one a version, and what others read beside it."""
    assert (site / "index.html").is_file()
    for version in ("b1", *(f"v{number}" for number in range(1, 10))):
        for form in ("html", "card.md", "cdx.json"):
            assert (site / "fashion-cnn" / f"{version}.{form}").is_file()
    assert (site / "syllables/index.html").is_file()


def test_every_link_leads_somewhere_within_the_site(site: Path) -> None:
    """No dead link, no link to elsewhere: the site works from a stick."""
    for path, page in pages(site).items():
        for link in page.links:
            assert "://" not in link
            file, _, fragment = unquote(link).partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.is_file(), f"{path}: {link}"
            assert site.resolve() in target.parents
            if fragment:
                assert fragment in Page(target.read_text()).ids


def test_pages_are_well_formed_and_say_what_they_are(site: Path) -> None:
    """Elements close in order, ids are unique, language, title, one h1 and one main are there."""
    for page in pages(site).values():
        names = [name for name, _ in page.tags]
        assert len(page.ids) == len(set(page.ids))
        assert dict(page.tags)["html"]["lang"] == "en"
        assert names.count("h1") == names.count("main") == 1
        assert all("scope" in values for name, values in page.tags if name == "th")
        assert all(
            values.get("aria-label") or values.get("aria-labelledby") for name, values in page.tags if name == "nav"
        )


def test_nothing_is_inline_that_the_content_policy_would_block(site: Path) -> None:
    """No inline script, style or handler: the policy in each page forbids them, and so nobody can smuggle one in."""
    for page in pages(site).values():
        for name, values in page.tags:
            assert not {key for key in values if key.startswith("on") or key == "style"}
            assert name != "style"
            assert name != "script" or values.get("src", "").endswith("_/script.js")


def test_what_people_wrote_stays_text(site: Path) -> None:
    """Notes that try to be a script are shown as they were written."""
    page = Page((site / "fashion-cnn/v9.html").read_text())
    assert UNTRUSTED in page.text
    assert [values for name, values in page.tags if name == "script"] == [{"src": "../_/script.js", "defer": None}]


def test_the_model_page_says_what_serves(site: Path) -> None:
    """Stable, canary with its share, baseline; the version rolled back from stays in the history."""
    text = "".join(Page((site / "fashion-cnn/index.html").read_text()).text)
    assert re.search(r"stable\s*v2 int8-static", text)
    assert re.search(r"canary\s*v8 slim-int8-distilled", text)
    assert "25% of the traffic, step 2 of 4" in text
    assert "boots are read as bags since Tuesday" in text


def test_the_same_state_gives_the_same_bytes(site: Path, registry_root: Path, tmp_path: Path) -> None:
    """No clock and no chance: a site can be compared and cached by its bytes."""
    build(registry_root, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(site)


def test_an_earlier_site_is_replaced_whole(registry_root: Path, tmp_path: Path) -> None:
    """Pages of versions that are gone do not linger."""
    out = tmp_path / "site"
    build(registry_root, out)
    (out / "stale.html").write_text("old")
    build(registry_root, out)
    assert not (out / "stale.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_folder_with_other_files_is_not_touched(registry_root: Path, tmp_path: Path) -> None:
    """`registry site .` must not eat a project."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StateError, match="was not written by this command"):
        build(registry_root, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_changed_record_means_no_site(registry_root: Path, tmp_path: Path) -> None:
    """A registry whose history does not hold is not published, and the earlier site stays."""
    root = tmp_path / "project"
    shutil.copytree(registry_root, root)
    build(root, tmp_path / "site")
    before = contents(tmp_path / "site")
    record = root / "registry/models/fashion-cnn/versions/v4.yaml"
    record.write_text(record.read_text().replace("seed: 7", "seed: 8"))
    with pytest.raises(IntegrityError, match=r"v4\.yaml"):
        build(root, tmp_path / "site")
    assert contents(tmp_path / "site") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "site"]


def test_a_changed_event_means_no_site(registry_root: Path, tmp_path: Path) -> None:
    """The chain is followed from the last event to the first."""
    root = tmp_path / "project"
    shutil.copytree(registry_root, root)
    event = root / "registry/models/fashion-cnn/events/000003.yaml"
    event.write_text(event.read_text().replace("it passed", "it failed"))
    with pytest.raises(IntegrityError, match=r"000003\.yaml"):
        build(root, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_an_empty_registry_has_a_site_too(tmp_path: Path) -> None:
    """Before the first promotion there is a page that says so."""
    project = Project(tmp_path / "empty")
    (project.root / "registry").mkdir(parents=True)
    assert build(project.root, tmp_path / "site").models == 0
    assert "no models yet" in (tmp_path / "site/index.html").read_text()


def test_a_model_without_accuracy_has_no_chart(site: Path) -> None:
    """Nothing is drawn that was not measured."""
    assert "<svg" not in (site / "syllables/index.html").read_text()


def test_the_files_beside_a_page_are_the_card_and_the_bill_of_materials(site: Path) -> None:
    """The same documents as the commands print."""
    assert (site / "fashion-cnn/v2.card.md").read_text().startswith("---\nlicense: apache-2.0\n")
    materials = json.loads((site / "fashion-cnn/v2.cdx.json").read_text())
    assert materials["metadata"]["component"]["version"] == "v2"
