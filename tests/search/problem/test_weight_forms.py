"""Forms beyond a scheme's defaults: which models are offered them, and what files they give."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from tests.search.project import project
from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.techniques.prune.masks import emptied
from weighbridge.core.documents import SearchSection
from weighbridge.core.errors import InputError
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.progress import silent
from weighbridge.data import Data, Split
from weighbridge.search.estimate.sensitivity import effects
from weighbridge.search.problem.searched_model import Source, space_of, untrained_source
from weighbridge.search.problem.space import Point
from weighbridge.search.problem.weight_forms import BLOCKS, CORRECTED, TABLES, Stored, forms

MODEL = {"name": "texts", "factory": "tests.search.problem.test_weight_forms:Reader"}
DATA = {"factory": "tests.search.problem.test_weight_forms:texts"}
REFINED = {
    f"static-int8{CORRECTED}",
    f"weight-int4{BLOCKS}",
    f"dynamic-int8{TABLES}",
    f"static-int8{TABLES}",
}
WORDS, WIDTH = 900, 64


class Reader(nn.Module):
    """A table of words that is most of the model, a small one of two kinds, and nine linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(8))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor) -> Tensor:
        """(n, tokens) → (n, 3)."""
        x = (self.words(ids) + self.kinds(ids % 2)).mean(1)
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return self.head(x)


