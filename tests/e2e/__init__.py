"""`python -m tests.e2e`: the chart, the operator and the tiny example on the cluster that KUBECONFIG names."""
