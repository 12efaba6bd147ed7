"""Which processes a machine starts, what does not go together, and what a launcher or Slurm says of it."""

import os
import socket

import pytest

from debft.errors import InputError
from debft.runtime.launch import machines
from debft.runtime.launch.group import PARENT
from debft.runtime.launch.machines import PORT, Asked, Share, share_of, share_to_start
from debft.runtime.launch.srun import first_host, join_step, variables_of_step

OF_FOUR = Asked(machines=4, machine=1, address="127.0.0.1", processes=8)
# What srun sets in the second of four tasks on two nodes, as Slurm 22.05 on Debian 12 did.
STEP = {
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_JOB_NODELIST": "node[06-09]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_JOB_ID": "117",
    "SLURM_STEP_ID": "2",
}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """What a test or debft itself sets is gone after it."""
    others = (PARENT, "ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES", "SLURM_NNODES", *STEP)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", *others):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_processes_are_counted_over_all_machines():
    share = share_of(OF_FOUR, devices=lambda: 1)
    assert (share.processes, share.here, list(share.ranks), share.port) == (8, 2, [2, 3], PORT)
    assert share_of(Asked(machines=4, machine=3, address="127.0.0.1"), devices=lambda: 8).ranks == range(24, 32)
    assert share_of(Asked(), devices=lambda: 2) == Share(processes=1)


@pytest.mark.parametrize("port", [1, 65535])
def test_machine_takes_address_and_port_as_they_were_given(port):
    asked = Asked(machines=2, machine=1, address="localhost", port=port, processes=4)
    assert share_of(asked, devices=lambda: 1) == Share(processes=4, machines=2, machine=1, address="localhost", port=port)


@pytest.mark.parametrize(("gpus", "processes"), [(0, 2), (1, 2), (8, 16)])
def test_each_of_several_machines_takes_a_process_for_each_gpu_or_one(monkeypatch, gpus, processes):
    monkeypatch.setattr(machines, "visible_gpus", lambda: gpus)
    share = share_to_start(Asked(machines=2, machine=1, address="127.0.0.1"))
    assert share.processes == processes


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked(machine=1), "--machine-rank: expected --num-machines of 2 or more"),
        (Asked(machines=1, address="127.0.0.1"), "--main-process-ip: expected --num-machines of 2 or more"),
        (Asked(port=29511), "--main-process-port: expected --num-machines of 2 or more"),
        (Asked(machines=2, address="127.0.0.1"), "--machine-rank: expected the number of this machine, 0 to 1, got none"),
        (Asked(machines=2, machine=2, address="127.0.0.1"), "0 to 1, got 2"),
        (Asked(machines=2, machine=1), "--main-process-ip: expected the address of .*, got none"),
        (Asked(machines=2, machine=1, address="127.0.0.1", processes=3), "a multiple of the 2 machines, got 3"),
        (Asked(machines=2, machine=1, address="127.0.0.1", port=0), "1 to 65535, got 0"),
        (Asked(machines=2, machine=1, address="127.0.0.1", port=2**16), "1 to 65535, got 65536"),
        (Asked(machines=2, machine=1, address="no.such.host.invalid"), "--main-process-ip: .*got no.such.host.invalid"),
    ],
)
def test_machines_that_do_not_go_together_are_refused(asked, words):
    with pytest.raises(InputError, match=words):
        share_of(asked, devices=lambda: pytest.fail("torch was asked for its devices"))


@pytest.mark.parametrize("address", ["x" * 300, "\udcff"])
def test_address_that_no_machine_could_have_is_refused(monkeypatch, address):
    monkeypatch.setattr(machines.socket, "getaddrinfo", lambda host, *others, **more: host.encode("idna"))  # as the real one begins
    with pytest.raises(InputError, match=f"--main-process-ip: expected the address of .*, got {address} "):
        share_of(Asked(machines=2, machine=1, address=address, processes=2), devices=lambda: 1)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "Name not known"),
        (UnicodeError("label too long\nmore"), "label too long"),
    ],
    ids=["system", "Python"],
)
def test_address_that_is_not_found_is_refused_with_the_reason(monkeypatch, error, why):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(InputError) as raised:
        share_of(Asked(machines=2, machine=1, address="a-host"), devices=lambda: 1)
    assert str(raised.value) == (
        f"--main-process-ip: expected the address of the machine with --machine-rank 0, got a-host ({why})"
    )


