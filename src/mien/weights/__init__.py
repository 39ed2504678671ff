"""The shipped readers as ONNX files, each with its model card."""
