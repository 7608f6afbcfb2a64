"""Names of OCI artifacts: read strictly, written back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import InputError
from weighbridge.registry.publish.oci_reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("oci://ghcr.io/acme/fashion-cnn:v7", ("ghcr.io", "acme/fashion-cnn", "v7", None)),
        ("oci://localhost:5000/m", ("localhost:5000", "m", None, None)),
        (f"oci://[::1]:5000/a/b__c/d.e@{DIGEST}", ("[::1]:5000", "a/b__c/d.e", None, DIGEST)),
        (f"oci://h.example/m:latest@{DIGEST}", ("h.example", "m", "latest", DIGEST)),
    ],
)
def test_references_have_host_repository_tag_and_digest(
    text: str, parts: tuple[str, str, str | None, str | None]
) -> None:
    """The forms that the distribution specification allows, and back to the same text."""
    found = parse_reference(text)
    assert (found.host, found.repository, found.tag, found.digest) == parts
    assert str(found) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ghcr.io/acme/m:v1", "is not an OCI reference"),
        ("https://ghcr.io/acme/m:v1", "is not an OCI reference"),
        ("oci:///m:v1", "'' is not the host"),
        ("oci://ghcr.io", "'' is not the repository"),
        ("oci://ghcr.io/Acme/m:v1", "'Acme/m' is not the repository.*lower case"),
        ("oci://ghcr.io/../etc:v1", "is not the repository"),
        ("oci://ghcr.io/a//b:v1", "is not the repository"),
        ("oci://ghcr.io/m:", "'' is not the tag"),
        ("oci://ghcr.io/m:-x", "'-x' is not the tag"),
        ("oci://ghcr.io/m@sha256:abc", "'sha256:abc' is not the digest"),
        ("oci://ghcr.io/m@", "'' is not the digest"),
        ("oci://user:secret@ghcr.io/m:v1", "is not the"),
        ("oci://ghcr.io/m:v1?x=1", "is not the tag"),
    ],
)
def test_what_is_no_reference_is_refused_by_the_part_that_is_wrong(text: str, said: str) -> None:
    """One line that names the part."""
    with pytest.raises(InputError, match=said):
        parse_reference(text)


@given(st.text(max_size=60))
def test_no_text_gets_through_half_read(text: str) -> None:
    """Whatever is accepted is written back exactly as it was given."""
    try:
        found = parse_reference(f"oci://{text}")
    except InputError:
        return
    assert str(found) == f"oci://{text}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("ghcr.io", False),
        ("127.0.0.1.example.org", False),
        ("localhost.example.org:5000", False),
        ("10.0.0.1", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, loopback: bool) -> None:
    """Plain HTTP is spoken to nobody else without being asked for."""
    assert parse_reference(f"oci://{host}/m:v1").loopback is loopback
