"""Compress: params → artifact. The only room that imports torch.

- `steps`: what a technique is: its config, its functions, its phase; what travels between steps
- `recipe`: a recipe is an ordered list of steps; the literal table `TECHNIQUES`; refusals before anything runs
- `compose`: runs a recipe for its targets: module steps, export, lowering steps
- `run`: the state of a recipe between its steps, and what must hold after each
- `prune`, `quantize`, `distill`, `factorize`, `share`, `pack`: one technique each, config and function side by side
- `layers`, `fold`: a module's weights, what its layers cost, and normalisation folded into them
- `codebook`, `share_graph`, `hints`, `lowrank`: what sharing, distilling and factorizing are made of
- `training`: the one loop that trains, fine-tunes, distils and does quantization-aware training
- `finetune`, `soft_targets`, `control`: training within a recipe, with a teacher as well, and the control without one
- `lowering`, `graph_form`: the layers of an exported graph, running it, and the form in which it is stored
- `invariants`: what must hold between steps and on the final file
- `splits`: parts of a split: calibration from train, validation held out of train
- `export`: one file a target
- `checkpoint`, `project`, `lineage`, `teachers`: what stages read and write, and where an artifact came from
- `constants`: the weights that a file computes with, decoded
- `explain`: what a recipe will do to each layer, without training
- `stages`: bodies of the DVC stages `prepare`, `train`, `baseline` and `compress`
"""
