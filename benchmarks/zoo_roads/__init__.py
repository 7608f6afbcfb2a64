"""Data and modules of the roads of `benchmarks/zoo.py`; a road's project gets a copy of those that it names.

- `audio`: tones for a network that hears pitch
- `lines`: images of lines of text, upright or turned, for the OCR network that says which
- `reading`: lines of words of any width, for the OCR network that reads them
- `encoder`: a BERT with the names that its checkpoint has, and sentences of Python's own documentation
- `sentiment`: the same BERT with a head of its own, and rated sentences of four sources
- `mobilenet`: MobileNetV2 with the names that its checkpoint has, and enlarged digits to transfer it to
- `photographs`: crops of labelled photographs, and of others to calibrate on
- `highlight`: the standard library's source, and a tagger that says what each character is part of
- `stream`: the same by a recurrent net that hands its state on
- `digits`: handwritten digits on a canvas, a detector and a segmenter
"""
