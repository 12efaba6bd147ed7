"""Whatever a file, a name or a variable holds, it is data: nothing in it is run, nothing it asks for is written elsewhere.

A payload that runs leaves a file called PWNED. What must not be written to lies in `outside`, beside the directory in which the
commands work; it is compared before and after. A secret that is planted is looked for in every file.
"""

import hashlib
import html.parser
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import fuzzed_data
import fuzzing
import numpy as np
import pyarrow
import pyarrow.parquet
import torch
import yaml
from fuzzed_values import HOSTILE_YAML
from in_process import debft
from parts import Case, Part

MARK = "PWNED"
TEXT = ("--model", "demo", "--from-scratch", "--max-steps", "1", "--max-seq-length", "16")
PAIR = ("the fox", "the dog")
ELEMENT = "xss-canary"  # of a page, where what a label or an id holds is taken for HTML
HOSTILE_NAMES = (
    f"<{ELEMENT}>a",
    f"</script></style></title><{ELEMENT} onload=alert(1)>b",
    f"\"'><{ELEMENT}>c",
    "\x1b[31md\x1b]0;title\x07",
    "\x9b31me",
    "\u202ef",
    f"[g](javascript:alert(1)) | `h` <!-- <{ELEMENT}>",
    "{{ 7 * 7 }}{% raw %}",
    "$(touch PWNED)`touch PWNED`",
    "../../outside/i",
)
SECRETS = {
    "HF_TOKEN": "hf_" + "PlantedCanaryOfTheHub0123456789",
    "WANDB_API_KEY": "planted-canary-of-the-tracker",
    "AWS_SECRET_ACCESS_KEY": "planted/canary+of/the+cloud",
    "SOME_PASSWORD": "planted canary of a password",
}


class Payload:
    """Unpickled, it makes a file called PWNED."""

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {MARK}",)


def digests(directory: Path) -> dict[str, str]:
    """Return a digest of each file below a directory, by its path; of a link, of where it leads."""
    found = {}
    for path in sorted(directory.rglob("*")):
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b"directory"
        found[str(path.relative_to(directory))] = hashlib.sha256(content).hexdigest()
    return found


def guarded(attack: Callable[[Path], str], directory: Path) -> str:
    """Let an attack work in a directory of its own, with the run, the model and the rows that others have made. Nothing else changes."""
    shutil.copytree(fuzzing.material(), directory / "work")
    (directory / "outside").mkdir()
    (directory / "outside" / "kept.json").write_text('{"kept": true}')
    before = digests(directory / "outside")
    said = attack(directory / "work")
    assert not list(directory.rglob(MARK)), f"ran the payload: {list(directory.rglob(MARK))}"
    assert digests(directory / "outside") == before, f"changed what lies outside: {digests(directory / 'outside')}"
    assert sorted(path.name for path in directory.iterdir()) == ["outside", "work"], "wrote beside its directory"
    return said


# Code that data brings along


def pickled(place: str, work: Path) -> str:
    """A pickle in the place of a file that is read, or beside it."""
    legacy, stream = io.BytesIO(), io.BytesIO()
    torch.save({"a.weight": Payload()}, stream)
    pickle.dump({"a.weight": Payload()}, legacy)
    zipped = place.endswith(".bin")
    path = work / place
    path.unlink(missing_ok=True)
    path.write_bytes(stream.getvalue() if zipped else legacy.getvalue())
    if zipped:
        (work / "model" / "model.safetensors").unlink()
    codes = [
        debft("predict", "model", *PAIR, "--task", "mnli", cwd=work).check().code,
        debft("doctor", "--model", "model", cwd=work).check().code,
        debft("mnli", "--output", "run", "--resume", cwd=work).check().code,
        debft("evaluate", "run", "--data", ".", cwd=work).check().code,
    ]
    return f"exit codes {codes}"


def pickled_rows(name: str, work: Path) -> str:
    """Rows that are a pickle, alone or in a folder that looks like a data set."""
    (work / "set").mkdir()
    for path in (work / name, work / "set" / f"train{Path(name).suffix}"):
        path.write_bytes(pickle.dumps([{"text": "a", "label": Payload()}]))
    codes = [debft("text", "--data", data, *TEXT, "--dry-run", cwd=work).check((2,)).code for data in (name, "set")]
    return f"exit codes {codes}"


