"""A real Slurm cluster of one node with a pretended GPU, in a folder of its own; nothing else changes.

``python tests/slurm/cluster.py COMMAND ...`` runs a command on such a cluster and prints what was submitted.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

PROGRAMS = ("munged", "mariadb-install-db", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch", "srun", "sacct")
PACKAGES = "slurmctld slurmd slurm-client slurmdbd munge mariadb-server"
CPUS = 16
MEM_MB = 64_000
# What the node has is declared, not looked for: a profile for real nodes must fit on a small machine. Nothing is
# confined; memory is watched, and a job that takes more than it asked for is killed, as on a real cluster.
SLURM_CONF = """\
ClusterName=pretended
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=1
DefMemPerCPU=500
ReturnToService=2
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={mem_mb} Gres=gpu:1
PartitionName=main Nodes={node} Default=YES
PartitionName=gpu Nodes={node}
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={dbd_port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
"""


def missing() -> str:
    """Say what a cluster here lacks, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"needs Slurm (no {', '.join(absent)}); on Debian: apt install --no-install-recommends {PACKAGES}"
    if os.geteuid() != 0:
        return "needs root, to start the daemons of Slurm"
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "needs snakemake-executor-plugin-slurm"
    return ""


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Cluster:
    """Daemons of a cluster: munge, MariaDB and slurmdbd for the accounting, slurmctld, slurmd."""

    def __init__(self) -> None:
        # Paths of sockets may have 107 characters, fewer than pytest's folders.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SRUN_", "SBATCH_"))}
        self.environment |= {
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            "MYSQL_UNIX_PORT": f"{self.folder}/mariadb.socket",
            "PATH": os.pathsep.join(
                [f"{self.folder}/bin", os.path.dirname(sys.executable), os.environ["PATH"], "/usr/sbin"]
            ),
        }

    def __enter__(self) -> Cluster:
        """Start all daemons, or none."""
        try:
            self._configure()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what was started, and nothing else."""
        try:
            if len(self.daemons) == 5:
                self.run("scancel", "--user=root")
                self._wait(lambda: not self.output("squeue", "--noheader"), "jobs to end")
        finally:
            for daemon in reversed(self.daemons):
                daemon.terminate()
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            shutil.rmtree(self.folder)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of the cluster does."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def output(self, *command: str) -> str:
        """Return what a command prints; it must succeed."""
        done = self.run(*command)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def _configure(self) -> None:
        node = socket.gethostname().split(".")[0]
        ctld_port, d_port, dbd_port = _free_ports(3)
        values = {"folder": self.folder, "node": node, "cpus": CPUS, "mem_mb": MEM_MB}
        values |= {"ctld_port": ctld_port, "d_port": d_port, "dbd_port": dbd_port}
        self.folder.chmod(0o755)
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**values))
        (self.folder / "slurmdbd.conf").write_text(SLURMDBD_CONF.format(**values))
        # Any character device will do: nobody opens it.
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        for name in ("munge.key", "slurmdbd.conf"):
            (self.folder / name).chmod(0o600)
        # The executor takes every SLURM_ variable away from the srun inside a job, SLURM_CONF with them.
        srun = self.folder / "bin/srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)

    def _start(self) -> None:
        socket_, key = f"{self.folder}/munge.socket", f"{self.folder}/munge.key"
        data, database = f"{self.folder}/mariadb", f"{self.folder}/mariadb.socket"
        files = [f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("pid", "log", "seed")]
        self._daemon("munged", "--force", "--foreground", f"--socket={socket_}", f"--key-file={key}", *files)
        install = ("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db")
        self.output(*install, "--auth-root-authentication-method=normal")
        small = ("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M", "--innodb-lock-wait-timeout=900")
        files = [f"--datadir={data}", f"--socket={database}", f"--pid-file={self.folder}/mariadb.pid"]
        self._daemon("mariadbd", "--no-defaults", "--user=root", "--skip-networking", *files, *small)
        self._wait(lambda: self._works("mariadb-admin", "--no-defaults", f"--socket={database}", "ping"), "MariaDB")
        self._daemon("slurmdbd", "-D")
        self._wait(lambda: self._works("sacctmgr", "--noheader", "list", "cluster"), "slurmdbd")
        self.output("sacctmgr", "-i", "add", "cluster", "pretended")
        self.output("sacctmgr", "-i", "add", "account", "lab")
        self.output("sacctmgr", "-i", "add", "user", "root", "account=lab")
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D")
        self._wait(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T").stdout, "the node")

    def _daemon(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("w") as output:
            daemon = subprocess.Popen(
                [name, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.daemons.append(daemon)

    def _works(self, *command: str) -> bool:
        return self.run(*command).returncode == 0

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for something; if it does not come, say what the daemons say."""
        end = time.monotonic() + 60
        while not ready():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self.daemons):
                logs = [p for pattern in ("*.out", "*.log") for p in sorted(self.folder.glob(pattern))]
                text = "".join(f"\n--- {p.name}\n{p.read_text()[-1500:]}" for p in logs)
                raise RuntimeError(f"waited in vain for {what}{text}")
            time.sleep(0.1)


def main(command: list[str]) -> int:
    """Run a command on a cluster that lives as long as it does."""
    if reason := missing():
        raise SystemExit(reason)
    with Cluster() as cluster:
        started = time.perf_counter()
        code = subprocess.run(command, env=cluster.environment).returncode
        seconds = time.perf_counter() - started
        time.sleep(2)  # the accounting lags behind
        jobs = cluster.output(
            "sacct", "-X", "-P", "--starttime=now-1day", "--format=State,Elapsed,ReqMem,Timelimit,AllocTRES,Comment"
        )
    print(f"{jobs}{len(jobs.splitlines()) - 1} submissions, {seconds:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
