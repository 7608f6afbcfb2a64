"""What this machine can resolve, by models of known cost.

- `trials`: the trials and the noise floor that comes of them; `trial_models`: ONNX models of known cost
- `simulate`: gate runs made of numbers, to know the error rates; `calibration`: what reports quote
"""