def tagged(document: str, work: Path) -> str:
    """YAML that asks for more than values, wherever YAML is read: a recipe, a space of a search, the recipe of a run."""
    for path in (work / "r.yaml", work / "run" / "recipe.yaml"):
        path.write_text(document)
    (work / "set").mkdir()
    shutil.copy(work / "rows.csv", work / "set" / "train.csv")
    (work / "set" / "README.md").write_text(f"---\n{document}\n---\n")
    codes = [
        debft("check", "r.yaml", cwd=work).check((0, 2)).code,
        debft("search", "text", "--data", "rows.csv", *TEXT[:3], "--space", "r.yaml", "--dry-run", cwd=work).check((0, 2)).code,
        debft("runs", ".", cwd=work).check((0, 2)).code,
        debft("predict", "run", *PAIR, cwd=work).check((0, 2)).code,
        debft("text", "--data", "set", *TEXT, "--dry-run", cwd=work).check((0, 2)).code,
    ]
    return f"exit codes {codes}"


def own_code(key: str, kind: str, work: Path) -> str:
    """A model that brings Python code along, which its config.json or tokenizer_config.json names."""
    (work / "model" / "evil.py").write_text(f"import os\nos.system('touch {MARK}')\n")
    for name in ("config.json", "tokenizer_config.json"):
        path = work / "model" / name
        content = json.loads(path.read_text()) | {"auto_map": {key: ["evil.Evil", "evil.Evil"] if "Token" in key else "evil.Evil"}}
        path.write_text(json.dumps(content | ({"model_type": kind} if name == "config.json" else {})))
    (work / "model" / "tokenization_evil.py").write_text(f"open('{MARK}', 'w')\n")
    codes = [
        debft("predict", "model", *PAIR, "--task", "mnli", cwd=work).check().code,
        debft("doctor", "--model", "model", cwd=work).check().code,
        debft("text", "--data", "rows.csv", "--model", "model", "--dry-run", cwd=work).check().code,
    ]
    return f"exit codes {codes}"


# Places that names lead to


def linked(place: str, work: Path) -> str:
    """A part of a run that is a link to somewhere else; the run is used, continued and begun anew."""
    path, there = work / "run" / place, work.parent / "outside" / "kept.json"
    if path.is_dir():
        shutil.rmtree(path)
        there = there.parent
    path.unlink(missing_ok=True)
    path.symlink_to(there)
    codes = [
        debft("evaluate", "run", "--data", ".", cwd=work).check().code,
        debft("card", "run", "--output", "card.md", cwd=work).check().code,
        debft("push", "run", "--repo", "me/model", "--dry-run", cwd=work).check().code,
        debft("mnli", "--output", "run", "--resume", cwd=work).check().code,
        debft("mnli", "--data", ".", *TEXT, "--output", "run", "--overwrite", cwd=work).check().code,
    ]
    return f"exit codes {codes}"


def led_outside(file: str, change: Callable[[dict], None], work: Path) -> str:
    """A file of a run or a model that names files outside of it."""
    path = work / file
    content = json.loads(path.read_text()) if path.is_file() else {}
    change(content)
    path.write_text(json.dumps(content))
    if file.endswith(".index.json"):
        (work / "model" / "model.safetensors").rename(work.parent / "outside-model.safetensors")
    said = [
        debft("predict", "model", *PAIR, "--task", "mnli", cwd=work).check(),
        debft("push", "run", "--repo", "me/model", "--dry-run", "--json", cwd=work).check(),
        debft("compare", "run", "run", "--json", cwd=work).check(),
        debft("card", "run", cwd=work).check(),
        debft("submit", "run", "--output", "submission", cwd=work).check(),
    ]
    (work.parent / "outside-model.safetensors").unlink(missing_ok=True)
    assert not any("kept.json" in one.stdout for one in said), "told what lies outside"
    return f"exit codes {[one.code for one in said]}"


