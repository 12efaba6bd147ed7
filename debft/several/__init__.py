"""This room repeats a run on one's own task: over seeds, over folds, over settings that a search tries."""
