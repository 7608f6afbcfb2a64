"""What a recipe is worth before it is trained in full: predictions, sensitivity, scores, times."""