def _files_outside(content: dict) -> None:
    content["model_files"]["../../../outside/kept.json"] = {"bytes": 14, "sha256": hashlib.sha256(b'{"kept": true}').hexdigest()}


def _scores_outside(content: dict) -> None:
    content["scores"] = {"../../../outside/kept/accuracy": 50.0} | content["scores"]


def _weights_outside(content: dict) -> None:
    content["weight_map"] = {"a.weight": "../../outside-model.safetensors"}


# More than fits


def too_much(make: Callable[[Path], str], work: Path) -> str:
    """A file that is small, or well-formed, and asks for more memory or time than a row should."""
    name = make(work)
    if (work / "model" / name).exists():
        codes = [
            debft("predict", "model", *PAIR, "--task", "mnli", cwd=work).check((2,)).code,
            debft("doctor", "--model", "model", cwd=work).check((2,)).code,
        ]
    else:
        codes = [debft("text", "--data", name, *TEXT, "--dry-run", cwd=work).check((0, 2)).code]
    return f"exit codes {codes}"


def _long_line(name: str, work: Path) -> str:
    rows = [dict(row) for row in fuzzed_data.ROWS]
    rows[3]["premise"] = "a long line " * 10**6
    write = {"csv": partial(fuzzed_data.csv_of, delimiter=","), "tsv": partial(fuzzed_data.csv_of, delimiter="\t")}
    (work / name).write_text(write.get(name[-3:], fuzzed_data.jsonl_of)(rows))
    return name


def _parquet_bomb(work: Path) -> str:
    """2 billion equal rows take some kilobytes."""
    same = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(10**7, np.int8)), pyarrow.array(["the fox sleeps " * 40]))
    table = pyarrow.table({"text": same, "label": same})
    with pyarrow.parquet.ParquetWriter(work / "bomb.parquet", table.schema, compression="zstd") as writer:
        for _ in range(200):
            writer.write_table(table)
    return "bomb.parquet"


def _zip_bomb(work: Path) -> str:
    """Weights whose pickle is 8 GB of zeros, in 8 MB."""
    (work / "model" / "model.safetensors").unlink()
    with zipfile.ZipFile(work / "model" / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as file:
            for _ in range(512):
                file.write(bytes(2**24))
        archive.writestr("archive/version", "3\n")
    return "pytorch_model.bin"


def _header(size: int, content: bytes, work: Path) -> str:
    (work / "model" / "model.safetensors").write_bytes(struct.pack("<Q", size) + content)
    return "model.safetensors"


def _far_tensor(work: Path) -> str:
    """A header that says that a tensor has 4 EB, which lie behind the end of the file."""
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}}).encode()
    return _header(len(header), header, work)


def _deep(name: str, work: Path) -> str:
    (work / name).write_text("[" * 10**5 + "]" * 10**5)
    return name


# What people look at


class _Elements(html.parser.HTMLParser):
    """Collects the elements and the addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.found += [tag, *(str(value) for name, value in attrs if name in ("href", "src"))]


def check_page(text: str, what: str) -> None:
    """Raise AssertionError where a label or an id became part of a page's structure."""
    page = _Elements()
    page.feed(text)
    assert ELEMENT not in page.found, f"{what}: made an element of a label"
    assert not any(one.strip().lower().startswith("javascript:") for one in page.found), f"{what}: made a link of a label"
    assert "\x1b" not in text and "\x9b" not in text, f"{what}: holds a control character"


