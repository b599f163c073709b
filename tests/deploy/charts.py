"""Renders the charts of deploy/helm with Helm's own library, and holds them against what must be true of them.

    charts.py            checks all of it; UPDATE_EXPECT=1 writes the golden renders first
    charts.py CHART VALUES [KEY=VALUE...]    prints the manifests of one render as JSON, for the tests that run them
"""

import copy
import difflib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy/helm"
RENDERED = ROOT / "tests/deploy/rendered"
# The oldest that Chart.yaml allows, and the newest that the schemas know.
KUBERNETES = ["1.27", "1.37"]
OPERATOR_KINDS = ["ServiceMonitor", "PrometheusRule"]
# Values beside the files in the folder of each chart: the least that it needs,
LEAST = {
    "farspan": {"api": {"baseUrl": "http://risk-engine:8080"}},
    "monitoring": {},
}
# and what no file shows.
MORE = {
    "farspan": {
        "monitors": {
            "configuration": {
                "monitors": [
                    {
                        "name": "airflow",
                        "preset": "airflow",
                        "discovery": {"enabled": True},
                        "api": {
                            "base_url": "http://airflow:8080",
                            "auth": {"body_file": "/etc/farspan/files/airflow/body.json"},
                        },
                    }
                ]
            },
            "secretFiles": [{"name": "airflow", "existingSecret": "airflow-user"}],
            # Helm has each number as a float: it must not become 2e+06.
            "env": {
                "FARSPAN_METRICS_BUCKETS": "1m,10m,1h",
                "OTEL_BSP_MAX_QUEUE_SIZE": 2000000,
                "OTEL_TRACES_SAMPLER_ARG": 0.25,
            },
            "persistence": {"size": "5Gi", "storageClass": "fast"},
            "networkPolicy": {
                "enabled": True,
                "from": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "airflow"}}}]}],
            },
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "observability", "operator": "Exists"}],
            "podAnnotations": {"example.com/team": "risk"},
            "podLabels": {"team": "risk"},
        }
    },
    "monitoring": {
        "alerting": {
            "prometheus": {
                "alertmanagers": ["alertmanager:9093"],
                "farspan": [
                    {"namespace": name, "name": "farspan", "tokenSecret": {"name": f"farspan-{name}", "key": "token"}}
                    for name in ["rates", "credit"]
                ],
            },
            "imagePullSecrets": ["registry"],
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "observability", "operator": "Exists"}],
        }
    },
}
# What a StatefulSet cannot change: an upgrade that does is refused by Kubernetes.
FIXED = ["serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates"]

# Contradictions, and the words that say what to change.
REFUSED = [
    ("farspan", {}, "api.baseUrl is empty"),
    ("farspan", {**LEAST["farspan"], "replicas": 2}, "set state: redis, or replicas: 1"),
    ("farspan", {**LEAST["farspan"], "state": "redis"}, "set redis.url or redis.existingSecret"),
    (
        "farspan",
        {**LEAST["farspan"], "redis": {"url": "redis://a", "existingSecret": "a"}},
        "remove one of them",
    ),
    ("farspan", {**LEAST["farspan"], "image": {"tag": "latest"}}, "image/tag"),
    ("farspan", {**LEAST["farspan"], "env": {"PATH": "/"}}, "PATH"),
    ("farspan", {**LEAST["farspan"], "replica": 2}, "replica"),
    (
        "monitoring",
        {"grafana": {"anonymous": True, "ingress": {"enabled": True, "host": "a", "tlsSecret": "a"}}},
        "set grafana.anonymous: false",
    ),
    ("monitoring", {"grafana": {"ingress": {"enabled": True, "host": "a"}}}, "grafana.ingress.tlsSecret"),
    ("monitoring", {"grafana": {"oauth": {"enabled": True}}}, "grafana.oauth.clientId"),
    ("monitoring", {"prometheus": {"enabled": False}}, "set prometheus.url"),
    ("monitoring", {"tempo": {"storage": {"backend": "s3"}}}, "storage.trace.s3"),
]

mistakes = []


def main(arguments):
    if arguments:
        chart, name, *settings = arguments
        given = values_of(chart, name)
        for setting in settings:
            merge(given, helm.parse_set_string(setting))
        print(json.dumps(render(CHARTS / chart, given)))
        return
    for chart in sorted(LEAST):
        check_schema(chart)
        for name in names_of(chart):
            check_render(chart, name)
            check_upgrade(chart, name)
    for chart, given, words in REFUSED:
        check_refused(chart, given, words)
    check_prometheus()
    if mistakes:
        sys.exit("\n".join(mistakes))
    print(f"    {sum(len(names_of(chart)) for chart in LEAST)} renders of {len(LEAST)} charts")


