"""The rules of `moaa.api.rules`, as far as an API server can hold them: in CEL.

They stand in the CRD beside the schema, so that `kubectl apply` refuses what `moaa validate` refuses. What CEL cannot
say is left to `moaa.api.check`, which the operator runs on every resource as well.
"""
