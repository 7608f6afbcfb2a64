"""The levers by what they pull at: each module has a `LEVERS` tuple, and this file lists the modules.

A lever is a base commit, a change, and what the gate has to do about it. `case.py` has the words for them,
`repository.py` the one repository that they all start from.
"""

from levers_cases import content, governance, harmless, identity, policy

MODULES = (content, governance, identity, policy)
LEVERS = tuple(lever for module in MODULES for lever in module.LEVERS)
HARMLESS = harmless.LEVERS
