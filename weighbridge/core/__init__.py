"""The ground: documents, facts, model-file formats, files, Git, errors; no room is imported here."""
