"""Departures from New York in 2013 with the weather at that hour, and classifiers of tables that say who lands late."""

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from weighbridge.data import Data, Split

TEXTS = ("carrier", "origin", "dest")
KNOWN = ("month", "hour", "distance", "dep_delay")
WEATHER = ("temp", "humid", "wind_speed", "wind_gust", "pressure", "visib")
"""Missing where no station wrote it down: `wind_gust` of three hours in four, `pressure` of one in ten."""
NUMBERS = (*KNOWN, *WEATHER)
KINDS = ("early", "on time", "late")
"""By more than ten minutes at the gate; later than a quarter of an hour."""
SIZES = {"train": 20_000, "calibration": 500, "test": 6_000}
HOUR = ("origin", "month", "day", "hour")


def _rows() -> Iterator[tuple[list[str], list[float], str]]:
    """Of each flight that arrived: texts, numbers (NaN where unknown), and how it did."""
    folder = Path(__file__).parent
    with (folder / "weather.csv").open(newline="") as file:
        weather = {tuple(row[name] for name in HOUR): row for row in csv.DictReader(file)}
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as packed:
        for row in csv.DictReader(io.TextIOWrapper(packed, newline="")):
            if row["arr_delay"] in ("", "NA"):
                continue
            known, delay = row | weather.get(tuple(row[name] for name in HOUR), {}), float(row["arr_delay"])
            numbers = [float(known[name]) if known.get(name, "NA") not in ("", "NA") else np.nan for name in NUMBERS]
            yield [row[name] for name in TEXTS], numbers, KINDS[int(delay >= -10) + int(delay > 15)]


def splits() -> dict[str, Split]:
    """Flights drawn by chance; one column an input, (n, 1), as the converters of tables write them."""
    rows = list(_rows())
    chosen = iter(np.random.default_rng(1).permutation(len(rows)))
    found = {}
    for name, size in SIZES.items():
        part = [rows[next(chosen)] for _ in range(size)]
        inputs = {text: np.array([row[0][place] for row in part])[:, None] for place, text in enumerate(TEXTS)}
        numbers = np.array([row[1] for row in part], np.float32)
        inputs |= {number: numbers[:, place : place + 1] for place, number in enumerate(NUMBERS)}
        found[name] = Split(inputs, np.array([row[2] for row in part]))
    return found


def load() -> Data:
    """Labels: the kind as text."""
    return Data(**splits())


def numbered() -> Data:
    """Labels: the kind's place, for models that know no names."""
    made = splits()
    return Data(**{key: Split(part.inputs, _numbers(part.labels)) for key, part in made.items()})


def _numbers(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([KINDS.index(label) for label in labels])


def _made(classifier: Any, smaller: Any, *, numbered: bool, filled: bool, converter: Callable[..., Any] | None) -> None:
    """Fit a pipeline of scikit-learn with each classifier, and write `model.onnx` and `smaller.onnx`."""
    import pandas as pd  # as the converters, where a model is made
    from skl2onnx import to_onnx, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    train = splits()["train"]
    frame = pd.DataFrame({name: array[:, 0] for name, array in train.inputs.items()})
    labels = _numbers(train.labels) if numbered else train.labels
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = SimpleImputer() if filled else "passthrough"
    for name, model in (("model.onnx", classifier), ("smaller.onnx", smaller)):
        if converter is not None:
            options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
            shapes = calculate_linear_classifier_output_shapes
            update_registered_converter(type(model), type(model).__name__, shapes, converter, options=options)
        columns = ColumnTransformer([("texts", texts, list(TEXTS)), ("numbers", numbers, list(NUMBERS))])
        pipeline = Pipeline([("columns", columns), ("classifier", model)]).fit(frame, labels)
        kinds = [(text, StringTensorType([None, 1])) for text in TEXTS]
        kinds += [(number, FloatTensorType([None, 1])) for number in NUMBERS]
        made = to_onnx(pipeline, initial_types=kinds, target_opset={"": 17, "ai.onnx.ml": 3})
        Path(name).write_bytes(made.SerializeToString())


def forest() -> None:
    """Scikit-learn: a forest of 200 trees, and one of 40 smaller ones."""
    from sklearn.ensemble import RandomForestClassifier

    large = RandomForestClassifier(200, min_samples_leaf=5, random_state=1)
    _made(
        large,
        RandomForestClassifier(40, min_samples_leaf=10, random_state=1),
        numbered=False,
        filled=True,
        converter=None,
    )


def light() -> None:
    """LightGBM, which knows what to do where a value is missing: 300 rounds, and 100."""
    from lightgbm import LGBMClassifier
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    large, small = (LGBMClassifier(n_estimators=rounds, random_state=1, n_jobs=1, verbose=-1) for rounds in (300, 100))
    _made(large, small, numbered=False, filled=False, converter=convert_lightgbm)


def extreme() -> None:
    """XGBoost, whose classes are numbers: 300 rounds, and 100."""
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from xgboost import XGBClassifier

    large, small = (XGBClassifier(n_estimators=rounds, random_state=1, n_jobs=1) for rounds in (300, 100))
    _made(large, small, numbered=True, filled=False, converter=convert_xgboost)
