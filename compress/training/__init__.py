"""The loop that trains and fine-tunes, its data splits and its losses."""
