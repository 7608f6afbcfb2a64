"""Push to and pull from a real OCI registry, with what confirms the bytes."""

import hashlib
import json
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import oras.client
import pytest

from tests.registry.publish.project import Project
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.publish import oci as publish
from weighbridge.registry.publish import oci_attached, pull
from weighbridge.registry.publish.distribution import INDEX, Repository, referrers_tag
from weighbridge.registry.publish.oci_reference import Reference, parse_reference
from weighbridge.registry.publish.wire import Wire
from weighbridge.registry.state.events import EventKind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def repository(reference: Reference) -> Repository:
    return Repository(reference, Wire(reference))


def push(project: Project, spec: str, reference: Reference, **options: publish.Beside | bool) -> publish.Pushed:
    with pull.packaged(project.root, pull.want(project.root, spec, quarantined=True)) as package:
        return publish.push(package, reference, repository(reference), **options)


def get(host: str, path: str, accept: str = "application/vnd.oci.image.manifest.v1+json") -> Any:
    request = urllib.request.Request(f"http://{host}/v2/{path}", headers={"Accept": accept})
    return json.load(urllib.request.urlopen(request))


@pytest.fixture
def place(oci: tuple[str, Path], request: pytest.FixtureRequest) -> tuple[Reference, Path]:
    """A repository of its own for each test, and where the registry keeps its blobs."""
    host, data = oci
    return Reference(host, f"models/{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}", "v1"), data


def blob_file(data: Path, digest: str | None) -> Path:
    value = digest.removeprefix("sha256:")
    return data / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


def test_a_pushed_version_comes_back_byte_for_byte_with_its_record(
    project: Project, place: tuple[Reference, Path], tmp_path: Path
) -> None:
    """Bytes, record and history agree after a round trip through the registry."""
    reference, _ = place
    pushed = push(project, "fashion-cnn@stable", reference)
    assert pushed.created
    assert pushed.referrers.keys() == {oci_attached.RECORD}
    source = pull.OciSource(reference, repository(reference))
    taken = pull.pull(project.root, pull.want(project.root, "fashion-cnn@v1"), tmp_path / "out", source)
    assert (tmp_path / "out/model.onnx").read_bytes() == project.contents["int8"]
    record = project.root / "registry/models/fashion-cnn/versions/v1.yaml"
    assert (tmp_path / "out/record.yaml").read_bytes() == record.read_bytes()
    assert taken.version == "v1"
    assert taken.trust == "this registry's history"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.onnx", "record.yaml"]


def test_the_artifact_is_a_modelpack_whose_layer_is_the_model_file(
    project: Project, place: tuple[Reference, Path]
) -> None:
    """Other tools find the standard types, and the layer's digest is the digest in the record."""
    reference, _ = place
    push(project, "fashion-cnn@v1", reference)
    manifest = get(reference.host, f"{reference.repository}/manifests/v1")
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    [layer] = manifest["layers"]
    assert layer["digest"] == "sha256:" + hashlib.sha256(project.contents["int8"]).hexdigest()
    config = get(reference.host, f"{reference.repository}/blobs/{manifest['config']['digest']}")
    assert config["descriptor"]["name"] == "fashion-cnn"
    assert config["descriptor"]["version"] == "v1"
    assert config["config"] == {"format": "onnx", "paramSize": "117.5k"}
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"]]}


def test_oras_pulls_what_was_pushed(project: Project, place: tuple[Reference, Path], tmp_path: Path) -> None:
    """The field's own client reads the artifact and names the file as it was."""
    reference, _ = place
    push(project, "fashion-cnn@v1", reference)
    client = oras.client.OrasClient(hostname=reference.host, insecure=True)
    files = client.pull(target=f"{reference.host}/{reference.repository}:v1", outdir=str(tmp_path))
    assert [Path(file).name for file in files] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == project.contents["int8"]


def test_referrers_are_listed_by_tag_where_the_registry_has_no_api_for_them(
    project: Project, place: tuple[Reference, Path]
) -> None:
    """Debian's registry predates the referrers API: the index under the digest's tag stands in, without repeats."""
    reference, _ = place
    pushed = push(project, "fashion-cnn@v1", reference, beside=publish.Beside(b'{"bomFormat": "CycloneDX"}'))
    again = push(project, "fashion-cnn@v1", reference, beside=publish.Beside(b'{"bomFormat": "CycloneDX"}'))
    assert not again.created
    assert again.reference == pushed.reference
    tag = referrers_tag(pushed.reference.digest)
    index = get(reference.host, f"{reference.repository}/manifests/{tag}", INDEX)
    assert {entry["artifactType"] for entry in index["manifests"]} == {oci_attached.RECORD, publish.BOM}
    assert len(index["manifests"]) == 2
    listed = repository(reference).referrers(pushed.reference.digest)
    assert {entry.digest for entry in listed} == set(pushed.referrers.values())


