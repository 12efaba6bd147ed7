"""The names of the files and directories that a run leaves, and the order in which they are removed."""

RESULT = "result.json"
RECIPE = "recipe.yaml"
SPLIT = "split.json"
ANALYSIS = "analysis.json"
STEPS = "steps.jsonl"
EVALUATIONS = "evaluations.jsonl"
LOGS = (STEPS, EVALUATIONS)
NOT_FINITE = "not-finite.json"  # what is known of the last step that was not finite
STACKS = "stacks.txt"  # of the processes of a run of which one hung
LOCK = ".lock"
# What a run leaves, in the order in which it is removed: a run without its result is not complete, one without its recipe is none.
FILES = (
    RESULT,
    "report.html",
    ANALYSIS,
    "checkpoints",
    "predictions",
    "onnx",
    "model",
    "trackers",
    *LOGS,
    NOT_FINITE,
    SPLIT,
    STACKS,
    RECIPE,
)
