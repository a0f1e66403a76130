"""Generated protobuf modules: the contracts by which services meet. See tools/protos.py."""
