"""Inference: ONNX taggers, their cards, tagger sets and quantile maps."""
