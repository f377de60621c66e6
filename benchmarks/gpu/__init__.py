"""What to run on a CUDA machine, be it for half an hour and without a network. See README.md in this folder."""
