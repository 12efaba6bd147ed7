"""The files of an export, by what they are."""

MODEL, INT8 = "model.onnx", "model.int8.onnx"
TOKENIZER, CONFIG, EXAMPLE = "tokenizer.json", "config.json", "predict.py"
RECORD = "export.json"  # what was checked, with the digest of every file; a directory that has one is an export
