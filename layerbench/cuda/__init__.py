"""What the harness needs of CUDA: a device, its clock and conditions, and exchanges of its memory."""
