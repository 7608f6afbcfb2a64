"""The road of `examples/lm` on its smallest net: trained, exported with its cache, compressed, weighed and judged."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from numpy.typing import NDArray
from scipy.special import log_softmax

from examples.lm.data import split, text
from examples.lm.model import Llama
from weighbridge.ci.scaffold import InitAnswers
from weighbridge.ci.scaffold import pipeline as init_pipeline
from weighbridge.compress import stages
from weighbridge.core.documents import Manifest, Measurement, Params, Verdict
from weighbridge.data import Data, Split
from weighbridge.gate.report import plots
from weighbridge.gate.stages import pipeline
from weighbridge.gate.stages.summary import judge

EXAMPLE = Path(__file__).parents[2] / "examples" / "lm"
CACHE = (2, 2, 16)
HERE = "tests.pipeline.test_language_model"


def small() -> Llama:
    """One layer of 32."""
    return Llama(32, 1, 2, 48)


def load() -> Data:
    """Texts of the example's source, shorter and fewer."""
    known, unknown = text(held_out=False), text(held_out=True)
    return Data(
        train=split(known, 256, 1, shape=(1, 64), cache=CACHE),
        calibration=split(known, 8, 2, shape=(2, 32), cache=CACHE),
        test=split(unknown, 40, 3, shape=(2, 32), cache=CACHE),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's own params with a smaller net, less data and budgets that it keeps; its road to the verdict."""
    folder = tmp_path_factory.mktemp("lm")
    content = yaml.safe_load((EXAMPLE / "params.yaml").read_text())
    content["model"]["factory"] = f"{HERE}:small"
    content["data"]["factory"] = f"{HERE}:load"
    content["train"] = {"epochs": 2, "batch_size": 8, "lr": 0.01, "seed": 7}
    content["recipes"] = {"int4": content["recipes"]["int4"]}
    content["weighing"]["sample"] |= {"prompt_tokens": 16, "tokens": 12}
    content["budgets"] = [
        {"metric": "size.bytes", "max_ratio": 0.9},
        {"metric": "lm.nll", "max_ratio": 1.05},
        {"metric": "lm.kld", "max": 0.05},
        {"metric": "lm.same_top", "min": 0.8},
    ]
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "PLOTS", {})
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
        stages.prepare(folder)
        stages.train(folder)
        stages.baseline(folder)
        stages.compress(folder, "int4")
        pipeline.device(folder)
        pipeline.weigh(folder, "int4")
        judge(folder)
    return folder


def surprise(path: Path, data: Split) -> tuple[Any, NDArray[Any]]:
    """Bits per byte and likeliest bytes of a file that reads each text whole, by a few lines of numpy."""
    session = onnxruntime.InferenceSession(str(path))
    bits, top = [], []
    for index in range(0, len(data), 2):
        tokens = data.inputs["tokens"][index : index + 2].reshape(1, -1)
        logits = session.run(None, {"tokens": tokens, "past": data.inputs["past"][:1]})[0][0]
        logs = log_softmax(logits.astype(float), axis=-1)
        bits.append(-logs[np.arange(tokens.size), data.labels[index : index + 2].reshape(-1)] / np.log(2))
        top.append(logits.argmax(-1))
    return np.mean(bits), np.concatenate(top)


def test_the_road_ends_in_a_verdict_with_the_numbers_of_an_independent_script(root: Path) -> None:
    """With the cache carried from piece to piece, tokens are as likely as where a text is read whole."""
    measurement = Measurement.read(root / "measurements/int4/onnxruntime@local.json")
    assert measurement.faults == []
    metrics = measurement.comparisons[0].metrics
    data = load().test
    paths = [root / f"artifacts/{name}/onnxruntime/model.onnx" for name in ("baseline", "recipes/int4")]
    (ours, ours_top), (theirs, theirs_top) = (surprise(path, data) for path in paths)
    assert metrics["lm.nll"].reference == pytest.approx(ours, rel=1e-4)
    assert metrics["lm.nll"].candidate == pytest.approx(theirs, rel=1e-4)
    assert metrics["lm.same_top"].candidate == pytest.approx((ours_top == theirs_top).mean(), abs=2e-3)
    assert metrics["size.bytes"].candidate == paths[1].stat().st_size
    assert ours < 7  # eight bits are a guess
    verdict = yaml.safe_load((root / "reports/verdict.json").read_text())
    assert verdict["verdict"] == Verdict.PASS.value, verdict["recipes"]["int4"]


def test_the_four_bits_are_rounded_by_data_and_the_embedding_has_eight(root: Path) -> None:
    """Both steps of the recipe did what they say, and the second knows the embedding by its name."""
    manifest = Manifest.read(root / "artifacts/recipes/int4/onnxruntime/manifest.json")
    first, second = (dict(step) for step in manifest.steps)
    assert first["facts"]["kept"] == ["embedding"]
    assert second["facts"]["layers"] == ["embedding"]


def test_the_report_shows_how_both_go_on(root: Path) -> None:
    """Two texts of twelve bytes."""
    texts = Measurement.read(root / "measurements/int4/onnxruntime@local.json").comparisons[0].texts
    assert [item.tokens for item in texts] == [12, 12]
    assert texts[0].prompt == bytes(load().test.inputs["tokens"][0, :16].tolist()).decode()
    assert "Texts, continued by both" in (root / "reports/gate.md").read_text()


def test_the_example_is_as_init_would_write_it() -> None:
    """Its pipeline is `init`'s, but for a locked environment, and names its inputs among what stages follow."""
    params = Params.read(EXAMPLE / "params.yaml")
    answers = InitAnswers("byte-llama", "data:load", ("data.py",), model="model:Llama", model_files=("model.py",),
                          task="language-model")  # fmt: skip
    wanted, found = yaml.safe_load(init_pipeline(answers)), yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())
    environment = {answers.requirements, answers.locked}
    for name, stage in wanted["stages"].items():
        ours, theirs = (side.get("do", side) for side in (found["stages"][name], stage))
        assert ours["cmd"] == theirs["cmd"]
        assert ours.get("deps", []) == [item for item in theirs.get("deps", []) if item not in environment]
        assert ours["outs"] == theirs["outs"]
        reads_inputs = name in ("train", "baseline", "compress", "weigh")
        assert set(ours.get("params", [])) == {*theirs.get("params", []), *(["inputs"] if reads_inputs else [])}
    assert params.inputs["past"].carry == "output1"
