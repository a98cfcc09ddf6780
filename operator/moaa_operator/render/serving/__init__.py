"""What a model server's pods are made from: one pod, or the ranks of a group over several machines."""
