"""A language model of bytes, small enough to train in minutes, with a cache for generating text: see `README.md`."""
