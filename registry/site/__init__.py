"""A static site of the registry: plain files, no server, useful without JavaScript.

- `build`: read the registry, write the site's folder, whole or not at all
- `pages`, `version`: one function a page
- `parts`: what pages share: the frame, badges, tables of figures
- `front_chart`: the chart of all versions of a model, as inline SVG
- `markup`: HTML elements whose text is always escaped
- `assets/`: the one style sheet and the one script

The site is a function of the registry's state: no clock, no random names, the same bytes for the same state.
"""
