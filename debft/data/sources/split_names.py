"""What people call the splits of their data: in the names of files, in data sets of the hub, and in a column."""

SPLITS = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test", "testing")}
COLUMNS = ("split", "fold", "partition", "set")  # that say which split a row is in
TENTH = 0.1  # of the training rows is held out where there are no validation rows and no other share is given