def shown(work: Path) -> str:
    """Labels, ids and texts that are HTML, Markdown, templates and terminal sequences, on everything that people look at."""
    rows = [
        {
            "id": f"{HOSTILE_NAMES[i % 9]}{i}",
            "text": f"the fox {HOSTILE_NAMES[(i + 3) % 9]} {i % 7}",
            "label": HOSTILE_NAMES[i % 10],
        }
        for i in range(80)
    ]
    (work / "hostile.jsonl").write_text(fuzzed_data.jsonl_of(rows))
    for name in ("one", "two"):
        options = ("--max-seq-length", "16", "--max-steps", "2", "--seed", str(len(name)), "--output", name)
        debft("text", "--data", "hostile.jsonl", *TEXT[:3], *options, cwd=work).check((0,))
    (work / "answers.txt").write_text("\n".join(row["text"] for row in rows))
    printed = [
        debft("predict", "one", "answers.txt", "--texts", cwd=work).check((0,)),
        debft("predict", "one", "answers.txt", "--format", "tsv", "--texts", cwd=work).check((0,)),
        debft("evaluate", "one", cwd=work).check((0,)),
        debft("evaluate", "one", "--json", cwd=work).check((0,)),
        debft("compare", "one", "two", cwd=work).check((0,)),
        debft("compare", "one", "two", "--json", cwd=work).check((0,)),
        debft("runs", ".", cwd=work).check((0, 2)),
        debft("card", "one", "--output", "card.md", cwd=work).check((0,)),
        debft("tables", "one", "--format", "html", cwd=work).check((0, 2)),
    ]
    check_page(printed[-1].stdout, "tables")
    check_page((work / "one" / "report.html").read_text(), "report.html")
    check_page(_rendered((work / "card.md").read_text()), "card")
    check_page(_served(work / "one"), "the served page")
    return f"{len(printed)} commands, 4 pages"


def _rendered(card: str) -> str:
    """Return a card as HTML, its front matter read as YAML."""
    import markdown

    _, front, body = card.split("---\n", 2)
    assert isinstance(yaml.safe_load(front), dict)
    return markdown.markdown(body, extensions=["tables", "fenced_code"])


def _served(run: Path) -> str:
    """Return the page that `debft serve` shows of a run."""
    from debft.output.serve.about import about
    from debft.output.serve.page import build_page
    from debft.scoring.loading import load_used
    from debft.scoring.used_model import find_used_model

    used = find_used_model(str(run), None)
    return build_page(about(used, load_used(used, "fp32"))).html


def named(kind: str, name: str, work: Path) -> str:
    """A name that leads elsewhere, in each place where a user or a file gives one."""
    words = {
        "column": ("text", "--data", "rows.csv", *TEXT, "--label-column", name, "--dry-run"),
        "model": ("text", "--data", "rows.csv", "--model", name, "--dry-run"),
        "recipe": ("mnli", "--recipe", name, "--dry-run"),
        "language": ("xnli", "--data", "demo", "--language", name, "--dry-run"),
        "data": ("text", "--data", name, *TEXT, "--dry-run"),
        "tracker": ("text", "--data", "rows.csv", *TEXT, "--report-to", name, "--dry-run"),
        "split": ("text", "--data", "rows.csv", *TEXT, "--split-column", name, "--dry-run"),
    }
    return f"exit code {debft(*words[kind], cwd=work).check((0, 2)).code}"


# Secrets


