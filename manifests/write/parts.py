"""What a cluster is told of each endpoint and graph, as YAML."""

from collections.abc import Sequence
from textwrap import indent

import yaml

from pipelines.systems import Endpoint, Graph, Sizes

QUANTITIES = (
    ("CPU", "requests.cpu", "cpu"),
    ("CPU_LIMIT", "limits.cpu", "cpu_limit"),
    ("MEMORY", "requests.memory", "memory"),
    ("MEMORY_LIMIT", "limits.memory", "memory_limit"),
)
"""Of a replica: the setting's end in values.env, the place under resources, the field of `Sizes`."""
_ENDPOINT = """\
# {one.about} A rollout sets storageUri to the bundle that passed its gates, and canaryTrafficPercent while it watches.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {one.name}
  labels:
    app.kubernetes.io/name: {one.name}
    app.kubernetes.io/part-of: sluice
  annotations:
    serving.kserve.io/deploymentMode: Knative
    # Gives the canary an address of its own, which the load gate uses before users get there.
    serving.kserve.io/enable-tag-routing: "true"
spec:
  predictor:
    serviceAccountName: sluice-serving
    minReplicas: {one.min_replicas}
    maxReplicas: {one.max_replicas}
    scaleMetric: concurrency
    scaleTarget: {one.concurrency}
    timeout: {one.timeout_s}
    model:
      modelFormat:
        name: sluice
        version: "1"
      protocolVersion: {one.protocol}
      runtime: sluice
      storageUri: pvc://sluice-bundles/{one.name}
"""
_GRAPH = """\
# {one.about} The rollout creates it once all of its services are there.
# KServe's router hands request headers on only as its configuration says: to upload multipart or raw media through the
# graph, `router.headers.propagate` in the ConfigMap inferenceservice-config must name Content-Type, and to send keys
# through it, Authorization (see ../../README.md).
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata:
  name: {one.name}
  labels:
    app.kubernetes.io/name: {one.name}
    app.kubernetes.io/part-of: sluice
  annotations:
    serving.kserve.io/deploymentMode: Knative
spec:
  nodes:
    root:
      routerType: Sequence
      # Each takes the predictions of the one before as they are, and joins its own to them.
      steps:
{steps}  minReplicas: 1
  maxReplicas: 2
  timeout: {one.timeout_s}
  # The default of 60 s would cut off what takes longer.
  routerTimeouts:
    serverRead: {one.timeout_s}
    serverWrite: {one.timeout_s}
    serverIdle: 180
    serviceClient: {one.timeout_s}
  resources:
    requests:
      cpu: 100m
      memory: 128Mi
    limits:
      cpu: "1"
      memory: 1Gi
"""
_BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {one.name}
  labels:
    app.kubernetes.io/name: {one.name}
    app.kubernetes.io/part-of: sluice
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      serving.kserve.io/inferenceservice: {one.name}
"""
_PATCH = """\
- target:
    kind: {kind}
    name: {name}
  patch: |-
"""
_SCALING = """\
- op: add
  path: /spec/predictor/autoScaling
  value:
    metrics:
      - type: External
        external:
          metric:
            backend: prometheus
            serverAddress: http://prometheus-operated.monitoring.svc:9090
            query: sum(sluice_queue_depth{{namespace="sluice",inferenceservice="{one.name}"}})
          target:
            type: Value
            value: "{one.waiting}"
"""
_SPREAD = """\
- op: add
  path: /spec/predictor/topologySpreadConstraints
  value:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          serving.kserve.io/inferenceservice: {one.name}
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          serving.kserve.io/inferenceservice: {one.name}
"""
_STORAGE = """\
- op: replace
  path: /spec/predictor/model/storageUri
  value: {uri}
"""
_STEP = """\
- op: test
  path: /spec/nodes/root/steps/{at}/serviceName
  value: {name}
- op: remove
  path: /spec/nodes/root/steps/{at}/serviceName
- op: add
  path: /spec/nodes/root/steps/{at}/serviceUrl
  value: v1/models/{name}:predict
"""
_REPLACEMENT = """\
- source:
    kind: ConfigMap
    name: {config}
    fieldPath: data.{key}
  targets:
    - select:
        kind: {kind}
        name: {name}
      fieldPaths:
"""
_OBJECTIVES = """\
- record: sluice:slo_error_rate:target
  labels: {{inferenceservice: {one.name}}}
  expr: vector({slo.error_rate:g})
- record: sluice:slo_p95_seconds:target
  labels: {{inferenceservice: {one.name}, le: "{seconds:g}"}}
  expr: vector({seconds:g})
- record: sluice:slo_min_requests:target
  labels: {{inferenceservice: {one.name}}}
  expr: vector({slo.min_requests})
