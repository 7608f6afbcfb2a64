"""Readers of model files: ONNX, TFLite, ExecuTorch."""
