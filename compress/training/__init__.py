"""The loop that trains and fine-tunes.

- `loop`: the one loop, its settings, constraints kept at every optimizer step, quality on a split
- `finetune`: training within a recipe, with a teacher as well; `soft_targets`: the loss of learning from a teacher
- `optimizing`: one optimizer step; `accelerator`: device and precision; `resuming`: a killed training goes on
- `splits`: calibration from train, validation held out of train; `checkpoint`: weights as safetensors
"""
