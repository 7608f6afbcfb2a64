"""Compress: params -> artifact. The only room that imports torch.

From the bottom up:

- `steps`: what a technique is: its config, its functions, its phase; what travels between steps
- `graph`: weights and layers, of a module and of an exported graph
- `invariants`: what must hold between steps and on the final file
- `training`: the loop that trains and fine-tunes, its splits and its losses
- `techniques`: one technique each, config and function side by side
- `export`: one file a target
- `recipe`: recipes: the table `TECHNIQUES`, validated, composed, run and explained
- `built_manifest`: what an artifact was made from, as its manifest says it
- `stages`: bodies of the DVC stages `prepare`, `train`, `baseline` and `compress`
"""
