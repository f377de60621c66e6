"""Several machines by Ray: what there is, and a program that holds processes on them. The controller imports no Ray."""
