"""Search: budgets → recipes. Which recipe meets them, found without believing a prediction or a lucky trial.

- `space`: the recipe grammar as typed data; every point is a valid recipe by construction
- `limits`: what the budgets of `params.yaml` ask, and how far a recipe is from it
- `subject`: the model, its data and the three splits of a search
- `prediction`: bytes, multiply-accumulates and answers of a recipe without training
- `advise`: the ranked list of `weighbridge advise`
- `splits`: what trains, what stops, what confirms, and the baseline of a search
- `scores`, `timing`: what a recipe loses, and how fast it is beside the baseline
- `sensitivity`, `starts`: single choices without training, and the integer programme over them
- `study`: the journal
- `trial`, `objectives`: one recipe at growing cost, and what is made small
- `run`, `confirm`: the whole search, and what of its front holds
- `pictures`: the front, the history, and what mattered
- `plan`, `planning`: what the pipeline has to do, as items that any machine can take
- `results`, `commands`: what `weighbridge search` prints, writes and does besides

It runs the rooms `compress` and `gate`; nothing below the command line imports it.
"""
