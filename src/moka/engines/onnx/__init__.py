"""The fast path: programs lowered to ONNX, and the runtimes that execute them."""
