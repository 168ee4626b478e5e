"""Every file under deploy/ is loaded, and the numbers that must agree do."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fanlight.cli.app import cli
from fanlight.cli.local_config import Keys, LocalConfig, load_local
from fanlight.config import ListenConfig, load
from fanlight_router.config import RouterConfig
from fanlight_server.config import ServerConfig

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
LOCAL = sorted((DEPLOY / "local").glob("*.yaml"))
PROGRAM_CONFIGS = ("server.yaml", "router.yaml")
MANIFESTS = sorted(
    path
    for path in KUBERNETES.glob("*.yaml")
    if path.name not in (*PROGRAM_CONFIGS, "kustomization.yaml")
)
# The overlay with TLS and keys, and what cert-manager is told, which has schemas of its own.
SECURE = DEPLOY / "kubernetes-tls"
CERTIFICATES = SECURE / "certificates.yaml"
PATCHES = sorted(SECURE.glob("*-patch.yaml"))
# Applied beside the base, when somebody wants it.
BACKUP = KUBERNETES / "backup" / "snapshots.yaml"
KUBERNETES_VERSION = "1.33"


def resources(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def all_resources() -> list[dict[str, Any]]:
    return [resource for path in MANIFESTS for resource in resources(path.read_text())]


def resource(kind: str, name: str) -> dict[str, Any]:
    return next(r for r in all_resources() if (r["kind"], r["metadata"]["name"]) == (kind, name))


def server_config() -> ServerConfig:
    return load(ServerConfig, KUBERNETES / "server.yaml")


def router_config() -> RouterConfig:
    return load(RouterConfig, KUBERNETES / "router.yaml")


WORKLOADS = [("StatefulSet", "fanlight-shard"), ("Deployment", "fanlight-router")]


def listen_of(kind: str) -> ListenConfig:
    return server_config().listen if kind == "StatefulSet" else router_config().listen


def test_no_yaml_is_left_out() -> None:
    """Every YAML file under deploy/ is one that the tests below load."""
    known = {*LOCAL, *MANIFESTS, *(KUBERNETES / name for name in PROGRAM_CONFIGS)}
    known |= {folder / "kustomization.yaml" for folder in (KUBERNETES, SECURE)}
    known |= {CERTIFICATES, *PATCHES, *(SECURE / name for name in PROGRAM_CONFIGS)}
    known |= {BACKUP, BACKUP.with_name("kustomization.yaml")}
    found = {path for path in DEPLOY.rglob("*") if path.suffix in (".yaml", ".yml")}
    assert found == known
    assert LOCAL
    assert MANIFESTS


@pytest.mark.parametrize("path", LOCAL, ids=lambda path: path.name)
def test_local_files_load(path: Path, tmp_path: Path) -> None:
    """`fanlight up` takes each file of deploy/local, and so do the programs their sections."""
    config = load_local(path)
    assert config.cluster.shards >= 1
    for cls, keys, required in programs(config):
        section = tmp_path / f"{cls.__name__}.yaml"
        section.write_text(yaml.safe_dump({**keys, **required}))
        assert isinstance(load(cls, section), cls)


def test_local_files_keep_their_data_apart() -> None:
    """Clusters of different shape never share a data directory."""
    data = [load_local(path).cluster.data for path in LOCAL]
    assert len(set(data)) == len(data)


def test_three_shards_is_the_default(tmp_path: Path) -> None:
    """The file three-shards.yaml is what `fanlight up` does without a file."""
    config = load_local(DEPLOY / "local" / "three-shards.yaml")
    assert config.cluster == load_local(None).cluster
    for cls, keys, required in programs(config):
        section = tmp_path / f"{cls.__name__}.yaml"
        section.write_text(yaml.safe_dump({**keys, **required}))
        defaults = [f"{key}={json.dumps(value)}" for key, value in required.items()]
        assert load(cls, section) == load(cls, None, defaults)


def programs(config: LocalConfig) -> list[tuple[type, Keys, dict[str, Any]]]:
    """Give each program's configuration class, its keys, and the keys that it requires."""
    return [
        (ServerConfig, config.server, {"data": "unused"}),
        (RouterConfig, config.router, {"shards": ["localhost:7701"]}),
    ]


@pytest.mark.parametrize("path", [*MANIFESTS, BACKUP], ids=lambda path: path.name)
def test_manifests_are_valid(path: Path) -> None:
    """Every manifest fits the schema of its kind, with no unknown field."""
    for manifest in resources(path.read_text()):
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)


