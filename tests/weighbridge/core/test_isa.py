"""Processors: what one has, what an artifact requires, and what an ONNX file says of itself."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.core.facts import isa
from weighbridge.core.formats.onnx_isa import requires


def test_flags_come_from_the_kernel(tmp_path: Path) -> None:
    """Both spellings of the kernel's table are read; a system without it tells nothing."""
    table = tmp_path / "cpuinfo"
    table.write_text("model name : x\nflags : fpu avx2 avx512_vnni\n")
    assert isa.flags(table) == {"fpu", "avx2", "avx512_vnni"}
    table.write_text("Features : fp asimd\n")
    assert isa.flags(table) == {"fp", "asimd"}
    table.write_text("nothing here\n")
    assert isa.flags(table) == frozenset()
    assert isa.flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    ("text", "lacking"),
    [
        ("avx2", ("vnni",)),
        ("avx2,avx512_vnni", ()),
        ("AVX2 AVX512-VNNI", ()),
        ("vnni", ()),
        ("amx_int8", ()),
        ("arm64", ()),
        ("aarch64, asimd", ()),
        ("", ("vnni",)),
    ],
)
def test_a_host_is_named_by_its_instruction_sets(text: str, lacking: tuple[str, ...]) -> None:
    """As the kernel, a vendor or a person writes them; arm64 kernels need nothing for U8 x S8."""
    assert isa.named_host(text).lacks(["vnni"]) == lacking


def test_a_requirement_that_is_not_known_is_lacking_everywhere() -> None:
    """A newer program may have written it."""
    assert isa.named_host("arm64").lacks(["sme2"]) == ("sme2",)


def test_a_system_that_does_not_tell_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An x86 processor without flags is taken for one that saturates."""
    monkeypatch.setattr(isa.platform, "machine", lambda: "x86_64")  # type: ignore[attr-defined]
    monkeypatch.setattr(isa, "flags", frozenset)
    assert isa.this_host().lacks(["vnni"]) == ("vnni",)
    assert isa.this_host().lacks([]) == ()


def quantized(
    largest: int,
    *,
    dtype: type[np.int8] = np.int8,
    activations: bool = True,
    operator: str = "MatMul",
    branch: bool = False,
) -> onnx.ModelProto:
    """A matrix product of stored integers with one weight of magnitude `largest`."""
    weight = np.zeros((4, 3), dtype)
    weight[1, 1] = largest
    stored = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.float32(0.1), "s"),
        numpy_helper.from_array(np.zeros((), dtype), "z"),
        numpy_helper.from_array(np.uint8(0), "zero"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 4), ("y", 3)))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["b"]),
        helper.make_node(operator, ["a" if activations else "x", "b"], ["y"]),
    ]
    if operator == "MatMulInteger":
        nodes[-1] = helper.make_node(operator, ["q", "w", "zero"], ["y"])
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    if branch:
        empty = helper.make_graph([], "other", [], [y])
        inner = helper.make_graph(nodes, "inner", [], [y], stored)
        graph = helper.make_graph(
            [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=empty)], "g", [x], [y]
        )
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"largest": 64}, ()),
        ({"largest": -64}, ()),
        ({"largest": 65}, ("vnni",)),
        ({"largest": -128}, ("vnni",)),
        ({"largest": 127, "operator": "MatMulInteger"}, ("vnni",)),
        ({"largest": 127, "operator": "Gemm"}, ("vnni",)),
        ({"largest": 127, "branch": True}, ("vnni",)),
        ({"largest": 255, "dtype": np.uint8}, ()),
        ({"largest": 127, "activations": False}, ()),
        ({"largest": 127, "operator": "Add"}, ()),
    ],
)
def test_the_file_says_whether_its_products_saturate(options: dict[str, Any], expected: tuple[str, ...]) -> None:
    """Signed weights beyond 64 that meet quantized values: not unsigned ones, not those that are only stored so."""
    assert requires(quantized(**options)) == expected


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (["avx2", "avx512f", "avx512_vnni"], "AVX-512 with VNNI"),
        (["avx2", "avx512f"], "AVX-512 without VNNI"),
        (["avx2", "avx_vnni"], "AVX2 with VNNI"),
        (["avx2"], "AVX2 without VNNI"),
        (["asimd", "asimddp"], "NEON with dot product"),
        ([], "instruction sets not known"),
    ],
)
def test_a_ratio_names_what_it_was_taken_on(features: list[str], said: str) -> None:
    """The widest set decides."""
    assert isa.widest(features) == said