def test_a_tag_is_not_moved_unless_that_is_meant(
    project: Project, place: tuple[Reference, Path], tmp_path: Path
) -> None:
    """A version's tag names one content forever; a channel's tag moves when told to."""
    reference, _ = place
    push(project, "fashion-cnn@v1", reference)
    with pytest.raises(StateError, match="names other content already"):
        push(project, "fashion-cnn@v3", reference)
    push(project, "fashion-cnn@v3", reference, move=True)
    source = pull.OciSource(reference, repository(reference))
    with pytest.raises(IntegrityError, match="not an artifact of fashion-cnn@v1"):
        pull.pull(project.root, pull.want(project.root, "fashion-cnn@v1"), tmp_path / "out", source)
    assert not (tmp_path / "out").exists()


def test_one_changed_byte_in_the_registry_is_refused_and_nothing_is_written(
    project: Project, place: tuple[Reference, Path], tmp_path: Path
) -> None:
    """The registry's disk is not trusted: a blob that hashes wrong never reaches the folder."""
    reference, data = place
    pushed = push(project, "fashion-cnn@v1", reference)
    file = blob_file(data, "sha256:" + hashlib.sha256(project.contents["int8"]).hexdigest())
    original = file.read_bytes()
    try:
        file.write_bytes(original[:-1] + b"!")
        source = pull.OciSource(pushed.reference, repository(reference))
        with pytest.raises(IntegrityError, match="not what its digest says"):
            pull.pull_reference(source, tmp_path / "out")
        file.write_bytes(original[:-3])
        with pytest.raises((IntegrityError, StateError)):
            pull.pull_reference(source, tmp_path / "out")
    finally:
        file.write_bytes(original)
    assert list(tmp_path.glob("*out*")) == []
    pull.pull_reference(source, tmp_path / "out")


def test_a_changed_record_is_refused(project: Project, place: tuple[Reference, Path], tmp_path: Path) -> None:
    """What was measured cannot be rewritten where the artifact is kept; a clone does not even look there."""
    reference, data = place
    pushed = push(project, "fashion-cnn@v1", reference)
    record = (project.root / "registry/models/fashion-cnn/versions/v1.yaml").read_bytes()
    file = blob_file(data, "sha256:" + hashlib.sha256(record).hexdigest())
    source = pull.OciSource(pushed.reference, repository(reference))
    try:
        file.write_bytes(record.replace(b"seed: 7", b"seed: 8"))
        with pytest.raises(IntegrityError, match="not what its digest says"):
            pull.pull_reference(source, tmp_path / "out")
        pull.pull(project.root, pull.want(project.root, "fashion-cnn@v1"), tmp_path / "out", source)
    finally:
        file.write_bytes(record)
    assert (tmp_path / "out/record.yaml").read_bytes() == record


def test_a_manifest_swapped_under_a_digest_is_refused(
    project: Project, place: tuple[Reference, Path], tmp_path: Path
) -> None:
    """The manifest that a digest names is hashed here, whatever the registry says of it."""
    reference, data = place
    pushed = push(project, "fashion-cnn@v1", reference)
    file = blob_file(data, pushed.reference.digest)
    original = file.read_bytes()
    try:
        file.write_bytes(original.replace(b'"v1"', b'"v9"'))
        with pytest.raises((IntegrityError, StateError)):
            pull.pull_reference(pull.OciSource(pushed.reference, repository(reference)), tmp_path / "out")
    finally:
        file.write_bytes(original)


def test_a_bare_tag_confirms_nothing(project: Project, place: tuple[Reference, Path], tmp_path: Path) -> None:
    """Without a clone, a policy or a digest, nothing says what the bytes ought to be."""
    reference, _ = place
    push(project, "fashion-cnn@v1", reference)
    with pytest.raises(StateError, match="a tag is not a trusted reference"):
        pull.pull_reference(pull.OciSource(reference, repository(reference)), tmp_path / "out")


def policy_file(folder: Path, key: "Ed25519PrivateKey") -> Path:
    from cryptography.hazmat.primitives import serialization

    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    path = folder / "policy.yaml"
    path.write_text(json.dumps({"require_signature": True, "keys": {"ci": pem.decode()}}))
    return path


