"""Search: budgets → recipes. Which recipe meets them, found without believing a prediction or a lucky trial.

- `problem`: what is searched: the grammar of recipes (every point is valid by construction), what the budgets of
  `params.yaml` ask, the model, and its data in three parts: what trains, what stops, what confirms
- `estimate`: bytes, multiply-accumulates and answers without training; single choices and the integer programme over
  them; what a recipe loses, and how fast it is beside the baseline
- `trials`: one recipe at growing cost, the journal, trials in batches, and what of the front holds
- `front`: what was found as text, files and pictures
- `advise`: the ranked list of `weighbridge advise`
- `run`, `commands`: the whole search, and what `weighbridge search` does besides
- `plan`, `project_plan`: what the pipeline has to do, as items that any machine can take; `carrying_out`, `done_items`:
  items in order, several at once; what is done, claimed, and brought from elsewhere; `ray_executor`: on a cluster

It runs the rooms `compress` and `gate`; nothing below the command line imports it.
"""
