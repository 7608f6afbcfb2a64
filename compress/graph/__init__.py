"""Weights and layers, of a module and of an exported graph.

- `forward`: a module called on named inputs; `layers`: its weights, and what each layer costs
- `fold`: normalisation folded into the weights before it
- `graph_form`: the form in which an ONNX graph is stored; `names`: stable names in it
- `lowering`: the layers of an ONNX graph, and running it; `constants`: the weights that a file computes with, decoded
"""
