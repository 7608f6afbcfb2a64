"""Each layer's share of the time, found by its own name whatever onnxruntime makes of its node."""

from pathlib import Path

import pytest

from tests.search.project import project
from weighbridge.search.estimate.layer_times import time_shares
from weighbridge.search.problem.searched_model import untrained_source


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        ("tests.compress.nets:Separable", {"stem.0", "depthwise", "pointwise", "classes"}),
        ("tests.compress.nets:Residual", {"stem", "one", "two", "classes"}),
    ],
)
def test_convolutions_in_the_runtimes_own_layout_keep_their_layers(tmp_path: Path, net: str, layers: set[str]) -> None:
    """A share for every layer, which together are most of the time."""
    root = project(
        tmp_path, model={"name": "net", "factory": net}, data={"factory": "tests.compress.factories:pictures"}
    )
    shares = time_shares(untrained_source(root))
    assert layers <= shares.keys()
    assert sum(shares.values()) == pytest.approx(1)
    assert not any("nchwc" in name for name in shares if "Reorder" not in name)
