"""Builds the `ProcessSpec` of a container's next start: image, environment, arguments, files, user.

Called by `worker` once a Pod's address and volumes are there. Whatever stands in the way is a `NotYetError` with the
waiting reason that Kubernetes would show. The environment is kept beside the container's files (0600), so that probes
and exec after a daemon restart see what the process was really given, not what the manifest says by then.
"""

import json
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from localset.base.files import make_private_directory, write_atomically, write_in_place
from localset.base.frozen import as_dict, frozen
from localset.kubelet.context import ImageLike, KubeletContext, NotYetError
from localset.kubelet.environment import ConfigError, build_environment
from localset.kubelet.expansion import expand
from localset.kubelet.hosts import fqdn_of, hostname_of, hosts_header, resolv_conf
from localset.kubelet.identity import ProcessIdentity, identity_of, one_group
from localset.kubelet.layout import Layout, Place, lay_out, search_path, volume_places
from localset.kubelet.passwd import passwd_for
from localset.kubelet.ports import port_problem
from localset.kubelet.records import (
    LABEL_ATTEMPT,
    LABEL_CONTAINER,
    LABEL_NAMESPACE,
    LABEL_NODE,
    LABEL_POD,
    LABEL_POD_UID,
    LABEL_SPEC_HASH,
    definition_hash,
    run_id_of,
)
from localset.kubelet.runtime import ExecSpec, Isolation, ProcessSpec
from localset.kubelet.settings import KubeletSettings
from localset.kubelet.volumes import MountedVolume
from localset.machinery.metadata import Object, annotations_of, name_of, namespace_of, uid_of

HOST_IMAGE = "host"
STOP_ANNOTATION = "localset.dev/stop"
_SURROUNDINGS = "surroundings.json"


@frozen
class Surroundings:
    """What a command inside the container is given: probes, hooks and exec use the same as the process."""

    environment: dict[str, str]
    working_directory: str
    user: int | None = None
    group: int | None = None
    supplementary_groups: tuple[int, ...] = ()

    def exec_spec(self, run_id: str, argv: list[str], *, tty: bool = False) -> ExecSpec:
        """Return the spec of `argv` in these surroundings."""
        environment = (
            {**self.environment, "TERM": "xterm"} if tty and "TERM" not in self.environment else self.environment
        )
        return ExecSpec(
            run_id=run_id,
            argv=tuple(argv),
            environment=environment,
            working_directory=self.working_directory,
            user=self.user,
            group=self.group,
            supplementary_groups=self.supplementary_groups,
            tty=tty,
        )


@frozen
class PodFiles:
    """The directories and generated files of one Pod."""

    directory: Path

    @property
    def volumes(self) -> Path:
        """Return the directory of the Pod's own volumes."""
        return self.directory / "volumes"

    @property
    def hosts(self) -> Path:
        """Return the Pod's hosts file."""
        return self.directory / "etc-hosts"

    def may_have_faults(self, pod: Object, *, is_restored: bool) -> bool:
        """Tell whether faults are asked for, or were in force when the last daemon died (`kubelet.faults`)."""
        return "fault.localset.dev/" in str(annotations_of(pod)) or (
            is_restored and (self.directory / "faults").exists()
        )

    def container(self, name: str) -> Path:
        """Return a container's directory."""
        return self.directory / "containers" / name

    def logs(self, name: str) -> Path:
        """Return a container's log directory."""
        return self.container(name) / "logs"

    def log(self, name: str, attempt: int) -> Path:
        """Return the log file of one run."""
        return self.logs(name) / f"{attempt}.log"

    def prune_logs(self, name: str, attempt: int) -> None:
        """Remove the logs of runs before the previous one."""
        for path in self.logs(name).glob("*.log*"):
            number = path.name.partition(".")[0]
            if number.isdigit() and int(number) < attempt - 1:
                path.unlink(missing_ok=True)


