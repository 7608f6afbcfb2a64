"""What a model's answers mean for its task. Numpy alone; nothing here runs a model.

- `decisions`: from outputs to classes, labels, tokens and pixels
- `agreement`: how two models' answers to the same examples agree, by task; lossy steps and budgets both use it
- `detections`: boxes with scores and classes, matched between two sets
"""
