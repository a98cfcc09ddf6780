"""SFT and DPO of the student: TRL's trainers in Ray Train workers with DeepSpeed.

The driver (`stage.py`, started as `sft` or `dpo`) tokenises and checks every row, starts the workers and publishes; it
never imports torch. A worker (`loop.py`) trains and exports. Between them go a `LoopConfig` and objects in the store,
never a local path, since on a cluster they do not share a disk.
"""
