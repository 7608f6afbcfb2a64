"""The registry's state: files in Git behind one door.

- `layout`: where the state lies, and the guarded way to read it; `records`: version record, channels, event
- `rollout`: pure transitions: what each event does, and when it may not happen
- `store`, `commit`: the one door to the state; one commit, compared and swapped; recovery
- `snapshot`: the whole state, read once along the chain of digests
"""
