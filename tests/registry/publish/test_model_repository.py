"""Versions in the layout that model servers load: in a folder, and in an S3 that runs beside the test."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.registry.publish.schemas import validate
from tests.registry.publish.test_cli import run  # noqa: F401  # a fixture
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.publish import pull
from weighbridge.registry.publish.model_repository import publish

if TYPE_CHECKING:
    from tests.registry.publish.project import Project

FILES = ["fashion-cnn/record.yaml", "fashion-cnn/1/model.onnx"]


def test_a_folder_gets_the_layout_that_triton_reads(
    run: Callable[..., str],  # noqa: F811
    project: "Project",
    tmp_path: Path,
) -> None:
    place = f"file://{tmp_path}/models/{{model}}/{{version}}"
    first = json.loads(run("push", "fashion-cnn@stable", place, "--json"))
    uri = f"file://{tmp_path}/models/fashion-cnn/v1"
    assert first == {"uri": uri, "files": FILES, "created": True}
    made = tmp_path / "models/fashion-cnn/v1"
    assert (made / FILES[1]).read_bytes() == project.contents["int8"]
    assert "(already there)" in run("push", "fashion-cnn@v1", place)
    document = yaml.safe_load(
        run("manifests", "fashion-cnn", "--for", "kserve", "--storage-uri", place).split("---\n")[0]
    )
    assert document["spec"]["predictor"]["model"]["storageUri"] == uri
    (made / FILES[1]).write_bytes(b"other")
    assert "exists with other contents" in run("push", "fashion-cnn@v1", place, code=2)
    assert (made / FILES[1]).read_bytes() == b"other"
    assert "is quarantined" in run("push", "fashion-cnn@v2", place, code=2)
    assert not (tmp_path / "models/fashion-cnn/v2").exists()
    for wrong in ("ftp://host/a", "s3:///a", "file://host/a", "nowhere", "file:///{nmae}"):
        run("push", "fashion-cnn@v1", wrong, code=2)
    assert "belongs to an OCI registry" in run("push", "fashion-cnn@v1", place, "--move", code=2)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of moto's server on loopback, which speaks S3 over HTTP."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="models")
    yield client
    server.stop()


def test_s3_gets_each_file_once_and_keeps_what_it_has(project: "Project", bucket: Any) -> None:
    wanted = pull.want(project.root, "fashion-cnn@v1")
    with pull.packaged(project.root, wanted) as package:
        first = publish(package, "s3://models/fashion-cnn/v1/")
        assert (first.uri, list(first.files), first.created) == ("s3://models/fashion-cnn/v1", FILES, True)
        key = f"fashion-cnn/v1/{FILES[1]}"
        assert bucket.get_object(Bucket="models", Key=key)["Body"].read() == project.contents["int8"]
        assert not publish(package, "s3://models/fashion-cnn/v1").created
        bucket.put_object(Bucket="models", Key=key, Body=b"other")
        with pytest.raises(StateError, match="exists with other contents"):
            publish(package, "s3://models/fashion-cnn/v1")
        assert bucket.get_object(Bucket="models", Key=key)["Body"].read() == b"other"
        with pytest.raises(StateError, match=r"cannot be written: .*NoSuchBucket"):
            publish(package, "s3://none/fashion-cnn")
        with pytest.raises(InputError, match="is not a place"):
            publish(package, "s3://models/a?b=c")


@pytest.mark.parametrize(("platform", "schema"), [("kserve", "inferenceservice"), ("argo", "rollout")])
def test_the_init_container_pulls_what_push_stored_and_refuses_other_bytes(
    run: Callable[..., str],  # noqa: F811
    project: "Project",
    oci: tuple[str, Path],
    platform: str,
    schema: str,
) -> None:
    """The digest in the manifest is known before anything is pushed; its arguments are run here, as a pod would."""
    host, blobs = oci
    place = f"oci://{host}/init-{platform}/{{model}}"
    arguments = ("manifests", "fashion-cnn", "--for", platform, "--image", "serve:1", "--init-image", "weighbridge:1")
    documents = list(yaml.safe_load_all(run(*arguments, "--storage-uri", f"{place}@{{manifest}}")))
    for document in documents:
        validate(document, schema)
    spec = documents[0]["spec"]
    pod = spec["predictor"] if platform == "kserve" else spec["template"]["spec"]
    (container,) = pod["initContainers"]
    serving = pod["model"] if platform == "kserve" else pod["containers"][0]
    assert "storageUri" not in serving
    assert serving["volumeMounts"][0]["mountPath"] == container["volumeMounts"][0]["mountPath"] == "/mnt/models"
    given = [text.replace("/mnt/models", "mounted") for text in container["args"]]
    assert given[0] == "registry"
    assert "not found" in run(*given[1:], code=2)
    pushed = json.loads(run("push", "fashion-cnn@stable", f"{place}:{{version}}", "--json"))
    assert pushed["reference"].partition("@")[2] == given[2].partition("@")[2]
    run(*given[1:])
    model = project.root / "mounted/fashion-cnn/1/model.onnx"
    assert model.read_bytes() == project.contents["int8"]
    run(*given[1:])  # a pod that starts again
    digest = sha256_bytes(project.contents["int8"]).removeprefix("sha256:")
    (blob,) = blobs.rglob(f"{digest}/data")
    kept = blob.read_bytes()
    blob.write_bytes(bytes(len(kept)))
    elsewhere = [text.replace("mounted", "second") for text in given]
    run(*elsewhere[1:], code=2)
    blob.write_bytes(kept)
    assert not (project.root / "second").exists() or not list((project.root / "second").rglob("*.onnx"))


def test_places_that_no_digest_confirms_take_no_init_container(run: Callable[..., str]) -> None:  # noqa: F811
    for place in ("s3://m/{version}", "oci://host/{model}:{version}"):
        arguments = ("manifests", "fashion-cnn", "--for", "kserve", "--storage-uri", place)
        assert "names no digest" in run(*arguments, "--init-image", "weighbridge:1", code=2)
    said = run("manifests", "fashion-cnn", "--for", "kserve", "--storage-uri", "oci://host/m@{manifest}", code=2)
    assert "--init-image" in said


def test_a_missing_library_says_which_extra_brings_it(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setitem(sys.modules, "boto3", None)
    with contextlib.suppress(KeyError):
        monkeypatch.delitem(sys.modules, "botocore.exceptions")
    assert "weighbridge[s3]" in run("push", "fashion-cnn@v1", "s3://models/a", code=2)
