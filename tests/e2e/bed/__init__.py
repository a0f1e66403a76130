"""The test bed: real Kubernetes clusters on one machine, without a container engine.

Two forms. The quick one (`quick.py`, fixture `control_planes`) has API servers only: in some
seconds, without root. The full one (`bed.py`, fixture `bed`) has nodes that run pods in the first
two regions; on a bare machine (`bare.py`) it is made of containerd, kubelet and kube-proxy in a
network namespace a region, on a machine with Docker of kind (`kind.py`). `addresses.py` says what
is reached where. By hand: `make bed`, or `python -m tests.e2e.bed --help`.

`build.py` compiles what no package has. Nothing of the bed is imported by the project.
"""
