"""What a person can ask of quantization."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from weighbridge.compress.steps import StepConfig
from weighbridge.compress.training.settings import Finetune

Scheme = Literal["fp16", "dynamic-int8", "static-int8", "qat-int8", "weight-fp16", "weight-int8", "weight-int4"]

FULLY_INTEGER = ("static-int8", "qat-int8")
"""Schemes whose convolutions and matrix products run on integers with ranges fixed ahead."""


class Quantize(StepConfig):
    """Fewer bits for weights, and for activations where the scheme says so.

    The defaults are those that serve onnxruntime on CPUs best: unsigned 8-bit activations, signed 8-bit weights
    with a scale per output channel, ranges that saturate on no processor.
    """

    scheme: Scheme
    """`static-int8`: activations and weights, ranges from calibration data. `qat-int8`: the same after
    quantization-aware training. `dynamic-int8`: activation ranges found at every inference (slow on convolutions).
    `weight-int8`, `weight-int4`, `weight-fp16`: small weights that are decoded once, when the file is loaded; the
    model computes in float32 as fast as before. `fp16`: weights and computation in half precision, inputs and
    outputs in float32."""
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    """How a range is taken from calibration data: its extremes; least Kullback-Leibler divergence; or a percentile."""
    percentile: float = Field(default=99.99, gt=50, le=100)
    """For `calibration: percentile`: the share of values, in percent, that the range holds."""
    per_channel: bool = True
    """One scale for each output channel of a weight instead of one for the whole tensor."""
    isa: Literal["portable", "native"] = "portable"
    """`portable`: the file answers alike on every x86-64 and arm64 processor. `native`: weights take all 8 bits, whose
    products saturate on x86-64 without VNNI instructions (onnxruntime#6004), so that the artifact requires `vnni`.
    Where the file is made changes neither."""
    reduce_range: Literal["auto", "always", "never"] = "auto"
    """7-bit weights, whose products saturate nowhere: `auto` takes them unless `isa: native`. `never` requires `vnni`
    too."""
    format: Literal["qdq", "qoperator"] = "qdq"
    """For the integer schemes: standard operators between quantize and dequantize nodes, or fused integer operators."""
    keep: tuple[str, ...] = ()
    """Layers that stay in float32: names or patterns (`features.*`)."""
    keep_sensitive: int | float | None = None
    """Also keep the layers whose quantization alone changes the outputs most: so many of them (a whole number), or all
    whose relative error exceeds this (a number below 1). The ranking is recorded."""
    block_size: int | None = Field(default=None, ge=16, le=1024)
    """For `weight-int4`: weights of one output channel that share a scale (a multiple of 16; a power of two for
    `kernel: matmulnbits`); the whole channel where it is unset."""
    kernel: Literal["folded", "matmulnbits"] = "folded"
    """For `weight-int4` and `weight-int8`: decode at load and compute in float32; or onnxruntime's blockwise matrix
    product, which keeps weights small in memory too, for matrix products alone."""
    levels: Literal[4, 8, 16] = 16
    """For `weight-int4`: how many values a weight may have at most. 8 are those of 3 bits, 4 those of 2; they are
    stored in 4 bits, as no kernel has fewer, so that the file is as large and compresses better. `share: {bits: 3}`
    with `pack` stores 3 bits."""
    symmetric: bool = True
    """For `kernel: matmulnbits`: the range of a block lies around zero. `false` gives each block a zero point, which
    takes as many bits as a weight."""
    rounding: Literal["nearest", "gptq"] = "nearest"
    """For `kernel: matmulnbits`: each weight to its nearest value; or one after the other, so that later ones make up
    for the error of earlier ones on calibration data (GPTQ)."""
    float_outputs: bool = False
    """For the integer schemes with `format: qdq`: outputs are not rounded to 8 bits, so that no two classes tie, and
    answers surer than those to calibration data are not cut off. A matrix product at the end is as fast; outputs of
    convolutions stay rounded."""
    bias_correction: bool = False
    """For `static-int8` (`format: qdq`), `weight-int8` and `weight-int4` (`kernel: folded`): the mean shift of
    a layer's outputs that rounding its weights causes, found on calibration data, is taken out of its bias. It costs
    nothing at inference, and helps most where a channel has few weights, as in depthwise convolutions."""
    agreement: float | None = Field(default=None, ge=0, le=1)
    """Least share of the calibration inputs on which the file must answer as the model did before this step; of a
    regression, 1 - relative root mean square error. Unset: 0.99 for half precision, 0.9 for integers."""
    finetune: Finetune = Finetune(epochs=1)
    """For `qat-int8`: how the model is trained with rounding in place."""

    @model_validator(mode="after")
    def _fits_scheme(self) -> Self:
        belongs = {
            "calibration": FULLY_INTEGER,
            "percentile": FULLY_INTEGER,
            "per_channel": (*FULLY_INTEGER, "dynamic-int8", "weight-int8", "weight-int4"),
            "isa": (*FULLY_INTEGER, "dynamic-int8"),
            "reduce_range": (*FULLY_INTEGER, "dynamic-int8"),
            "format": FULLY_INTEGER,
            "block_size": ("weight-int4", "weight-int8"),
            "kernel": ("weight-int8", "weight-int4"),
            "levels": ("weight-int4",),
            "symmetric": ("weight-int8", "weight-int4"),
            "rounding": ("weight-int8", "weight-int4"),
            "float_outputs": FULLY_INTEGER,
            "bias_correction": ("static-int8", "weight-int8", "weight-int4"),
            "finetune": ("qat-int8",),
        }
        for key, schemes in belongs.items():
            if key in self.model_fields_set and self.scheme not in schemes:
                raise ValueError(f"{key!r} has no meaning for scheme {self.scheme}; it belongs to {', '.join(schemes)}")
        return self

    @model_validator(mode="after")
    def _fits_form(self) -> Self:
        for key in ("symmetric", "rounding"):
            if key in self.model_fields_set and self.kernel != "matmulnbits":
                raise ValueError(f"{key!r} belongs to kernel: matmulnbits")
        if self.bias_correction and (self.kernel, self.format) != ("folded", "qdq"):
            raise ValueError("bias_correction belongs to kernel: folded and format: qdq")
        if self.float_outputs and self.format != "qdq":
            raise ValueError("float_outputs belongs to format: qdq")
        if self.isa == "native" and self.reduce_range == "always":
            raise ValueError("isa: native asks for 8 bits, reduce_range: always for 7: leave one of them out")
        if self.block_size is not None and self.block_size % 16:
            raise ValueError("block_size is a multiple of 16")
        if self.kernel == "matmulnbits" and self.block_size is not None and self.block_size & (self.block_size - 1):
            raise ValueError("block_size is a power of two for kernel: matmulnbits")
        sensitive = self.keep_sensitive
        if isinstance(sensitive, int) and sensitive < 1:
            raise ValueError("keep_sensitive is at least 1 layer, or a relative error between 0 and 1")
        if isinstance(sensitive, float) and not 0 < sensitive < 1:
            raise ValueError("keep_sensitive is a whole number of layers, or a relative error between 0 and 1")
        return self