def test_a_signature_travels_along_and_lets_a_tag_be_trusted(
    tmp_path: Path, place: tuple[Reference, Path], key: "Ed25519PrivateKey"
) -> None:
    """Whoever has the policy needs no clone: the statement's signature confirms bytes and record."""
    reference, _ = place
    project = Project(tmp_path / "signed", key=key)
    project.add("int8", b"signed weights", baseline=b"fp32")
    pushed = push(project, "fashion-cnn@stable", reference)
    assert oci_attached.STATEMENT in pushed.referrers
    source = pull.OciSource(reference, repository(reference))
    policy = policy_file(tmp_path, key)
    with pytest.raises(IntegrityError, match="contains fashion-cnn@v1, not a version of"):
        pull.pull_reference(source, tmp_path / "out", pull.PullTerms(policy))
    assert not (tmp_path / "out").exists()
    taken = pull.pull_reference(source, tmp_path / "out", pull.PullTerms(policy, "fashion-cnn"))
    assert taken.trust == "a signature by ci"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.onnx", "record.yaml", "statement.json"}


def test_a_signature_by_another_key_is_refused(
    tmp_path: Path, place: tuple[Reference, Path], key: "Ed25519PrivateKey"
) -> None:
    """A statement that no key of the policy signed confirms nothing."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    reference, _ = place
    project = Project(tmp_path / "signed", key=Ed25519PrivateKey.generate())
    project.add("int8", b"other weights", baseline=b"fp32")
    push(project, "fashion-cnn@stable", reference)
    source = pull.OciSource(reference, repository(reference))
    with pytest.raises(IntegrityError, match="is not signed by a key that the policy lists"):
        pull.pull_reference(source, tmp_path / "out", pull.PullTerms(policy_file(tmp_path, key)))
    assert not (tmp_path / "out").exists()


def test_an_unsigned_version_is_refused_where_the_policy_wants_signatures(
    project: Project, place: tuple[Reference, Path], tmp_path: Path, key: "Ed25519PrivateKey"
) -> None:
    """Stripping the statement on the way does not help."""
    reference, _ = place
    pushed = push(project, "fashion-cnn@v1", reference)
    for source in (reference, pushed.reference):
        with pytest.raises(StateError, match="is not signed"):
            pull.pull_reference(
                pull.OciSource(source, repository(reference)),
                tmp_path / "out",
                pull.PullTerms(policy_file(tmp_path, key)),
            )


def test_two_records_that_differ_are_told_apart_by_the_history(
    project: Project, place: tuple[Reference, Path], tmp_path: Path
) -> None:
    """Somebody who may push can add a referrer; the clone's history still knows the right one."""
    reference, _ = place
    pushed = push(project, "fashion-cnn@v1", reference)
    record = (project.root / "registry/models/fashion-cnn/versions/v1.yaml").read_bytes()
    there = repository(reference)
    forged = record.replace(b"seed: 7", b"seed: 8")
    subject = publish.Descriptor(publish.MANIFEST, pushed.reference.digest, 1)  # type: ignore[attr-defined]
    publish._attach(there, forged, oci_attached.RECORD, "record.yaml", subject)
    with pytest.raises(IntegrityError, match="2 different records"):
        pull.pull_reference(pull.OciSource(pushed.reference, there), tmp_path / "out")
    pull.pull(
        project.root, pull.want(project.root, "fashion-cnn@v1"), tmp_path / "out", pull.OciSource(reference, there)
    )
    assert (tmp_path / "out/record.yaml").read_bytes() == record


def attach_raw(
    there: Repository, content: bytes, kind: str, subject: str | None, changes: dict[str, str | dict[str, Any]]
) -> None:
    """A referrer made by hand, to be wrong in one way."""
    blob = publish.describe(content, kind)  # type: ignore[attr-defined]
    there.put_blob(content, blob)
    there.put_blob(b"{}", publish.describe(b"{}", publish.EMPTY))  # type: ignore[attr-defined]
    manifest = {
        "schemaVersion": 2,
        "mediaType": publish.MANIFEST,  # type: ignore[attr-defined]
        "artifactType": kind,
        "config": publish.describe(b"{}", publish.EMPTY).to_json(),  # type: ignore[attr-defined]
        "layers": [blob.to_json()],
        "subject": {"mediaType": publish.MANIFEST, "digest": subject, "size": 1},  # type: ignore[attr-defined]
        **changes,
    }
    there.attach(json.dumps(manifest).encode(), subject, kind)


