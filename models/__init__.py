"""Ready ONNX tagger sets; `tnt_coffea.taggers` finds them by name."""
