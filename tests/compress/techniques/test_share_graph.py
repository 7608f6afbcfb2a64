"""Sharing in files: k-means without PyTorch, and hashed weights that stock onnxruntime decodes at load."""

import copy
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from pydantic import ValidationError

from tests.compress.nets import MLP, build, context, features
from tests.compress.techniques.test_share import pruned
from weighbridge.compress.export.onnxruntime import ONNXRUNTIME
from weighbridge.compress.graph.constants import effective_weights
from weighbridge.compress.recipe.compose import compose
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.compress.recipe.recipe_run import BuiltArtifact
from weighbridge.compress.steps import Context, Graph, Subject
from weighbridge.compress.techniques.pack import Pack, pack
from weighbridge.compress.techniques.share import ShareConfig, falls, lower, phases, share
from weighbridge.compress.training.module_quality import evaluate
from weighbridge.compress.training.objective import batch
from weighbridge.core.documents import RecipeSection
from weighbridge.core.errors import InputError, InvariantError


def exported(module: torch.nn.Module, surroundings: Context) -> Any:
    """The module's graph, as lowering steps get it."""
    return ONNXRUNTIME.export(module, surroundings.data.calibration)


def run(*steps: dict[str, dict[str, Any]], subject: Subject, surroundings: Context) -> BuiltArtifact:
    """A recipe, run as the pipeline does."""
    return compose(read_steps(RecipeSection(steps=list(steps)), "recipe"), subject, surroundings, ONNXRUNTIME)


def wide() -> tuple[MLP, Context]:
    """An MLP whose weights are worth storing by their values, with its context."""
    torch.manual_seed(0)
    module = MLP(96).eval()
    return module, context(module, features())


def test_hashed_file_is_smaller_and_computes_the_same() -> None:
    """A hashed net is stored by its values: smaller by about the ratio, and stock onnxruntime gives its outputs."""
    module, surroundings = wide()
    dense = ONNXRUNTIME.write(exported(module, surroundings).proto)
    config = {"method": "hash", "ratio": 0.0625, "finetune": {"epochs": 1}}
    shared, _ = share(ShareConfig(**config), Subject(module), surroundings)
    artifact = run({"share": config}, subject=Subject(module), surroundings=surroundings)
    assert len(artifact.data) < 0.25 * len(dense)
    found = ONNXRUNTIME.run(artifact.data, surroundings.data.train.inputs)[0]
    np.testing.assert_allclose(found, evaluate(shared.module, surroundings.data.train), rtol=1e-4, atol=1e-5)
    stored = {"hidden.weight": 96, "more.weight": 576, "classes.weight": 18}
    assert artifact.steps[0].facts["stored"] == stored


def test_hash_in_the_file_is_the_hash_of_the_module() -> None:
    """The weights that the file computes are those of the module, bit for bit, transposed where it stores them so."""
    module, surroundings = build("transformer")
    config = ShareConfig(method="hash", ratio=0.25, layers=["encoder.layers.0.linear*", "classes"])
    shared, _ = share(config, Subject(module), surroundings)
    graph = exported(shared.module, surroundings)
    found, facts = lower(config, Graph(graph.proto, {**graph.notes, **shared.notes}), surroundings)
    assert set(facts["stored"]) == {
        "encoder.layers.0.linear1.weight",
        "encoder.layers.0.linear2.weight",
        "classes.weight",
    }
    assert facts["dense"] == []
    before = sorted(value.tobytes() for value in effective_weights(graph.proto).values())
    after = sorted(value.tobytes() for value in effective_weights(found.proto).values())
    assert before == after


def test_recurrent_gates_stay_dense() -> None:
    """Gates that the exporter orders anew are not stored by their hash, and the facts say so."""
    module, surroundings = build("recurrent")
    config = ShareConfig(method="hash", ratio=0.25)
    shared, _ = share(config, Subject(module), surroundings)
    graph = exported(shared.module, surroundings)
    _, facts = lower(config, Graph(graph.proto, {**graph.notes, **shared.notes}), surroundings)
    assert set(facts["stored"]) == {"classes.weight"}
    assert "gru.weight_ih_l0" in facts["dense"]


def test_hash_that_cannot_be_stored() -> None:
    """Where no weight can be stored by its values, because the exporter orders all anew, the step is an error."""
    module, surroundings = build("recurrent")
    config = ShareConfig(method="hash", ratio=0.25, layers=["lstm", "gru"])
    shared, _ = share(config, Subject(module), surroundings)
    graph = exported(shared.module, surroundings)
    with pytest.raises(InvariantError, match=r"no hashed weight can be stored .*lstm\.weight_ih_l0"):
        lower(config, Graph(graph.proto, {**graph.notes, **shared.notes}), surroundings)