@pytest.mark.parametrize(
    ("content", "changes", "said"),
    [
        (b"x", {"layers": []}, "does not contain exactly one file"),
        (b"x", {"subject": {"mediaType": "m", "digest": "sha256:" + "1" * 64, "size": 1}}, "as a referrer"),
        (b"x", {"artifactType": "application/vnd.example.other"}, "as a referrer"),
        (b"x" * (2**20 + 1), {}, "at most 1048576 are read"),
        (b"not: a record", {}, "is not a version's record"),
    ],
)
def test_a_referrer_that_is_wrong_stops_a_stranger_but_not_a_clone(
    project: Project,
    place: tuple[Reference, Path],
    tmp_path: Path,
    content: Any,
    changes: dict[str, str | dict[str, Any]],
    said: str,
) -> None:
    """Without history nothing doubtful is passed over; with it, nobody's referrer can get in the way."""
    reference, _ = place
    pushed = push(project, "fashion-cnn@v1", reference)
    source = pull.OciSource(pushed.reference, repository(reference))
    attach_raw(source.repository, content, oci_attached.RECORD, pushed.reference.digest, changes)
    with pytest.raises(IntegrityError, match=said):
        pull.pull_reference(source, tmp_path / "out")
    pull.pull(project.root, pull.want(project.root, "fashion-cnn@v1"), tmp_path / "out", source)


def test_two_statements_are_no_statement(
    tmp_path: Path, place: tuple[Reference, Path], key: "Ed25519PrivateKey"
) -> None:
    """Which of two signatures counts is not for us to guess."""
    reference, _ = place
    project = Project(tmp_path / "signed", key=key)
    project.add("int8", b"twice signed", baseline=b"fp32")
    pushed = push(project, "fashion-cnn@v1", reference)
    source = pull.OciSource(pushed.reference, repository(reference))
    attach_raw(source.repository, b"{}", oci_attached.STATEMENT, pushed.reference.digest, {})
    with pytest.raises(IntegrityError, match="2 different statements"):
        pull.pull_reference(source, tmp_path / "out", pull.PullTerms(policy_file(tmp_path, key)))


def test_an_artifact_without_a_record_is_no_version(place: tuple[Reference, Path], tmp_path: Path) -> None:
    """A model that somebody else packed is not confirmed by anybody here."""
    reference, _ = place
    there = repository(reference)
    blob = publish.describe(b"foreign weights", publish.WEIGHT)  # type: ignore[attr-defined]
    there.put_blob(b"foreign weights", blob)
    layer = {**blob.to_json(), "annotations": {publish.FILE_PATH: "model.onnx"}}
    for layers, said in (
        ([layer], "no record refers to it"),
        ([layer, layer], "exactly one file"),
        ([], "exactly one"),
    ):
        manifest = {
            "schemaVersion": 2,
            "mediaType": publish.MANIFEST,  # type: ignore[attr-defined]
            "artifactType": publish.MODEL,
            "config": blob.to_json(),
            "layers": layers,
        }
        data = json.dumps(manifest).encode()
        found = publish.describe(data, publish.MANIFEST).digest  # type: ignore[attr-defined]
        there.put_manifest(data, publish.MANIFEST, found)  # type: ignore[attr-defined]
        source = pull.OciSource(Reference(reference.host, reference.repository, None, found), there)
        with pytest.raises(IntegrityError, match=said):
            pull.pull_reference(source, tmp_path / "out")


def test_the_loser_of_two_pushes_of_one_tag_is_told(project: Project, place: tuple[Reference, Path]) -> None:
    """The registry says 201 to both: the tag is read back."""
    reference, _ = place
    there = repository(reference)
    put = there.put_manifest

    def overtaken(data: bytes, media_type: str, name: str) -> Any:
        noted = put(data, media_type, name)
        if name == reference.tag:  # somebody else's push of the same tag arrives right after ours
            there.put_manifest = put
            push(project, "fashion-cnn@v3", reference, move=True)
        return noted

    there.put_manifest = overtaken
    with (
        pull.packaged(project.root, pull.want(project.root, "fashion-cnn@v1")) as package,
        pytest.raises(StateError, match="another push moved this tag"),
    ):
        publish.push(package, reference, there)


def test_a_reference_without_tag_and_digest_names_nothing(
    project: Project, place: tuple[Reference, Path], tmp_path: Path
) -> None:
    """There is no silent `latest`."""
    reference, _ = place
    bare = Reference(reference.host, reference.repository)
    with pytest.raises(InputError, match="neither a tag nor a digest"):
        pull.pull(
            project.root,
            pull.want(project.root, "fashion-cnn@v1"),
            tmp_path / "out",
            pull.OciSource(bare, repository(bare)),
        )


