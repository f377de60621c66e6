"""One DPO round with OpenRLHF: prepare the pairs, train, check what came out (DESIGN section 9).

`job` and `openrlhf` run in the controller. The others are scripts for the runtime environment: they are started by
path, import nothing of this project but `token_ids`, and answer through files.
"""
