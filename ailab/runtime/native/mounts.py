"""A pod's volumes as folders of this machine, and mount paths in any text as those folders."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ailab.definition.manifests import Object, containers


@dataclass
class Mounts:
    """Where each container finds its mounts.

    Attributes:
        folders: to be made before the pod starts.
        by_container: mount path → folder or file of this machine, by container.
        config_files: file to be written → ConfigMap and key (None: all keys, the path is a folder).
    """

    folders: list[str] = field(default_factory=list)
    by_container: dict[str, dict[str, str]] = field(default_factory=dict)
    config_files: list[tuple[str, str, str | None]] = field(default_factory=list)

    def rewrite(self, value: str, container: str | None = None) -> str:
        """Replace each mount path that stands in the text as a whole path or as the beginning of one.

        Args:
            value: any text: an argument, a variable, a ConfigMap's content.
            container: whose mounts count; None: those of all the pod's containers.
        """
        chosen = self.by_container.values() if container is None else [self.by_container.get(container, {})]
        table = {path: target for mounts in chosen for path, target in mounts.items()}
        if not table:
            return value
        longest_first = sorted(table, key=len, reverse=True)
        # Before it: nothing that makes it the inner part of another path; after it: nothing that makes its last name a longer one.
        pattern = r"(?<![\w./-])(" + "|".join(map(re.escape, longest_first)) + r")(?:(?=\.(?:\s|$))|(?![\w.+~@%#$*{-]))"
        return re.sub(pattern, lambda m: table[m[1]], value, flags=re.MULTILINE)

    def files(self, configs: dict[str, dict[str, str]]) -> list[tuple[str, str]]:
        """Path and content of each file that ConfigMaps put into the pod's folders."""
        found = {}
        for path, name, key in self.config_files:
            data = configs.get(name, {})
            if key is not None:
                found[path] = data.get(key, "")
            else:
                found.update({f"{path}/{k}": v for k, v in data.items()})
        return sorted(found.items())


def mounts_of(workload: Object, pod_folder: str, data: str, memory: str, replaced: dict[str, str]) -> Mounts:
    """The mounts of one workload.

    Args:
        workload: a Deployment or StatefulSet.
        pod_folder: absolute; holds what does not outlive the pod.
        data: absolute; a PVC is the folder of its name in it.
        memory: absolute; for what may be on no disk.
        replaced: volumes that native.toml puts elsewhere, by name.
    """
    pod, mounts = workload["spec"]["template"]["spec"], Mounts()
    sources: dict[str, str] = {}
    configs: dict[str, Object] = {}
    for claim in workload["spec"].get("volumeClaimTemplates", []):
        name = claim["metadata"]["name"]
        sources[name] = f"{data}/{name}-{workload['metadata']['name']}-0"
    for v in pod.get("volumes", []):
        if "persistentVolumeClaim" in v:
            sources[v["name"]] = f"{data}/{v['persistentVolumeClaim']['claimName']}"
        elif "configMap" in v:
            sources[v["name"]] = f"{pod_folder}/config/{v['name']}"
            configs[v["name"]] = v["configMap"]
        elif v.get("emptyDir", {}).get("medium") == "Memory":
            sources[v["name"]] = f"{memory}/{workload['metadata']['name']}/{v['name']}"
        else:
            sources[v["name"]] = f"{pod_folder}/volumes/{v['name']}"
    for name, target in replaced.items():
        sources[name] = target
        configs.pop(name, None)
    mounts.folders = sorted({pod_folder, *(s for n, s in sources.items() if n not in replaced)})
    for name, config in configs.items():
        for item in config.get("items") or [None]:
            path = sources[name] if item is None else f"{sources[name]}/{item['path']}"
            mounts.config_files.append((path, config["name"], item and item["key"]))
    for c in containers(pod):
        table = mounts.by_container.setdefault(c["name"], {})
        for m in c.get("volumeMounts", []):
            if m["name"] in sources:
                table[m["mountPath"].rstrip("/")] = "/".join([sources[m["name"]], *filter(None, [m.get("subPath")])])
                if m.get("subPath") and m["name"] not in configs and m["name"] not in replaced:
                    mounts.folders.append(table[m["mountPath"].rstrip("/")])
    return mounts
