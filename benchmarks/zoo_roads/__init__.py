"""Data and modules of the roads of `benchmarks/zoo.py`; each file is copied into a road's project as `road.py`.

- `audio`: tones for a network that hears pitch
- `lines`: images of lines of text, upright or turned, for OCR networks
- `encoder`: a BERT with the names that its checkpoint has, and sentences of Python's own documentation
"""
