"""Checks what a cluster would be given, without one: `python -m manifests.check`, which is `make manifests`.

values.py: the one file a platform team fills in; build.py: kustomize; schema.py: every field of every object;
admission.py and webhook.py: what an API server and KServe refuse beyond that;
references.py: every name one object has for another; policy.py: what the project asks of each;
combinations.py: which builds are checked.
"""