def test_manifests_name_no_namespace() -> None:
    """The base can be applied to any namespace."""
    assert not [r for r in all_resources() if "namespace" in r["metadata"]]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_builds_valid_manifests() -> None:
    """`kubectl kustomize` builds all of them, valid, with both programs' configuration inside."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True
    )
    built = resources(done.stdout)
    for manifest in built:
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
    maps = [r for r in built if r["kind"] == "ConfigMap"]
    assert len(built) == len(all_resources()) + len(maps)
    texts = {name: text for m in maps for name, text in m["data"].items()}
    assert texts == {name: (KUBERNETES / name).read_text() for name in PROGRAM_CONFIGS}
    mounted = {
        volume["configMap"]["name"]
        for kind, name in WORKLOADS
        for r in built
        if (r["kind"], r["metadata"]["name"]) == (kind, name)
        for volume in r["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    }
    assert mounted == {m["metadata"]["name"] for m in maps}


def secure_configs() -> tuple[ServerConfig, RouterConfig]:
    return load(ServerConfig, SECURE / "server.yaml"), load(RouterConfig, SECURE / "router.yaml")


def test_the_secure_configurations_are_the_plain_ones_and_more() -> None:
    """With TLS nothing else changes, nothing is insecure, and both hops know their callers."""
    server, router = secure_configs()
    assert not server.listen.insecure
    assert not router.listen.insecure
    assert server.tls.require_client_cert
    assert router.tls.cert
    assert router.access.keys
    assert (router.shards, server.shard) == (router_config().shards, server_config().shard)
    for secure, plain in ((server, server_config()), (router, router_config())):
        unsafe = replace(secure.listen, insecure=True, health_port=None)
        assert unsafe == plain.listen


def test_certificates_hold_the_names_that_are_called() -> None:
    """cert-manager makes certificates for the names of the shard map, and the one trusted."""
    server, router = secure_configs()
    made = {
        c["spec"]["secretName"]: c["spec"]
        for c in resources(CERTIFICATES.read_text())
        if c["kind"] == "Certificate"
    }
    called = [address.rpartition(":")[0] for address in router.shards]
    assert made["fanlight-shard-tls"]["dnsNames"] == called
    assert set(server.access.trusted_names) <= set(made["fanlight-router-tls"]["dnsNames"])
    assert "client auth" in made["fanlight-router-tls"]["usages"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_secure_overlay_mounts_what_its_configuration_names() -> None:
    """It builds valid manifests: probes at the health port, secrets closed to others, all files."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(SECURE)], capture_output=True, text=True, check=True
    )
    built = {(r["kind"], r["metadata"]["name"]): r for r in resources(done.stdout)}
    for manifest in built.values():
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
    configs: list[ServerConfig | RouterConfig] = [*secure_configs()]
    for (kind, name), config in zip(WORKLOADS, configs, strict=True):
        spec = built[kind, name]["spec"]["template"]["spec"]
        container = spec["containers"][0]
        probes = [container[f"{probe}Probe"] for probe in ("startup", "readiness", "liveness")]
        assert {probe["grpc"]["port"] for probe in probes} == {config.listen.health_port}
        assert all(probe["periodSeconds"] for probe in probes), "the base's are kept"
        named = (config.tls.cert, config.tls.key, config.tls.ca, config.access.keys)
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {str(Path(path).parent) for path in named if path} <= mounted
        secrets = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
        assert {secret["defaultMode"] for secret in secrets} == {0o440}
        assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"]


def test_number_of_shards_agrees() -> None:
    """Replicas, the servers' shard count and the routers' address list say the same number."""
    shards = resource("StatefulSet", "fanlight-shard")["spec"]
    port = server_config().listen.port
    addresses = [
        f"fanlight-shard-{index}.{shards['serviceName']}:{port}"
        for index in range(shards["replicas"])
    ]
    assert server_config().shard.count == shards["replicas"]
    assert list(router_config().shards) == addresses
    assert resource("Service", shards["serviceName"])["spec"]["clusterIP"] == "None"


def test_cluster_names_agree() -> None:
    """Servers and routers belong to the same cluster."""
    assert server_config().cluster == router_config().cluster


def test_shards_take_their_index_from_their_pod() -> None:
    """A shard server's index is its pod's index."""
    container = pod("StatefulSet", "fanlight-shard")["containers"][0]
    field = container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert f"shard.index=$({container['env'][0]['name']})" in container["args"]
    assert load(ServerConfig, KUBERNETES / "server.yaml", ["shard.index=2"]).shard.index == 2