def write_pod_files(context: KubeletContext, pod: Object, files: PodFiles, address: str) -> None:
    """Make the Pod's directories and its hosts, hostname and resolv.conf. Idempotent; the hosts file stays current."""
    settings = context.settings
    mode = settings.directory_mode
    make_private_directory(files.directory / "containers", mode=mode)
    context.hosts.write(files.hosts, namespace_of(pod), hosts_header(pod, address, settings.cluster_domain))
    write_in_place(files.directory / "etc-hostname", f"{hostname_of(pod)}\n".encode())
    if settings.dns_address is not None:
        text = resolv_conf(pod, settings.dns_address, settings.cluster_domain, _host_resolv_conf)
        write_in_place(files.directory / "etc-resolv.conf", text.encode())


def _host_resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""


def find_image(context: KubeletContext, container: Object) -> ImageLike:
    """Return the container's image.

    NotYetError ErrImagePull with what to do when there is none or it lacks programs.
    """
    reference = container.get("image") or HOST_IMAGE
    image = context.images.find(reference)
    if image is None:
        text = context.images.explain(reference)
        raise NotYetError("ErrImagePull", text, event_reason="Failed")
    missing = [str(sentence) for sentence in context.images.missing(image)]
    if missing:
        text = f'image "{reference}" needs what this machine lacks: {"; ".join(missing)}'
        raise NotYetError("ErrImagePull", text, event_reason="Failed")
    return image


def image_user(image: ImageLike) -> tuple[int | None, int | None]:
    """Return (uid, gid) that the image asks for; a user name that this host does not have counts as none."""
    if image.user is not None or not image.user_name:
        return image.user, image.group
    try:
        entry = pwd.getpwnam(image.user_name)
    except KeyError:
        return None, image.group
    return entry.pw_uid, entry.pw_gid if image.group is None else image.group


def level_of(pod: Object, settings: KubeletSettings) -> Isolation:
    """Return the level that a Pod runs at: one that asks for the host's network has that, and its own mounts."""
    if settings.isolation is Isolation.NAMESPACES and (pod.get("spec") or {}).get("hostNetwork"):
        return Isolation.LOOPBACK
    return settings.isolation


def check_ports(address: str, container: Object) -> tuple[str, bool]:
    """Return (message, is_fatal) about the container's declared ports; an empty message when all can be bound."""
    problem = port_problem(address, container)
    return (problem.message, problem.is_fatal) if problem is not None else ("", False)


