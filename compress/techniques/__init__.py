"""One technique each: `prune`, `quantize`, `distill`, `factorize`, `share`, `pack`, `replace`.

A technique is a config class and one function for its phase (on the module, or on the exported graph). A new one is a
folder here, a row in `recipe.recipe.TECHNIQUES` and a test file.
"""
