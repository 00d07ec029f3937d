"""The laptop's stand-in for a cluster with KServe: an API server, one process a revision, a router that splits.

Everything else talks to it as to a cluster, through the kserve or kubernetes client and the kubeconfig that it writes.
"""