def texts() -> Data:
    """Ids whose remainder by three is the class."""
    random = np.random.default_rng(4)
    labels = random.integers(0, 3, 240)
    ids = random.integers(0, WORDS // 3, (240, 6)) * 3 + labels[:, None]
    parts = [Split({"ids": ids[part]}, labels[part]) for part in (slice(0, 160), slice(160, 240))]
    return Data(train=parts[0], test=parts[1])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The reader, as a search has it."""
    torch.manual_seed(2)
    return untrained_source(project(tmp_path_factory.mktemp("texts"), model=MODEL, data=DATA))


def test_a_deep_model_with_a_large_table_is_offered_all(source: Source) -> None:
    """The small table is no table: it is under a tenth of the weights."""
    assert (source.stored.layers, source.stored.tables) == (11, ("words",))
    assert set(space_of(source).knobs["form"]) > REFINED


def test_a_file_is_offered_what_its_module_is(source: Source, tmp_path: Path) -> None:
    """Tables and layers are found in an ONNX file, too."""
    data = Maker(source.context, source.target, source.start, train=False).make([]).data
    root = project(tmp_path, model={"name": "texts", "onnx": "model.onnx"}, data=DATA, train=None)
    (root / "model.onnx").write_bytes(data)
    found = untrained_source(root)
    assert found.stored.layers == 11
    assert len(found.stored.tables) == 1
    maker = Maker(found.context, found.target, found.start, train=False)
    made = maker.make(space_of(found).read(Point(form=f"dynamic-int8{TABLES}"), 0))
    assert made.sizes.bytes < maker.make(space_of(found).read(Point(form="dynamic-int8"), 0)).sizes.bytes


def test_a_table_in_four_bits_leaves_products_in_eight(source: Source) -> None:
    """The words are stored in 4 bits, all products in 8, and the file is smaller than with both in 8."""
    space = space_of(source)
    maker = Maker(source.context, source.target, source.start, train=False)
    for scheme in ("dynamic-int8", "static-int8"):
        plain, mixed = (maker.make(space.read(Point(form=form), 0)) for form in (scheme, f"{scheme}{TABLES}"))
        stored = onnx.load_model_from_string(mixed.data).graph.initializer
        four = [tensor for tensor in stored if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4)]
        assert math.prod(four[0].dims) == WORDS * WIDTH
        products = [tuple(tensor.dims) for tensor in stored if tensor.data_type == TensorProto.INT8]
        assert products.count((WIDTH, WIDTH)) == 8
        assert mixed.sizes.bytes < plain.sizes.bytes - 0.4 * WORDS * WIDTH


def test_each_form_is_a_choice(source: Source) -> None:
    """No form is refused; each is smaller than the model, and does what can be counted to its answers."""
    found = {item.value: item for item in effects(source, space_of(source), silent) if item.knob == "form"}
    assert set(found) > REFINED
    assert all(found[name].bytes < 0 and 0 < found[name].damage < math.inf for name in REFINED)


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        (f"static-int8{CORRECTED}", {"calibration": "percentile", "bias_correction": True, "float_outputs": True}),
        (f"weight-int4{BLOCKS}", {"block_size": 32}),
    ],
)
def test_a_form_is_its_scheme_with_what_is_added(source: Source, form: str, asked: dict[str, object]) -> None:
    """The recipe that is printed says all of it."""
    (step,) = space_of(source).steps(Point(form=form), 0)
    assert step == {"quantize": {"scheme": form.partition("+")[0], **asked}}


def test_a_shallow_model_without_a_table_is_offered_none(tmp_path: Path) -> None:
    """Three layers do not add up enough errors to need correcting."""
    space = space_of(untrained_source(project(tmp_path)))
    assert not REFINED & set(space.knobs["form"])


@pytest.mark.parametrize(
    ("section", "target", "left"),
    [
        (SearchSection(schemes=["dynamic-int8"]), "onnxruntime", set()),
        (SearchSection(schemes=["dynamic-int8", "weight-int4"]), "onnxruntime", {"weight-int4", "dynamic-int8"}),
        (SearchSection(techniques=["share"]), "onnxruntime", set()),
        (SearchSection(), "litert", set()),
        (SearchSection(), "executorch", set()),
    ],
    ids=["no four bits", "no static", "no quantize", "litert", "executorch"],
)
def test_forms_are_of_schemes_that_are_allowed(section: SearchSection, target: str, left: set[str]) -> None:
    """`search.schemes` narrows them, and a target whose `quantize` knows `keep` alone has none."""
    found = forms(section, TARGETS[target], Stored(40, ("words",), blocks=True), trains=True)
    assert {name.partition("+")[0] for name in found if "+" in name} == left


def test_weights_that_blocks_do_not_divide_are_offered_none() -> None:
    """A scale for each 32 weights has no form of them, which would cost a trial to find out."""
    found = forms(SearchSection(), TARGETS["onnxruntime"], Stored(40, ("words",), blocks=False), trains=True)
    assert [name for name in found if "+" in name] == [f"static-int8{CORRECTED}"]


def test_layers_that_zeros_would_empty_get_none(source: Source) -> None:
    """Words of a fresh table are larger than all other weights: ranked among them, nothing of those would be left."""
    space, point = space_of(source), Point(sparsity=0.9, form="weight-int8")
    assert "head" in source.stored.smallest
    assert space.steps(point, 0)[0]["prune"]["keep"] == list(source.stored.smallest)
    maker = Maker(source.context, source.target, source.start, train=False)
    assert (
        maker.make(space.read(point, 0)).sizes.bytes < maker.make(space.read(Point(form="weight-int8"), 0)).sizes.bytes
    )
    careless = replace(space, stored=replace(space.stored, smallest=()))
    with pytest.raises(InputError, match="leaves no weight of"):
        maker.make(careless.read(point, 0))


def test_layers_without_zeros_are_still_there_when_others_get_theirs(source: Source) -> None:
    """Their names match: none is made low-rank before, and none is named that went with a larger one."""
    space, point = space_of(source), Point(sparsity=0.9, factor=0.5, form="weight-int8")
    low, zeros = (next(iter(step.values())) for step in space.steps(point, 0)[:2])
    assert low["keep"] == zeros["keep"] == list(source.stored.smallest)
    held = replace(space, removable=("layers.0",), stored=replace(space.stored, smallest=("layers.0", "head")))
    steps = held.steps(Point(gone=("layers.0",), sparsity=0.9, form="weight-int8"), 0)
    assert steps[1]["prune"]["keep"] == ["head"]


def test_a_module_without_layers_is_emptied_of_nothing() -> None:
    """Free-standing parameters alone are nobody's layer."""
    assert emptied([], 0.9) == []


def test_layers_that_are_kept_stay_out_of_a_form(source: Source) -> None:
    """`search.keep` reaches every step of a form."""
    space = space_of(source)
    held = replace(space, section=space.section.model_copy(update={"keep": ["head"]}))
    steps = held.steps(Point(form=f"static-int8{TABLES}"), 0)
    assert [step["quantize"]["keep"] for step in steps] == [["head", "words"], ["head"]]
