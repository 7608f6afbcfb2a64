"""The commands: what they print, what they write, and with which code they end."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.registry.publish.project import Project, git
from weighbridge.cli import main
from weighbridge.core.transport import write_zst


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Project) -> Callable[..., str]:
    """Run `weighbridge registry …` in the project; exit code, standard output, standard error."""

    def call(*arguments: str | Path, code: int = 0) -> str:
        monkeypatch.chdir(project.root)
        monkeypatch.setattr(sys, "argv", ["weighbridge", "registry", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        assert (ended.value.code or 0) == code, output.err
        return output.out if code == 0 else output.err

    return call


def test_pull_puts_the_version_into_a_folder_named_after_it(run: Callable[..., str], project: Project) -> None:
    """Without --out the folder says what is in it."""
    answer = json.loads(run("pull", "fashion-cnn@stable", "--json"))
    assert answer["version"] == "v1"
    assert (project.root / "fashion-cnn@v1/model.onnx").read_bytes() == project.contents["int8"]
    assert "verified by this registry's history" in run("pull", "fashion-cnn@v1", "--out", "x/y")


def test_pull_refuses_the_quarantined_and_the_unknown(run: Callable[..., str], project: Project) -> None:
    """One line, exit code 2, nothing written."""
    said = run("pull", "fashion-cnn@v2", "--out", "x", code=2)
    assert said.startswith("weighbridge: error: fashion-cnn@v2 is quarantined")
    assert said.count("\n") == 1
    run("pull", "fashion-cnn@v9", "--out", "x", code=2)
    run("pull", "fashion-cnn@v1", "--target", "litert", "--out", "x", code=2)
    run("pull", "fashion-cnn@v1", "--policy", "p.yaml", "--out", "x", code=2)
    assert not (project.root / "x").exists()
    assert "v2" in run("pull", "fashion-cnn@v2", "--quarantined", "--out", "x")


def test_push_and_pull_meet_at_an_oci_registry(
    run: Callable[..., str], project: Project, oci: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Push prints the digest; pulling by it needs no clone, and a quarantined version is not pushed."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    place = f"oci://{oci[0]}/cli/fashion-cnn"
    pushed = json.loads(run("push", "fashion-cnn@stable", f"{place}:v1", "--json"))
    assert pushed["created"] is True
    assert len(pushed["referrers"]) == 2
    assert "(already there)" in run("push", "fashion-cnn@v1", f"{place}:v1")
    digest = pushed["reference"].partition("@")[2]
    run("pull", f"{place}@{digest}", "--root", tmp_path)
    assert (project.root / "fashion-cnn/model.onnx").read_bytes() == project.contents["int8"]
    run("pull", "fashion-cnn@v1", "--from", f"{place}:v1", "--out", "again")
    assert "names other content" in run("push", "fashion-cnn@v3", f"{place}:v1", code=2)
    assert "is quarantined" in run("push", "fashion-cnn@v2", f"{place}:v2", code=2)
    assert "a tag is not a trusted reference" in run("pull", f"{place}:v1", "--out", "z", code=2)


def test_pull_takes_the_bytes_from_a_file_under_zstd(run: Callable[..., str], project: Project, tmp_path: Path) -> None:
    """What `transport pack` wrote is taken by the record's digest; another artifact's bytes are refused."""
    right, wrong = tmp_path / "model.onnx.zst", tmp_path / "other.onnx.zst"
    write_zst(right, project.contents["int8"])
    write_zst(wrong, project.contents["int8"][:-1] + b"?")
    answer = json.loads(run("pull", "fashion-cnn@stable", "--from", right, "--out", "carried", "--json"))
    assert (project.root / "carried/model.onnx").read_bytes() == project.contents["int8"]
    assert answer["source"] == str(right)
    assert "expected sha256:" in run("pull", "fashion-cnn@stable", "--from", wrong, "--out", "x", code=2)
    write_zst(wrong, project.contents["int8"] + bytes(10**6))
    assert "unpacks to more than" in run("pull", "fashion-cnn@stable", "--from", wrong, "--out", "x", code=2)
    right.write_bytes(b"no zstd")
    assert "is not a zstd file" in run("pull", "fashion-cnn@stable", "--from", right, "--out", "x", code=2)
    assert "quarantined" in run("pull", "fashion-cnn@v2", "--from", wrong, "--out", "x", code=2)
    run("pull", "fashion-cnn@stable", "--from", tmp_path / "none.onnx.zst", "--out", "x", code=2)
    assert not (project.root / "x").exists()


def test_card_and_export_print_or_write(run: Callable[..., str], project: Project) -> None:
    """The same text on the terminal and in the file."""
    printed = run("card", "fashion-cnn@v1", "--task", "image-classification")
    assert yaml.safe_load(printed.split("---\n")[1])["pipeline_tag"] == "image-classification"
    run("card", "fashion-cnn@v1", "--task", "image-classification", "--out", "README.md")
    assert (project.root / "README.md").read_text() == printed
    materials = json.loads(run("export", "fashion-cnn@stable"))
    record = (project.root / "registry/models/fashion-cnn/versions/v1.yaml").read_bytes()
    properties = {item["name"]: item["value"] for item in materials["metadata"]["component"]["properties"]}
    assert properties["weighbridge:record"] == f"sha256:{hashlib.sha256(record).hexdigest()}"


def test_a_card_of_a_quarantined_version_says_so(run: Callable[..., str]) -> None:
    """Cards are read where the registry is not."""
    assert "Quarantined" in run("card", "fashion-cnn@v2")


def test_tags_are_written_then_checked(run: Callable[..., str], project: Project) -> None:
    """The check fails before, and passes after."""
    assert "12 of 12 tags are missing" in run("tags", "fashion-cnn", "--check", code=2)
    assert "12 tags written" in run("tags", "fashion-cnn")
    assert "all as the history requires" in run("tags", "fashion-cnn", "--check")
    assert json.loads(run("tags", "fashion-cnn", "--json"))["missing"] == []
    git(project.root, "tag", "-d", "fashion-cnn#canary#4")
    assert "1 of 12" in run("tags", "fashion-cnn", "--check", code=2)
    run("tags", "fashion-cnn", "--check", "--push", "origin", code=2)


def test_site_is_written_and_says_where(run: Callable[..., str], project: Project) -> None:
    """The folder opens in a browser."""
    assert json.loads(run("site", "public", "--json", "--quiet"))["versions"] == 4
    assert (project.root / "public/index.html").is_file()
    assert "public/index.html" in run("site", "public")
    run("site", ".", code=2)
    assert "--metrics" in run("site", "live", "--metrics", "http://p:9090", code=2)
    assert not (project.root / "live").exists()
    run("site", "live", "--metrics", "prometheus=http://p:9090/")
    assert "connect-src http://p:9090" in (project.root / "live/fashion-cnn/operations.html").read_text()


def test_manifests_are_printed_or_written_in_order(run: Callable[..., str], project: Project) -> None:
    """Both documents on the terminal; in a folder, a canary that has ended is taken away."""
    arguments = ("manifests", "fashion-cnn", "--for", "kserve", "--storage-uri", "s3://m/{model}/{version}")
    stable, canary = yaml.safe_load_all(run(*arguments))
    assert stable["spec"]["predictor"]["model"]["storageUri"] == "s3://m/fashion-cnn/v1"
    assert canary["spec"]["predictor"]["canaryTrafficPercent"] == 5
    run(*arguments, "--out", "deploy")
    assert sorted(path.name for path in (project.root / "deploy").iterdir()) == ["canary.yaml", "stable.yaml"]
    from weighbridge.registry.state.events import EventKind

    project.move(EventKind.CANARY_ABORTED, "v3", quarantine=True, reason="slow")
    run(*arguments, "--out", "deploy")
    assert [path.name for path in (project.root / "deploy").iterdir()] == ["stable.yaml"]
    assert "needs the image" in run(
        "manifests", "fashion-cnn", "--for", "argo", "--storage-uri", "s3://m/{version}", code=2
    )
