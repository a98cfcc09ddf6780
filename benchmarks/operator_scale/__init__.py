"""What one replica of the operator costs, and how soon it acts, with many MoAAs on a real API server.

    python -m benchmarks.operator_scale [--objects 1000] [--write]

The operator is a process of its own with the chart's rights, environment and default settings, ports aside; the API
server is a real one over etcd; controllers and kubelets are played (`cluster`): there is no controller manager and no
scheduler, and no container runs. Requests and waits are read from the API server's audit log (`audit`), so that the
player's own slowness is no part of them; times of reconciles are the operator's metric, CPU and memory are /proc's.

Runs are applied at once and go on by themselves until all are parked in `i1-generate`, each with a model server, a pod
that works and the Jobs of the stages before it. Then the operator is started anew; nothing happens for minutes; the
pods' figures move; some runs end their stage one after the other; many do so at once.
"""
