"""Pull requests: what the workflows call, so that they stay thin and other CI systems can call the same.

- `event`: what the CI system says of this run: GitHub's environment and event file, GitLab's variables
- `history`: the merge base, what changed since, which projects of the repository it touches
- `reproducing`: restore what is cached, `dvc repro`, what failed
- `touch`: whether a change concerns a project; `change_gate`: its verdict, by the policy that was agreed before
- `annotations`: `::error file=params.yaml,line=N::` on the line of the recipe or budget that failed
- `standalone_action`: what the action says of one stand-alone weighing
- `sanitize`: text from a pull request, made harmless
- `uploaded_report`: what a run uploaded, neutralised and cut to the room there is
- `comment`: one sticky comment; an older commit never overwrites a newer one
- `github`: the few requests to GitHub's REST API
- `evidence_bundle`: what the gate hands to promotion
- `promotion`: what the gate passed → the registry, signed and pushed
- `preflight`: what would fail in CI, found before pushing
- `scaffold`, `setup`: `weighbridge init`: the gate put into a user's own repository

Importing this package, `comment`, `uploaded_report`, `sanitize` or `github` loads no room: a job that only comments
installs in seconds.
"""