@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_hashing_composes_with_pruning(sparsity: float) -> None:
    """Zeros stay zero, and the file stores which they are; it is smaller than the pruned net packed without hashing."""
    module, surroundings = wide()
    pruning = {"sparsity": sparsity, "scope": "layer", "finetune": {"epochs": 1}}
    hashing = {"method": "hash", "ratio": (1 - sparsity) / 8, "finetune": {"epochs": 1}}
    steps = [{"prune": pruning}, {"share": hashing}]
    artifact = run(*steps, subject=Subject(copy.deepcopy(module)), surroundings=surroundings)
    assert set(artifact.steps[1].facts["stored"]) == {"hidden.weight", "more.weight", "classes.weight"}
    assert artifact.parity["zeros"] == artifact.steps[0].facts["zeros"]
    proto = onnx.load_model_from_string(artifact.data)
    onnx.checker.check_model(proto, full_check=True)
    inputs = surroundings.data.train.inputs
    found = ReferenceEvaluator(proto).run(None, dict(inputs))[0]
    np.testing.assert_allclose(found, ONNXRUNTIME.run(artifact.data, inputs)[0], rtol=1e-4, atol=1e-5)
    packed = run(steps[0], {"pack": {}}, subject=Subject(module), surroundings=surroundings)
    assert len(artifact.data) < len(packed.data)


def test_hashed_pruned_and_packed() -> None:
    """One decoder serves the zeros of a hashed weight and the codes of another, and stands in the file once."""
    module, surroundings = wide()
    artifact = run(
        {"prune": {"sparsity": 0.5, "scope": "layer"}},
        {"share": {"method": "kmeans", "bits": 2, "layers": ["hidden"]}},
        {"share": {"method": "hash", "ratio": 0.1, "keep": ["hidden"]}},
        {"pack": {}},
        subject=Subject(module),
        surroundings=surroundings,
    )
    names = [function.name for function in onnx.load_model_from_string(artifact.data).functions]
    assert "h" in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", ["separable", "recurrent"])
def test_share_a_file(kind: str) -> None:
    """Without PyTorch: every weight of a file holds at most 2^bits values, and zeros stay zero."""
    subject, surroundings = pruned(kind)
    graph = exported(subject.module, surroundings)
    config = ShareConfig(on="file", bits=3)
    found, facts = lower(config, graph, surroundings)
    assert phases(config) == ("lower",)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.proto.graph.initializer}
    for tensor in found.proto.graph.initializer:
        if tensor.name in facts["tensors"]:
            weight = numpy_helper.to_array(tensor)
            assert len(np.unique(weight)) <= 9
            np.testing.assert_array_equal(weight == 0, before[tensor.name] == 0)
    assert facts["tensors"]
    onnx.checker.check_model(found.proto)


def test_share_a_file_then_pack() -> None:
    """A finished ONNX model is shared and packed into a file several times smaller."""
    module, surroundings = wide()
    graph = exported(module, surroundings)
    artifact = run({"share": {"on": "file", "bits": 4}}, {"pack": {}}, subject=graph, surroundings=surroundings)
    assert len(artifact.data) < len(ONNXRUNTIME.write(graph.proto)) / 5


def test_share_a_file_twice_or_by_wrong_names() -> None:
    """Sharing what is shared, and names that match nothing, are errors."""
    module, surroundings = build("mlp")
    graph = exported(module, surroundings)
    config = ShareConfig(on="file", bits=2)
    found, _ = lower(config, graph, surroundings)
    with pytest.raises(InvariantError, match="changed nothing"):
        lower(config, found, surroundings)
    with pytest.raises(InputError, match=r"share: layers: 'hiden' matches no layer \(did you mean 'hidden'"):
        lower(config.model_copy(update={"layers": ["hiden"]}), graph, surroundings)
    with pytest.raises(InputError, match="no float weight"):
        lower(config.model_copy(update={"keep": ["*"]}), graph, surroundings)


def test_phases_and_what_must_fall() -> None:
    """k-means acts on the module, hashing on module and file; hashing must make the file smaller at once."""
    hashed = ShareConfig(method="hash", ratio=0.5)
    assert phases(ShareConfig()) == ("module",)
    assert phases(hashed) == ("module", "lower")
    assert (falls(ShareConfig()), falls(hashed)) == (("zstd",), ("bytes",))


@pytest.mark.parametrize(
    "values",
    [{"on": "file", "finetune": {}}, {"on": "file", "biases": 4}, {"on": "file", "method": "hash", "ratio": 0.5}],
)
def test_files_cannot_be_trained(values: dict[str, Any]) -> None:
    """What needs the module is refused on files."""
    with pytest.raises(ValidationError, match="needs the module"):
        ShareConfig(**values)


@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_shared_and_packed_whole(kind: str) -> None:
    """Share and pack compose: the file is smaller and computes what the shared module does."""
    module, surroundings = build(kind)
    shared, _ = share(ShareConfig(bits=2), Subject(module), surroundings)
    graph = exported(shared.module, surroundings)
    found, _ = pack(Pack(), graph, surroundings)
    inputs, _ = batch(surroundings.data.train, slice(0, 8))
    file = ONNXRUNTIME.write(found.proto)
    assert len(file) < len(ONNXRUNTIME.write(graph.proto))
    outputs = ONNXRUNTIME.run(file, {name: value.numpy() for name, value in inputs.items()})[0]
    expected = evaluate(shared.module, surroundings.data.train.take(slice(0, 8)))
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4)