def pod(kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = resource(kind, name)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_ports_agree(kind: str, name: str) -> None:
    """Probes, container ports and services name the port that the program listens on."""
    port = listen_of(kind).port
    container = pod(kind, name)["containers"][0]
    probes = [container[f"{probe}Probe"] for probe in ("startup", "readiness", "liveness")]
    service = "fanlight-shards" if kind == "StatefulSet" else "fanlight-router"
    ports = [probe["grpc"]["port"] for probe in probes]
    ports += [p["containerPort"] for p in container["ports"]]
    ports += [p["port"] for p in resource("Service", service)["spec"]["ports"]]
    policy = resource("NetworkPolicy", name)["spec"]
    ports += [p["port"] for rule in policy["ingress"] for p in rule["ports"]]
    assert set(ports) == {port}


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_drain_fits_the_grace_period(kind: str, name: str) -> None:
    """A pod that is asked to stop has time to leave its service and to drain."""
    spec = pod(kind, name)
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep + listen_of(kind).drain_s < spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_pods_are_restricted(kind: str, name: str) -> None:
    """Pods fit the restricted profile: no root, no privileges, no writable image, no token."""
    spec = pod(kind, name)
    container = spec["containers"][0]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(("kind", "name"), WORKLOADS)
def test_selectors_match_the_pods(kind: str, name: str) -> None:
    """Workload, service, disruption budget and network policy select exactly its pods."""
    spec = resource(kind, name)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    service = "fanlight-shards" if kind == "StatefulSet" else "fanlight-router"
    assert spec["selector"]["matchLabels"] == labels
    assert resource("Service", service)["spec"]["selector"] == labels
    assert resource("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == labels
    assert resource("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"] == labels


def test_shards_take_calls_from_routers_only() -> None:
    """The network policy of the shards lets in the routers' pods and nobody else."""
    routers = resource("Deployment", "fanlight-router")["spec"]["selector"]
    rules = resource("NetworkPolicy", "fanlight-shard")["spec"]
    assert [rule["from"] for rule in rules["ingress"]] == [[{"podSelector": routers}]]
    assert rules["policyTypes"] == ["Ingress", "Egress"]
    assert rules["egress"] == []


def test_the_backup_is_a_command_that_exists() -> None:
    """The CronJob runs `fanlight snapshot` at the routers' address, restricted, and let in."""
    claim, job = resources(BACKUP.read_text())
    template = job["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    module, *arguments = container["args"]
    assert module == "fanlight.cli"
    with cli.make_context("fanlight", list(arguments)) as context:
        name, command, rest = cli.resolve_command(context, arguments[2:])
        assert (name, command is not None) == ("snapshot", True)
        assert command is not None
        parsed = command.make_context("snapshot", rest, parent=context)
    assert parsed.params["dest"].startswith(container["volumeMounts"][0]["mountPath"])
    service = resource("Service", "fanlight-router")
    assert arguments[1] == f"{service['metadata']['name']}:{router_config().listen.port}"
    policy = resource("NetworkPolicy", "fanlight-router")["spec"]["ingress"][0]["from"][0]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    volume = template["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert volume == claim["metadata"]["name"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert not [r for r in (claim, job) if "namespace" in r["metadata"]]


def dockerfile() -> list[str]:
    return (DEPLOY / "docker" / "Dockerfile").read_text().splitlines()


def test_image_runs_both_programs_without_root() -> None:
    """The image is slim, builds portable wheels, drops root and starts programs without a shell."""
    lines = dockerfile()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert stages == ["FROM python:3.12-slim AS build", "FROM python:3.12-slim"]
    assert any("HNSWLIB_NO_NATIVE=1" in line for line in lines)
    assert 'ENTRYPOINT ["python", "-P", "-m"]' in lines
    user = next(line for line in lines if line.startswith("USER "))
    context = pod("StatefulSet", "fanlight-shard")["securityContext"]
    assert user == f"USER {context['runAsUser']}:{context['runAsGroup']}"
    ports = next(line for line in lines if line.startswith("EXPOSE "))
    assert ports == f"EXPOSE {router_config().listen.port} {server_config().listen.port}"
    assert any(line.startswith('VOLUME ["/data"]') for line in lines)


def test_image_is_built_from_files_that_exist() -> None:
    """Every path that the Dockerfile copies is in the repository and passes the ignore file."""
    copied = [
        source for line in dockerfile() if line.startswith("COPY ") for source in line.split()[1:-1]
    ]
    allowed = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied
    for source in copied:
        assert (DEPLOY.parent / source).exists()
        assert f"!{source}" in allowed