def test_machine_0_has_the_address_that_all_are_given(monkeypatch):
    place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.77", PORT))  # of the documentation, which no machine has
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [place])
    with pytest.raises(InputError, match="an address of this machine, which is number 0, got a-host"):
        share_of(Asked(machines=2, machine=0, address="a-host"), devices=lambda: 1)


def test_port_that_is_taken_is_refused_by_the_machine_that_would_listen():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        asked = Asked(machines=2, machine=0, address="127.0.0.1", port=port)
        with pytest.raises(InputError, match=f"--main-process-port: {port} cannot be listened at"):
            share_of(asked, devices=lambda: 1)
        assert share_of(Asked(machines=2, machine=1, address="127.0.0.1", port=port), devices=lambda: 1).port == port


def test_machine_0_can_listen_at_a_port_that_is_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asked = Asked(machines=2, machine=0, address="127.0.0.1", port=port)
    assert share_of(asked, devices=lambda: 1) == Share(processes=2, machines=2, machine=0, address="127.0.0.1", port=port)


def test_one_process_is_not_started_but_is_the_command_itself(monkeypatch):
    monkeypatch.setattr(machines, "visible_gpus", lambda: 8)
    assert share_to_start(Asked()) is None
    assert share_to_start(Asked(processes=2)) == Share(processes=2)