def test_what_is_no_model_is_refused(place: tuple[Reference, Path], tmp_path: Path) -> None:
    """An image or any other artifact under the name is not unpacked."""
    reference, _ = place
    there = repository(reference)
    empty = publish.describe(b"{}", publish.EMPTY)  # type: ignore[attr-defined]
    there.put_blob(b"{}", empty)
    manifest = {
        "schemaVersion": 2,
        "mediaType": publish.MANIFEST,  # type: ignore[attr-defined]
        "artifactType": "application/vnd.example.thing",
        "config": empty.to_json(),
        "layers": [empty.to_json()],
    }
    there.put_manifest(json.dumps(manifest).encode(), publish.MANIFEST, "v1")  # type: ignore[attr-defined]
    digest = there.manifest("v1").digest
    source = pull.OciSource(Reference(reference.host, reference.repository, None, digest), there)
    with pytest.raises(IntegrityError, match=r"is application/vnd\.example\.thing, not a model"):
        pull.pull_reference(source, tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil.onnx", "/etc/evil", "..", "a/b", "a\\b", "record.yaml", ""])
def test_a_file_name_that_leaves_the_folder_is_refused(
    place: tuple[Reference, Path], tmp_path: Path, name: str
) -> None:
    """The name in the manifest is somebody else's text."""
    reference, _ = place
    there = repository(reference)
    blob = publish.describe(b"weights", publish.WEIGHT)  # type: ignore[attr-defined]
    there.put_blob(b"weights", blob)
    layer = {**blob.to_json(), "annotations": {publish.FILE_PATH: name}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": publish.MANIFEST,  # type: ignore[attr-defined]
        "artifactType": publish.MODEL,
        "config": blob.to_json(),
        "layers": [layer],
    }
    there.put_manifest(json.dumps(manifest).encode(), publish.MANIFEST, "v1")  # type: ignore[attr-defined]
    digest = there.manifest("v1").digest
    source = pull.OciSource(Reference(reference.host, reference.repository, None, digest), there)
    with pytest.raises(IntegrityError, match="not a plain file name"):
        pull.pull_reference(source, tmp_path / "out")


def test_a_reference_that_is_not_there_says_so(oci: tuple[str, Path], tmp_path: Path) -> None:
    """A missing tag is an error about the reference, not an empty folder."""
    reference = Reference(oci[0], "nothing/here", None, "sha256:" + "0" * 64)
    with pytest.raises(StateError, match="not found"):
        pull.pull_reference(pull.OciSource(reference, repository(reference)), tmp_path / "out")


def test_a_registry_that_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    """Nobody listens on that port."""
    reference = parse_reference(f"oci://127.0.0.1:1/models/a@sha256:{'0' * 64}")
    with pytest.raises(StateError, match=r"127\.0\.0\.1:1: cannot be reached"):
        pull.pull_reference(pull.OciSource(reference, repository(reference)), tmp_path / "out")


def test_a_push_needs_a_tag(project: Project, place: tuple[Reference, Path]) -> None:
    """A digest is an outcome of a push, not a place to push to."""
    reference, _ = place
    with pytest.raises(InputError, match="needs a tag"):
        push(project, "fashion-cnn@v1", Reference(reference.host, reference.repository))


def test_a_quarantined_version_is_not_taken(project: Project, tmp_path: Path) -> None:
    """The bad version stays where it is unless somebody insists."""
    with pytest.raises(StateError, match="v2 is quarantined"):
        pull.want(project.root, "fashion-cnn@v2")
    assert pull.want(project.root, "fashion-cnn@v2", quarantined=True).resolved.version == "v2"


def test_a_deprecated_version_is_taken_with_the_reason(project: Project, tmp_path: Path) -> None:
    """Whoever pulls a deprecated version reads why."""
    project.move(EventKind.DEPRECATED, "v3", reason="v4 is better")
    taken = pull.pull(project.root, pull.want(project.root, "fashion-cnn@v3"), tmp_path / "out")
    assert taken.deprecated == "v4 is better"


@pytest.mark.parametrize(
    ("count", "said"),
    [(117_530, "117.5k"), (1_000_000, "1m"), (999, "1k"), (7_000_000_000, "7b"), (1_500_000_000_000, "1.5t")],
)
def test_counts_are_said_as_modelpack_says_them(count: int, said: str) -> None:
    """One decimal at most and a scale letter."""
    assert publish.short_count(count) == said
