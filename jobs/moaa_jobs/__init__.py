"""Entry points of pods and job processes: one module a stage (`python -m moaa_jobs STAGE --config FILE`)."""
