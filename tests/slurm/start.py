"""A Slurm of one machine, in a directory of its own: munged, slurmctld and slurmd, with nothing of the system changed.

It can show that machine as several nodes, each with GPUs that are not there, for which a job is scheduled as on a cluster.

`python tests/slurm/start.py` starts one, says how to reach it, and ends it on Ctrl-C. It needs root, and of Debian slurm-wlm and munge.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
SBIN = "/usr/sbin"  # where Debian has the daemons, which is not in every PATH
CPUS = 2
GPUS, CORES = 8, 64  # of each of several nodes; neither is there
SECONDS = 30.0  # until the node takes jobs
# cred_expire and the intervals: a job that was requeued would wait for two minutes. Jobs of `urgent` take the place of others.
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
PropagateResourceLimits=NONE
ReturnToService=2
KillWait=30
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=usual Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF State=UP
"""


def why_not() -> str | None:
    """Why no Slurm can be started here, None where one can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    if not Path("/sys/fs/cgroup").is_mount():
        return "slurmd needs /sys/fs/cgroup, which is not mounted"
    return None if os.geteuid() == 0 else "only root can start slurmd"


def path() -> str:
    """PATH with the directory of the daemons."""
    return f"{os.environ.get('PATH', os.defpath)}:{SBIN}"


@contextmanager
def running(directory: Path, nodes: int = 1) -> Iterator[dict[str, str]]:
    """Within the block a Slurm takes jobs; it gives the variables by which its commands find it."""
    config, names = directory / "slurm.conf", _configure(directory, nodes)
    key = directory / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    variables = {"SLURM_CONF": str(config), "PATH": path()}
    files = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    daemons = [
        _start([*munged, *(f"--{name}={directory / file}" for name, file in files.items())], directory, variables),
        _start(["slurmctld", "-D", "-i"], directory, variables),
        *(_start(["slurmd", "-D", "-N", name], directory, variables) for name in names),
    ]
    try:
        _wait_for_nodes(daemons, directory, variables)
        yield variables
    finally:
        subprocess.run(["scancel", "--me", "--full"], env=os.environ | variables, capture_output=True)
        _end_jobs(variables)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()


def _configure(directory: Path, nodes: int) -> list[str]:
    """Write what the daemons read and make their directories; return the names of the nodes."""
    host = socket.gethostname().partition(".")[0]
    port, *ports = _free_ports(1 + nodes)
    names = [host] if nodes == 1 else [f"node{number}" for number in range(nodes)]
    has = f"CPUs={min(CPUS, os.cpu_count() or 1)}" if nodes == 1 else f"CPUs={CORES} RealMemory=500000 Gres=gpu:{GPUS}"
    lines = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={own} {has} State=UNKNOWN"
        for name, own in zip(names, ports, strict=True)
    ]
    text = CONFIG.format(host=host, directory=directory, port=port, nodes="\n".join(lines))
    (directory / "slurm.conf").write_text(text)
    (directory / "gres.conf").write_text(f"Name=gpu File={directory}/gpu[0-{GPUS - 1}]\n" if nodes > 1 else "")
    for number in range(GPUS):
        (directory / f"gpu{number}").touch()
    for name in ("state", *(f"spool-{name}" for name in names)):
        (directory / name).mkdir()
    return names


def _end_jobs(variables: dict[str, str]) -> None:
    """Wait until no job is left: slurmd leaves their processes behind."""
    deadline = time.monotonic() + SECONDS
    asked = ["squeue", "--noheader", "--format=%i"]
    while time.monotonic() < deadline and subprocess.run(asked, env=os.environ | variables, capture_output=True).stdout:
        time.sleep(0.2)


def _start(command: Sequence[str], directory: Path, variables: dict[str, str]) -> subprocess.Popen:
    with (directory / f"{command[0]}.out").open("wb") as log:
        return subprocess.Popen(
            command,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    """Let the system end this process where the one that started it is killed. Source: prctl(2), PR_SET_PDEATHSIG is 1."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait_for_nodes(daemons: Sequence[subprocess.Popen], directory: Path, variables: dict[str, str]) -> None:
    deadline = time.monotonic() + SECONDS
    asked = ["sinfo", "--noheader", "--partition=usual", "--format=%T"]
    while subprocess.run(asked, env=os.environ | variables, capture_output=True, text=True).stdout.strip() != "idle":
        if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in daemons):
            said = [f"{path}:\n{path.read_text(errors='replace')[-2000:]}" for path in sorted(directory.glob("*.[ol][uo][tg]"))]
            for daemon in daemons:
                daemon.kill()
            raise RuntimeError("Slurm takes no jobs\n" + "\n".join(said))
        time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    if why := why_not():
        sys.exit(why)
    with tempfile.TemporaryDirectory(prefix="slurm-") as place, running(Path(place)) as found:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        print(f"export SLURM_CONF={found['SLURM_CONF']}   # partitions usual and urgent; Ctrl-C ends it", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