class Starter:
    """Makes ready the starts of one Pod's containers."""

    __slots__ = (
        "_context",
        "_files",
        "skipped_variables",
    )

    def __init__(self, context: KubeletContext, files: PodFiles) -> None:
        """`files` exist already (`write_pod_files`)."""
        self._context = context
        self._files = files
        self.skipped_variables: list[str] = []

    def prepare(
        self, pod: Object, container: Object, attempt: int, address: str, volumes: Mapping[str, MountedVolume]
    ) -> tuple[ProcessSpec, Surroundings]:
        """Return the spec to spawn and the surroundings to keep; NotYetError while something is missing."""
        try:
            return self._prepare(pod, container, attempt, address, volumes)
        except ConfigError as error:
            text = str(error)
            raise NotYetError("CreateContainerConfigError", text, event_reason="Failed", retry_seconds=5.0) from error
        except OSError as error:
            raise NotYetError("CreateContainerError", str(error), event_reason="Failed", retry_seconds=5.0) from error

    def _prepare(
        self, pod: Object, container: Object, attempt: int, address: str, volumes: Mapping[str, MountedVolume]
    ) -> tuple[ProcessSpec, Surroundings]:
        settings = self._context.settings
        isolation = level_of(pod, settings)
        image = find_image(self._context, container)
        identity = self._identity(pod, container, image)
        name = container["name"]
        directory = self._files.container(name)
        base = self._base_environment(pod, container, image, address)
        built = build_environment(pod, container, base, self._context.sources_for(pod, address))
        self.skipped_variables = built.skipped
        places = volume_places(container, volumes, built.variables)
        layout = lay_out(
            directory,
            image,
            places,
            self._own_files(places, self._passwd_file(directory, image, identity)),
            identity,
            has_own_mounts=settings.has_own_mounts,
            has_own_system=isolation is Isolation.NAMESPACES,
            is_root=settings.is_root,
        )
        environment = self._finish_environment(built.variables, image, layout)
        argv = arguments_of(container, image, environment, layout.root)
        surroundings = Surroundings(
            environment,
            working_directory(container, image, layout),
            identity.user,
            identity.group,
            identity.supplementary,
        )
        self._save(directory, surroundings)
        make_private_directory(self._files.logs(name))
        spec = ProcessSpec(
            run_id=run_id_of(uid_of(pod), name, attempt),
            pod=name_of(pod),
            pod_uid=uid_of(pod),
            container=name,
            argv=argv,
            environment=environment,
            working_directory=surroundings.working_directory,
            hostname=hostname_of(pod),
            log_path=str(self._files.log(name, attempt)),
            private_directory=str(directory / f"private-{attempt}"),
            isolation=isolation,
            mounts=layout.mounts,
            user=identity.user,
            group=identity.group,
            supplementary_groups=identity.supplementary,
            stop_signal=stop_signal_of(container, image),
            stdin=bool(container.get("stdin")),
            stdin_once=bool(container.get("stdin") and container.get("stdinOnce")),
            tty=bool(container.get("tty")),
            shares_host=image.is_host,
            address=address if isolation is Isolation.NAMESPACES else "",
            shares_processes=bool((pod.get("spec") or {}).get("shareProcessNamespace")),
            strict_stop=annotations_of(pod).get(STOP_ANNOTATION) == "strict",
            labels=self._labels(pod, container, attempt),
        )
        return spec, surroundings

    def _identity(self, pod: Object, container: Object, image: ImageLike) -> ProcessIdentity:
        """Return user and groups as this level can give them: plain without root can give none."""
        settings = self._context.settings
        user, group = image_user(image)
        found = identity_of(pod, container, user, group)
        if settings.is_root:
            return found
        if settings.isolation is Isolation.NAMESPACES:
            return one_group(found)
        return ProcessIdentity(found.user if settings.has_own_mounts else None, None, ())

    def _base_environment(self, pod: Object, container: Object, image: ImageLike, address: str) -> dict[str, str]:
        settings = self._context.settings
        work = str(self._files.container(container["name"]) / "work")
        base = {
            "PATH": search_path(image, settings.search_path, has_own_mounts=settings.has_own_mounts),
            "HOME": settings.home if image.is_host else work,
            "LANG": settings.language,
            "TZ": settings.time_zone,
            "HOSTNAME": hostname_of(pod),
        }
        if not image.is_host:
            ports = [str(p["containerPort"]) for p in container.get("ports") or []]
            base |= {
                "POD_IP": address,
                "LOCALSET_POD_NAME": name_of(pod),
                "LOCALSET_POD_FQDN": fqdn_of(pod, settings.cluster_domain),
                "LOCALSET_POD_DOMAIN": fqdn_of(pod, settings.cluster_domain).partition(".")[2],
                "LOCALSET_ISOLATION": str(settings.isolation),
                "LOCALSET_HOSTS_FILE": str(self._files.hosts),
                "LOCALSET_PORTS": ",".join(ports),
            }
        return {**base, **dict(image.environment)}

    def _finish_environment(self, variables: dict[str, str], image: ImageLike, layout: Layout) -> dict[str, str]:
        if self._context.settings.has_own_mounts and image.is_host:
            return variables
        return {**variables, "LOCALSET_ROOT": layout.root}

    def _passwd_file(self, directory: Path, image: ImageLike, identity: ProcessIdentity) -> list[Place]:
        """Return /etc/passwd as a place, when the host's does not know the image's users or the container's own."""
        if image.is_host or not self._context.settings.has_own_mounts:
            return []
        uid = os.geteuid() if identity.user is None else identity.user
        group = uid if identity.group is None else identity.group
        try:
            text = passwd_for(Path("/etc/passwd").read_text(), image.users, uid, group, str(directory / "work"))
        except (OSError, UnicodeDecodeError):
            return []
        if text is None:
            return []
        make_private_directory(directory, mode=self._context.settings.directory_mode)
        write_in_place(directory / "etc-passwd", text.encode())
        return [Place(directory / "etc-passwd", "/etc/passwd", is_read_only=True)]

    def _own_files(self, places: list[Place], more: list[Place]) -> list[Place]:
        """Return hosts, hostname and resolv.conf as places, but for those that the manifest mounts itself."""
        taken = {place.target for place in places}
        names = ["hosts", "hostname", *(["resolv.conf"] if self._context.settings.dns_address is not None else [])]
        own = [Place(self._files.directory / f"etc-{name}", f"/etc/{name}", is_read_only=False) for name in names]
        return [place for place in [*own, *more] if place.target not in taken]

    def _labels(self, pod: Object, container: Object, attempt: int) -> dict[str, str]:
        return {
            LABEL_POD_UID: uid_of(pod),
            LABEL_NAMESPACE: namespace_of(pod),
            LABEL_POD: name_of(pod),
            LABEL_CONTAINER: container["name"],
            LABEL_ATTEMPT: str(attempt),
            LABEL_SPEC_HASH: definition_hash(container),
            LABEL_NODE: self._context.settings.node_name,
        }

    def _save(self, directory: Path, surroundings: Surroundings) -> None:
        data = json.dumps(as_dict(surroundings)).encode("utf-8", "surrogatepass")
        write_atomically(directory / _SURROUNDINGS, data, is_durable=False)

    def saved(self, container: str) -> Surroundings | None:
        """Return the surroundings that the container's last start was given, or None."""
        try:
            found = json.loads((self._files.container(container) / _SURROUNDINGS).read_bytes())
            found["supplementary_groups"] = tuple(found["supplementary_groups"])
            return Surroundings(**found)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def arguments_of(container: Object, image: ImageLike, environment: Mapping[str, str], root: str) -> tuple[str, ...]:
    """Return argv: command over the image's entrypoint, args over its command, `$(VAR)` expanded.

    ConfigError if empty.
    """
    command, args = container.get("command") or [], container.get("args") or []
    if command:
        argv = [*command, *args]
    else:
        entrypoint = list(image.entrypoint)
        if entrypoint and root and entrypoint[0].startswith("/") and os.path.lexists(root + entrypoint[0]):
            entrypoint[0] = root + entrypoint[0]
        argv = [*entrypoint, *(args or image.command)]
    if not argv:
        raise ConfigError("no command specified: the image has none, so the container needs `command`")
    return tuple(expand(word, environment) for word in argv)


def working_directory(container: Object, image: ImageLike, layout: Layout) -> str:
    """Return the container's working directory, else the image's, else a private scratch directory."""
    wanted = container.get("workingDir") or image.working_directory
    if not wanted:
        return str(layout.work_directory)
    if layout.root and (not image.is_host or (not Path(wanted).is_dir() and Path(layout.root + wanted).is_dir())):
        inside = Path(layout.root + "/" + wanted.lstrip("/"))
        if not inside.exists():
            inside.mkdir(parents=True, exist_ok=True)
        return str(inside)
    return str(wanted)


def stop_signal_of(container: Object, image: ImageLike) -> str:
    """Return lifecycle.stopSignal, else the image's, else SIGTERM."""
    return str((container.get("lifecycle") or {}).get("stopSignal") or image.stop_signal or "SIGTERM")