def kept(kind: str, work: Path) -> str:
    """A secret in a variable, an option, a recipe, a model's files or an error's text is in no file that a command leaves."""
    secret = SECRETS["HF_TOKEN"]
    options = ("text", "--data", "rows.csv", *TEXT, "--output", "made")
    if kind == "variable":
        said = [debft(*options, "--report-to", "tensorboard", cwd=work, **SECRETS).check((0,))]
        said += [debft("card", "made", "--output", "card.md", cwd=work, **SECRETS).check((0,))]
        said += [debft("push", "made", "--repo", "me/x", "--dry-run", cwd=work, **SECRETS).check((0,))]
    elif kind == "option":
        said = [debft(*options, "--label-column", secret, cwd=work).check((2,))]
        said += [debft(*options, "--set", f"source={secret}", cwd=work, **SECRETS).check((2,))]
        said += [debft("predict", "run", *PAIR, "--encoding", SECRETS["SOME_PASSWORD"], cwd=work, **SECRETS).check((0, 2))]
    elif kind == "recipe":
        text = debft("recipes", "default", cwd=work).stdout
        (work.parent / "planted.yaml").write_text(f"{text}\nsource: {SECRETS['WANDB_API_KEY']}\n")
        said = [debft(*options, "--recipe", "../planted.yaml", cwd=work, **SECRETS).check((2,))]
        (work.parent / "planted.yaml").unlink()
    elif kind == "model":
        path = work / "model" / "config.json"
        config = path.read_text()
        path.write_text(json.dumps(json.loads(config) | {"token": secret}))
        said = [debft("text", "--data", "rows.csv", "--model", "model", "--output", "made", cwd=work).check((2,))]
        path.write_text(config)
    else:
        there = f"/nowhere/{SECRETS['WANDB_API_KEY']}/x"
        said = [debft("text", "--data", there, *TEXT, cwd=work, **SECRETS).check((2,))]
        said += [debft("reproduce", "demo", "--data", there, "--output", "made", cwd=work, **SECRETS).check((2,))]
    for one in said:
        for planted in SECRETS.values():
            assert planted not in one.stdout + one.stderr, f"debft {one.arguments[0]} shows a secret"
    for path in (*work.parent.rglob("*"), *Path(os.environ["DEBFT_CACHE"]).rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        for planted in SECRETS.values():
            assert planted.encode() not in content, f"{path.relative_to(path.parents[1])} holds a secret"
    return f"exit codes {[one.code for one in said]}"


def attacks() -> Iterable[tuple[str, Callable[[Path], str]]]:
    """Return each attack with its name."""
    yield "shown", shown
    for kind in ("variable", "option", "recipe", "model", "error"):
        yield f"secret-{kind}", partial(kept, kind)
    for place in ("model/pytorch_model.bin", "model/training_args.pt", "model/spm.model", "run/optimizer.pt", "run/split.json"):
        yield f"pickle-{place.replace('/', '-')}", partial(pickled, place)
    for name in ("rows.pkl", "rows.npy", "rows.pt", "rows.parquet", "rows.json", "rows.csv"):
        yield f"pickle-{name}", partial(pickled_rows, name)
    for number, document in enumerate(HOSTILE_YAML):
        yield f"yaml-{number}", partial(tagged, document)
    for key in ("AutoConfig", "AutoModelForSequenceClassification", "AutoModel", "AutoTokenizer"):
        for kind in ("deberta-v2", "bert", "evil"):
            yield f"code-{key}-{kind}", partial(own_code, key, kind)
    for place in ("checkpoints", "predictions", "model", "steps.jsonl", "result.json", "recipe.yaml", "report.html", ".lock"):
        yield f"link-{place}", partial(linked, place)
    for place in ("model/config.json", "model/extra.json", "predictions/validation_matched.jsonl"):
        yield f"link-{place.replace('/', '-')}", partial(linked, place)
    yield "outside-files", partial(led_outside, "run/result.json", _files_outside)
    yield "outside-scores", partial(led_outside, "run/result.json", _scores_outside)
    yield "outside-weights", partial(led_outside, "model/model.safetensors.index.json", _weights_outside)
    for name in ("long.csv", "long.tsv", "long.jsonl"):
        yield f"much-{name}", partial(too_much, partial(_long_line, name))
    for name in ("deep.json", "deep.jsonl"):
        yield f"much-{name}", partial(too_much, partial(_deep, name))
    yield "much-parquet", partial(too_much, _parquet_bomb)
    yield "much-zip", partial(too_much, _zip_bomb)
    yield "much-header", partial(too_much, partial(_header, 2**32, b"{}"))
    yield "much-header-negative", partial(too_much, partial(_header, 2**64 - 1, b"{}"))
    yield "much-header-far", partial(too_much, _far_tensor)
    for kind in ("column", "model", "recipe", "language", "data", "tracker", "split"):
        for number, name in enumerate(("../outside/kept.json", "../../outside", "/etc/passwd", "..", "a/../../outside/kept.json")):
            yield f"name-{kind}-{number}", partial(named, kind, name)


def cases() -> Iterable[Case]:
    """Return every attack as a case."""
    for name, attack in attacks():
        yield Case(name=name, run=partial(guarded, attack))


def run_case(name: str, directory: Path) -> str:
    """Run the case of that name."""
    return next(case for case in cases() if case.name == name).run(directory)


PART = Part(name="hostile", claim="0 executions, 0 writes outside, 0 escapes shown raw, 0 secrets in files", cases=cases, few=4)