"""


def service(one: Endpoint) -> str:
    """The InferenceService of an endpoint."""
    text = _ENDPOINT.format(one=one)
    if one.args:
        text += "      args:\n" + "".join(f"        - {word}\n" for word in one.args)
    return text + (_resources(one.sizes) if one.sizes else "")


def _resources(sizes: Sizes) -> str:
    found: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for _, place, field in QUANTITIES:
        which, what = place.split(".")
        found[which][what] = getattr(sizes, field)
    return indent(yaml.safe_dump({"resources": found}, sort_keys=False), " " * 6)


def graph(one: Graph) -> str:
    """The InferenceGraph of a system."""
    steps = ""
    for at, (name, endpoint) in enumerate(one.steps.items()):
        steps += f"- name: {name}\n  serviceName: {endpoint}\n"
        steps += ("  data: $response\n" if at else "") + "  dependency: Hard\n"
    return _GRAPH.format(one=one, steps=indent(steps, " " * 8))


def kustomization(*resources: str) -> str:
    """A kustomization of these files and folders."""
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    return head + "".join(f"  - {resource}\n" for resource in resources)


def budgets(endpoints: Sequence[Endpoint]) -> str:
    """A PodDisruptionBudget for each endpoint."""
    return "---\n".join(_BUDGET.format(one=one) for one in endpoints)


def asking_generator(endpoints: Sequence[Endpoint]) -> str:
    """The values of the network policy that lets endpoints reach the generator."""
    return f"values: [{', '.join(one.name for one in endpoints if one.generator)}]\n"


def scaling(endpoints: Sequence[Endpoint]) -> str:
    """Patches that let KEDA scale by what waits in an endpoint's queue."""
    return "".join(_patch(one, _SCALING.format(one=one)) for one in endpoints)


def spread(endpoints: Sequence[Endpoint]) -> str:
    """Patches that keep an endpoint's replicas apart."""
    return "".join(_patch(one, _SPREAD.format(one=one)) for one in endpoints)


def storage(endpoints: Sequence[Endpoint], uri: str) -> str:
    """Patches that say where an endpoint's bundle lies; ``uri`` has ``{name}`` in it."""
    return "".join(_patch(one, _STORAGE.format(uri=uri.format(name=one.name))) for one in endpoints)


def _patch(one: Endpoint | Graph, operations: str) -> str:
    kind = "InferenceGraph" if isinstance(one, Graph) else "InferenceService"
    return _PATCH.format(kind=kind, name=one.name) + indent(operations, " " * 4)


def hosts(graphs: Sequence[Graph]) -> str:
    """How the addresses of the graphs' steps begin, by the steps' endpoints."""
    names = sorted({name for one in graphs for name in one.steps.values()})
    return "".join(f"{name}: http://{name}\n" for name in names) or "{}\n"


def addressed(graphs: Sequence[Graph]) -> str:
    """Patches that give every step of a graph an address in the place of a service's name."""

    def steps(one: Graph) -> str:
        return "".join(_STEP.format(at=at, name=name) for at, name in enumerate(one.steps.values()))

    return "".join(_patch(one, steps(one)) for one in graphs)


def addresses(graphs: Sequence[Graph]) -> str:
    """Replacements that put those addresses together, from right to left."""
    text = ""
    for one in graphs:
        urls = [f"spec.nodes.root.steps.{at}.serviceUrl" for at in range(len(one.steps))]
        text += _replacement("SLUICE_DOMAIN", one.name, urls, "/")
        text += _replacement("SLUICE_NAMESPACE", one.name, urls, ".")
        for url, endpoint in zip(urls, one.steps.values(), strict=True):
            text += _replacement(endpoint, one.name, [url], "'-'", config="gateway-hosts")
    return text


def _replacement(key: str, name: str, places: list[str], delimiter: str, config: str = "sluice-settings") -> str:
    text = _REPLACEMENT.format(config=config, key=key, kind="InferenceGraph", name=name)
    text += "".join(f"        - {place}\n" for place in places)
    return text + f"      options:\n        delimiter: {delimiter}\n        index: -1\n"


def sizes(endpoints: Sequence[Endpoint]) -> str:
    """Replacements that carry an endpoint's own sizes from values.env into it."""
    text = ""
    for name, setting in ((one.name, one.sizes.setting) for one in endpoints if one.sizes):
        for end, place, _ in QUANTITIES:
            key = f"{setting}_{end}"
            text += _REPLACEMENT.format(config="sluice-settings", key=key, kind="InferenceService", name=name)
            text += f"        - spec.predictor.model.resources.{place}\n"
    return text


def settings(endpoints: Sequence[Endpoint]) -> dict[str, str]:
    """What values.env has to say of the endpoints with sizes of their own, with the declared sizes."""
    own = [one.sizes for one in endpoints if one.sizes]
    return {f"{one.setting}_{end}": getattr(one, field) for one in own for end, _, field in QUANTITIES}


def objectives(endpoints: Sequence[Endpoint]) -> str:
    """Recording rules: what is promised, for the alerts on budgets."""
    slos = [(one, one.promise.slo) for one in endpoints]
    return "".join(_OBJECTIVES.format(one=one, slo=slo, seconds=slo.p95_ms / 1000) for one, slo in slos)


def promise(one: Endpoint) -> str:
    """The SLO file of an endpoint (`load_tests.slo`)."""
    head = (
        f"# What users of `{one.name}` may count on, and the load that asks for it: see load_tests/slo/__init__.py.\n"
    )
    told = {name: value for name, value in one.promise.model_dump().items() if value}
    return head + yaml.safe_dump(told, sort_keys=False, width=120)
