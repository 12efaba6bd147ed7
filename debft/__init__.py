"""Fine-tune DeBERTa-v3 and its peers, and reproduce the published numbers."""

__version__ = "0.1.0"
