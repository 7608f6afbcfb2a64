"""A static site of the registry: plain files, no server, useful without JavaScript.

- `build`: read the registry, write the site's folder, whole or not at all
- `pages`, `version`: one function a page
- `operators_page`: the operators' page; `looks_chart`: its intervals over time; `live_queries`: what its script asks
- `parts`: what pages share: the frame, badges, tables of figures
- `front_chart`: the chart of all versions of a model, as inline SVG
- `markup`: HTML elements whose text is always escaped
- `assets/`: the style sheet, the script of all pages, and that of live figures

The site is a function of the registry's state: no clock, no random names, the same bytes for the same state.
"""
