"""The parts of `benchmarks/gate.py`: each trial keeps what it has seen in a `Store`, and turns it into rows.

- `store`: what was seen so far, written after every unit of work; an interrupted run goes on from there
- `rows`: one figure, its bar, and the table
- `models`: the trial's models of known cost, and of known memory
- `recorded`: launch pairs, taken once and drawn again into gate runs
- `live`: whole weighings: at the limit, beyond it, under load, and again and again on the same files
- `naive`: the gate that most teams write, on the same machine
- `coverage`: the intervals against published tables and in simulation
- `quickstart`: the time that the gate takes for the five recipes of this repository
"""
