"""Search: budgets → recipes. Which recipe meets them, found without believing a prediction or a lucky trial.

- `space`: the recipe grammar as typed data; every point is a valid recipe by construction
- `limits`: what the budgets of `params.yaml` ask, and how far a recipe is from it
- `subject`: the model, its data and the three splits of a search
- `prediction`: bytes, multiply-accumulates and answers of a recipe without training
- `advise`: the ranked list of `weighbridge advise`

It runs the rooms `compress` and `gate`; nothing below the command line imports it.
"""
