"""What runs in pods and job processes.

`python -m moaa_jobs --job FILE` runs a stage or, with `preflight` or `inspect`, asks the store; `python -m
moaa_jobs.fetch` brings weights to a model server's pod.
"""
