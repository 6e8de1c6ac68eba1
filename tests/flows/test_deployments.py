"""The files of deployments are taken by `prefect deploy` as they are, on pools of the types that they are for."""

import json
import os
import subprocess
import sys

import httpx
import pytest
import yaml

from tests.cases.places import ROOT

pytestmark = pytest.mark.slow

CONTAINERS = {
    "docker": ("uwm-docker", "deploy/docker/prefect.yaml", []),
    "kubernetes": (
        "uwm-kubernetes",
        "deploy/kubernetes/prefect.yaml",
        ["--base-job-template", "deploy/kubernetes/pool.json"],
    ),
}


@pytest.fixture(scope="module")
def prefect(api_url, prefect_home):
    def call(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": api_url, "PREFECT_HOME": prefect_home, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


@pytest.mark.parametrize("kind", CONTAINERS)
def test_deployments_for_containers_are_taken_as_they_are(prefect, api_url, kind):
    pool, file, template = CONTAINERS[kind]
    prefect("work-pool", "create", pool, "--type", kind, *template)
    prefect("deploy", "--all", "--prefect-file", file)
    shipped = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["deployments"]
    assert {each["entrypoint"].partition(":")[2] for each in shipped} == {"reevaluate", "make_safe"}
    with httpx.Client(base_url=f"{api_url}/", timeout=60, trust_env=False) as server:
        properties = server.get(f"work_pools/{pool}").json()["base_job_template"]["variables"]["properties"]
        for each in shipped:
            flow = each["entrypoint"].partition(":")[2].replace("_", "-")
            made = server.get(f"deployments/name/{flow}/nightly-{kind}").raise_for_status().json()
            assert made["work_pool_name"] == pool
            assert made["parameters"] == each["parameters"]
            # A pool ignores what it has no variable for.
            assert made["job_variables"]
            assert made["job_variables"].keys() <= properties.keys()
            assert made["pull_steps"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]
            assert [schedule["active"] for schedule in made["schedules"]] == [False for _ in each.get("schedules", [])]


def test_the_pod_of_the_template_runs_without_rights_and_has_room_for_what_a_run_needs():
    template = json.loads((ROOT / "deploy/kubernetes/pool.json").read_text(encoding="utf-8"))
    job = template["job_configuration"]["job_manifest"]["spec"]
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert job["backoffLimit"] == 0
    assert pod["securityContext"]["runAsNonRoot"] is True
    # As the image's user, who else could not write where the store is.
    assert f"USER {pod['securityContext']['runAsUser']}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounts["/data"]]["persistentVolumeClaim"] == {"claimName": "{{ claim }}"}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    used = {part.partition("}}")[0].strip() for part in json.dumps(template["job_configuration"]).split("{{")[1:]}
    assert used == template["variables"]["properties"].keys()
