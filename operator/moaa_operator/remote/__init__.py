"""A person's commands for a cluster: submit, status, logs, cancel. They use the person's kubeconfig and rights.

`moaa` starts them in a process of their own (`python -m moaa_operator.remote REQUEST`), since nothing in the package
`moaa` imports the Kubernetes client.
"""