def names_of(chart):
    files = sorted((CHARTS / chart).glob("values-*.yaml"))
    return ["least", *MORE[chart]] + [file.stem.removeprefix("values-") for file in files]


def values_of(chart, name):
    given = {"least": LEAST[chart], **MORE[chart]}
    if name in given:
        return copy.deepcopy(given[name])
    return yaml.safe_load((CHARTS / chart / f"values-{name}.yaml").read_text())


def merge(into, values):
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def render(path, values, **how):
    """The manifests in the order of their files. A release has the name of its chart, and its namespace too."""
    with helm.Chart.load(path) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=chart.name, namespace=chart.name, **how)
    texts = [text for file, text in sorted(files.items()) if not file.endswith("NOTES.txt")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def check_schema(chart):
    """Each value has its place in the schema with words, and the schema has no place for more."""
    with helm.Chart.load(CHARTS / chart) as loaded:
        schema, values = loaded.schema, loaded.values

    def walk(place, schema, value):
        if "description" not in schema and place:
            mistakes.append(f"{chart}: {place} has no description in values.schema.json")
        properties = schema.get("properties")
        if not properties or not isinstance(value, dict):
            return
        if schema.get("additionalProperties") is not False:
            mistakes.append(f"{chart}: the schema of {place or 'all'} allows what it does not know")
        for key in sorted(set(properties) ^ set(value) - {"global"}):
            if key != "global":
                mistakes.append(f"{chart}: {place}.{key} is only in one of values.yaml and values.schema.json")
        for key in set(properties) & set(value):
            walk(f"{place}.{key}", properties[key], value[key])

    walk("", schema, values)


def check_render(chart, name):
    given = values_of(chart, name)
    report = helm.lint(CHARTS / chart, given, strict=True)
    # 1: an icon is recommended.
    said = [message for message in report["messages"] if message["severity"] > 1]
    mistakes.extend(f"{chart} {name}: helm lint: {said}" for said in said + report["errors"])
    manifests = render(CHARTS / chart, given)
    for manifest in manifests:
        what = f"{chart} {name}: {manifest['kind']} {manifest['metadata']['name']}"
        validate(what, manifest)
        check_pods(what, manifest)
    compare(RENDERED / f"{chart}-{name}.yaml", golden(manifests))


def validate(what, manifest):
    if manifest["kind"] in OPERATOR_KINDS:
        schema = ROOT / f"tests/deploy/operator/{manifest['kind'].lower()}.json"
        for error in jsonschema.Draft202012Validator(json.loads(schema.read_text())).iter_errors(manifest):
            mistakes.append(f"{what}: {error.json_path}: {error.message}")
        return
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            mistakes.append(f"{what}: against Kubernetes {version}: {path}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            mistakes.append(f"{what}: {error.message}")


def check_pods(what, manifest):
    """What the schemas do not know: images with versions, the profile `restricted`, mounts that lead somewhere."""
    pod = manifest.get("spec", {}).get("template", {}).get("spec")
    if not pod:
        return
    claims = manifest["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    volumes |= {claim["metadata"]["name"] for claim in claims}
    mounted = set()
    security = pod.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        mistakes.append(f"{what}: the pod is not as the profile restricted wants it")
    for container in pod.get("initContainers", []) + pod["containers"]:
        version = container["image"].rpartition(":")[2]
        if not any(character.isdigit() for character in version) or "latest" in version:
            mistakes.append(f"{what}: {container['image']} names no version")
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            mistakes.append(f"{what}: {container['name']} is not as the profile restricted wants it")
        if own.get("readOnlyRootFilesystem") is not True or "memory" not in container["resources"]["limits"]:
            mistakes.append(f"{what}: {container['name']} may write to its image, or take all memory")
        mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
    if mounted != volumes:
        mistakes.append(f"{what}: mounted {sorted(mounted)}, volumes {sorted(volumes)}")


def golden(manifests):
    """As YAML, without what stands in other files: these are compared here."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/farspan.rules.yml").read_text())
    for manifest in manifests:
        if manifest["kind"] == "PrometheusRule":
            same(manifest, manifest["spec"], rules)
            manifest["spec"] = "as deploy/prometheus/farspan.rules.yml"
        if manifest["kind"] == "ConfigMap":
            for name, text in manifest["data"].items():
                dashboard = ROOT / "deploy/grafana/dashboards" / name
                if name == "farspan.rules.yml":
                    same(manifest, yaml.safe_load(text), rules)
                    manifest["data"][name] = "as deploy/prometheus/farspan.rules.yml"
                elif dashboard.exists():
                    same(manifest, json.loads(text), json.loads(dashboard.read_text()))
                    manifest["data"][name] = f"as deploy/grafana/dashboards/{name}"
        annotations = manifest.get("spec", {}).get("template", {}) if isinstance(manifest.get("spec"), dict) else {}
        for name in annotations.get("metadata", {}).get("annotations", {}):
            if name.startswith("checksum/"):
                annotations["metadata"]["annotations"][name] = "..."
    return yaml.dump_all(manifests, Dumper=Dumper, sort_keys=False, width=120)


class Dumper(yaml.SafeDumper):
    """Texts of several lines as such, and no anchors."""

    def ignore_aliases(self, data):
        return True


Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def same(manifest, got, wanted):
    if got != wanted:
        mistakes.append(f"{manifest['metadata']['name']} differs from the file of deploy/ that it is made of")


def compare(path, text):
    if os.environ.get("UPDATE_EXPECT"):
        path.write_text(text)
    before = path.read_text() if path.exists() else ""
    if before != text:
        diff = difflib.unified_diff(before.splitlines(), text.splitlines(), "golden", "rendered", lineterm="", n=1)
        mistakes.append(f"{path.relative_to(ROOT)} (UPDATE_EXPECT=1 tests/deploy/charts writes it):")
        mistakes.extend(diff)


def check_upgrade(chart, name):
    """A newer chart with a newer image changes nothing that a StatefulSet keeps for ever, and no claim is given up."""
    given = values_of(chart, name)
    before = stateful_sets(render(CHARTS / chart, given, revision=1))
    with tempfile.TemporaryDirectory() as folder:
        newer = pathlib.Path(folder) / chart
        shutil.copytree(CHARTS / chart, newer)
        manifest = newer / "Chart.yaml"
        newer_version = re.sub(r'(?m)^(version|appVersion): .*$', r'\1: "999.0.0"', manifest.read_text())
        manifest.write_text(newer_version)
        after = stateful_sets(render(newer, given, revision=2, is_upgrade=True, is_install=False))
        if before == after and chart == "farspan":
            mistakes.append(f"{chart} {name}: the newer chart renders the same image")
    if before.keys() != after.keys():
        mistakes.append(f"{chart} {name}: an upgrade renames StatefulSets")
        return
    for which, spec in before.items():
        for key in FIXED:
            if spec.get(key) != after[which].get(key):
                mistakes.append(f"{chart} {name}: an upgrade of {which} would change spec.{key}, which Kubernetes refuses")
        kept = spec.get("persistentVolumeClaimRetentionPolicy")
        if spec.get("volumeClaimTemplates") and kept != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
            mistakes.append(f"{chart} {name}: {which} gives up its claims")


def stateful_sets(manifests):
    return {it["metadata"]["name"]: it["spec"] for it in manifests if it["kind"] == "StatefulSet"}


def check_refused(chart, given, words):
    try:
        render(CHARTS / chart, given)
    except helm.HelmError as error:
        if words not in str(error):
            mistakes.append(f"{chart} {given}: refused without {words!r}: {error}")
    else:
        mistakes.append(f"{chart} {given}: rendered, though {words!r}")


def check_prometheus():
    """The configuration of the Prometheus in the chart, by Prometheus' own tool."""
    for name in names_of("monitoring"):
        for manifest in render(CHARTS / "monitoring", values_of("monitoring", name)):
            if "prometheus.yml" not in manifest.get("data", {}):
                continue
            with tempfile.TemporaryDirectory() as folder:
                for file, text in manifest["data"].items():
                    (pathlib.Path(folder) / file).write_text(text)
                command = ["promtool", "check", "config", "--syntax-only", f"{folder}/prometheus.yml"]
                said = subprocess.run(command, capture_output=True, text=True, check=False)
                if said.returncode != 0:
                    mistakes.append(f"monitoring {name}: promtool: {said.stdout}{said.stderr}")


if __name__ == "__main__":
    main(sys.argv[1:])
