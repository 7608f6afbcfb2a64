"""One launch and one evaluation on one machine, below every decision.

What runs on the device (numpy, the standard library and one runtime):

- `worker`, `operations`: the small process that times one artifact
- `runtimes`: one file a target: load, run, peak memory
- `process`: workers as the gate sees them: started fresh, asked with a deadline, killed as a group
- `bench`, `recording`: one launch of all roles, interleaved; what was seen, before anything is computed
- `machine`, `energy`: what a machine says of itself, its energy counters

Around it:

- `launches`, `pairing`: from a recording to a launch's values
- `evaluation`, `sizes`: answers over a data set, facts of a file
- `feeding`, `signatures`, `streams`: how arrays become inputs of both models
- `fingerprint`: the document with the machine's fingerprint; `machine_lock`: one weighing at a time on a machine
"""
