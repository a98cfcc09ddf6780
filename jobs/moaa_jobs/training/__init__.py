"""SFT and DPO of the student: TRL's trainers in Ray Train workers with DeepSpeed.

The driver (`driver.train`, for the stages `sft` and `dpo`) tokenises and checks every row, starts the workers and
publishes; its own modules import no torch. A worker (`worker.loop`) trains and exports. Between them go a `LoopConfig`
and objects in the store, never a local path, since on a cluster they do not share a disk.
"""
