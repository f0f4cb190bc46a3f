"""What the tests ask a running cluster, with kubectl as the SSH user has it and past kbootstrap."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from support.driver import Events, Fleet

PATIENCE_S = 120
"""Longest wait for something the cluster does by itself."""
PROBE = "registry.k8s.io/lab-probe:1"
DEPLOYMENT = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: probe}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: probe}}}}
  template:
    metadata: {{labels: {{app: probe}}}}
    spec:
      affinity:
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            - {{labelSelector: {{matchLabels: {{app: probe}}}}, topologyKey: kubernetes.io/hostname}}
      containers:
        - name: probe
          image: {PROBE}
          command: [sh, -c, "mkdir -p /srv; uname -n >/srv/name; exec python3 -m http.server --directory /srv 8080"]
          readinessProbe: {{httpGet: {{path: /name, port: 8080}}, periodSeconds: 2}}
---
apiVersion: v1
kind: Service
metadata: {{name: probe}}
spec:
  selector: {{app: probe}}
  ports: [{{port: 80, targetPort: 8080}}]
"""


def kubectl(fleet: Fleet, arguments: str, stdin: str = "") -> str:
    """kubectl on the first master, as the SSH user, with the kubeconfig `up` gave that user."""
    return fleet.text("cp1", f"runuser -u kb -- env HOME=/home/kb kubectl {arguments}", stdin=stdin)


def items(fleet: Fleet, arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl(fleet, f"get {arguments} -o json"))["items"]
    return found


def ready_nodes(fleet: Fleet) -> set[str]:
    """The names of the nodes whose Ready condition is true."""
    return {
        node["metadata"]["name"]
        for node in items(fleet, "nodes")
        if any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"])
    }


def restless_pods(fleet: Fleet) -> list[str]:
    """System pods with a container that is not running."""
    return [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        for pod in items(fleet, "pods --all-namespaces")
        if pod["metadata"]["namespace"] in ("kube-system", "kube-flannel")
        and not all("running" in each["state"] for each in pod["status"].get("containerStatuses", [{"state": {}}]))
    ]


def deploy_probe(fleet: Fleet) -> list[str]:
    """Three replicas behind a Service, one per worker; returns the pods' addresses."""
    for host in fleet.hosts[1:]:
        fleet.text(host, f"crictl pull {PROBE}")
    kubectl(fleet, "apply -f -", stdin=DEPLOYMENT)
    kubectl(fleet, f"rollout status deployment probe --timeout={PATIENCE_S}s")
    return [pod["status"]["podIP"] for pod in items(fleet, "pods -l app=probe")]


def eventually(what: str, holds: Callable[[], object], seconds: int = PATIENCE_S) -> None:
    """Wait until it holds; a question the cluster cannot answer yet counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
            trouble = ""
        except AssertionError as error:
            trouble = str(error)
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} {trouble}"
        time.sleep(1)


def assert_healthy(fleet: Fleet) -> None:
    """Ready to kubectl, and to kbootstrap."""
    assert ready_nodes(fleet) == set(fleet.hosts)
    assert restless_pods(fleet) == []
    said = fleet.kbootstrap("status", str(fleet.inventory))
    assert f"{len(fleet.hosts)} of {len(fleet.hosts)} nodes Ready, 0 pods not running" in said


def slowest(events: Events) -> str:
    """Seconds per phase and host of a run, for the record."""
    seconds: dict[tuple[str, str], float] = {}
    for line in events.lines:
        if line["type"] == "step":
            key = (line["phase"], line["host"])
            seconds[key] = seconds.get(key, 0) + line["seconds"]
    rows = [f"{phase:<12} {host:<5} {spent:6.1f} s" for (phase, host), spent in seconds.items() if spent >= 0.5]
    path = [
        f"{part['phase']:<12} {part['host']:<5} {part['seconds']:6.1f} s" for part in events.result["critical_path"]
    ]
    return "\n".join(
        [f"up took {events.result['seconds']} s", *rows, f"critical path, {on_path(events):.1f} s:", *path]
    )


def on_path(events: Events) -> float:
    """Seconds of a run's critical path."""
    return float(sum(part["seconds"] for part in events.result["critical_path"]))