@pytest.mark.parametrize("size", ["1", "2"])
def test_process_of_a_launcher_starts_no_others(monkeypatch, size):
    """Not even where torchrun was asked for one process and there are eight GPUs."""
    monkeypatch.setattr(machines, "visible_gpus", lambda: 8)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", size)
    assert share_to_start(Asked()) is None
    assert share_to_start(Asked(processes=int(size))) is None
    with pytest.raises(InputError, match=f"--num-processes: expected {size}, which a launcher has started, got 8"):
        share_to_start(Asked(processes=8))
    with pytest.raises(InputError, match="--num-machines: a launcher has started this process"):
        share_to_start(OF_FOUR)
    monkeypatch.setenv(PARENT, "1")
    assert share_to_start(OF_FOUR) is None  # debft's own processes are given the whole command


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"TORCHELASTIC_RUN_ID": "none"}, "torchrun"),
        ({"TORCHELASTIC_RUN_ID": "none", "ACCELERATE_MIXED_PRECISION": "no"}, "accelerate launch"),
        ({"SLURM_PROCID": "0"}, "srun"),
        ({}, "a launcher"),
        ({"TORCHELASTIC_RUN_ID": "none", PARENT: "17"}, None),
    ],
)
def test_launcher_is_told_by_its_variables(monkeypatch, variables, name):
    for variable, value in {"RANK": "0", "WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(variable, value)
    assert machines.launcher() == name


@pytest.mark.parametrize("variable", ["RANK", "WORLD_SIZE"])
def test_one_variable_alone_is_that_of_no_launcher(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert machines.launcher() is None


def test_process_that_accelerate_left_alone_is_refused(monkeypatch):
    """`accelerate launch --cpu --num_processes 2` starts one process, on each machine, and each would train for itself."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    with pytest.raises(InputError) as raised:
        share_to_start(Asked())
    assert str(raised.value) == (
        "accelerate launch: expected several processes, got one that knows of no other, as with its --cpu; start it with "
        "--multi_gpu and ACCELERATE_USE_CPU=true, or let debft start them"
    )


@pytest.mark.parametrize(
    "names", [["ACCELERATE_MIXED_PRECISION"], ["MASTER_ADDR"], ["ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "WORLD_SIZE"]]
)
def test_process_that_accelerate_started_as_the_only_one_is_not_left_alone(monkeypatch, names):
    for name in names:
        monkeypatch.setenv(name, "1")
    assert share_to_start(Asked()) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu5", "gpu5"),
        ("a,b", "a"),
        ("node[01-03,07],gpu5", "node01"),
        ("n[1,3]", "n1"),
        ("rack[2-3]-[07,09-11],login", "rack2-07"),
    ],
)
def test_first_host_of_a_list_of_slurm(nodes, first):
    assert first_host(nodes) == first


def test_tasks_of_a_step_find_each_other(monkeypatch, capsys):
    assert variables_of_step(STEP) == {
        "RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "node07",
        "MASTER_PORT": "20119",
    }
    for name, value in (STEP | {"SLURM_PROCID": "0", "MASTER_ADDR": "10.0.0.7"}).items():
        monkeypatch.setenv(name, value)
    join_step()
    assert capsys.readouterr().err.split(maxsplit=1) == [
        "processes",
        "4, the tasks of step 117.2 of Slurm, nodes 2; they meet at 10.0.0.7:20119\n",
    ]
    assert machines.launcher() == "srun"


@pytest.mark.parametrize(("more", "nodes"), [({}, 1), ({"SLURM_NNODES": "3"}, 3)])
def test_what_slurm_does_not_say_of_the_step_is_that_of_the_job(monkeypatch, capsys, more, nodes):
    step = {name: value for name, value in STEP.items() if not name.startswith("SLURM_STEP_") or name == "SLURM_STEP_NUM_TASKS"}
    for name, value in (step | {"SLURM_PROCID": "0"} | more).items():
        monkeypatch.setenv(name, value)
    join_step()
    said = f"4, the tasks of step 117.0 of Slurm, nodes {nodes}; they meet at node06:20117"
    assert capsys.readouterr().err.endswith(f" {said}\n")


def test_first_and_last_task_of_a_step_have_a_place():
    last = variables_of_step(STEP | {"SLURM_PROCID": "3", "SLURM_LOCALID": "3"})
    assert (last["RANK"], last["LOCAL_RANK"]) == ("3", "3")
    first = variables_of_step(STEP | dict.fromkeys(["SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_STEP_ID"], "0"))
    assert (first["RANK"], first["LOCAL_RANK"], first["MASTER_PORT"]) == ("0", "0", "20000")


def joined(monkeypatch, capsys, **variables):
    """(what is said, the variables of torch.distributed) where Slurm and others have set these variables."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that they are as before after the test
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    join_step()
    return capsys.readouterr().err, {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS")}


NOTHING = ("", {"RANK": None, "WORLD_SIZE": None, "OMP_NUM_THREADS": None})


def test_task_that_is_not_the_first_joins_in_silence(monkeypatch, capsys):
    said, variables = joined(monkeypatch, capsys, **STEP, SLURM_CPUS_PER_TASK="6")
    assert (said, variables) == ("", {"RANK": "1", "WORLD_SIZE": "4", "OMP_NUM_THREADS": "6"})


def test_process_that_slurm_has_not_started_is_left_alone(monkeypatch, capsys):
    assert joined(monkeypatch, capsys, SLURM_JOB_ID="117") == NOTHING


@pytest.mark.parametrize("variables", [{"SLURM_PROCID": "0"}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}])
def test_script_of_a_job_of_one_task_is_a_plain_run(monkeypatch, capsys, variables):
    assert joined(monkeypatch, capsys, **variables) == NOTHING


def test_step_of_one_task_sets_no_variables(monkeypatch, capsys):
    assert joined(monkeypatch, capsys, **(STEP | {"SLURM_STEP_NUM_TASKS": "1"})) == NOTHING


def test_launcher_within_a_job_goes_before_slurm(monkeypatch, capsys):
    said, variables = joined(monkeypatch, capsys, **STEP, RANK="3")
    assert (said, variables["RANK"], variables["WORLD_SIZE"]) == ("", "3", None)
    assert joined(monkeypatch, capsys, **STEP, **{PARENT: "17"}) == NOTHING


def test_task_that_sees_its_own_gpu_alone_takes_that_one():
    assert variables_of_step(STEP | {"CUDA_VISIBLE_DEVICES": "3"})["LOCAL_RANK"] == "0"
    assert variables_of_step(STEP | {"CUDA_VISIBLE_DEVICES": "0,1"})["LOCAL_RANK"] == "1"


def test_step_of_one_task_is_a_plain_run():
    assert variables_of_step(STEP | {"SLURM_STEP_NUM_TASKS": "1"}) == {}


def test_step_without_its_variables_is_refused():
    with pytest.raises(InputError, match="SLURM_LOCALID: expected it beside SLURM_PROCID"):
        variables_of_step({name: value for name, value in STEP.items() if name != "SLURM_LOCALID"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLURM_STEP_NUM_TASKS", "x"),
        ("SLURM_STEP_NUM_TASKS", "0"),
        ("SLURM_PROCID", "4"),
        ("SLURM_LOCALID", ""),
        ("SLURM_LOCALID", "4"),
        ("SLURM_LOCALID", "-1"),
        ("SLURM_JOB_ID", "abc"),
        ("SLURM_STEP_ID", "batch"),
    ],
)
def test_step_whose_variables_are_no_numbers_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name}: expected a whole number, . to [0-9]+, got '{value}'"):
        variables_of_step(STEP | {name: value})


def test_script_of_a_job_with_several_tasks_is_told_that_it_runs_alone(monkeypatch, capsys):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    join_step()
    assert "note: the job of Slurm has 4 tasks, and this process was started without srun" in capsys.readouterr().err
    assert machines.launcher() is None
