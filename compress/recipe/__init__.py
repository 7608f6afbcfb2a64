"""Recipes: validated, composed, run and explained.

- `recipe`: an ordered list of steps, the literal table `TECHNIQUES`, refusals before anything runs
- `compose`, `recipe_run`: module steps, export, lowering steps; the state between them, and what must hold after each
- `control`: the same recipe without its teacher; `teachers`: where a teacher comes from
- `project_folder`: what a stage reads of a project; `lineage`: what an artifact came from
- `explain`: what a recipe will do to each layer, without training
"""
